"""Hundreds of cancels at random moments over a slow link, one mix of work at a time: nothing is left half done."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from functools import partial
from typing import Any

import anyio
import pytest
from server_checks import ServerWatch
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from asyncdb_nb import Database, frame, session_scope

WORKERS = 25  # at a time, each with a pool of one connection, which the next unit of work needs
LONGEST = 0.9  # seconds until a cancel: the slowest work takes about as long
INSERT = text("insert into mixed values (1)")
MANY_ROWS = "select g, md5(g::text) m from generate_series(1, 20000) g"

Work = Callable[[Database, random.Random], Awaitable[None]]


async def statements(db: Database, chance: random.Random) -> None:
    async with db.session() as session:
        await session.execute(INSERT)
        async with session.begin_nested():
            await session.execute(INSERT)
        await session.execute(text("insert into mixed values (:n)"), [{"n": n} for n in range(5000)])
        await session.execute(text("select pg_sleep(0.01)"))
        if chance.random() < 0.5:
            await session.rollback()


async def copies(db: Database, chance: random.Random) -> None:
    await db.frame(MANY_ROWS)
    async with db.session() as session:
        await session.execute(INSERT)
        await frame(session, MANY_ROWS)
        raw: Any = (await (await session.connection()).get_raw_connection()).driver_connection
        await raw.copy_from_query(MANY_ROWS, output=nowhere)
        await raw.copy_records_to_table("mixed", records=((n,) for n in range(20_000)))


async def streams(db: Database, chance: random.Random) -> None:
    async with aclosing(db.frames(MANY_ROWS, rows=chance.choice((100, 5000)))) as parts:  # type: ignore[type-var]
        async for _ in parts:
            if chance.random() < 0.1:
                break
    async with db.session() as session:
        await session.execute(INSERT)
        rows = await session.stream(text(MANY_ROWS))
        async for _ in rows.scalars():
            pass


async def autocommit(db: Database, chance: random.Random) -> None:
    engine = db.engine.execution_options(isolation_level="AUTOCOMMIT")
    async with session_scope(engine) as session:
        await session.execute(INSERT)
        await frame(session, MANY_ROWS)
    async with session_scope(engine, readonly=True) as session:
        await session.execute(text("select pg_sleep(0.01)"))
        await frame(session, MANY_ROWS)


async def readonly(db: Database, chance: random.Random) -> None:
    await db.frame("select 1 as one")
    async with db.session(readonly=True) as session:
        await session.execute(text("select count(*) from mixed"))
        await session.commit()
        await frame(session, MANY_ROWS)


async def few_rows(db: Database, chance: random.Random) -> None:
    for n in range(4):
        await db.frame("select :n::int as n, 'x' as x", {"n": n})
    await db.frame(f"select {chance.randrange(3)} as prepared_anew")


async def timed(db: Database, chance: random.Random) -> None:
    async with db.session(timeout=5) as session:
        await session.execute(INSERT)
        await session.commit()
        await session.execute(INSERT)
    with suppress(DBAPIError):
        async with db.session(timeout=0.05) as session:
            await session.execute(text("select pg_sleep(30)"))


async def nowhere(data: bytes) -> None:
    await asyncio.sleep(0)


MIXES: list[Work] = [statements, copies, streams, autocommit, readonly, few_rows, timed]


async def once(task: asyncio.Task[None], chance: random.Random) -> None:
    task.cancel()


async def twice(task: asyncio.Task[None], chance: random.Random) -> None:
    task.cancel()
    await asyncio.sleep(chance.uniform(0, 0.2))
    task.cancel()


async def twice_at_once(task: asyncio.Task[None], chance: random.Random) -> None:
    task.cancel()
    for _ in range(chance.randrange(8)):
        await asyncio.sleep(0)
    task.cancel()


async def cancel(work: Callable[[], Awaitable[None]], chance: random.Random) -> None:
    """Cancel some work at a random moment, in a random manner."""
    seconds = chance.uniform(0, LONGEST)
    manner = chance.choice((once, twice, twice_at_once, "timeout", "wait_for", "scope"))
    if manner == "scope":
        with anyio.move_on_after(seconds):
            await work()
    elif isinstance(manner, str):
        with suppress(TimeoutError):
            await asyncio.wait_for(work(), seconds) if manner == "wait_for" else await in_time(work, seconds)
    else:
        task = asyncio.ensure_future(work())
        await asyncio.wait([task], timeout=seconds)
        await manner(task, chance)  # type: ignore[operator]
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()


async def in_time(work: Callable[[], Awaitable[None]], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        await work()


@asynccontextmanager
async def tables(url: str) -> AsyncIterator[AsyncEngine]:
    async with Database(url) as db:
        async with db.engine.begin() as connection:
            await connection.execute(text("create unlogged table mixed (i int)"))
        await db.frame("select 1 as one")  # imports pandas: the loop stands still for that, and every deadline with it
        try:
            yield db.engine
        finally:
            async with db.engine.begin() as connection:
                await connection.execute(text("drop table mixed"))


async def writes_work(db: Database) -> None:
    async with db.session() as session:
        await session.execute(INSERT)
    async with db.engine.connect() as connection:
        raw: Any = (await connection.get_raw_connection()).driver_connection
        assert raw._top_xact is None
        assert not raw.is_in_transaction()


async def cancel_many(url: str, near_url: str, mix: Work, times: int, seed: int) -> None:
    """Cancel a mix of work so many times, and look at what is left."""

    async def worker(number: int) -> None:
        chance = random.Random(f"{seed} {number}")
        # a busy machine may leave twenty-five connects without an answer for longer than the usual fifteen seconds
        options: Any = {"connect_args": {"server_settings": {"application_name": "cancelled"}, "timeout": 600}}
        async with Database(url, pool_size=1, max_overflow=0, pool_timeout=120, **options) as db:
            for _ in range(times // WORKERS):
                await cancel(partial(mix, db, chance), chance)
                if chance.random() < 0.5:  # else the next one may be cancelled while it connects
                    await writes_work(db)
            await writes_work(db)
            assert len(await db.frame("select 2 as two")) == 1
            assert db.engine.pool.checkedout() == 0  # type: ignore[attr-defined]

    async with tables(near_url), asyncio.TaskGroup() as group:
        for number in range(WORKERS):
            group.create_task(worker(number))


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> Any:
    """Fail when asyncio or SQLAlchemy had something to complain of."""
    yield
    gc.collect()
    assert not [record.getMessage() for record in caplog.get_records("call") if record.levelno >= logging.WARNING]


@pytest.mark.second_tier
@pytest.mark.usefixtures("quiet")
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("mix", MIXES, ids=lambda mix: mix.__name__)
async def test_nothing_is_left_after_cancels_over_a_slow_link(
    mix: Work, far_database_url: str, database_url: str, clean_server: ServerWatch
) -> None:
    """Afterwards writes work and no transaction is open; nothing was logged, and no client vanished."""
    await cancel_many(far_database_url, database_url, mix, 150, 1)


@pytest.mark.soak
@pytest.mark.usefixtures("quiet")
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("mix", MIXES, ids=lambda mix: mix.__name__)
async def test_nothing_is_left_after_two_thousand_cancels_over_a_slow_link(
    mix: Work, seed: int, far_database_url: str, database_url: str, clean_server: ServerWatch
) -> None:
    await cancel_many(far_database_url, database_url, mix, 2000, seed)
