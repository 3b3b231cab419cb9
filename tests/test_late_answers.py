"""A server that answers later than anybody waits for: every connection still ends with Terminate."""

from __future__ import annotations

import asyncio
from asyncio import gather
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from urllib.parse import parse_qs, urlsplit

import pytest
from proxy import slow_link
from server_checks import ServerWatch
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from waiting import until

from asyncdb_nb import Database
from asyncdb_nb.engine import asyncpg_connection, cancellable_transfers
from asyncdb_nb.engine.asyncpg_connection import Connection, connect
from asyncdb_nb.server import EmbeddedServer

MANY_ROWS = "select g, md5(g::text) from generate_series(1, 20000) g"

Work = Callable[[Connection], Awaitable[None]]


@pytest.fixture
def nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up waiting before the slow link can bring an answer, as on a busy machine."""
    for module in (asyncpg_connection, cancellable_transfers):
        monkeypatch.setattr(module, "SECONDS", 0.02)


async def fetch(connection: Connection) -> None:
    await connection.fetch(MANY_ROWS)


async def copy_out(connection: Connection) -> None:
    await connection.copy_from_query(MANY_ROWS, output=nowhere)


async def copy_in(connection: Connection) -> None:
    rows = ((number, "x" * 1000) for number in range(50_000))
    await connection.copy_records_to_table("many", records=rows)


async def execute_many(connection: Connection) -> None:
    rows = ((number, "x" * 1000) for number in range(50_000))
    await connection.executemany("insert into many values ($1, $2)", rows)


async def cursor(connection: Connection) -> None:
    async with connection.transaction():
        async for _ in connection.cursor(MANY_ROWS, prefetch=5000):
            pass


async def sleep(connection: Connection) -> None:
    await connection.execute("select pg_sleep(0.3)")


async def nowhere(data: bytes) -> None:
    await asyncio.sleep(0)


LATE = [fetch, copy_in, execute_many, cursor, sleep]


@pytest.mark.parametrize("cancels", [1, pytest.param(2, marks=pytest.mark.second_tier)])
@pytest.mark.parametrize(
    "work",
    [copy_out, *(pytest.param(work, marks=pytest.mark.second_tier) for work in LATE)],
    ids=lambda work: work.__name__,
)
@pytest.mark.usefixtures("nobody_waits")
async def test_a_connection_to_a_server_that_answers_late_ends_with_terminate(
    far_database_url: str, clean_server: ServerWatch, work: Work, cancels: int
) -> None:
    """Closing a socket while the server sends resets the connection, and the Terminate before it is lost."""
    for seconds in (0.05, 0.15, 0.25):
        connection = await connect(far_database_url)
        await connection.execute("create temp table many (i int, t text)")
        task = asyncio.ensure_future(work(connection))
        await asyncio.wait([task], timeout=seconds)
        for _ in range(cancels):
            task.cancel()
            await asyncio.sleep(0)
        await asyncio.wait([task])
        with suppress(TimeoutError):
            await connection.close()

        assert connection.is_closed()
    await until(lambda: not clean_server.backends())


async def frames(db: Database) -> None:
    async with aclosing(db.frames(MANY_ROWS, rows=5000)) as parts:  # type: ignore[type-var]
        async for _ in parts:
            pass


async def stream(db: Database) -> None:
    async with db.session() as session:
        rows = await session.stream(text(MANY_ROWS))
        async for _ in rows.scalars():
            pass


async def end_session(db: Database) -> None:
    session = AsyncSession(db.engine)
    await session.execute(text("select 1"))
    await session.close()


async def ping(db: Database) -> None:
    for _ in range(5):
        async with db.engine.connect():
            pass


async def dispose(db: Database) -> None:
    async with db.engine.connect() as connection:
        await connection.execute(text("select 1"))
    await db.engine.dispose()


async def close(db: Database) -> None:
    async with Database(db.url, pool_size=2) as other:
        await gather(other.frame("select 1 as one"), other.frame(MANY_ROWS))


@pytest.mark.second_tier
@pytest.mark.parametrize("cancels", [1, 2])
@pytest.mark.parametrize("work", [frames, stream, end_session, ping, dispose, close])
@pytest.mark.usefixtures("nobody_waits")
async def test_a_pool_of_a_server_that_answers_late_ends_with_terminate(
    far_database_url: str, clean_server: ServerWatch, work: Callable[[Database], Awaitable[None]], cancels: int
) -> None:
    """Whatever is cancelled, the pool works afterwards."""
    async with Database(far_database_url, pool_size=1, max_overflow=0) as db:
        for seconds in (0.1, 0.25, 0.4, 0.6, 0.8, 1.0, 1.2):
            task = asyncio.ensure_future(work(db))
            await asyncio.wait([task], timeout=seconds)
            for _ in range(cancels):
                task.cancel()
                await asyncio.sleep(0)
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()
        async with db.session() as session:
            assert await session.scalar(text("select 1")) == 1
    await until(lambda: not clean_server.backends())


@pytest.mark.second_tier
async def test_a_connect_that_is_cancelled_ends_with_terminate_however_late_the_server_answers(
    server: EmbeddedServer, clean_server: ServerWatch
) -> None:
    """A handshake takes two round trips, of 1.3 seconds each; the server has begun a session after one and a half."""
    socket = parse_qs(urlsplit(server.url).query)["host"][0] + "/.s.PGSQL.5432"
    with slow_link(socket, 1.3) as port:
        connecting = asyncio.create_task(connect(f"postgresql://postgres@127.0.0.1:{port}/postgres"))
        await asyncio.sleep(0.01)
        connecting.cancel()
        await asyncio.wait([connecting])

        await until(lambda: clean_server.backends())
        await until(lambda: not clean_server.backends())
        assert not clean_server.unclean_ends()
