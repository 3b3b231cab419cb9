"""One engine on any loop: what `LoopBoundPool` promises, with nothing else of the package imported."""

from __future__ import annotations

import asyncio
import gc
import logging
import subprocess
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import pytest
import uvloop
from server_checks import ServerWatch
from sqlalchemy import create_engine, event, text
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.pool import NullPool
from sqlalchemy.util import greenlet_spawn
from tiers import few_of
from waiting import HANG

from asyncdb_nb import AsyncDBError, LeakWarning, LoopBoundPool, WrongLoopError

EngineMaker = Callable[..., AsyncEngine]


@pytest.fixture
def make_engine(database_url: str) -> EngineMaker:
    """Engines as a user makes them, with the pool as the only difference."""
    url = database_url.replace("postgresql://", "postgresql+asyncpg://")

    def make(name: str = "test_pool", **options: Any) -> AsyncEngine:
        settings = {"server_settings": {"application_name": name}}
        return create_async_engine(url, **{"poolclass": LoopBoundPool, "connect_args": settings} | options)

    return make


async def one(engine: AsyncEngine) -> int:
    async with AsyncSession(engine) as session:
        return int(await session.scalar(text("select 1")))


async def backend_pid(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        return int(await connection.scalar(text("select pg_backend_pid()")))


# --- every loop, however it ends --------------------------------------------------------------------------------------


def test_loops_one_after_the_other_each_work_on_their_first_call(make_engine: EngineMaker) -> None:
    engine = make_engine(pool_pre_ping=True)

    assert [asyncio.run(one(engine)) for _ in range(3)] == [1, 1, 1]


def test_a_runner_keeps_its_connection_between_runs(make_engine: EngineMaker) -> None:
    engine = make_engine()

    with asyncio.Runner() as runner:
        assert runner.run(backend_pid(engine)) == runner.run(backend_pid(engine))


def test_uvloop_is_a_loop_like_any_other(make_engine: EngineMaker) -> None:
    engine = make_engine()

    assert [uvloop.run(one(engine)) for _ in range(2)] == [1, 1]


def test_a_loop_closed_by_hand_takes_its_connections_with_it(
    make_engine: EngineMaker, clean_server: ServerWatch
) -> None:
    engine = make_engine()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(one(engine))

    loop.close()

    assert not clean_server.wait_for_backends(0, "test_pool")
    assert engine.pool.status() == "No event loop uses this pool."


def test_a_loop_may_be_closed_while_another_runs_in_the_same_thread(make_engine: EngineMaker) -> None:
    engine = make_engine()
    other = asyncio.new_event_loop()
    other.run_until_complete(one(engine))

    async def main() -> int:
        other.close()
        return await one(engine)

    assert asyncio.run(main()) == 1


def test_threads_use_one_engine_at_once_from_its_first_connect_on(make_engine: EngineMaker) -> None:
    """Several first connects race for the dialect's initialisation, each on a loop of its own."""
    engine = make_engine()
    results: list[Any] = []
    barrier = threading.Barrier(6)

    def work() -> None:
        async def several() -> list[int]:
            return await asyncio.gather(*(one(engine) for _ in range(3)))

        barrier.wait()
        results.extend(asyncio.run(several()))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert results == [1] * 18


def test_a_first_connect_that_fails_lets_the_next_one_try(make_engine: EngineMaker) -> None:
    engine = make_engine()
    failures = iter([True, False, False])

    @event.listens_for(engine.sync_engine, "do_connect")
    def fail_once(*_: Any) -> None:
        if next(failures):
            raise ConnectionRefusedError("not yet")

    async def main() -> list[Any]:
        return await asyncio.gather(*(one(engine) for _ in range(3)), return_exceptions=True)

    results = asyncio.run(main())

    assert sorted(map(str, results)) == ["1", "1", "not yet"]


async def test_a_first_connect_on_a_loop_that_was_stopped_is_named_to_those_who_wait_for_it(
    make_engine: EngineMaker,
) -> None:
    engine = make_engine()
    connecting, stopped = asyncio.Event(), asyncio.new_event_loop()

    @event.listens_for(engine.sync_engine, "do_connect")
    def tell(*_: Any) -> None:
        connecting.set()

    def begin() -> None:
        task = stopped.create_task(one(engine))
        stopped.run_until_complete(connecting.wait())
        assert not task.done()

    await asyncio.to_thread(begin)

    with pytest.raises(AsyncDBError, match=r"being opened on event loop \d+ \(stopped\).*`loop.close\(\)`"):
        await one(engine)
    await asyncio.to_thread(stopped.close)
    assert await one(engine) == 1


def test_an_unfinished_generator_of_the_user_gives_its_connection_back(make_engine: EngineMaker) -> None:
    engine = make_engine()

    async def numbers() -> AsyncIterator[int]:
        async with AsyncSession(engine) as session:
            for row in await session.execute(text("select generate_series(1, 3)")):
                yield row[0]

    async def main() -> int:
        generator = numbers()
        return await anext(generator)

    assert asyncio.run(main()) == 1


def test_tasks_cancelled_at_the_end_may_still_query_in_their_cleanup(make_engine: EngineMaker) -> None:
    engine = make_engine()
    cleaned_up: list[int] = []
    tasks: list[asyncio.Task[None]] = []

    async def worker() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            cleaned_up.append(await one(engine))

    async def main() -> None:
        tasks.append(asyncio.create_task(worker()))
        await one(engine)

    asyncio.run(main())

    assert cleaned_up == [1]


def test_a_closing_loop_cancels_the_tasks_that_still_hold_a_connection(
    make_engine: EngineMaker, clean_server: ServerWatch
) -> None:
    engine = make_engine()
    loop = asyncio.new_event_loop()
    started = asyncio.Event()

    async def hold() -> None:
        async with engine.connect() as connection:
            started.set()
            await connection.execute(text("select pg_sleep(600)"))

    task = loop.create_task(hold())
    loop.run_until_complete(started.wait())

    loop.close()

    assert task.cancelled()
    assert not clean_server.wait_for_backends(0, "test_pool")


@pytest.mark.parametrize("rounds", [1, 5, 20])
def test_a_closing_loop_cancels_the_tasks_that_open_a_connection_or_wait_for_one(
    make_engine: EngineMaker, clean_server: ServerWatch, rounds: int
) -> None:
    engine = make_engine(pool_size=2, max_overflow=0)
    loop = asyncio.new_event_loop()
    tasks = [loop.create_task(one(engine)) for _ in range(6)]
    for _ in range(rounds):
        loop.run_until_complete(asyncio.sleep(0))

    loop.close()

    assert all(task.done() for task in tasks)
    assert not clean_server.wait_for_backends(0, "test_pool")


def test_a_connection_left_checked_out_is_closed_with_its_loop_and_warned_of(
    make_engine: EngineMaker, clean_server: ServerWatch
) -> None:
    engine = make_engine()
    loop = asyncio.new_event_loop()
    session = AsyncSession(engine)
    loop.run_until_complete(session.execute(text("select 1")))

    with pytest.warns(LeakWarning, match="1 connection.* still checked out"):
        loop.close()

    assert not clean_server.wait_for_backends(0, "test_pool")
    asyncio.run(session.close())  # nothing is left to do, and it says nothing


@pytest.mark.parametrize(
    "ending",
    few_of(
        [
            "pass",
            "sys.exit(0)",
            "threading.Thread(target=loop.run_forever, daemon=True).start()",
            "keep = AsyncSession(engine); loop.run_until_complete(keep.execute(text('select 1')))",
            "keep = loop.create_task(sleep()); loop.run_until_complete(started.wait())",
            "import nest_asyncio; nest_asyncio.apply(); asyncio.run(one()); asyncio.run(one())",
            "threading.Thread(target=asyncio.run, args=[hold()], daemon=True).start(); held.wait()",
        ],
        2,
    ),
    ids=["end", "sys.exit", "daemon thread", "open transaction", "running query", "nest_asyncio", "asyncio.run"],
)
def test_the_interpreter_exits_with_a_loop_that_nobody_closed(
    ending: str, run_script: Callable[..., Any], clean_server: ServerWatch
) -> None:
    flags = ["-W", "ignore::DeprecationWarning"] if "nest_asyncio" in ending else []  # nest_asyncio is archived
    run_script(SCRIPT_WITH_A_LOOP_LEFT_OPEN + ending, *flags, "-W", "ignore:unclosed event loop")

    clean_server.assert_clean()


SCRIPT_WITH_A_LOOP_LEFT_OPEN = """
import asyncio, contextlib, os, sys, threading
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from asyncdb_nb import LoopBoundPool

url = os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+asyncpg://")
engine = create_async_engine(url, poolclass=LoopBoundPool)
started = asyncio.Event()

async def one():
    async with AsyncSession(engine) as session:
        await session.execute(text("select 1"))

async def sleep():
    async with AsyncSession(engine) as session:
        await session.connection()
        started.set()
        await session.execute(text("select pg_sleep(600)"))

async def hold():
    async with AsyncSession(engine) as session:
        await session.connection()
        held.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(600)

held = threading.Event()
loop = asyncio.new_event_loop()
loop.run_until_complete(one())
"""


@pytest.mark.soak
@pytest.mark.timeout(300)
@pytest.mark.keeps_connections
@pytest.mark.parametrize("milliseconds", range(50, 400, 7))
def test_daemon_threads_that_open_loops_while_the_interpreter_exits(database_url: str, milliseconds: int) -> None:
    """They are frozen in the middle of it: no graceful close can be expected of them, but no hang and no traceback."""
    code = DAEMONS.format(url=database_url, seconds=milliseconds / 1000)

    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=HANG
    )

    assert (done.returncode, done.stderr) == (0, "")


DAEMONS = """
import asyncio, contextlib, logging, threading, time
from asyncdb_nb import Database

db = Database({url!r})
logging.getLogger("asyncio").setLevel(logging.ERROR)  # not that a busy machine is slow

async def one():
    async with db.engine.connect():
        pass

def for_ever():
    while True:
        with contextlib.suppress(BaseException):  # what still runs is cancelled at exit
            asyncio.run(one())

for _ in range(4):
    threading.Thread(target=for_ever, daemon=True).start()
time.sleep({seconds})
"""


# --- a connection never leaves its loop -------------------------------------------------------------------------------


def test_a_session_is_refused_on_another_loop_before_anything_is_touched(make_engine: EngineMaker) -> None:
    engine = make_engine()
    session = AsyncSession(engine)
    with asyncio.Runner() as home:
        assert home.run(session.scalar(text("select 1"))) == 1

        for use in (session.scalar, session.stream):
            with pytest.raises(WrongLoopError, match=r"opened on event loop \d+ .*open one here"):
                asyncio.run(use(text("select 2")))

        assert home.run(session.scalar(text("select 3"))) == 3
        home.run(session.close())


def test_a_commit_from_another_loop_commits_nothing(make_engine: EngineMaker) -> None:
    engine = make_engine()
    session = AsyncSession(engine)
    with asyncio.Runner() as home:
        home.run(session.execute(text("create table not_committed (i int)")))

        with pytest.raises(WrongLoopError):
            asyncio.run(session.commit())

        home.run(session.rollback())
        assert home.run(session.scalar(text("select to_regclass('not_committed')"))) is None
        home.run(session.close())


def test_a_connection_that_another_thread_drops_goes_home(make_engine: EngineMaker, clean_server: ServerWatch) -> None:
    """The garbage collector runs where it likes: it must not close a connection of a loop that runs elsewhere."""
    engine = make_engine()

    async def main() -> int:
        kept = [await engine.connect()]
        await kept[0].execute(text("select 1"))

        def drop() -> None:
            with pytest.warns(match="garbage collector"):
                kept.clear()
                gc.collect()

        await asyncio.to_thread(drop)
        while clean_server.backends("test_pool"):
            await asyncio.sleep(0.01)
        return await one(engine)

    assert asyncio.run(main()) == 1


# --- an engine that nobody holds any more -----------------------------------------------------------------------------


async def used_and_dropped(make_engine: EngineMaker, **options: Any) -> Callable[[], Any]:
    """Open two connections, forget the engine without `dispose()`, and return a weak reference to its pool."""
    engine = make_engine(**options)
    async with engine.connect(), engine.connect():
        pass
    return weakref.ref(engine.pool)


async def until_gone(watch: ServerWatch) -> None:
    async with asyncio.timeout(HANG):
        while watch.backends("test_pool"):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("options", [{}, {"idle_timeout": 60}], ids=str)
async def test_a_dropped_engine_closes_its_idle_connections(
    make_engine: EngineMaker, clean_server: ServerWatch, options: dict[str, Any]
) -> None:
    pool = await used_and_dropped(make_engine, **options)

    gc.collect()

    assert pool() is None
    await until_gone(clean_server)


async def test_the_garbage_collector_of_another_thread_has_them_closed_on_their_loop(
    make_engine: EngineMaker, clean_server: ServerWatch
) -> None:
    pool = await used_and_dropped(make_engine)

    await asyncio.to_thread(gc.collect)

    assert pool() is None
    await until_gone(clean_server)


def test_a_stopped_loop_closes_them_when_it_closes(make_engine: EngineMaker, clean_server: ServerWatch) -> None:
    with asyncio.Runner() as runner:
        pool = runner.run(used_and_dropped(make_engine))
        gc.collect()
        assert pool() is None

    assert not clean_server.wait_for_backends(0, "test_pool")


async def test_connections_in_use_outlive_a_dropped_engine(make_engine: EngineMaker) -> None:
    engine = make_engine()
    async with engine.connect(), engine.connect():
        pass
    connection = await engine.connect()
    detached = await engine.connect()
    detached.sync_connection.detach()  # type: ignore[union-attr]
    await engine.dispose()

    del engine
    gc.collect()
    await asyncio.sleep(0.05)

    for used in (connection, detached):
        assert await used.scalar(text("select 1")) == 1
        await used.close()


# --- SQLAlchemy's own semantics, for each loop ------------------------------------------------------------------------


async def test_size_overflow_and_timeout_hold_for_each_loop(make_engine: EngineMaker) -> None:
    engine = make_engine(pool_size=1, max_overflow=1, pool_timeout=0.05)

    async with engine.connect(), engine.connect():
        assert (engine.pool.checkedout(), engine.pool.overflow()) == (2, 1)
        with pytest.raises(PoolTimeoutError, match="size 1 overflow 1"):
            await engine.connect()
        assert await asyncio.to_thread(asyncio.run, one(engine)) == 1

    assert (engine.pool.checkedin(), engine.pool.checkedout(), engine.pool.size()) == (1, 0, 1)


async def test_connections_are_counted_apart_from_their_places(make_engine: EngineMaker) -> None:
    """A place that lost its connection stays in the pool; SQLAlchemy's own numbers count it."""
    engine = make_engine()
    pool, loop = cast(LoopBoundPool, engine.pool), asyncio.get_running_loop()
    async with engine.connect() as kept, engine.connect() as lost:
        assert (pool.idle(), pool.in_use_by_loop()) == (0, {loop: 2})
        ending = asyncio.create_task(lost.invalidate())
        await asyncio.sleep(0)

        assert not ending.done()
        assert (pool.idle(), pool.in_use_by_loop()) == (0, {loop: 1})
        await ending
        await kept.execute(text("select 1"))

    assert (pool.idle(), pool.in_use_by_loop()) == (1, {loop: 0})
    assert pool.checkedin() == 2


async def test_listeners_reach_every_loop_however_late_they_come(make_engine: EngineMaker) -> None:
    engine = make_engine()
    seen: list[str] = []
    await one(engine)
    for name in ("connect", "checkout", "checkin", "close"):
        event.listen(engine.sync_engine.pool, name, lambda *_, name=name: seen.append(name))
    event.listen(engine.sync_engine, "before_cursor_execute", lambda *_: seen.append("execute"))

    await one(engine)
    here, seen[:] = seen[:], []
    await asyncio.to_thread(asyncio.run, one(engine))

    assert here == ["checkout", "execute", "checkin"]
    assert seen == ["connect", "checkout", "execute", "checkin", "close"]


async def test_a_killed_connection_fails_once_and_its_whole_generation_is_replaced(
    make_engine: EngineMaker, clean_server: ServerWatch
) -> None:
    """`_invalidate` must reach the records of the sub-pool: else every pooled connection fails once."""
    engine = make_engine()
    await asyncio.gather(*(one(engine) for _ in range(5)))
    clean_server.query("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'test_pool'")
    clean_server.wait_for_backends(0, "test_pool")

    with pytest.raises(DBAPIError):
        await one(engine)

    assert await asyncio.gather(*(one(engine) for _ in range(5))) == [1] * 5


async def test_pre_ping_replaces_a_killed_connection(make_engine: EngineMaker, clean_server: ServerWatch) -> None:
    engine = make_engine(pool_pre_ping=True)
    await one(engine)
    clean_server.query("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'test_pool'")
    clean_server.wait_for_backends(0, "test_pool")

    assert await one(engine) == 1


async def test_recycle_replaces_an_old_connection(make_engine: EngineMaker) -> None:
    engine = make_engine(pool_recycle=0)

    assert await backend_pid(engine) != await backend_pid(engine)


async def test_a_detached_connection_is_closed_and_its_slot_is_free(
    make_engine: EngineMaker, clean_server: ServerWatch
) -> None:
    engine = make_engine(pool_size=1, max_overflow=0)
    async with engine.connect() as connection:
        await (await connection.get_raw_connection()).driver_connection.fetchval("select 1")
        await connection.run_sync(lambda sync: sync.detach())
        assert engine.pool.checkedout() == 0

    assert not clean_server.wait_for_backends(0, "test_pool")
    assert await one(engine) == 1


@pytest.mark.parametrize(("reset", "kept"), [("rollback", 0), ("commit", 1)])
async def test_reset_on_return_is_what_the_engine_was_told(make_engine: EngineMaker, reset: str, kept: int) -> None:
    engine = make_engine(pool_reset_on_return=reset)
    async with engine.begin() as connection:
        await connection.execute(text("create temporary table reset_test (i int)"))  # lives with the connection
    fairy = await engine.raw_connection()

    await greenlet_spawn(fairy.cursor().execute, "insert into reset_test values (1)")
    await greenlet_spawn(fairy.close)

    async with engine.connect() as connection:
        assert await connection.scalar(text("select count(*) from reset_test")) == kept


async def begin_by_statement(engine: AsyncEngine) -> None:
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        await connection.execute(text("begin"))


async def begin_with_the_driver(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        await (await connection.get_raw_connection()).driver_connection.transaction().start()  # type: ignore[union-attr]


async def end_under_a_task(engine: AsyncEngine) -> None:
    """End a block while a task uses the driver's connection: neither COMMIT nor ROLLBACK is sent."""
    with pytest.raises(InterfaceError, match="another operation is in progress"):
        async with engine.begin() as connection:
            await connection.execute(text("select 1"))
            driver: Any = (await connection.get_raw_connection()).driver_connection
            query = asyncio.ensure_future(driver.fetch("select pg_sleep(60)"))
            await asyncio.sleep(0)
    await asyncio.wait([query])
    assert query.exception() is not None


async def leave_to_a_task(engine: AsyncEngine) -> None:
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        query = asyncio.ensure_future(driver.fetch("select pg_sleep(60)"))
        query.add_done_callback(asyncio.Future.exception)  # which ends it
        await asyncio.sleep(0)


@pytest.mark.parametrize("isolation", ["AUTOCOMMIT", "READ COMMITTED"])
@pytest.mark.parametrize("leave", [begin_by_statement, begin_with_the_driver, end_under_a_task, leave_to_a_task])
async def test_a_connection_that_is_returned_in_use_is_not_handed_out_again(
    make_engine: EngineMaker, leave: Callable[[AsyncEngine], Awaitable[None]], isolation: str
) -> None:
    """What its next user commits would be lost with the transaction that is open, or be refused."""
    engine, other = make_engine(pool_size=1, max_overflow=0), make_engine()
    async with other.begin() as connection:
        await connection.execute(text("create table returned (i int)"))
    try:
        await leave(engine)
        async with engine.execution_options(isolation_level=isolation).begin() as connection:
            await connection.execute(text("insert into returned values (1)"))

        async with other.connect() as connection:
            assert await connection.scalar(text("select count(*) from returned")) == 1
        assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    finally:
        await engine.dispose()
        async with other.begin() as connection:
            await connection.execute(text("drop table returned"))


async def refuse_a_value(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        with pytest.raises(DBAPIError, match="invalid input for query argument"):
            await connection.execute(text("select * from waited_for where i = :i"), {"i": "x"})


async def prepare_alone(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        await driver.prepare("select * from waited_for")


@pytest.mark.parametrize("leave", [refuse_a_value, prepare_alone])
async def test_a_statement_that_is_not_executed_in_autocommit_keeps_no_lock(
    make_engine: EngineMaker, leave: Callable[[AsyncEngine], Awaitable[None]]
) -> None:
    """asyncpg sends Sync with the execution; until then the server is in the transaction of that statement."""
    engine, other = make_engine(isolation_level="AUTOCOMMIT"), make_engine()
    async with other.begin() as connection:
        await connection.execute(text("create table waited_for (i int)"))

    await leave(engine)

    async with other.begin() as connection:
        await connection.execute(text("set local lock_timeout = '10s'"))
        await connection.execute(text("drop table waited_for"))


# --- disposal ---------------------------------------------------------------------------------------------------------


async def test_dispose_closes_the_connections_of_every_loop_each_on_its_own(
    make_engine: EngineMaker, clean_server: ServerWatch
) -> None:
    engine = make_engine()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(one(engine), loop).result()
    await one(engine)
    assert len(clean_server.backends("test_pool")) == 2

    await engine.dispose()

    assert not clean_server.backends("test_pool")
    assert await one(engine) == 1
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_dispose_goes_on_when_a_loop_of_another_thread_is_busy(
    make_engine: EngineMaker, clean_server: ServerWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That one closes its connections when it is free again."""
    monkeypatch.setattr("asyncdb_nb.engine.pool_of_all_loops.OTHER_LOOP_SECONDS", 0.05)
    engine = make_engine()
    busy, free = asyncio.new_event_loop(), threading.Event()
    thread = threading.Thread(target=busy.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(one(engine), busy).result()
    with asyncio.Runner() as runner:
        runner.run(one(engine))
        busy.call_soon_threadsafe(free.wait)

        engine.sync_engine.dispose()

        assert len(clean_server.wait_for_backends(1, "test_pool")) == 1
    free.set()
    assert not clean_server.wait_for_backends(0, "test_pool")
    busy.call_soon_threadsafe(busy.stop)
    thread.join()
    busy.close()


def test_a_connection_that_is_being_closed_when_its_loop_closes_is_no_leak(
    make_engine: EngineMaker, clean_server: ServerWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop is stopped in the middle of what dispose() asked of it, and ends it before it closes."""
    monkeypatch.setattr("asyncdb_nb.engine.pool_of_all_loops.OTHER_LOOP_SECONDS", 0.05)
    engine = make_engine()
    busy, free = asyncio.new_event_loop(), threading.Event()
    thread = threading.Thread(target=busy.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(one(engine), busy).result()
    busy.call_soon_threadsafe(free.wait)
    engine.sync_engine.dispose()

    busy.call_soon_threadsafe(busy.stop)
    free.set()
    thread.join()
    busy.close()

    assert not clean_server.wait_for_backends(0, "test_pool")


async def test_the_log_tells_what_becomes_of_a_connection_and_why(
    make_engine: EngineMaker, caplog: pytest.LogCaptureFixture
) -> None:
    """At DEBUG only, and named by the server's process."""
    caplog.set_level(logging.DEBUG, "asyncdb_nb.pool")
    engine = make_engine(idle_timeout=None)
    async with engine.connect() as connection:
        pid = (await connection.execute(text("select pg_backend_pid()"))).scalar_one()
    async with engine.connect():
        await engine.dispose()

    told = [record.getMessage().partition(": ")[2] for record in caplog.records]
    assert told == [
        f"opened backend {pid}",
        f"handed out backend {pid}",
        f"returned backend {pid}",
        f"handed out backend {pid}",
        f"closing backend {pid}, which was returned: the engine was disposed of",
    ]
    assert {record.levelname for record in caplog.records} == {"DEBUG"}


def test_dispose_without_a_loop_closes_what_stopped_loops_hold(
    make_engine: EngineMaker, clean_server: ServerWatch
) -> None:
    engine = make_engine()
    with asyncio.Runner() as runner:
        runner.run(one(engine))

        engine.sync_engine.dispose()

        assert not clean_server.wait_for_backends(0, "test_pool")


async def test_a_connection_in_use_outlives_dispose_and_is_closed_on_return(
    make_engine: EngineMaker, clean_server: ServerWatch
) -> None:
    engine = make_engine()

    async with engine.connect() as connection:
        await engine.dispose()
        assert await connection.scalar(text("select 1")) == 1

    assert not clean_server.wait_for_backends(0, "test_pool")


async def test_dispose_without_closing_leaves_the_connections_to_their_loop(
    make_engine: EngineMaker, clean_server: ServerWatch
) -> None:
    engine = make_engine()
    await one(engine)
    pool = engine.pool  # one that is dropped closes its connections

    await engine.dispose(close=False)

    assert await one(engine) == 1
    assert len(clean_server.backends("test_pool")) == 2  # the clean-up of this test's loop closes both
    del pool


async def test_tasks_that_wait_for_a_connection_get_one_although_the_pool_is_disposed_of(
    make_engine: EngineMaker, clean_server: ServerWatch
) -> None:
    for ticks in range(4):  # between a return and its arrival at who waits
        engine = make_engine(pool_size=1, max_overflow=0, pool_timeout=HANG)
        connection = await engine.connect()
        waiting = [asyncio.create_task(one(engine)) for _ in range(3)]
        await asyncio.sleep(0.02)
        returning = asyncio.create_task(connection.close())
        for _ in range(ticks):
            await asyncio.sleep(0)

        await engine.dispose()

        assert await asyncio.gather(*waiting) == [1, 1, 1]
        await returning
    assert not clean_server.wait_for_backends(0, "test_pool")


async def test_tasks_that_wait_do_not_wait_for_a_connect_that_was_cancelled(make_engine: EngineMaker) -> None:
    engine = make_engine(pool_size=1, max_overflow=0, pool_timeout=HANG)
    connecting, *waiting = [asyncio.create_task(one(engine)) for _ in range(3)]
    await asyncio.sleep(0)

    connecting.cancel()

    assert await asyncio.gather(*waiting) == [1, 1]


async def test_a_loop_that_goes_on_forgets_what_was_disposed_of(make_engine: EngineMaker) -> None:
    pools = []
    for _ in range(3):
        engine = make_engine(idle_timeout=60)
        await one(engine)
        pools.append(weakref.ref(engine.pool))
        await engine.dispose()

    del engine
    gc.collect()

    assert [pool() for pool in pools] == [None, None, None]


# --- idle connections -------------------------------------------------------------------------------------------------


async def test_idle_connections_are_closed_after_their_time_and_busy_ones_are_not(
    make_engine: EngineMaker, clean_server: ServerWatch
) -> None:
    engine = make_engine(idle_timeout=0.05)
    async with engine.connect() as busy:
        await busy.execute(text("select 1"))
        await asyncio.gather(*(one(engine) for _ in range(3)))
        assert len(clean_server.backends("test_pool")) == 4

        while len(clean_server.backends("test_pool")) > 1:
            await asyncio.sleep(0.01)

        assert (engine.pool.checkedin(), engine.pool.checkedout()) == (0, 1)
        assert await busy.scalar(text("select 1")) == 1
    assert await one(engine) == 1


async def test_a_connection_in_steady_use_is_kept(make_engine: EngineMaker) -> None:
    engine = make_engine(idle_timeout=0.2)
    loop = asyncio.get_running_loop()
    end = loop.time() + 0.5

    pids = set()
    while loop.time() < end:
        pids.add(await backend_pid(engine))

    assert len(pids) == 1


# --- fork -------------------------------------------------------------------------------------------------------------


def test_parent_and_child_both_go_on_after_a_fork(run_script: Callable[..., Any], clean_server: ServerWatch) -> None:
    done = run_script(SCRIPT_WITH_A_LOOP_LEFT_OPEN + FORK, "-W", "ignore:unclosed event loop")

    assert done.stdout.split() == ["child", "parent"]
    clean_server.assert_clean()


def test_a_fork_leaves_the_parent_a_connection_that_was_detached_from_the_pool(
    run_script: Callable[..., Any], clean_server: ServerWatch
) -> None:
    run_script(SCRIPT_WITH_A_LOOP_LEFT_OPEN + FORK_WITH_A_DETACHED_CONNECTION)

    clean_server.assert_clean()


FORK_WITH_A_DETACHED_CONNECTION = """
import gc, warnings
async def detach():
    connection = await engine.connect()
    (await connection.get_raw_connection()).detach()
    return connection
held = loop.run_until_complete(detach())
child = os.fork()
if child == 0:
    warnings.simplefilter("ignore")
    del held
    gc.collect()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
loop.run_until_complete(asyncio.wait_for(held.scalar(text("select 1")), 90))
loop.run_until_complete(held.close())
loop.close()
"""


FORK = """
import gc
held = AsyncSession(engine)
loop.run_until_complete(held.execute(text("select 1")))
child = os.fork()
if child == 0:
    for _ in range(2):
        asyncio.run(one())
    del held, loop
    gc.collect()
    print("child", flush=True)
    sys.exit()
assert os.waitpid(child, 0)[1] == 0
loop.run_until_complete(held.execute(text("select 1")))
loop.run_until_complete(held.close())
loop.run_until_complete(one())
print("parent")
"""


# --- misuse, and other drivers ----------------------------------------------------------------------------------------


def test_a_checkout_without_a_loop_says_what_to_write(make_engine: EngineMaker) -> None:
    with pytest.raises(AsyncDBError, match=r"asyncdb_nb\.run\(coroutine\)"):
        make_engine().sync_engine.raw_connection()


def test_a_synchronous_engine_is_refused() -> None:
    with pytest.raises(ArgumentError, match="LoopBoundPool cannot be used with non-asyncio engine"):
        create_engine("sqlite://", poolclass=LoopBoundPool)


def test_an_idle_timeout_of_nothing_is_refused(make_engine: EngineMaker) -> None:
    with pytest.raises(ValueError, match="idle_timeout is a number of seconds above 0"):
        make_engine(idle_timeout=0)


def test_psycopg_works_as_well(database_url: str) -> None:
    url = database_url.replace("postgresql://", "postgresql+psycopg://")
    engine = create_async_engine(url, poolclass=LoopBoundPool)
    session = AsyncSession(engine)

    assert [asyncio.run(one(engine)) for _ in range(2)] == [1, 1]
    with asyncio.Runner() as home:
        home.run(session.scalar(text("select 1")))
        with pytest.raises(WrongLoopError):
            asyncio.run(session.scalar(text("select 1")))
        home.run(session.close())


def test_aiosqlite_works_as_well(tmp_path: Any) -> None:
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/file.db", poolclass=LoopBoundPool)

    assert [asyncio.run(one(engine)) for _ in range(2)] == [1, 1]


def test_a_null_pool_stays_what_it_is(make_engine: EngineMaker) -> None:
    """The guard and the loops are the pool's: nothing of SQLAlchemy is patched for other engines."""
    engine = make_engine(poolclass=NullPool)

    assert asyncio.run(one(engine)) == 1
