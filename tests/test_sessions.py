"""A scope commits, rolls back, gives its connection back, and hides nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from server_checks import ServerWatch
from sqlalchemy import ForeignKey, Select, event, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, MissingGreenlet
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, with_loader_criteria
from waiting import HANG, until

from asyncdb_nb import (
    AsyncDBError,
    CommitRolledBackError,
    ConcurrentUseError,
    LoopBoundPool,
    SessionEndedError,
    WrongLoopError,
    session_scope,
)


class Base(DeclarativeBase):
    pass


class Thing(Base):
    __tablename__ = "scope_thing"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("scope_thing.id", deferrable=True, initially="DEFERRED"))


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    url = database_url.replace("postgresql://", "postgresql+asyncpg://")
    engine = create_async_engine(url, poolclass=LoopBoundPool)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield engine
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)


async def names(engine: AsyncEngine) -> list[str]:
    async with session_scope(engine) as session:
        return list(await session.scalars(select(Thing.name).order_by(Thing.id)))


async def pause(seconds: float, session: AsyncSession) -> Any:
    return await session.scalar(text("select pg_sleep(:seconds)"), {"seconds": seconds})


# --- how a block ends -------------------------------------------------------------------------------------------------


BAD = text("select * from nowhere")


async def test_a_session_class_that_is_not_asynchronous_is_used_inside(engine: AsyncEngine) -> None:
    class Own(Session):
        pass

    async with session_scope(engine, sessionmaker=Own) as session:
        assert isinstance(session.sync_session, Own)
        assert await session.scalar(text("select 1")) == 1


async def test_a_block_that_caught_the_error_of_a_statement_does_not_end_as_if_it_were_committed(
    engine: AsyncEngine,
) -> None:
    """PostgreSQL answers COMMIT by a rollback then, and says so nowhere else."""
    with pytest.raises(CommitRolledBackError, match="a statement in it had failed"):
        async with session_scope(engine) as session:
            session.add(Thing(name="lost"))
            await session.flush()
            with pytest.raises(DBAPIError):
                await session.execute(BAD)

    assert await names(engine) == []


async def test_a_commit_in_mid_block_says_the_same_and_the_session_can_be_used_on(engine: AsyncEngine) -> None:
    async with session_scope(engine) as session:
        await session.execute(text("insert into scope_thing (id, name) values (9, 'lost')"))
        with pytest.raises(DBAPIError):
            await session.execute(BAD)
        with pytest.raises(CommitRolledBackError):
            await session.commit()
        session.add(Thing(name="kept"))

    assert await names(engine) == ["kept"]


@pytest.mark.parametrize("cure", ["savepoint", "rollback", "readonly", "nothing written"])
async def test_a_block_that_caught_an_error_ends_well_when_nothing_is_lost(engine: AsyncEngine, cure: str) -> None:
    async with session_scope(engine, readonly=cure == "readonly") as session:
        await session.scalars(select(Thing))
        if cure in ("savepoint", "rollback"):
            await session.execute(text("insert into scope_thing (id, name) values (9, 'kept or not')"))
        with pytest.raises(DBAPIError):
            if cure == "savepoint":
                async with session.begin_nested():
                    await session.execute(BAD)
            await session.execute(BAD)
        if cure == "rollback":
            await session.rollback()


@pytest.mark.parametrize(
    "use",
    [
        lambda session: session.execute(text("select 1")),
        lambda session: session.commit(),
        lambda session: session.begin_nested().start(),
        lambda session: session.stream(text("select 1")),
    ],
)
@pytest.mark.parametrize("failed", [False, True])
async def test_a_session_that_is_used_after_its_block_says_so(engine: AsyncEngine, use: Any, failed: bool) -> None:
    """SQLAlchemy's would open another transaction, which nobody ends."""
    with suppress(LookupError):
        async with session_scope(engine) as session:
            if failed:
                raise LookupError

    with pytest.raises(SessionEndedError, match="Put this inside the block, or open another one"):
        await use(session)
    await session.close()
    await session.rollback()


async def test_a_block_that_succeeds_is_committed_and_its_entities_stay_usable(engine: AsyncEngine) -> None:
    async with session_scope(engine) as session:
        thing = Thing(name="kept")
        session.add(thing)

    assert (thing.name, thing.id) == ("kept", 1)
    assert await names(engine) == ["kept"]


async def test_a_block_that_raises_is_rolled_back_and_its_error_is_seen(engine: AsyncEngine) -> None:
    with pytest.raises(KeyError, match="mine"):
        async with session_scope(engine) as session:
            session.add(Thing(name="lost"))
            await session.flush()
            raise KeyError("mine")

    assert await names(engine) == []


async def test_a_commit_that_fails_is_an_error_and_leaves_nothing(engine: AsyncEngine) -> None:
    with pytest.raises(IntegrityError):
        async with session_scope(engine) as session:
            session.add(Thing(name="orphan", parent_id=99))  # the constraint is checked at the commit

    assert await names(engine) == []


async def test_a_rollback_that_fails_is_a_note_on_the_error_of_the_block(engine: AsyncEngine) -> None:
    @event.listens_for(engine.sync_engine, "rollback")
    def refuse(*_: Any) -> None:
        raise RuntimeError("no rollback today")

    with pytest.raises(KeyError, match="mine") as caught:
        async with session_scope(engine) as session:
            await session.execute(select(Thing))
            raise KeyError("mine")

    event.remove(engine.sync_engine, "rollback", refuse)
    assert caught.value.__notes__ == ["Rolling back failed too: RuntimeError: no rollback today"]


@pytest.mark.parametrize("times", [1, 2, 5])
async def test_a_cancelled_block_is_rolled_back_however_often_it_is_cancelled(engine: AsyncEngine, times: int) -> None:
    async def work() -> None:
        async with session_scope(engine) as session:
            session.add(Thing(name="lost"))
            await session.flush()
            inside.set()
            await asyncio.sleep(60)

    inside = asyncio.Event()
    task = asyncio.create_task(work())
    await inside.wait()

    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0)

    with pytest.raises(asyncio.CancelledError):
        await task
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    assert await names(engine) == []


async def test_scenario_16_a_cancelled_statement_ends_on_the_server(
    engine: AsyncEngine, clean_server: ServerWatch
) -> None:
    async def work() -> None:
        async with session_scope(engine) as session:
            inside.set()
            await pause(600, session)

    inside = asyncio.Event()
    task = asyncio.create_task(work())
    await inside.wait()
    while not any("pg_sleep" in backend.query for backend in clean_server.backends()):
        await asyncio.sleep(0.01)

    async with asyncio.timeout(HANG):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while any(backend.state == "active" for backend in clean_server.backends()):
            await asyncio.sleep(0.01)

    assert await names(engine) == []


async def test_scenario_18_a_timeout_round_a_statement_cancels_it(
    engine: AsyncEngine, clean_server: ServerWatch
) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1), session_scope(engine) as session:
            await pause(600, session)

    assert not [backend for backend in clean_server.backends() if backend.state == "active"]


async def test_scenario_22_a_stream_may_be_left_early(engine: AsyncEngine) -> None:
    async with session_scope(engine) as session:
        async for _ in await session.stream(text("select generate_series(1, 1000000)")):
            break

        assert await session.scalar(text("select 2")) == 2


# --- two tasks, two loops ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
async def test_scenario_20_two_tasks_in_one_session_get_the_same_clear_error(engine: AsyncEngine, warm: bool) -> None:
    await engine.dispose()
    if warm:
        await names(engine)

    with pytest.raises(ConcurrentUseError, match="Open a session in each task"):
        async with session_scope(engine) as session:
            await asyncio.gather(pause(0.05, session), pause(0.05, session))


@asynccontextmanager
async def in_use(engine: AsyncEngine, warm: bool) -> AsyncIterator[tuple[AsyncSession, asyncio.Task[Any]]]:
    """A session, on a new connection or a warm one, and a task that has just begun a statement in it."""
    await engine.dispose()
    if warm:
        await names(engine)
    async with session_scope(engine) as session:
        statement = asyncio.create_task(session.scalar(text("select 1 from pg_sleep(0.05)")))
        await asyncio.sleep(0)
        yield session, statement


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
async def test_a_savepoint_does_not_begin_under_a_task_that_uses_its_session(engine: AsyncEngine, warm: bool) -> None:
    async with in_use(engine, warm) as (session, statement):
        with pytest.raises(ConcurrentUseError):
            async with session.begin_nested():
                pass

        assert await statement == 1
        async with session.begin_nested():
            assert await session.scalar(text("select 2")) == 2


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
@pytest.mark.parametrize("end", ["close", "aclose", "reset"])
async def test_a_session_is_not_closed_under_a_task_that_uses_it(engine: AsyncEngine, warm: bool, end: str) -> None:
    async with in_use(engine, warm) as (session, statement):
        with pytest.raises(ConcurrentUseError):
            await getattr(session, end)()

        assert await statement == 1


async def test_scenario_21_the_error_of_a_gathered_statement_is_the_one_that_is_seen(
    engine: AsyncEngine, clean_server: ServerWatch
) -> None:
    async def fail(session: AsyncSession) -> None:
        await session.execute(text("select 1 / 0"))

    with pytest.raises(DBAPIError, match="division by zero"):
        async with session_scope(engine) as session:
            await asyncio.gather(fail(session), pause(600, session))

    with pytest.raises(DBAPIError, match="division by zero"):
        async with session_scope(engine) as one, session_scope(engine) as other:
            await asyncio.gather(fail(one), pause(600, other))

    # a connect that was cancelled goes on to its end, and is closed then
    await until(lambda: not [backend for backend in clean_server.backends() if backend.state == "active"])


async def test_tasks_may_take_turns_in_one_session(engine: AsyncEngine) -> None:
    async with session_scope(engine) as session:
        for _ in range(3):
            await asyncio.create_task(pause(0, session))


def test_a_session_of_a_scope_is_refused_on_another_loop_before_anything_happens(database_url: str) -> None:
    engine = create_async_engine(
        database_url.replace("postgresql://", "postgresql+asyncpg://"), poolclass=LoopBoundPool
    )

    def elsewhere(work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run(work)

    async def main() -> int:
        async with session_scope(engine) as session:
            await session.execute(text("create temporary table here (i int)"))
            for use in (session.commit, session.rollback, lambda: session.execute(text("select 1"))):
                with pytest.raises(WrongLoopError):
                    await asyncio.to_thread(elsewhere, use())
            return int(await session.scalar(text("select count(*) from here")))

    assert asyncio.run(main()) == 0


# --- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "trick",
    ["", "set transaction read write", "set session characteristics as transaction read write", "commit"],
    ids=lambda trick: trick or "no trick",
)
async def test_a_readonly_session_cannot_write_by_any_trick(engine: AsyncEngine, trick: str) -> None:
    with pytest.raises(DBAPIError, match=r"read-only transaction|must be set before any query"):
        async with session_scope(engine, readonly=True) as session:
            if trick == "commit":
                await session.commit()  # the next transaction of the session is read-only as well
            elif trick:
                await session.execute(text(trick))
            session.add(Thing(name="never"))
            await session.flush()

    assert await names(engine) == []


@pytest.mark.parametrize("way", ["create_async_engine", "execution_options"])
async def test_what_holds_in_a_transaction_holds_for_an_engine_in_autocommit(engine: AsyncEngine, way: str) -> None:
    auto = engine.execution_options(isolation_level="AUTOCOMMIT")
    if way == "create_async_engine":
        auto = create_async_engine(engine.url, poolclass=LoopBoundPool, isolation_level="AUTOCOMMIT")

    with pytest.raises(DBAPIError, match="read-only transaction"):
        async with session_scope(auto, readonly=True) as session:
            session.add(Thing(name="never"))
            await session.flush()
    with pytest.raises(DBAPIError, match="statement timeout"):
        async with session_scope(auto, timeout=0.05) as session:
            await pause(5, session)
    async with session_scope(auto) as session:
        await session.execute(text("insert into scope_thing values (1, 'at once')"))
        assert await names(engine) == ["at once"]
    await auto.dispose()


@pytest.mark.parametrize("isolation", ["AUTOCOMMIT", "REPEATABLE READ"])
@pytest.mark.parametrize("settings", [{"readonly": True}, {"timeout": 30}], ids=str)
async def test_a_savepoint_is_in_the_transaction_that_has_begun(
    engine: AsyncEngine, isolation: str, settings: dict[str, Any]
) -> None:
    async with session_scope(engine.execution_options(isolation_level=isolation), **settings) as session:
        async with session.begin_nested():
            first = await session.scalar(text("select pg_backend_pid()"))
        with pytest.raises(DBAPIError, match="division by zero"):
            async with session.begin_nested():
                await session.execute(text("select 1 / 0"))

        assert await session.scalar(text("select pg_backend_pid()")) == first


async def test_a_driver_that_commits_by_itself_is_refused_what_needs_a_transaction(database_url: str) -> None:
    url = database_url.replace("postgresql://", "postgresql+psycopg://")
    engine = create_async_engine(url, poolclass=LoopBoundPool, isolation_level="AUTOCOMMIT")
    with pytest.raises(AsyncDBError, match="this engine is in AUTOCOMMIT"):
        async with session_scope(engine, readonly=True) as session:
            await session.execute(text("select 1"))
    await engine.dispose()


async def test_a_timeout_holds_in_every_transaction_of_the_scope_and_in_no_other(engine: AsyncEngine) -> None:
    async with session_scope(engine, timeout=0.05) as session:
        await session.commit()
        with pytest.raises(DBAPIError, match="statement timeout"):
            await pause(5, session)
        await session.rollback()
        assert await session.scalar(text("show statement_timeout")) == "50ms"

    async with session_scope(engine) as session:
        assert await session.scalar(text("show statement_timeout")) == "0"


async def test_the_users_own_session_class_and_its_filters_hold(engine: AsyncEngine) -> None:
    class TenantSession(Session):
        pass

    class TenantAsyncSession(AsyncSession):
        sync_session_class = TenantSession

    @event.listens_for(TenantSession, "do_orm_execute")
    def only_mine(state: Any) -> None:
        statement: Select[Any] = state.statement
        state.statement = statement.options(with_loader_criteria(Thing, Thing.name == "mine"))

    async with session_scope(engine) as session:
        session.add_all([Thing(name="mine"), Thing(name="theirs")])

    for maker in (async_sessionmaker(class_=TenantAsyncSession), TenantAsyncSession):
        async with session_scope(engine, sessionmaker=maker) as session:
            assert isinstance(session, TenantAsyncSession)
            assert [thing.name for thing in await session.scalars(select(Thing))] == ["mine"]


async def test_a_scope_in_a_scope_is_a_transaction_of_its_own(engine: AsyncEngine) -> None:
    with pytest.raises(KeyError):
        async with session_scope(engine) as outer:
            outer.add(Thing(name="outer"))
            await outer.flush()
            async with session_scope(engine) as inner:
                inner.add(Thing(name="inner"))
            raise KeyError

    assert await names(engine) == ["inner"]


# --- misuse -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"bind": "postgresql://here"}, TypeError, "takes an AsyncEngine or a Database; got str"),
        ({"bind": AsyncSession()}, TypeError, "begin_nested"),
        ({"timeout": 0}, ValueError, "timeout is a number of seconds above 0; got 0"),
    ],
    ids=["a URL", "a session", "no time"],
)
async def test_misuse_is_answered_at_the_call(
    engine: AsyncEngine, arguments: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        session_scope(**{"bind": engine} | arguments)


async def test_a_scope_that_is_open_is_not_opened_again(engine: AsyncEngine) -> None:
    scope = session_scope(engine)
    async with scope:
        with pytest.raises(AsyncDBError, match="open already"):
            await scope.__aenter__()

    async with scope as again:
        assert await again.scalar(text("select 1")) == 1


async def test_readonly_is_refused_where_the_database_has_no_such_thing() -> None:
    engine = create_async_engine("sqlite+aiosqlite://", poolclass=LoopBoundPool)
    with pytest.raises(AsyncDBError, match="need PostgreSQL; this engine speaks sqlite"):
        async with session_scope(engine, readonly=True) as session:
            await session.execute(text("select 1"))


async def test_a_lazy_load_fails_as_in_sqlalchemy(engine: AsyncEngine) -> None:
    """A scope changes nothing about what needs an `await`."""
    async with session_scope(engine) as session:
        session.add(Thing(name="expired"))
        await session.flush()
        thing = (await session.scalars(select(Thing))).one()
        session.expire(thing)
        with pytest.raises(MissingGreenlet):
            _ = thing.name


@pytest.mark.parametrize("timeout", ["5s", "5", 0, -1])
def test_a_timeout_is_a_number_of_seconds(engine: AsyncEngine, timeout: Any) -> None:
    with pytest.raises(ValueError, match="timeout is a number of seconds above 0"):
        session_scope(engine, timeout=timeout)


def test_a_scope_that_is_not_open_says_how_to_open_it(engine: AsyncEngine) -> None:
    scope: Any = session_scope(engine)

    with pytest.raises(AttributeError, match=r"no session to execute in yet\. Type: async with db\.session\(\)"):
        scope.execute  # noqa: B018
    with pytest.raises(TypeError, match=r"Type: async with db\.session\(\)"), scope:
        pass
    assert not hasattr(scope, "nothing_of_a_session")
