"""Behind PgBouncer, in each mode: values are one's own, nothing leaks to other clients, Stop reaches the server."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from bouncer import KEEPS_PREPARED, Bouncer, Start, version_of
from server_checks import ServerWatch
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from asyncdb_nb import ConnectError, Database, LoopBoundPool, frame, session_scope
from asyncdb_nb.diagnostics import Level, examine

pytestmark = pytest.mark.keeps_connections  # PgBouncer's are not ended by us, and not as ours are

CLIENT = Path(__file__).with_name("client.py")
MANY = "select g, md5(g::text) as m from generate_series(1, 5000) g"


def run_two_clients(url: str, frames: int, **options: Any) -> list[str]:
    """What two processes at once report, each of which reads frames that hold its own letter."""
    processes = [
        subprocess.Popen(
            [sys.executable, str(CLIENT), url, letter, str(frames), repr(options)], stdout=subprocess.PIPE, text=True
        )
        for letter in "ab"
    ]
    return [process.communicate()[0].strip() for process in processes]


@pytest.mark.second_tier
def test_scenario_45_two_processes_read_their_own_values(bouncer: Bouncer) -> None:
    assert run_two_clients(bouncer.url, 100) == ["{'right': 100}"] * 2


@pytest.mark.second_tier
@pytest.mark.parametrize(
    "arguments",
    [
        {"statement_cache_size": 0},
        {"statement_cache_size": 0, "prepared_statement_cache_size": 0},
        {"statement_cache_size": 50, "prepared_statement_cache_size": 50},
    ],
    ids=["asyncpg keeps none", "nobody keeps any", "both keep some"],
)
def test_no_value_is_anothers_whatever_is_kept(forgetful: Bouncer, arguments: dict[str, int]) -> None:
    """Not even with caches, which are of no use there: a lost statement is prepared again."""
    assert run_two_clients(forgetful.url, 60, connect_args=arguments) == ["{'right': 60}"] * 2


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_thousand_frames_of_each_process_are_right(bouncer: Bouncer) -> None:
    assert run_two_clients(bouncer.url, 1000) == ["{'right': 1000}"] * 2


async def test_scenario_46_every_way_to_read_works(bouncer: Bouncer) -> None:
    async with Database(bouncer.url) as db:
        assert (await db.frame(MANY)).attrs["asyncdb"]["path"] == "copy"
        assert (await db.table(MANY)).num_rows == 5000
        assert [len(part) async for part in db.frames(MANY, rows=2000)] == [2000, 2000, 1000]
        for _ in range(3):
            assert (await db.frame("select :a::int as a", {"a": 7}))["a"].tolist() == [7]
        async with db.session() as session:
            await session.execute(text("create temporary table kept (mood text) on commit drop"))
            await session.execute(text("insert into kept values (:mood)"), [{"mood": "a"}, {"mood": "b"}])
            assert (await frame(session, "select * from kept order by 1"))["mood"].tolist() == ["a", "b"]
            streamed = await session.stream(text("select generate_series(1, 300)"))
            assert [row[0] async for row in streamed] == list(range(1, 301))


async def test_tasks_share_the_pool_and_keep_their_values(bouncer: Bouncer) -> None:
    """Sessions, frames, types that the driver has to ask for: each in four tasks at once."""

    async def work(number: int) -> None:
        for turn in range(5):
            async with db.session() as session:
                row = await session.execute(text("select cast(:n as int) as n"), {"n": number})
                assert row.scalar_one() == number
                asked = await frame(session, "select 'b'::bouncer_mood as mood, :n::int as n", {"n": turn})
            assert asked["n"].tolist() == [turn]
            assert (await db.frame(f"select {number} as n"))["n"].tolist() == [number]

    async with Database(bouncer.url) as db:
        async with db.session() as session:
            await session.execute(text("create type bouncer_mood as enum ('a', 'b')"))
        try:
            await asyncio.gather(*map(work, range(4)))
        finally:
            async with db.session() as session:
                await session.execute(text("drop type bouncer_mood"))


@pytest.mark.parametrize("poolclass", [LoopBoundPool, NullPool])
async def test_an_engine_without_a_database_object_works(bouncer: Bouncer, poolclass: Any) -> None:
    """With the pool, statements work as well; with another one, frames do."""
    engine = create_async_engine(make_url(bouncer.url).set(drivername="postgresql+asyncpg"), poolclass=poolclass)

    async def read(number: int) -> None:
        for _ in range(5):
            async with session_scope(engine) as session:
                assert (await frame(session, f"select {number} as n"))["n"].tolist() == [number]
                if poolclass is LoopBoundPool:
                    assert (await session.execute(text(f"select {number}"))).scalar_one() == number

    try:
        await asyncio.gather(*map(read, range(4)))
    finally:
        await engine.dispose()


async def test_what_a_session_sets_ends_with_it(start: Start, program: str | None) -> None:
    """On the one server connection that two clients share, nothing of the first is left for the second."""
    bouncer = start(program, "transaction", default_pool_size=1)
    asked = "select current_setting('statement_timeout'), current_setting('transaction_read_only'), "
    asked += "current_setting('client_min_messages')"

    async with Database(bouncer.url) as first, Database(bouncer.url) as second:
        async with first.session(readonly=True, timeout=3) as session:
            inside = (await session.execute(text(asked))).one()
        await first.frame(MANY)
        assert len([part async for part in first.frames(MANY, rows=5000)])
        async with second.session() as session:
            outside = (await session.execute(text(asked))).one()
            await session.execute(text("create temporary table written (a int) on commit drop"))

    assert inside == ("3s", "on", "notice")
    assert outside == ("0", "off", "notice")


async def test_a_timeout_ends_the_statement(bouncer: Bouncer) -> None:
    async with Database(bouncer.url) as db:
        with pytest.raises(DBAPIError, match="statement timeout"):
            async with db.session(timeout=0.2) as session:
                await session.execute(text("select pg_sleep(60)"))
        assert (await db.frame("select 1 as a"))["a"].tolist() == [1]


@pytest.mark.parametrize("statement", ["select pg_sleep(60)", f"{MANY}, pg_sleep(0.1)"], ids=["asleep", "copying"])
async def test_a_cancelled_query_ends_on_the_server(
    bouncer: Bouncer, clean_server: ServerWatch, statement: str
) -> None:
    """The CancelRequest goes through the pooler."""

    def running() -> bool:
        return any(one.state == "active" and "pg_sleep" in one.query for one in clean_server.backends())

    async with Database(bouncer.url) as db, asyncio.timeout(60):
        reading = asyncio.ensure_future(db.frame(statement))
        while not running():
            await asyncio.sleep(0.01)

        reading.cancel()
        await asyncio.wait([reading])

        while running():
            await asyncio.sleep(0.01)
        assert (await db.frame("select 1 as a"))["a"].tolist() == [1]


async def test_statement_mode_is_refused_with_what_to_set(start: Start, program: str | None) -> None:
    """Sessions need transactions; statements of an AUTOCOMMIT engine do not."""
    bouncer = start(program, "statement")

    async with Database(bouncer.url) as db:
        for attempt in (db.frame("select 1"), _session(db)):
            with pytest.raises(DBAPIError) as caught:
                await attempt
            assert "Set pool_mode = transaction" in "".join(caught.value.__notes__)
        diagnosis = await examine(db)
    async with Database(bouncer.url, isolation_level="AUTOCOMMIT") as db, db.session() as session:
        for _ in range(3):
            assert (await frame(session, "select 1 as a"))["a"].tolist() == [1]

    assert [one for one in diagnosis.findings if "pool_mode = transaction" in one.advice]


async def _session(db: Database) -> None:
    async with db.session() as session:
        await session.execute(text("select 1"))


async def test_a_setting_that_it_does_not_take_is_named(start: Start, program: str | None) -> None:
    bouncer = start(program, "transaction")

    for settings in ({"statement_timeout": "1s"}, {"options": "-c statement_timeout=1s"}):
        async with Database(bouncer.url, connect_args={"server_settings": settings}) as db:
            with pytest.raises(ConnectError, match=r"ignore_startup_parameters.*db.session\(timeout="):
                await db.frame("select 1")


async def test_statements_that_are_kept_in_vain_are_explained(forgetful: Bouncer) -> None:
    """Where somebody switched the caches on, the error says what to set, and doctor says it before."""
    kept = {"statement_cache_size": 50, "prepared_statement_cache_size": 50}

    async with Database(forgetful.url, connect_args=kept) as db:
        diagnosis = await examine(db)
        with pytest.raises(DBAPIError, match="does not exist") as caught:
            await _use_two_server_connections(db)

    assert '"statement_cache_size": 0' in "".join(caught.value.__notes__)
    assert [one for one in diagnosis.findings if one.level is Level.WRONG and '"statement_cache_size": 0' in one.advice]


async def _use_two_server_connections(db: Database) -> None:
    """Run a statement in transactions of one connection, while others take its server connections away."""
    async with AsyncExitStack() as others, db.engine.connect() as one:
        for _ in range(5):
            await one.execute(text("select 'kept'"))
            await one.rollback()
            other = await others.enter_async_context(db.engine.connect())
            await other.execute(text("select 'other'"))


async def test_doctor_names_the_pooler(bouncer: Bouncer) -> None:
    async with Database(bouncer.url) as db:
        diagnosis = await examine(db)

    assert diagnosis.ok
    assert [one.fact for one in diagnosis.findings if "A pooler" in one.fact]


async def test_doctor_finds_caches_in_order_where_they_work(bouncer: Bouncer, configuration: Any) -> None:
    program, mode, settings = configuration
    kept = {"statement_cache_size": 50, "prepared_statement_cache_size": 50}

    async with Database(bouncer.url, connect_args=kept) as db:
        diagnosis = await examine(db)

    assert diagnosis.ok is (mode == "session" or (not settings and version_of(program) >= KEEPS_PREPARED))


async def test_a_snapshot_is_kept_and_read_in_parallel(bouncer: Bouncer) -> None:
    """A transaction keeps its server connection in every mode that has transactions, and so does the exporting one."""
    async with Database(bouncer.url) as db:
        async with db.session() as session:
            await session.execute(text("create table kept as select g as id from generate_series(1, 5000) g"))
        async with db.snapshot("kept") as snap:
            async with db.session() as session:
                await session.execute(text("delete from kept"))
            found = []
            for part in await snap.blocks("kept", 3):
                async with snap.session() as session:
                    found += (await frame(session, part))["id"].tolist()
        async with db.session() as session:
            await session.execute(text("insert into kept select g from generate_series(1, 5000) g"))
        several = await db.frame("kept", parallel=3, key="id")
        async with db.session() as session:
            await session.execute(text("drop table kept"))

    assert found == list(range(1, 5001))
    assert several["id"].tolist() == found
