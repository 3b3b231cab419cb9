"""COPY is received past asyncpg, and asyncpg knows all else: errors, notices, settings, cancellation, the end."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pandas as pd
import pytest
import uvloop
from message_proxy import Message, MessageProxy, unchanged, written
from server_checks import ServerWatch
from sqlalchemy import text
from tiers import few_of
from waiting import HANG, until

from asyncdb_nb import Database, frame
from asyncdb_nb.dataframes.columns.decoder import Decoder
from asyncdb_nb.dataframes.copy_binary.messages import find
from asyncdb_nb.dataframes.types.table import column_type
from asyncdb_nb.engine import _asyncpg, asyncpg_connection
from asyncdb_nb.engine.cancellable_transfers import MessageSink, copy_query
from asyncdb_nb.engine.copy_protocol import Messages
from asyncdb_nb.errors import CorruptStreamError
from asyncdb_nb.server import EmbeddedServer

pytestmark = pytest.mark.usefixtures("clean_server")

ROWS = "select g as a, md5(g::text) as b from generate_series(1, {rows}) g"
MANY = ROWS.format(rows=100_000)
ENDLESS = "select generate_series(1, 1000000000) as a, repeat('x', 300) as b"
COLUMNS = [("a", column_type(23)), ("b", column_type(25))]

UPSIDE_DOWN = bytes(range(255, -1, -1))

Connection = asyncpg_connection.Connection


class Rows:
    """Reads rows of `COLUMNS`, and counts how they came."""

    def __init__(self) -> None:
        self._decoder = Decoder(COLUMNS)
        self.values: list[tuple[int, str]] = []
        self.messages = self.bytes = 0  # how often data came as these
        self.sink = MessageSink(self.take, find)

    async def take(self, data: bytes | Messages) -> None:
        self.messages += isinstance(data, Messages)
        self.bytes += not isinstance(data, Messages)
        self._add(self._decoder.feed([data]))

    def end(self, status: str) -> list[tuple[int, str]]:
        self._add(self._decoder.finish(int(status.split()[1])))
        return self.values

    def _add(self, batch: Any) -> None:
        if batch is not None and batch.rows:
            self.values += zip(*(column.array.to_pylist() for column in batch.columns), strict=True)


async def read(connection: Any, query: str) -> list[tuple[int, str]]:
    """Read by messages."""
    rows = Rows()
    async with asyncio.timeout(HANG):
        values = rows.end(await copy_query(connection, query, rows.sink))
    assert (rows.messages > 0, rows.bytes) == (True, 0)
    return values


async def works(connection: Any) -> bool:
    """Whether a connection does, and asyncpg has its transport again."""
    async with asyncio.timeout(HANG):
        value = await connection.fetchval("select 5")
    return value == 5 and connection._transport.get_protocol() is connection._protocol


async def cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    async with asyncio.timeout(HANG):
        await asyncio.wait([task])
    if not task.cancelled():
        task.result()


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Connection]:
    connection = await asyncpg_connection.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def proxy(server: EmbeddedServer) -> AsyncIterator[MessageProxy]:
    async with MessageProxy(parse_qs(urlsplit(server.url).query)["host"][0] + "/.s.PGSQL.5432") as proxy:
        yield proxy


@pytest.fixture
async def proxied(proxy: MessageProxy, database_url: str) -> AsyncIterator[Connection]:
    connection = await asyncpg_connection.connect(_url_of(proxy))
    yield connection
    proxy.change = unchanged
    proxy.flow()
    await connection.close()


def _url_of(proxy: MessageProxy) -> str:
    return f"postgresql://postgres@127.0.0.1:{proxy.port}/tests?sslmode=disable"


# --- what is promised of a connection ---------------------------------------------------------------------------------


async def promises(url: str) -> None:
    """In one transaction: rows, an error before them and amid them, a notice amid them, and a cancellation."""
    connection = await asyncpg_connection.connect(url)
    truth = [(row["a"], row["b"]) for row in await connection.fetch(MANY)]
    notices: list[str] = []
    connection.add_log_listener(lambda _, message: notices.append(message.message))
    async with connection.transaction():
        await connection.execute("create temp table kept as select 1 as a")

        assert await read(connection, MANY) == truth

        assert connection.is_in_transaction()
        assert await connection.fetchval("select count(*) from kept") == 1
    for failing in (
        "select 1 as a, 'x' as b from nowhere",
        "select 1 / (90000 - g), md5(g::text) from generate_series(1, 100000) g",
    ):
        transaction = connection.transaction()
        await transaction.start()
        with pytest.raises(asyncpg.PostgresError, match=r"does not exist|division by zero"):
            await read(connection, failing)
        with pytest.raises(asyncpg.InFailedSQLTransactionError):
            await connection.execute("select 1")
        await transaction.rollback()
        assert await works(connection)
    await connection.execute(NOISY)
    assert (
        await read(connection, "select pg_temp.noisy(g) as a, md5(g::text) as b from generate_series(1, 100000) g")
        == truth
    )
    assert notices == [f"at {n}" for n in range(20_000, 100_001, 20_000)]
    assert connection.get_settings().application_name == "100000"
    for seconds in (0.0, 0.01, 0.1):
        reading = asyncio.create_task(read(connection, ENDLESS))
        await asyncio.sleep(seconds)
        await cancelled(reading)
        assert await works(connection)
    await connection.close()


NOISY = """create function pg_temp.noisy(g int) returns int language plpgsql as $$ begin
  if g % 20000 = 0 then raise notice 'at %', g; perform set_config('application_name', g::text, false); end if;
  return g; end $$"""

LOOPS: dict[str, Callable[[Coroutine[Any, Any, None]], None]] = {"asyncio": asyncio.run, "uvloop": uvloop.run}


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, None]], None]:
    return LOOPS[request.param]


def test_a_connection_is_afterwards_as_asyncpg_would_have_it(database_url: str, run: Any) -> None:
    run(promises(database_url))


@pytest.mark.second_tier
def test_over_a_slow_link_too(far_database_url: str, run: Any) -> None:
    run(promises(far_database_url))


@pytest.fixture(scope="module")
def tls_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("cryptography", reason="certificates are made with it: pip install cryptography")
    from certificates import Certificate, installed_server, tls_server

    programs = installed_server()
    if programs is None:
        pytest.skip("the embedded server is built without TLS, and this machine has no other PostgreSQL")
    folder = tmp_path_factory.mktemp("tls")
    authority = Certificate(folder, "authority", "authority", authority=True)
    with tempfile.TemporaryDirectory(prefix="adb-tls-") as place, tls_server(programs, Path(place)) as server:
        server.show(
            Certificate(folder, "host", "localhost", authority), authority, "hostssl all all 127.0.0.1/32 trust\n"
        )
        yield f"postgresql://postgres@127.0.0.1:{server.port}/postgres?sslmode=require"


@pytest.mark.second_tier
def test_over_tls_too(tls_url: str, run: Any) -> None:
    run(promises(tls_url))


async def test_a_connection_of_asyncpgs_own_class_reads_by_messages_too(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)

    assert len(await read(connection, MANY)) == 100_000

    assert await works(connection)
    await connection.close()


async def test_frames_come_this_way_and_are_the_same_by_asyncpgs_own(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []
    feed = Decoder.feed
    monkeypatch.setattr(Decoder, "feed", lambda self, parts: taken.extend(map(type, parts)) or feed(self, parts))
    async with Database(database_url) as db:
        by_messages = await db.frame(MANY)
        assert set(taken) == {Messages}
        taken.clear()
        monkeypatch.setattr(_asyncpg, "own_transport", lambda connection: None)
        by_asyncpg = await db.frame(MANY)

    assert Messages not in taken
    pd.testing.assert_frame_equal(by_messages, by_asyncpg)


async def test_the_end_of_the_connection_is_told_as_asyncpg_tells_it(database_url: str) -> None:
    query = """select (case when g = 90000 then pg_terminate_backend(pg_backend_pid()) end)::int, 'x'
      from generate_series(1, 200000) g"""
    told = []
    for reading in (read, lambda connection, query: connection.copy_from_query(query, output=nowhere)):
        connection = await asyncpg_connection.connect(database_url)
        with pytest.raises(asyncpg.PostgresError) as raised:
            await reading(connection, query)
        told.append((raised.type, str(raised.value)))
        await until(connection.is_closed)

    assert told[0] == told[1]


async def nowhere(data: bytes) -> None:
    await asyncio.sleep(0)


async def test_a_notice_comes_while_the_query_still_runs(connection: Connection) -> None:
    told = asyncio.Event()
    connection.add_log_listener(lambda *_: told.set())
    await connection.execute("create function pg_temp.tell() returns int language plpgsql as $$ begin "
                             "raise notice 'hello'; perform pg_sleep(600); return 1; end $$")  # fmt: skip

    reading = asyncio.create_task(
        read(connection, "select g, 'x' from generate_series(1, 3) g union all select pg_temp.tell(), 'y'")
    )
    async with asyncio.timeout(HANG):
        await told.wait()

    assert not reading.done()
    await cancelled(reading)
    assert await works(connection)


async def test_a_timeout_ends_the_query_alone(connection: Connection) -> None:
    with pytest.raises(TimeoutError):
        await copy_query(connection, "select 1, pg_sleep(600)", Rows().sink, 0.1)

    assert await works(connection)


async def test_a_query_that_cannot_be_sent_leaves_the_transport(connection: Connection) -> None:
    sleeping = asyncio.create_task(connection.execute("select pg_sleep(0.2)"))
    await asyncio.sleep(0)

    with pytest.raises(asyncpg.InterfaceError, match="another operation is in progress"):
        await copy_query(connection, MANY, Rows().sink)

    await sleeping
    assert await works(connection)


async def test_who_does_not_take_the_rows_holds_up_the_server(
    connection: Connection, server_watch: ServerWatch
) -> None:
    """Two blocks are held here, and what the sockets hold."""
    taken: list[int] = []
    free = asyncio.Event()

    async def take(data: Messages) -> None:
        taken.append(len(data))
        await free.wait()

    query = f"select * from pg_stat_activity where pid = {connection.get_server_pid()} and wait_event = 'ClientWrite'"
    reading = asyncio.create_task(copy_query(connection, ENDLESS, MessageSink(take, find)))
    await until(lambda: server_watch.query(query))
    await until(lambda: not connection._transport.is_reading())

    assert len(taken) == 1
    await cancelled(reading)
    assert max(taken) < 4 * 2**20
    assert await works(connection)


async def test_an_error_of_the_sink_ends_the_query_alone(connection: Connection) -> None:
    async def take(data: Messages) -> None:
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        await copy_query(connection, ENDLESS, MessageSink(take, find))

    assert await works(connection)


async def test_rows_of_many_blocks_are_whole(connection: Connection) -> None:
    await _read_large_rows(connection, 9_000_000)


@pytest.mark.second_tier
async def test_a_row_of_a_hundred_megabytes_is_whole(connection: Connection) -> None:
    await _read_large_rows(connection, 100_000_000)


async def _read_large_rows(connection: Connection, size: int) -> None:
    """Small rows, a large one between them, one that ends where a block may, and so on."""
    query = f"""select g as a, repeat(chr(97 + g % 7), case g % 20 when 7 then {size} when 9 then 2097152 - 35
      when 10 then 2097152 else g end) as b from generate_series(1, 30) g"""
    values = await read(connection, query)

    sizes = {7: size, 9: 2097152 - 35, 10: 2097152}
    assert [a for a, _ in values] == list(range(1, 31))
    for a, b in values:
        assert b == chr(97 + a % 7) * sizes.get(a % 20, a), a


# --- however it comes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", [*range(0, 150, 7), 2**18, 2**21 - 3, 2**21, 2**21 + 1])
async def test_cancelled_at_any_byte_the_connection_works(proxied: Connection, proxy: MessageProxy, point: int) -> None:
    """The line stands still after so many bytes of the answer, and flows again when the cancel comes."""
    proxy.let_through = point
    reading = asyncio.create_task(read(proxied, ENDLESS))
    async with asyncio.timeout(HANG):
        await proxy.stands_still.wait()
    await asyncio.sleep(0)

    asyncio.get_running_loop().call_soon(proxy.flow)
    await cancelled(reading)

    assert await works(proxied)
    assert len(await read(proxied, ROWS.format(rows=10))) == 10


@pytest.mark.parametrize("size", few_of([1, 3, 7, 1000, 100_000, 5_000_000], 3), ids=lambda size: f"{size} bytes")
async def test_messages_that_a_pooler_cut_anew_are_read_right(
    proxied: Connection, proxy: MessageProxy, size: int
) -> None:
    rows = 300 if size < 10 else 100_000
    proxy.change = _cut_anew(size)

    values = await read(proxied, ROWS.format(rows=rows))

    proxy.change = unchanged
    assert values == [tuple(row) for row in await proxied.fetch(ROWS.format(rows=rows))]


def _cut_anew(size: int) -> Callable[[Message], Iterator[bytes]]:
    """Send the content of CopyData in messages of so many bytes, with an empty one now and then."""
    held = bytearray()

    def change(message: Message) -> Iterator[bytes]:
        kind, content = message
        if kind == b"d":
            held.extend(content)
        while len(held) >= size or (held and kind != b"d"):
            yield written((b"d", bytes(held[:size])))
            del held[:size]
        if kind != b"d":
            yield written((b"d", b"")) if kind == b"c" else b""
            yield written(message)

    return change


async def test_messages_that_become_different_in_the_middle_are_read_right(
    proxied: Connection, proxy: MessageProxy
) -> None:
    """First a row each, then two halves of a row."""
    count = iter(range(1_000_000))

    def change(message: Message) -> Iterator[bytes]:
        kind, content = message
        if kind == b"d" and next(count) > 60_000:
            yield written((b"d", content[:9]))
            yield written((b"d", content[9:]))
        else:
            yield written(message)

    proxy.change = change
    values = await read(proxied, MANY)

    proxy.change = unchanged
    assert values == [tuple(row) for row in await proxied.fetch(MANY)]


async def test_a_message_that_asyncpg_had_begun_to_read_ends_in_asyncpg(
    proxied: Connection, proxy: MessageProxy
) -> None:
    """Half of a NOTICE comes before COPY is sent: what follows is asyncpg's, rows included."""
    notices: list[str] = []
    proxied.add_log_listener(lambda _, message: notices.append(message.message))
    notice = written((b"N", b"SNOTICE\0VNOTICE\0C00000\0Mxenon\0\0"))
    rows = Rows()
    halves = iter([notice[:28], notice[28:]])

    def change(message: Message) -> Iterator[bytes]:
        if message[0] == b"H":
            yield next(halves)
        yield written(message)
        if message[0] == b"Z":
            yield next(halves, b"")

    proxy.change = change
    await proxied.execute("select 1")
    values = rows.end(await copy_query(proxied, MANY, rows.sink))

    assert notices == ["xenon"]
    assert len(values) == 100_000
    assert rows.messages == 0
    assert await works(proxied)


@pytest.mark.parametrize("kind", [b"N", b"S", b"A"])
async def test_messages_between_the_rows_are_asyncpgs(proxied: Connection, proxy: MessageProxy, kind: bytes) -> None:
    """A notice, a setting, a notification before each row, and a large one."""
    seen: list[Any] = []
    proxied.add_log_listener(lambda _, message: seen.append(message.message))
    await proxied.add_listener("channel", lambda *told: seen.append(told[-1]))

    def content(words: str) -> bytes:
        if kind == b"N":
            return b"SNOTICE\0VNOTICE\0C00000\0M" + words.encode() + b"\0\0"
        if kind == b"S":
            return b"application_name\0" + words.encode() + b"\0"
        return b"\0\0\0\1channel\0" + words.encode() + b"\0"

    count = iter(range(1_000_000))

    def change(message: Message) -> Iterator[bytes]:
        if message[0] == b"d":
            number = next(count)
            yield written((kind, content("x" * 3_000_000 if number == 1_500 else f"{number}")))
        yield written(message)

    proxy.change = change
    values = await read(proxied, ROWS.format(rows=3_000))

    proxy.change = unchanged
    assert values == [tuple(row) for row in await proxied.fetch(ROWS.format(rows=3_000))]
    if kind == b"S":
        assert proxied.get_settings().application_name == "3000"
    else:
        assert [len(each) if len(each) > 9 else int(each) for each in seen] == [
            3_000_000 if number == 1_500 else number for number in range(3_001)
        ]
    await proxied.remove_listener("channel", seen.append)


@pytest.mark.keeps_connections
@pytest.mark.parametrize("seed", range(8))
async def test_a_stream_that_is_corrupt_raises(proxied: Connection, proxy: MessageProxy, seed: int) -> None:
    """From some byte on everything is turned upside down."""
    chance = random.Random(seed)
    left = chance.choice([chance.randrange(120), chance.randrange(4_000_000)])

    def change(message: Message) -> Iterator[bytes]:
        nonlocal left
        data = written(message)
        yield data[:left] + data[left:].translate(UPSIDE_DOWN)
        left = max(left - len(data), 0)

    proxy.change = change
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, CorruptStreamError, OSError)):
        await read(proxied, MANY)

    assert proxied.is_closed()


async def test_a_stream_that_lacks_a_row_raises(proxied: Connection, proxy: MessageProxy) -> None:
    count = iter(range(1_000_000))
    proxy.change = lambda message: iter([b"" if message[0] == b"d" and next(count) == 70_000 else written(message)])

    with pytest.raises(CorruptStreamError, match="it has 99999 rows and the server sent 100000"):
        await read(proxied, MANY)

    proxy.change = unchanged
    assert await works(proxied)


@pytest.mark.keeps_connections
@pytest.mark.parametrize("point", [1, 40, 2**18, 3_000_000])
async def test_a_connection_that_is_cut_raises(proxied: Connection, proxy: MessageProxy, point: int) -> None:
    proxy.let_through = point
    reading = asyncio.create_task(read(proxied, ENDLESS))
    async with asyncio.timeout(HANG):
        await proxy.stands_still.wait()

    proxy.cut()

    with pytest.raises((asyncpg.PostgresConnectionError, ConnectionError)):
        async with asyncio.timeout(HANG):
            await reading
    assert proxied.is_closed()


async def test_a_frame_in_a_session_is_followed_by_the_rest_of_its_transaction(database_url: str) -> None:
    async with Database(database_url, pool_size=1, max_overflow=0) as db, db.session() as session:
        await session.execute(text("create temp table noted (a int)"))
        for number in range(3):
            await session.execute(text(f"insert into noted values ({number})"))
            assert len(await frame(session, MANY)) == 100_000
        with suppress(ZeroDivisionError):
            async with session.begin_nested():
                await frame(session, MANY)
                raise ZeroDivisionError
        assert await session.scalar(text("select count(*) from noted")) == 3
