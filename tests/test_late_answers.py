"""A server that answers later than anybody waits: it is told of the end of each connection for all that."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from urllib.parse import parse_qs, urlsplit

import pytest
from proxy import slow_link
from server_checks import ServerWatch
from waiting import until

from asyncdb_nb import goodbye, transfers
from asyncdb_nb.server import EmbeddedServer

MANY_ROWS = "select g, md5(g::text) from generate_series(1, 20000) g"

Work = Callable[[goodbye.Connection], Awaitable[None]]


@pytest.fixture
def nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up waiting before the slow link can bring an answer, as on a busy machine."""
    for module in (goodbye, transfers):
        monkeypatch.setattr(module, "SECONDS", 0.02)


async def fetch(connection: goodbye.Connection) -> None:
    await connection.fetch(MANY_ROWS)


async def copy_out(connection: goodbye.Connection) -> None:
    await connection.copy_from_query(MANY_ROWS, output=nowhere)


async def copy_in(connection: goodbye.Connection) -> None:
    rows = ((number, "x" * 1000) for number in range(50_000))
    await connection.copy_records_to_table("many", records=rows)


async def execute_many(connection: goodbye.Connection) -> None:
    rows = ((number, "x" * 1000) for number in range(50_000))
    await connection.executemany("insert into many values ($1, $2)", rows)


async def cursor(connection: goodbye.Connection) -> None:
    async with connection.transaction():
        async for _ in connection.cursor(MANY_ROWS, prefetch=5000):
            pass


async def sleep(connection: goodbye.Connection) -> None:
    await connection.execute("select pg_sleep(0.3)")


async def nowhere(data: bytes) -> None:
    await asyncio.sleep(0)


@pytest.mark.parametrize("cancels", [1, 2])
@pytest.mark.parametrize("work", [fetch, copy_out, copy_in, execute_many, cursor, sleep])
@pytest.mark.usefixtures("nobody_waits")
async def test_a_server_that_answers_late_is_told_of_the_end(
    far_database_url: str, clean_server: ServerWatch, work: Work, cancels: int
) -> None:
    """A socket that is closed while the server sends is reset; then it never reads that Terminate came before."""
    for seconds in (0.05, 0.15, 0.25):
        connection = await goodbye.connect(far_database_url)
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


async def test_a_connect_that_is_cancelled_ends_with_a_goodbye_however_late_the_server_answers(
    server: EmbeddedServer, clean_server: ServerWatch
) -> None:
    """A handshake over a link that takes 1.3 seconds for a round trip, which is two of them before the first query."""
    socket = parse_qs(urlsplit(server.url).query)["host"][0] + "/.s.PGSQL.5432"
    with slow_link(socket, 1.3) as port:
        connecting = asyncio.create_task(goodbye.connect(f"postgresql://postgres@127.0.0.1:{port}/postgres"))
        await asyncio.sleep(0.01)
        connecting.cancel()
        await asyncio.wait([connecting])

        await until(lambda: clean_server.backends())
        await until(lambda: not clean_server.backends())
        assert not clean_server.bad_goodbyes()
