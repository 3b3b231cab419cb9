"""However and whenever a task is cancelled, the server is told, the pool is whole, and nobody complains."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import asyncpg
import pytest
from server_checks import ServerWatch
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool
from tiers import few_of
from waiting import HANG

from asyncdb_nb import Database, LoopBoundPool, session_scope
from asyncdb_nb.database import commit
from asyncdb_nb.engine import asyncpg_connection

pytestmark = pytest.mark.usefixtures("quiet")


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> Any:
    """Fail when asyncio or SQLAlchemy had something to complain of."""
    yield
    gc.collect()
    assert not [record.getMessage() for record in caplog.get_records("call") if record.levelno >= logging.WARNING]


@pytest.fixture
def database_url(near_and_far: str) -> str:
    """Every test of this file runs over both links: on loopback a request is answered before anything can happen."""
    return near_and_far


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """An engine as a user makes it, with one connection."""
    engine = make_engine(database_url)
    yield engine
    await engine.dispose()


def make_engine(database_url: str, **options: Any) -> AsyncEngine:
    url = database_url.replace("postgresql://", "postgresql+asyncpg://")
    defaults = {"poolclass": LoopBoundPool, "pool_size": 1, "max_overflow": 0, "pool_pre_ping": True}
    connect_args = {"server_settings": {"application_name": "cancelled"}}
    return create_async_engine(url, **({"connect_args": connect_args} | (options or defaults)))


async def sleep_in_session(engine: AsyncEngine, seconds: float = 600) -> None:
    async with session_scope(engine) as session:
        await session.execute(text("select pg_sleep(:seconds)"), {"seconds": seconds})


async def one(engine: AsyncEngine) -> Any:
    async with asyncio.timeout(HANG), session_scope(engine) as session:
        return await session.scalar(text("select 1"))


async def until_sleeping(watch: ServerWatch, number: int = 1) -> None:
    async with asyncio.timeout(HANG):
        while len(sleeping(watch)) != number:
            await asyncio.sleep(0.005)


def sleeping(watch: ServerWatch) -> list[Any]:
    return [one for one in watch.backends("cancelled") if one.state == "active" and "pg_sleep" in one.query]


async def no_more_sleeping(watch: ServerWatch) -> None:
    async with asyncio.timeout(HANG):
        while sleeping(watch):
            await asyncio.sleep(0.005)


async def no_more_backends(watch: ServerWatch) -> None:
    async with asyncio.timeout(HANG):
        while watch.backends("cancelled"):
            await asyncio.sleep(0.005)


async def test_scenario_16_a_cancelled_statement_ends_on_the_server_at_once(
    engine: AsyncEngine, clean_server: ServerWatch
) -> None:
    task = asyncio.create_task(sleep_in_session(engine))
    await until_sleeping(clean_server)

    task.cancel()
    await asyncio.wait([task])

    assert task.cancelled()
    await no_more_sleeping(clean_server)
    assert await one(engine) == 1


@pytest.mark.parametrize("turns", [0, 1, 2, 5])
async def test_scenario_17_cancelled_twice_is_as_clean_as_once(
    engine: AsyncEngine, clean_server: ServerWatch, turns: int
) -> None:
    task = asyncio.create_task(sleep_in_session(engine))
    await until_sleeping(clean_server)

    for _ in range(3):
        task.cancel()
        for _ in range(turns):
            await asyncio.sleep(0)
    await asyncio.wait([task])

    assert task.cancelled()
    await no_more_sleeping(clean_server)
    assert await one(engine) == 1


async def test_scenario_17_a_hundred_cancels_at_random_await_points(database_url: str) -> None:
    await cancel_at_random(database_url, times=100, seed=17)


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(20))
async def test_scenario_17_a_thousand_cancels_at_random_await_points(database_url: str, seed: int) -> None:
    await cancel_at_random(database_url, times=1000, seed=seed)


async def test_scenario_18_a_timeout_cancels_the_statement(engine: AsyncEngine, clean_server: ServerWatch) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await sleep_in_session(engine)

    await no_more_sleeping(clean_server)
    assert await one(engine) == 1


async def test_scenario_19_an_anyio_scope_leaves_no_backend_behind(
    engine: AsyncEngine, clean_server: ServerWatch
) -> None:
    for _ in range(5):
        with anyio.move_on_after(0.05) as scope:
            await sleep_in_session(engine)
        assert scope.cancelled_caught

    await no_more_backends(clean_server)
    assert await one(engine) == 1


@pytest.mark.parametrize("cancels", [1, 2])
async def test_a_checkout_cancelled_while_it_discards_a_dead_connection_gives_its_place_back(
    database_url: str, cancels: int
) -> None:
    """At once, not when the garbage collector comes."""
    for turns in range(1, 12):
        engine = make_engine(database_url, poolclass=LoopBoundPool, pool_size=1, max_overflow=0, pool_pre_ping=True)
        async with engine.connect() as connection:
            raw: Any = (await connection.get_raw_connection()).driver_connection
        raw.abandon()
        gc.disable()
        try:
            task = asyncio.create_task(one(engine))
            for _ in range(turns):
                await asyncio.sleep(0)
            for _ in range(cancels):
                task.cancel()
                await asyncio.sleep(0)
            await asyncio.wait([task])

            assert engine.pool.checkedout() == 0
        finally:
            gc.enable()
            await engine.dispose()


# --- what became of a cancelled COMMIT --------------------------------------------------------------------------------


@pytest.fixture
async def slow_to_commit(engine: AsyncEngine) -> AsyncIterator[str]:
    """A table whose rows make COMMIT take as many seconds as they say."""
    async with engine.begin() as connection:
        for statement in SLOW_TO_COMMIT:
            await connection.execute(text(statement))
    yield "slow_to_commit"
    async with engine.begin() as connection:
        await connection.execute(text("drop table slow_to_commit"))


SLOW_TO_COMMIT = [
    "create table slow_to_commit (seconds float)",
    "create or replace function pg_temp.doze() returns trigger language plpgsql as "
    "$$ begin perform pg_sleep(new.seconds); return null; end $$",
    "create constraint trigger doze after insert on slow_to_commit deferrable initially deferred "
    "for each row execute function pg_temp.doze()",
]


@pytest.mark.parametrize("explicitly", few_of([False, True], 1), ids=["at the end of the block", "by commit()"])
@pytest.mark.parametrize("cancels", few_of([1, 3], 1))
@pytest.mark.parametrize(("seconds", "kept", "note"), [(0.1, 1, commit.COMMITTED), (30, 0, commit.NOT_COMMITTED)])
async def test_a_cancelled_commit_says_whether_it_happened(
    engine: AsyncEngine, slow_to_commit: str, seconds: float, kept: int, note: str, cancels: int, explicitly: bool
) -> None:
    sent = asyncio.Event()

    async def insert() -> None:
        async with session_scope(engine) as session:
            await session.execute(text(f"insert into {slow_to_commit} values ({seconds})"))
            asyncio.get_running_loop().call_later(0.05, sent.set)
            if explicitly:
                await session.commit()

    task = asyncio.create_task(insert())
    await sent.wait()
    for _ in range(cancels):
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError) as caught:
        await task

    [told] = caught.value.__notes__
    assert told.startswith(note)
    async with engine.connect() as connection:
        assert await connection.scalar(text(f"select count(*) from {slow_to_commit}")) == kept


async def test_a_block_cancelled_before_its_commit_commits_nothing(engine: AsyncEngine, slow_to_commit: str) -> None:
    async def insert() -> None:
        async with session_scope(engine) as session:
            await session.execute(text(f"insert into {slow_to_commit} values (0)"))
            asyncio.current_task().cancel()  # type: ignore[union-attr]

    with pytest.raises(asyncio.CancelledError) as caught:
        await asyncio.create_task(insert())

    assert caught.value.__notes__ == [commit.NOT_COMMITTED]
    async with engine.connect() as connection:
        assert await connection.scalar(text(f"select count(*) from {slow_to_commit}")) == 0


# --- connecting, and the end of the loop ------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["Database", "LoopBoundPool", "NullPool"])
def test_a_connect_cancelled_as_the_last_act_of_a_loop_closes_gracefully(
    database_url: str, clean_server: ServerWatch, how: str
) -> None:
    """`asyncio.run` cancels what is left and closes the loop: the handshake still comes to its end."""

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(engine)) for _ in range(3)]
            for _ in range(20):  # somewhere inside asyncpg.connect()
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()

    engine = ENGINES[how](database_url)
    asyncio.run(main())

    clean_server.assert_clean()


ENGINES: dict[str, Callable[[str], AsyncEngine]] = {
    "Database": lambda url: Database(url).engine,
    "LoopBoundPool": lambda url: make_engine(url, poolclass=LoopBoundPool),
    "NullPool": lambda url: make_engine(
        url, poolclass=NullPool, connect_args={"async_creator_fn": asyncpg_connection.connect}
    ),
}


def test_a_statement_cancelled_as_the_last_act_of_a_loop_ends_on_the_server(
    database_url: str, clean_server: ServerWatch
) -> None:
    """Twice, so that nobody waits for the graceful close but the loop that closes."""
    engine = make_engine(database_url)

    async def main() -> None:
        task = asyncio.create_task(sleep_in_session(engine))
        await until_sleeping(clean_server)
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(main())

    clean_server.assert_clean()
    assert not sleeping(clean_server)


def test_asyncpg_still_sends_its_cancel_request_where_it_is_caught() -> None:
    """The one private name that is overridden. If it goes, a double cancel is as unclean as asyncpg makes it."""
    assert callable(asyncpg.Connection._cancel_current_command)


# --- at random --------------------------------------------------------------------------------------------------------


async def cancel_at_random(database_url: str, times: int, seed: int) -> None:
    """Cancel a unit of work at a random moment, in a random manner; after it the only connection must be there."""
    chance = random.Random(seed)
    engine = make_engine(database_url)
    async with engine.begin() as connection:
        await connection.execute(text(f"create table random_{seed} (i int)"))
    for number in range(times):
        if chance.random() < 0.2:
            await engine.dispose()  # the next one begins with a connect
        await MANNERS[number % len(MANNERS)](work(engine, seed, chance.random() < 0.5), chance.uniform(0, 0.03), chance)
    assert await one(engine) == 1
    assert engine.pool.checkedout() == 0
    async with engine.begin() as connection:
        await connection.execute(text(f"drop table random_{seed}"))
    await engine.dispose()


async def work(engine: AsyncEngine, seed: int, commit: bool) -> None:
    async with session_scope(engine) as session:
        await session.execute(text(f"insert into random_{seed} values (1)"))
        rows = await session.stream(text("select generate_series(1, 3000)"))
        async for _ in rows.scalars():
            pass
        await session.execute(text("select pg_sleep(0.005)"))
        if commit:
            await session.commit()
            raw = await (await session.connection()).get_raw_connection()
            await raw.driver_connection.copy_from_query("select generate_series(1, 3000)", output=_nothing)


async def _nothing(data: bytes) -> None:
    pass


async def once(work: Any, seconds: float, chance: random.Random) -> None:
    task = asyncio.create_task(work)
    await asyncio.sleep(seconds)
    task.cancel()
    await asyncio.wait([task])


async def twice(work: Any, seconds: float, chance: random.Random) -> None:
    task = asyncio.create_task(work)
    await asyncio.sleep(seconds)
    task.cancel()
    for _ in range(chance.randrange(8)):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])


async def by_timeout(work: Any, seconds: float, chance: random.Random) -> None:
    try:
        async with asyncio.timeout(seconds):
            await work
    except TimeoutError:
        pass


async def by_scope(work: Any, seconds: float, chance: random.Random) -> None:
    with anyio.move_on_after(seconds):
        await work


MANNERS: list[Callable[..., Any]] = [once, twice, by_timeout, by_scope]
