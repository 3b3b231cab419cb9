"""Whatever happens to server or network: the next call works, or one clear error says what happened; nothing hangs."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from typing import Any

import asyncpg
import pytest
from proxy import Proxy
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from victim import Victim
from waiting import HANG, until

from asyncdb_nb import ConnectError, Database
from asyncdb_nb.aio import shielded
from asyncdb_nb.engine import asyncpg_connection, cancellable_transfers, pre_ping, tcp_keepalive


async def ask(db: Database, statement: str = "select 1") -> Any:
    async with db.session() as session:
        return await session.scalar(text(statement))


async def warm(db: Database, number: int = 3) -> None:
    """Have that many idle connections."""
    await asyncio.gather(*(ask(db, "select pg_sleep(0.05)") for _ in range(number)))


async def test_scenario_42a_terminated_backends_are_replaced(db: Database, victim: Victim) -> None:
    await warm(db)
    for pid in victim.backends():
        victim.query("select pg_terminate_backend(%s, 5000)", pid)

    assert await asyncio.gather(*(ask(db) for _ in range(3))) == [1, 1, 1]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["fast", "immediate"])
async def test_scenario_42b_a_restart_under_load_loses_no_row_and_keeps_none_too_many(
    db: Database, victim: Victim, how: signal.Signals
) -> None:
    """An insert whose scope ended without an error is there; one that failed is there only if COMMIT was cut off."""
    victim.query("drop table if exists load; create table load (i int)")
    committed: set[int] = set()
    unknown: set[int] = set()
    restarted = asyncio.Event()

    async def insert_until_restarted(start: int) -> None:
        number = start
        while not restarted.is_set():
            number += 1
            await insert(number)

    async def insert(number: int) -> None:
        executed = False
        try:
            async with asyncio.timeout(HANG), db.session() as session:
                await session.execute(text("insert into load values (:number)"), {"number": number})
                executed = True
            committed.add(number)
        except (SQLAlchemyError, ConnectError):
            if executed:
                unknown.add(number)
            await asyncio.sleep(0.01)

    workers = [asyncio.create_task(insert_until_restarted(start * 1_000_000)) for start in range(3)]
    while len(committed) < 20:
        await asyncio.sleep(0.01)
    await victim.restart(how)
    restarted.set()
    await asyncio.gather(*workers)

    assert await ask(db) == 1
    kept = {number for (number,) in victim.query("select i from load")}
    assert committed <= kept <= committed | unknown


async def test_scenario_42c_a_table_altered_elsewhere_fails_no_frame(db: Database, victim: Victim) -> None:
    """A frame has done no other work in its transaction, so its statement is prepared anew."""
    victim.query("drop table if exists altered; create table altered (a int)")
    await asyncio.gather(*(db.frame("select * from altered") for _ in range(3)))

    victim.query("alter table altered add b text")

    for frame in await asyncio.gather(*(db.frame("select * from altered") for _ in range(3))):
        assert list(frame.columns) == ["a", "b"]


@pytest.mark.parametrize(
    "statement",
    [
        "select * from altered",
        "with it as (select * from altered) select *, 1 as merge from it",
    ],
    ids=["by COPY, described anew each time", "prepared once, as it might change data"],
)
async def test_scenario_42c_a_table_altered_elsewhere_fails_no_stream(
    db: Database, victim: Victim, statement: str
) -> None:
    """A statement proves to be stale before its first part is given out."""
    victim.query("drop table if exists altered; create table altered (a int); insert into altered values (1)")
    await warm(db)
    await asyncio.gather(*(dtypes(db, statement) for _ in range(3)))

    victim.query("alter table altered alter a type text")

    assert await asyncio.gather(*(dtypes(db, statement) for _ in range(3))) == [["str"]] * 3


async def dtypes(db: Database, statement: str) -> list[str]:
    return [str(part["a"].dtype) async for part in db.frames(statement)]


async def test_a_table_altered_under_a_session_fails_once_and_says_so(db: Database, victim: Victim) -> None:
    victim.query("drop table if exists altered; create table altered (a int)")
    await warm(db)
    await asyncio.gather(*(ask(db, "select * from altered") for _ in range(3)))

    victim.query("alter table altered add b text")

    with contextlib.suppress(DBAPIError):
        await ask(db, "select * from altered")
    assert await asyncio.gather(*(ask(db, "select * from altered") for _ in range(3))) == [None] * 3


@pytest.mark.second_tier
async def test_scenario_42d_closing_does_not_wait_for_a_frozen_server(victim: Victim) -> None:
    db = Database(victim.url)
    await warm(db)
    frozen = victim.freeze()

    await db.aclose()

    victim.thaw(frozen)


async def test_a_frozen_backend_is_given_up_by_the_ping(
    db: Database, victim: Victim, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pre_ping, "SECONDS", 0.3)
    await warm(db, 1)
    frozen = victim.freeze()

    assert await ask(db) == 1

    victim.thaw(frozen)


@pytest.mark.second_tier
async def test_a_half_open_connection_is_given_up_and_the_next_call_works(
    far: Database, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pre_ping, "SECONDS", 0.3)
    await warm(far)
    proxy.stall()

    with pytest.raises(ConnectError, match="did not answer within 2 seconds"):
        await ask(far)

    proxy.flow()
    assert await ask(far) == 1


async def test_a_connection_notices_that_the_other_end_is_gone(far: Database) -> None:
    """The operating system asks for it, so that a query does not wait for ever; a Unix socket has no such end."""
    async with far.engine.connect() as connection:
        raw = await connection.get_raw_connection()
        tcp = raw.driver_connection._transport.get_extra_info("socket")

        assert tcp.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == tcp_keepalive.IDLE


@pytest.mark.second_tier
async def test_a_query_on_a_half_open_connection_can_be_stopped(far: Database, proxy: Proxy) -> None:
    await warm(far, 1)
    query = asyncio.create_task(ask(far, "select pg_sleep(0.2)"))
    await asyncio.sleep(0.1)
    proxy.stall()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await query

    proxy.flow()
    assert await ask(far) == 1


async def test_a_connection_that_is_cut_in_a_query_is_one_error(far: Database, proxy: Proxy) -> None:
    query = asyncio.create_task(ask(far, "select pg_sleep(10)"))
    await asyncio.sleep(0.2)

    proxy.cut()

    with pytest.raises(DBAPIError, match="connection was closed in the middle of operation"):
        await query
    assert await ask(far) == 1


async def test_a_slow_network_is_only_slow(far: Database, proxy: Proxy) -> None:
    proxy.delay = 0.05

    assert await asyncio.gather(*(ask(far) for _ in range(3))) == [1, 1, 1]


async def test_bytes_that_are_not_the_protocol_are_an_error(far: Database, proxy: Proxy) -> None:
    await warm(far, 1)
    proxy.corrupt_after = 0

    with pytest.raises(ConnectError):
        await Database(far.url).engine.connect()

    proxy.corrupt_after = None
    assert await ask(far) == 1


async def test_a_full_server_says_so_and_works_when_it_is_not(victim: Victim) -> None:
    guest = victim.url.replace("postgres@", "guest@")
    async with Database(guest) as db:
        async with Database(guest, pool_size=10) as greedy:
            await warm(greedy, 10)
            with pytest.raises(ConnectError, match="no free connection"):
                await ask(db)

        assert await ask(db) == 1


async def test_a_transaction_that_the_server_gave_up_is_one_error(db: Database) -> None:
    """`idle_in_transaction_session_timeout`."""
    with pytest.raises(DBAPIError, match=r"closed|idle-in-transaction"):
        async with db.session() as session:
            await session.execute(text("set local idle_in_transaction_session_timeout = 50"))
            await asyncio.sleep(0.3)
            await session.execute(text("select 1"))

    assert await ask(db) == 1


async def test_a_begin_that_took_too_long_leaves_no_transaction_in_the_pool(far: Database, proxy: Proxy) -> None:
    """`command_timeout` raises no CancelledError, and SQLAlchemy keeps the connection."""
    arguments = {"command_timeout": 1}
    async with Database(far.url, pool_size=1, pool_pre_ping=False, connect_args=arguments) as db:
        await db.frame("select 1 as one")
        proxy.stall()
        with pytest.raises(TimeoutError):
            await db.frame("select 1 as one")
        proxy.flow()

        with contextlib.suppress(SQLAlchemyError):  # without a pre_ping, the pool finds out now that it has ended
            await ask(db)
        async with db.session() as session:
            assert await session.scalar(text("show transaction_read_only")) == "off"


@pytest.mark.second_tier
@pytest.mark.parametrize("how", ["refused", "swallowed"])
@pytest.mark.parametrize(
    "connection_class", [asyncpg.Connection, asyncpg_connection.Connection], ids=["asyncpg's", "ours"]
)
async def test_scenario_50_a_cancel_request_that_does_not_arrive_has_asyncpgs_deadline(
    far: Database, proxy: Proxy, how: str, connection_class: type[asyncpg.Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection is closed after `command_timeout`, not after the seconds that a graceful close may take."""
    for module in (asyncpg_connection, shielded, cancellable_transfers):
        monkeypatch.setattr(module, "SECONDS", 100 * HANG)
    url = f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres"
    connection = await asyncpg.connect(url, command_timeout=0.5, connection_class=connection_class)
    if how == "refused":
        proxy.refuse()
    else:
        proxy.swallows = True

    async with asyncio.timeout(HANG):
        with pytest.raises(TimeoutError):
            await connection.execute("select pg_sleep(3)")
        with pytest.raises((TimeoutError, asyncpg.InterfaceError)):
            await connection.execute("select 1")
        while not connection.is_closed():
            await asyncio.sleep(0.01)
        await connection.close()


@pytest.mark.parametrize("forgotten", [1, 2])
async def test_a_close_sends_a_forgotten_cancel_request_again(
    proxy: Proxy, victim: Victim, monkeypatch: pytest.MonkeyPatch, forgotten: int
) -> None:
    """A server that is between two messages takes one for nothing, and then begins with a long statement."""
    monkeypatch.setattr(asyncpg_connection, "_AGAIN_SECONDS", (0.1, 0.1, 60))
    connection = await asyncpg_connection.connect(f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres")
    query = asyncio.ensure_future(connection.fetch("select pg_sleep(3600)"))
    await until(lambda: victim.query("select 1 from pg_stat_activity where wait_event = 'PgSleep'"))
    proxy.forgets = forgotten

    connection.terminate()

    await asyncio.wait([query])
    assert isinstance(query.exception(), asyncpg.QueryCanceledError)
    await until(lambda: not victim.backends())
