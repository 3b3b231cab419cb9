"""`check()` of functions and classes: they are tried, and what they do wrong is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from sqlalchemy import NullPool, exc, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from asyncdb_nb import Database, LoopBoundPool, Repository, run
from asyncdb_nb.lessons.exercises import stopping
from asyncdb_nb.workflows import Status, Task, Workflow, WorkflowRepository, seed_workflows

# asyncio.run() refuses a coroutine where a loop runs already, and Python warns of it: these answers make that mistake
not_awaited = pytest.mark.filterwarnings("ignore:coroutine 'ask' was never awaited")

NUMBERS = "select generate_series(1, 100_000_000) as number"


async def ask(engine: AsyncEngine) -> Any:
    async with engine.connect() as connection:
        return await connection.scalar(text("select 42"))


async def on_a_new_loop(coroutine: Any) -> Any:
    return await asyncio.to_thread(asyncio.run, coroutine)


def three(engine: AsyncEngine) -> Any:
    async def three_answers() -> list[int]:
        return [await on_a_new_loop(ask(engine)) for _ in range(3)]

    return three_answers


# --- 02.1 ---


async def two_answers(engine: AsyncEngine) -> list[int]:
    return [await on_a_new_loop(ask(engine)) for _ in range(2)]


async def one_loop(engine: AsyncEngine) -> list[int]:
    async def all_of_them() -> list[int]:
        return [await ask(engine) for _ in range(3)]

    return list(await on_a_new_loop(all_of_them()))


async def this_loop(engine: AsyncEngine) -> list[int]:
    return [await ask(engine) for _ in range(3)]


async def made_up(engine: AsyncEngine) -> list[int]:
    return [42, 42, 42]


async def asked_once(engine: AsyncEngine) -> list[int]:
    return [await on_a_new_loop(ask(engine))] * 3


async def a_tuple(engine: AsyncEngine) -> Any:
    return (42, 42, 42)


async def nothing(engine: AsyncEngine) -> None:
    await three(engine)()


async def not_run(engine: AsyncEngine) -> list[int]:
    return [asyncio.run(ask(engine)) for _ in range(3)]


def ordinary(engine: AsyncEngine) -> list[int]:
    return [42, 42, 42]


@pytest.mark.second_tier
@pytest.mark.parametrize(
    ("function", "words"),
    [
        (two_answers, "`three_answers()` returned [42, 42], and not the list of three answers."),
        (one_loop, "The three questions were asked on one loop, and not on three."),
        (this_loop, "`engine` was asked on this notebook's loop, and three new ones are asked for."),
        (made_up, "`engine` has opened no connection, so it was not asked three times."),
        (asked_once, "`engine` has opened one connection, so it was not asked three times."),
        (a_tuple, "`three_answers()` returned (42, 42, 42), and not the list"),
        (nothing, "`three_answers()` returned None, and not the list"),
        pytest.param(
            not_run, "`three_answers()` raised RuntimeError: asyncio.run() cannot be called", marks=not_awaited
        ),
        (ordinary, "gave [42, 42, 42] without an `await`: the function has to be `async`."),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_02_1_what_is_wrong_with_the_three_answers_is_told(
    function: Any, words: str, db: Database, faulty: Any
) -> None:
    engine = create_async_engine(db.url, poolclass=NullPool)

    assert words in await faulty("02.1", engine, lambda: function(engine))


async def test_02_1_what_is_wrong_with_the_engine_is_told(db: Database, faulty: Any) -> None:
    usual, ours = create_async_engine(db.url), create_async_engine(db.url, poolclass=LoopBoundPool)

    assert "The pool of `engine` is an AsyncAdaptedQueuePool, and" in await faulty("02.1", usual, three(usual))
    assert "The pool of `engine` is a LoopBoundPool, and" in await faulty("02.1", ours, three(ours))
    assert "`engine` is a str, and" in await faulty("02.1", str(db.url), three(ours))
    null = create_async_engine(db.url, poolclass=NullPool)
    assert "has opened no connection" in await faulty("02.1", null, three(ours))
    assert "`three_answers` is a list, and a function is asked for." in await faulty("02.1", null, [42, 42, 42])
    await ours.dispose()


async def test_02_1_three_answers_are_right(db: Database, right: Any) -> None:
    engine = create_async_engine(db.url, poolclass=NullPool)

    await right("02.1", engine, three(engine))

    def threads() -> Any:
        return asyncio.gather(*(on_a_new_loop(ask(engine)) for _ in range(3)))

    await right("02.1", engine, threads)


# --- 03.1 ---


@pytest.fixture
async def engine(db: Database) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(db.url, poolclass=LoopBoundPool)
    yield engine
    await engine.dispose()


def stored(engine: AsyncEngine) -> list[int]:
    return [run(ask(engine))] * 2


def constant(engine: AsyncEngine) -> list[int]:
    return [42, 42]


def once(engine: AsyncEngine) -> list[int]:
    return [run(ask(engine))]


def thrice(engine: AsyncEngine) -> list[int]:
    return [run(ask(engine)), run(ask(engine)), run(ask(engine))]


def thrown_away(engine: AsyncEngine) -> None:
    once(engine)
    once(engine)


def summed(engine: AsyncEngine) -> int:
    return run(ask(engine)) + run(ask(engine))


def the_same_coroutine(engine: AsyncEngine) -> list[int]:
    coroutine = ask(engine)
    return [run(coroutine), run(coroutine)]


def usual_run(engine: AsyncEngine) -> list[int]:
    return [asyncio.run(ask(engine)), asyncio.run(ask(engine))]


def unawaited(engine: AsyncEngine) -> Any:
    return this_loop(engine)


def one_too_many(engine: AsyncEngine) -> list[int]:
    return thrice(engine)[:2]


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (stored, "In this notebook's thread, `engine` was asked once, and not twice."),
        (constant, "In this notebook's thread, `engine` was asked nothing, and not twice."),
        (once, "`ask_twice()` returned [42], and not the list of two answers."),
        (thrice, "`ask_twice()` returned [42, 42, 42], and not the list"),
        (thrown_away, "`ask_twice()` returned None, and not the list"),
        (summed, "`ask_twice()` returned 84, and not the list"),
        (the_same_coroutine, "`ask_twice()` raised RuntimeError: "),
        pytest.param(
            usual_run,
            "In this notebook's thread, `ask_twice()` raised RuntimeError: asyncio.run() cannot be called",
            marks=not_awaited,
        ),
        (unawaited, "`ask_twice()` returned a coroutine, which has asked nothing yet."),
        (one_too_many, "`engine` was asked 3 times, and not twice."),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_03_1_what_is_wrong_with_the_function_is_told(
    function: Any, words: str, engine: AsyncEngine, faulty: Any
) -> None:
    assert words in await faulty("03.1", lambda: function(engine), engine)


async def test_03_1_another_kind_of_function_is_told(engine: AsyncEngine, db: Database, faulty: Any) -> None:
    async def is_async() -> list[int]:
        return await this_loop(engine)

    def only_here() -> list[int]:
        asyncio.get_running_loop()
        return [run(ask(engine)), run(ask(engine))]

    def other_engine() -> list[int]:
        return [run(ask(db.engine)), run(ask(db.engine))]

    assert "`ask_twice` is `async`, and an ordinary function" in await faulty("03.1", is_async, engine)
    assert "In another thread, `ask_twice()` raised RuntimeError" in await faulty("03.1", only_here, engine)
    assert "`engine` was asked nothing, and not twice." in await faulty("03.1", other_engine, engine)
    assert "`ask_twice` is a list, and a function is asked for." in await faulty("03.1", [42, 42], engine)


async def test_03_1_two_answers_are_right(engine: AsyncEngine, right: Any) -> None:
    await right("03.1", lambda: [run(ask(engine)), run(ask(engine))], engine)
    await right("03.1", lambda: [run(ask(engine)) for _ in range(2)], engine)


# --- 04 ---


@pytest.fixture
def short_naps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "NAP", 3.0)
    monkeypatch.setattr(stopping, "AFTERWARDS", 0.5)


def patient(db: Database) -> Any:
    async def frame_within(seconds: float, question: str) -> Any:
        try:
            async with asyncio.timeout(seconds):
                return await db.frame(question)
        except TimeoutError:
            return None

    return frame_within


def without_a_limit(db: Database) -> Any:
    return lambda seconds, question: db.frame(question)


def raising(db: Database) -> Any:
    async def frame_within(seconds: float, question: str) -> Any:
        async with asyncio.timeout(seconds):
            return await db.frame(question)

    return frame_within


def always_none(db: Database) -> Any:
    async def frame_within(seconds: float, question: str) -> Any:
        await patient(db)(seconds, question)

    return frame_within


def afterwards(db: Database) -> Any:
    async def frame_within(seconds: float, question: str) -> Any:
        found = await db.frame(question)
        return found if seconds > 1 else None

    return frame_within


def left_running(db: Database) -> Any:
    async def frame_within(seconds: float, question: str) -> Any:
        task = asyncio.ensure_future(db.frame(question))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        kept.append(task)
        done, _ = await asyncio.wait([task], timeout=seconds)
        return task.result() if done else None

    return frame_within


def too_little(db: Database) -> Any:
    return lambda seconds, question: patient(db)(0, question)


def other_question(db: Database) -> Any:
    return lambda seconds, question: patient(db)(seconds, question.replace("42", "43"))


def rows(db: Database) -> Any:
    async def frame_within(seconds: float, question: str) -> Any:
        found = await patient(db)(seconds, question)
        return None if found is None else found.values.tolist()

    return frame_within


def a_word(db: Database) -> Any:
    async def frame_within(seconds: float, question: str) -> Any:
        found = await patient(db)(seconds, question)
        return "too late" if found is None else found

    return frame_within


def one_argument(db: Database) -> Any:
    async def frame_within(question: str) -> Any:
        return await patient(db)(1, question)

    return frame_within


def on_the_server_alone(db: Database) -> Any:
    async def frame_within(seconds: float, question: str) -> Any:
        async with db.session(timeout=seconds) as session:
            return (await session.execute(text(question))).all()

    return frame_within


kept: list[Any] = []


@pytest.mark.second_tier
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (without_a_limit, "After its time was up, `frame_within` returned a DataFrame, and None is asked for."),
        (raising, "`frame_within(0.2, ...)` raised TimeoutError."),
        (always_none, "For a quick question `frame_within` returned None, and its frame is asked for."),
        (afterwards, "it had waited for the whole 3 seconds"),
        (left_running, "It returned None, but the statement goes on on the server."),
        (too_little, "For a quick question `frame_within` returned None"),
        (other_question, "For `select 42 as answer` the frame has something else in it."),
        (rows, "For a quick question `frame_within` returned a list"),
        (a_word, "After its time was up, `frame_within` returned a str, and None is asked for."),
        (one_argument, "`frame_within(20, ...)` raised TypeError: "),
        (on_the_server_alone, "For a quick question `frame_within` returned a list"),
        (lambda db: 20, "`frame_within` is an int, and a function is asked for."),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_04_1_what_is_wrong_with_the_patience_is_told(
    make: Any, words: str, db: Database, faulty: Any, short_naps: None
) -> None:
    assert words in await faulty("04.1", make(db))
    for task in kept:
        await asyncio.wait([task])
    kept.clear()


async def test_04_1_a_limit_on_either_side_is_right(db: Database, right: Any, short_naps: None) -> None:
    async def on_the_server(seconds: float, question: str) -> Any:
        from asyncdb_nb import frame

        try:
            async with db.session(timeout=seconds) as session:
                return await frame(session, question)
        except exc.DBAPIError:
            return None

    async def waited_for(seconds: float, question: str) -> Any:
        try:
            return await asyncio.wait_for(db.frame(question), seconds)
        except TimeoutError:
            return None

    for function in (patient(db), on_the_server, waited_for):
        await right("04.1", function)


def parts(enough: Callable[[int, int], bool], given: Callable[[int, int], Any]) -> Any:
    """A function that reads until it has `enough` of (sum, total), and returns what is `given` by (parts, sum)."""

    def of(db: Database) -> Any:
        async def parts_until(total: int) -> Any:
            read = added = 0
            async for part in db.frames(NUMBERS, rows=1000):
                read, added = read + 1, added + int(part["number"].sum())
                if enough(added, total):
                    return given(read, added)
            return None

        return parts_until

    return of


def larger(added: int, total: int) -> bool:
    return added > total


@pytest.mark.second_tier
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (parts(lambda a, t: a >= t, lambda read, added: read), "`parts_until(500500)` returned 1, and it takes more"),
        (parts(larger, lambda read, added: read - 1), "`parts_until(500)` returned 0, and it takes more than that"),
        (parts(larger, lambda read, added: read + 1), "`parts_until(500)` returned 2, and it takes fewer"),
        (parts(larger, lambda read, added: added), "`parts_until(500)` returned 500500, and it takes fewer"),
        (parts(larger, lambda read, added: [read]), "`parts_until(500)` returned a list, and a number of parts"),
        (parts(larger, lambda read, added: None), "`parts_until(500)` returned None, and a number of parts"),
        (parts(lambda a, t: True, lambda read, added: read), "`parts_until(500500)` returned 1, and it takes more"),
        (parts(larger, lambda read, added: 1), "`parts_until(500500)` returned 1, and it takes more"),
        (parts(larger, lambda read, added: str(read)), "`parts_until(500)` returned a str, and a number of parts"),
        (parts(larger, lambda read, added: 1 / 0), "`parts_until(500)` raised ZeroDivisionError: division by zero."),
        (lambda db: 5, "`parts_until` is an int, and a function is asked for."),
    ],
    ids=["not larger", "one less", "one more", "the sum", "list", "None", "first", "one", "text", "error", "number"],
)
async def test_04_2_what_is_wrong_with_the_parts_is_told(make: Any, words: str, db: Database, faulty: Any) -> None:
    assert words in await faulty("04.2", make(db))


@pytest.mark.second_tier
async def test_04_2_a_function_that_reads_on_is_given_up(
    db: Database, faulty: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would read a hundred million rows."""
    monkeypatch.setattr(stopping, "_TOO_LONG", 1.0)

    told = await faulty("04.2", parts(lambda a, t: False, lambda read, added: read)(db))

    assert "`parts_until(500)` had not returned after a minute: it reads on" in told


async def test_04_2_stopping_in_time_is_right(db: Database, right: Any) -> None:
    async def breaking(total: int) -> int:
        read = added = 0
        async for part in db.frames(NUMBERS, rows=1000):
            read += 1
            added += int(part["number"].sum())
            if added > total:
                break
        return read

    await right("04.2", parts(larger, lambda read, added: read)(db))
    await right("04.2", breaking)


# --- 07 ---


class Counting(Repository[Task]):
    async def failed(self, step: str) -> Any:
        return await self.count(Task.step == step, Task.status == Status.FAILED)


class OfAll(Repository[Task]):
    async def failed(self, step: str) -> Any:
        return await self.count(Task.step == step)


class OfEveryStep(Repository[Task]):
    async def failed(self, step: str) -> Any:
        return await self.count(Task.status == Status.FAILED)


class Everything(Repository[Task]):
    async def failed(self, step: str) -> Any:
        return await self.count()


class AsList(Repository[Task]):
    async def failed(self, step: str) -> Any:
        return await self.list(Task.step == step, Task.status == Status.FAILED)


class AsFrame(Repository[Task]):
    async def failed(self, step: str) -> Any:
        return await self.frame(Task.step == step, Task.status == Status.FAILED)


class Nothing(Repository[Task]):
    async def failed(self, step: str) -> Any:
        await self.count(Task.step == step, Task.status == Status.FAILED)


class OnlyFetch(Repository[Task]):
    async def failed(self, step: str) -> Any:
        return await self.count(Task.step == "fetch", Task.status == Status.FAILED)


class NoMethod(Repository[Task]):
    pass


class NoArgument(Repository[Task]):
    async def failed(self) -> Any:
        return 0


class Constant(Repository[Task]):
    def failed(self, step: str) -> Any:
        return 5


class Succeeded(Repository[Task]):
    async def failed(self, step: str) -> Any:
        return await self.count(Task.step == step, Task.status == Status.SUCCEEDED)


class WithoutAwait(Repository[Task]):
    def failed(self, step: str) -> Any:
        return self.count(Task.step == step, Task.status == Status.FAILED)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (OfAll, "which is how many tasks the step has, failed or not."),
        (OfEveryStep, "which is how many tasks have failed in all steps together."),
        (Everything, "which is how many tasks there are."),
        (AsList, "returned a list, and a number is asked for."),
        (AsFrame, "returned a DataFrame, and a number is asked for."),
        (Nothing, "returned None, and a number is asked for."),
        (OnlyFetch, "than have failed."),
        (NoMethod, "`TaskRepository` has no method `failed`."),
        (NoArgument, "raised TypeError: "),
        (Constant, "gave 5 without an `await`: the function has to be `async`."),
        (Succeeded, "which is more than have failed."),
        (Task, "`TaskRepository` is a class, and a class made from `Repository[Task]` is asked for."),
        (5, "`TaskRepository` is an int, and a class made from"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_07_1_what_is_wrong_with_the_repository_is_told(answer: Any, words: str, faulty: Any) -> None:
    assert words in await faulty("07.1", answer)


@pytest.mark.parametrize("answer", [Counting, WithoutAwait], ids=lambda one: one.__name__)
async def test_07_1_a_repository_that_counts_is_right(answer: Any, right: Any) -> None:
    await right("07.1", answer)


@pytest.fixture
async def small(fresh_database_url: str) -> AsyncIterator[Database]:
    """A sample that may be changed."""
    async with Database(fresh_database_url) as db:
        await seed_workflows(db, runs=20, workflows=6)
        yield db


def renaming(db: Database, condition: str = "name = :old", returned: Any = True, taken: Any = False) -> Any:
    async def rename(old: str, new: str) -> Any:
        try:
            async with db.session() as session:
                statement = text(f"update workflows.workflow set name = :new where {condition}")
                await session.execute(statement, {"old": old, "new": new})
        except exc.IntegrityError:
            return taken
        return returned

    return rename


def unlucky(db: Database) -> Any:
    async def rename(old: str, new: str) -> Any:
        await db.execute("update workflows.workflow set name = :new where name = :old", {"old": old, "new": new})
        return True

    return rename


def rolled_back(db: Database) -> Any:
    async def rename(old: str, new: str) -> Any:
        try:
            async with db.session() as session:
                await session.execute(
                    text("update workflows.workflow set name = :new where name = :old"), {"old": old, "new": new}
                )
                await session.rollback()
        except exc.IntegrityError:
            return False
        return True

    return rename


def making_room(db: Database) -> Any:
    async def rename(old: str, new: str) -> Any:
        await db.execute("delete from workflows.workflow where name = :new", {"new": new})
        return await renaming(db)(old, new)

    return rename


def with_its_owner(db: Database) -> Any:
    async def rename(old: str, new: str) -> Any:
        done = await renaming(db)(old, new)
        if done:
            await db.execute("insert into workflows.workflow (name) values (:old)", {"old": f"{old} before"})
        return done

    return rename


def only_asking(db: Database) -> Any:
    async def rename(old: str, new: str) -> Any:
        async with db.session(readonly=True) as session:
            return await WorkflowRepository(session).by_name(new) is None

    return rename


@pytest.mark.second_tier
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (unlucky, "With a name that is taken, `rename(old, taken)` raised IntegrityError: "),
        (rolled_back, "the workflow still has its old name for everybody else."),
        (making_room, "With a name that is taken, `rename` has changed the workflows"),
        (with_its_owner, "`rename` has changed more than the name of one workflow."),
        (only_asking, "`rename` returned True, and the workflow still has its old name"),
        (lambda db: renaming(db, returned=None), "With a new name, `rename` returned None, and should return True."),
        (
            lambda db: renaming(db, taken=None),
            "With a name that is taken, `rename` returned None, and should return Fa",
        ),
        (lambda db: renaming(db, taken=True), "With a name that is taken, `rename` returned True, and should return F"),
        (lambda db: renaming(db, returned=1), "With a new name, `rename` returned 1, and should return True."),
        (
            lambda db: renaming(db, "false"),
            "With a name that is taken, `rename` returned True, and should return False",
        ),
        (lambda db: lambda old, new: False, "`rename(old, taken)` gave False without an `await`"),
        (lambda db: True, "`rename` is a bool, and a function is asked for."),
    ],
    ids=[
        "raises",
        "rolled back",
        "room",
        "more",
        "asks",
        "None",
        "taken None",
        "taken True",
        "1",
        "none",
        "sync",
        "bool",
    ],
)
async def test_07_2_what_is_wrong_with_the_unit_is_told(make: Any, words: str, small: Database, faulty: Any) -> None:
    """And nothing of the check is left."""
    before = await small.frame("select name from workflows.workflow where owner is distinct from 'check'")

    assert words in await faulty("07.2", make(small), db=small)
    left = await small.frame("select name from workflows.workflow where owner = 'check'")
    assert len(left) == 0
    if make not in (with_its_owner,):
        assert len(await small.frame("select name from workflows.workflow")) == len(before)


@pytest.mark.second_tier
async def test_07_2_a_session_that_stays_open_is_told(small: Database, faulty: Any) -> None:
    """Its change is not committed, so nobody else sees it."""
    sessions = []

    async def rename(old: str, new: str) -> bool:
        sessions.append(session := AsyncSession(small.engine))
        try:
            workflow = await session.scalar(text("select id from workflows.workflow where name = :old"), {"old": old})
            await session.execute(
                text("update workflows.workflow set name = :new where id = :id"), {"new": new, "id": workflow}
            )
        except exc.IntegrityError:
            await session.close()
            return False
        closing.append(asyncio.get_running_loop().call_later(1, lambda: asyncio.ensure_future(session.close())))
        return True

    closing: list[Any] = []

    assert "the workflow still has its old name for everybody else." in await faulty("07.2", rename, db=small)
    for session in sessions:
        await session.close()


async def test_07_2_a_unit_of_work_is_right(small: Database, right: Any) -> None:
    async def by_repository(old: str, new: str) -> bool:
        try:
            async with small.session() as session:
                workflow = await WorkflowRepository(session).by_name(old)
                assert isinstance(workflow, Workflow)
                workflow.name = new
        except exc.IntegrityError:
            return False
        return True

    await right("07.2", renaming(small), db=small)
    await right("07.2", by_repository, db=small)
