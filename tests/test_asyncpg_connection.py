"""asyncpg's connection as this package opens it: by itself, in asyncpg's own pool, in the middle of a statement."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from server_checks import ServerWatch
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool
from tiers import few_of
from waiting import HANG, until

from asyncdb_nb import Database, session_scope
from asyncdb_nb.aio import shielded
from asyncdb_nb.engine import asyncpg_connection, cancellable_transfers

pytestmark = pytest.mark.usefixtures("clean_server")

MANY_ROWS = "select g, md5(g::text) from generate_series(1, 20000) g"


@pytest.fixture
def database_url(near_and_far: str) -> str:
    return near_and_far


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg_connection.Connection]:
    connection = await asyncpg_connection.connect(database_url)
    yield connection
    await connection.close()


async def works(connection: asyncpg.Connection) -> bool:
    async with asyncio.timeout(HANG):
        return bool(await connection.fetchval("select true"))


async def cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    async with asyncio.timeout(HANG):
        await asyncio.wait([task])
    if not task.cancelled():
        task.result()


async def nowhere(data: bytes) -> None:
    await asyncio.sleep(0)


# --- COPY and executemany ---------------------------------------------------------------------------------------------


async def test_scenario_51_a_copy_cancelled_anywhere_leaves_the_connection_as_it_was(
    connection: asyncpg_connection.Connection,
) -> None:
    """Also between two parts, where asyncpg forgets whom it reads for."""
    chance = random.Random(25)
    for _ in range(60):
        copying = asyncio.create_task(connection.copy_from_query(MANY_ROWS, output=nowhere))
        for _ in range(chance.randrange(60)):
            await asyncio.sleep(0)
        await asyncio.sleep(chance.choice((0, 0, chance.uniform(0, 0.01), chance.uniform(0, 0.3))))
        await cancelled(copying)

        assert await works(connection)


async def test_a_copy_cancelled_twice_ends_before_the_next_statement(connection: asyncpg_connection.Connection) -> None:
    copying = asyncio.create_task(connection.copy_from_query("select pg_sleep(30)", output=nowhere))
    for _ in range(3):
        await asyncio.sleep(0.05)
        copying.cancel()
    await asyncio.wait([copying], timeout=HANG)

    assert copying.cancelled()
    assert await works(connection)


@pytest.mark.parametrize("query", ["select 1", MANY_ROWS], ids=["after the last part", "in the middle"])
async def test_a_copy_whose_reader_fails_ends_with_that_error(
    connection: asyncpg_connection.Connection, query: str
) -> None:
    """A small result has come entirely when its reader fails; asyncpg would then wait for ever."""

    async def fail(data: bytes) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        await connection.copy_from_query(query, output=fail)

    assert await works(connection)


async def test_a_copy_that_takes_too_long_ends_on_the_server(
    connection: asyncpg_connection.Connection, clean_server: ServerWatch
) -> None:
    with pytest.raises(TimeoutError):
        await connection.copy_from_query("select pg_sleep(3000)", output=nowhere, timeout=0.3)

    assert await works(connection)


async def test_a_copy_goes_into_a_file(connection: asyncpg_connection.Connection, tmp_path: Path) -> None:
    path = tmp_path / "rows"
    status = await connection.copy_from_query("select 1", output=path)
    with (tmp_path / "again").open("wb") as file:
        await connection.copy_from_query("select 1", output=file)

    assert status == "COPY 1"
    assert path.read_bytes() == (tmp_path / "again").read_bytes() == b"1\n"


async def test_closing_stops_a_copy_whose_reader_waits(connection: asyncpg_connection.Connection) -> None:
    waiting = asyncio.Event()

    async def wait(data: bytes) -> None:
        waiting.set()
        await asyncio.get_running_loop().create_future()

    copying = asyncio.create_task(connection.copy_from_query(MANY_ROWS, output=wait))
    await waiting.wait()
    async with asyncio.timeout(HANG):
        await connection.close()
        await asyncio.wait([copying])

    assert connection.is_closed()


@pytest.mark.parametrize("prepared", [False, True], ids=["statement", "prepared statement"])
async def test_rows_cancelled_while_they_are_sent_leave_the_connection_as_it_was(
    connection: asyncpg_connection.Connection, prepared: bool
) -> None:
    """asyncpg waits until it can send more; cancelled there, it would never tell the server that no more comes."""
    await connection.execute("create temp table many (i int, t text)")
    insert = "insert into many values ($1, $2)"
    send = (await connection.prepare(insert)).executemany if prepared else partial(connection.executemany, insert)
    for seconds in (0.0, 0.02, 0.06, 0.11, 0.2):
        rows = ((number, "x" * 1000) for number in range(50_000))
        sending = asyncio.create_task(send(rows))
        await asyncio.sleep(seconds)
        await cancelled(sending)

        assert await works(connection)
    assert await connection.fetchval("select count(*) from many") in range(0, 250_000, 50_000)


@pytest.mark.parametrize("rows", few_of(["text", "records"], 1))
async def test_rows_that_the_server_refused_do_not_hold_up_the_next_statement(
    connection: asyncpg_connection.Connection, rows: str
) -> None:
    """The source fails after the server has ended the COPY: there is nothing left to be cancelled."""
    await connection.execute("create temp table numbers (i int primary key)")
    refused = asyncio.Event()

    async def source(sent: Iterable[Any]) -> AsyncIterator[Any]:
        for part in sent:
            yield part
        while not refused.is_set():
            await asyncio.sleep(0.05)
            refused.set()
        raise OSError("the source is gone")

    with suppress(OSError, asyncpg.UniqueViolationError):
        if rows == "text":
            await connection.copy_to_table("numbers", source=source([b"1\n1\n" * 100_000]))
        else:
            await connection.copy_records_to_table("numbers", records=source([(1,)] * 200_000))

    with suppress(asyncpg.InterfaceError):  # it may be closed
        assert await works(connection)


@pytest.mark.parametrize("connection_class", [asyncpg.Connection, asyncpg_connection.Connection])
async def test_frames_are_cancelled_cleanly_whatever_opened_the_connection(
    database_url: str, connection_class: type[asyncpg.Connection]
) -> None:
    """A frame reads by COPY also on a connection of asyncpg's own class."""
    engine = create_async_engine(
        database_url.replace("postgresql://", "postgresql+asyncpg://"),
        poolclass=NullPool,
        connect_args={"async_creator_fn": asyncpg.connect, "connection_class": connection_class},
    )
    async with engine.connect() as held:
        raw: Any = (await held.get_raw_connection()).driver_connection
        for seconds in (0.0, 0.01, 0.05, 0.1, 0.2):
            copying = asyncio.create_task(cancellable_transfers.copy_query(raw, MANY_ROWS, nowhere))
            await asyncio.sleep(seconds)
            await cancelled(copying)

            assert await works(raw)


# --- what has begun ---------------------------------------------------------------------------------------------------


async def read_a_frame(db: Database) -> None:
    await db.frame("select 2 as a")


async def read_only(db: Database) -> None:
    async with db.session(readonly=True) as session:
        await session.execute(text("select 1"))


async def read_only_in_autocommit(db: Database) -> None:
    async with session_scope(db.engine.execution_options(isolation_level="AUTOCOMMIT"), readonly=True) as session:
        await session.execute(text("select 1"))


async def savepoint(db: Database) -> None:
    async with db.session() as session:
        await session.execute(text("select 1"))
        async with session.begin_nested():
            await session.execute(text("select 2"))


async def roll_back(db: Database) -> None:
    async with db.session() as session:
        await session.execute(text("select 1"))
        await session.rollback()


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize(
    ("work", "statement"),
    [
        (read_a_frame, "BEGIN"),
        (read_only, "BEGIN"),
        (read_only_in_autocommit, "BEGIN"),
        (read_only_in_autocommit, "SELECT set_config"),
        (savepoint, "SAVEPOINT"),
        (savepoint, "RELEASE"),
        (roll_back, "ROLLBACK"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
async def test_scenario_43_nothing_half_begun_goes_back_to_the_pool(
    database_url: str, clean_server: ServerWatch, work: Any, statement: str, times: int
) -> None:
    """Scenario 43: cancelled while the answer to a statement is on its way."""
    settings = {"server_settings": {"application_name": "half begun"}}
    async with Database(database_url, pool_size=1, max_overflow=0, connect_args=settings) as db:
        async with db.session() as session:
            await session.execute(text("create unlogged table kept (i int)"))
        task = asyncio.create_task(work(db))
        while not task.done() and not arrived(clean_server, statement):
            await asyncio.sleep(0)
        for _ in range(times):
            task.cancel()
            await asyncio.sleep(0)
        await asyncio.wait([task])

        async with asyncio.timeout(HANG), db.session() as session:
            await session.execute(text("insert into kept values (1)"))
        async with db.session() as session:
            assert await session.scalar(text("select count(*) from kept")) == 1
            await session.execute(text("drop table kept"))


def arrived(watch: ServerWatch, statement: str) -> bool:
    return any(one.query.startswith(statement) for one in watch.backends("half begun"))


@pytest.mark.second_tier
@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 20])
async def test_a_loop_that_stands_still_after_a_cancel_costs_no_connection(
    connection: asyncpg_connection.Connection, clean_server: ServerWatch, turns: int
) -> None:
    """For longer than a graceful close may take: the answer has come, but nobody could take it."""
    sleeping = asyncio.create_task(connection.execute("select pg_sleep(600)"))
    await until(lambda: [one for one in clean_server.backends() if "pg_sleep(600)" in one.query])
    sleeping.cancel()
    for _ in range(turns):
        await asyncio.sleep(0)
    time.sleep(1.5 * shielded.SECONDS)  # noqa: ASYNC251  the loop stands still
    await asyncio.wait([sleeping])

    assert await works(connection)


@pytest.mark.second_tier
async def test_a_loop_that_stands_still_in_a_close_cuts_off_no_connection(
    connection: asyncpg_connection.Connection, clean_server: ServerWatch
) -> None:
    sleeping = asyncio.create_task(connection.execute("select pg_sleep(600)"))
    await until(lambda: [one for one in clean_server.backends() if "pg_sleep(600)" in one.query])
    closing = asyncio.create_task(connection.close())
    for _ in range(5):
        await asyncio.sleep(0)
    time.sleep(1.5 * shielded.SECONDS)  # noqa: ASYNC251  the loop stands still
    async with asyncio.timeout(HANG):
        await closing

    with pytest.raises(asyncpg.QueryCanceledError):
        await sleeping


# --- the end ----------------------------------------------------------------------------------------------------------


async def test_a_terminated_connection_is_closed_at_once(connection: asyncpg_connection.Connection) -> None:
    connection.terminate()

    assert connection.is_closed()
    with pytest.raises(asyncpg.InterfaceError, match="connection is closed"):
        await connection.fetchval("select 1")


async def test_a_statement_under_which_it_is_closed_says_so_at_any_moment(
    database_url: str, server_watch: ServerWatch
) -> None:
    """The answer to Parse may come when asyncpg expects that to a CancelRequest, which it calls its own fault."""
    errors = set()
    for turns in range(30):
        connection = await asyncpg_connection.connect(database_url)
        query = asyncio.ensure_future(connection.fetch("select pg_sleep(3600)"))
        for _ in range(turns + 1):
            await asyncio.sleep(0)
        connection.terminate()
        await asyncio.wait([query])
        errors.add(type(query.exception()))

    assert errors <= {asyncpg.QueryCanceledError, asyncpg.ConnectionDoesNotExistError, asyncpg.InterfaceError}
    await until(lambda: not server_watch.backends())


async def test_scenario_49_asyncpgs_pool_hands_out_no_connection_that_is_ending(database_url: str) -> None:
    async with (
        asyncpg.create_pool(
            database_url, min_size=1, max_size=1, connection_class=asyncpg_connection.Connection
        ) as pool,
        asyncio.timeout(HANG),
    ):
        for _ in range(3):
            async with pool.acquire() as connection:
                connection.terminate()
            async with pool.acquire() as connection:
                assert await connection.fetchval("select true")
