"""Sessions on one snapshot see one moment, for as long as it is kept, and not a moment longer."""

from __future__ import annotations

import asyncio
import pickle
import threading
from collections.abc import Callable
from subprocess import CompletedProcess
from typing import Any

import psycopg
import pytest
from server_checks import SECRET, ServerWatch
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.pool import NullPool
from waiting import until

from asyncdb_nb import Database, SnapshotGoneError, UnknownTableError, UnsplittableError, frame
from asyncdb_nb.database.snapshot import Snapshot

COUNT = "select count(*) as n from things"


async def make(db: Database, *statements: str) -> None:
    async with db.session() as session:
        for statement in statements:
            await session.execute(text(statement))


@pytest.fixture
async def things(db: Database) -> Database:
    await make(db, "create table things as select g as id from generate_series(1, 100) g")
    return db


async def count(snap: Snapshot) -> int:
    async with snap.session() as session:
        return int((await frame(session, COUNT))["n"].iloc[0])


def exporters(watch: ServerWatch) -> list[Any]:
    return [one for one in watch.backends() if one.state == "idle in transaction"]


async def test_sessions_see_what_was_there_when_it_was_taken(things: Database) -> None:
    async with things.snapshot("things") as snap:
        await make(things, "delete from things where id > 50", "insert into things values (1000)")
        found = await asyncio.gather(*(count(snap) for _ in range(3)))

    assert found == [100] * 3
    assert (await things.frame(COUNT))["n"].tolist() == [51]


async def test_each_transaction_of_a_session_sees_it_and_none_can_write(things: Database) -> None:
    async with things.snapshot("things") as snap, snap.session() as session:
        await make(things, "delete from things")
        first = await session.scalar(text("select count(*) from things"))
        await session.commit()
        second = await session.scalar(text("select count(*) from things"))
        with pytest.raises(DBAPIError, match="read-only transaction"):
            await session.execute(text("insert into things values (1)"))
        await session.rollback()
        with pytest.raises(DBAPIError, match="read-write mode must be set before any query"):
            await session.execute(text("set transaction read write"))

    assert (first, second) == (100, 100)


async def test_a_savepoint_of_its_session_is_on_it(things: Database) -> None:
    async with things.snapshot("things") as snap, snap.session() as session:
        await make(things, "delete from things")
        async with session.begin_nested():
            assert await session.scalar(text("select count(*) from things")) == 100

        plan = await things.explain("select * from things", analyze=True, session=session)

        assert plan.frame()["actual_rows"].tolist() == [100]


async def test_it_is_read_on_another_loop_in_another_thread(things: Database) -> None:
    found: list[int] = []
    async with things.snapshot("things") as snap:
        await make(things, "delete from things")
        thread = threading.Thread(target=lambda: found.append(asyncio.run(count(snap))))
        thread.start()
        await asyncio.to_thread(thread.join)

    assert found == [100]


async def test_another_process_reads_it_from_a_pickle(
    things: Database, run_script: Callable[..., CompletedProcess[str]]
) -> None:
    async with things.snapshot("things") as snap:
        await make(things, "delete from things")
        code = f"""
import asyncio, pickle
from asyncdb_nb import frame
snap = pickle.loads({pickle.dumps(snap)!r})
async def main():
    async with snap.session() as session:
        print((await frame(session, {COUNT!r}))["n"].iloc[0], await snap.blocks("things", 1))
    await snap.database.aclose()
asyncio.run(main())
"""
        done = await asyncio.to_thread(run_script, code)

    assert done.stdout.startswith('100 ["select * from only public.things where')


@pytest.mark.second_tier
async def test_no_password_is_in_the_pickle_and_the_other_side_finds_its_own(
    guest_url: str, things: Database, run_script: Callable[..., CompletedProcess[str]]
) -> None:
    database = things.url.database
    await make(things, "grant select on things to guest")
    url = guest_url.replace("/tests", f"/{database}")
    async with Database(url, connect_args={"password": SECRET}) as db, db.snapshot("things") as snap:
        pickled = pickle.dumps(snap)
        code = f"""
import asyncio, pickle
snap = pickle.loads({pickled!r})
async def main():
    async with snap.session():
        print("in")
    await snap.database.aclose()
asyncio.run(main())
"""
        let_in = await asyncio.to_thread(run_script, code, env={"PGPASSWORD": SECRET})
        refused = await asyncio.to_thread(run_script, code, clean=False)

    assert SECRET.encode() not in pickled
    assert let_in.stdout == "in\n"
    assert "ConnectError" in refused.stderr
    assert "password" in refused.stderr.splitlines()[-1]


async def test_it_ends_with_the_block(things: Database, clean_server: ServerWatch) -> None:
    async with things.snapshot("things") as snap:
        assert len(exporters(clean_server)) == 1

    assert not exporters(clean_server)
    with pytest.raises(SnapshotGoneError, match=snap.identifier):
        await count(snap)
    assert things.engine.pool.checkedout() == 0  # type: ignore[attr-defined]


async def test_it_ends_with_the_block_that_fails_or_is_cancelled(things: Database, clean_server: ServerWatch) -> None:
    inside = asyncio.Event()

    async def keep() -> None:
        async with things.snapshot("things"):
            inside.set()
            await asyncio.Event().wait()

    keeping = asyncio.create_task(keep())
    await inside.wait()
    keeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await keeping
    with pytest.raises(ZeroDivisionError):
        async with things.snapshot("things"):
            1 / 0  # noqa: B018

    assert not exporters(clean_server)
    assert things.engine.pool.checkedout() == 0  # type: ignore[attr-defined]


async def test_an_exporter_that_was_ended_is_told_to_readers_and_at_the_end(
    things: Database, clean_server: ServerWatch
) -> None:
    """A session that is open already goes on: it has the snapshot itself."""
    with pytest.raises(SnapshotGoneError) as at_the_end:
        async with things.snapshot("things") as snap, snap.session() as session:
            [exporter] = [
                one for one in exporters(clean_server) if "pg_locks" in one.query or "pg_inherits" in one.query
            ]
            clean_server.query("select pg_terminate_backend(%s, 5000)", exporter.pid)
            with pytest.raises(SnapshotGoneError, match=r"Take another one: `async with db\.snapshot"):
                await count(snap)
            assert await session.scalar(text("select count(*) from things")) == 100

    assert at_the_end.value.identifier == snap.identifier
    assert things.engine.pool.checkedout() == 0  # type: ignore[attr-defined]


async def test_a_snapshot_of_another_server_is_not_read(things: Database) -> None:
    """One of the same name: it is told apart by when the server was started."""
    async with things.snapshot("things") as snap:
        other = Snapshot(
            things,
            snap.identifier,
            snap.tables,
            snap.server.replace(microsecond=snap.server.microsecond ^ 1),
            snap.locked,
        )
        with pytest.raises(SnapshotGoneError):
            await count(other)

    assert things.engine.pool.checkedout() == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "change",
    ["truncate things", "vacuum full things", "alter table things alter id type int8", "drop table things"],
)
async def test_what_respects_no_snapshot_waits_for_it(things: Database, fresh_database_url: str, change: str) -> None:
    async with things.snapshot("things") as snap:
        with psycopg.connect(fresh_database_url, autocommit=True) as other:
            other.execute("set lock_timeout = '50ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                other.execute(change)
        assert await count(snap) == 100


async def test_without_the_lock_a_truncated_table_is_empty_in_an_older_snapshot(things: Database) -> None:
    """Which is why `blocks` refuses a table that was not named."""
    async with things.snapshot() as snap:
        await make(things, "truncate things")
        assert await count(snap) == 0
        with pytest.raises(UnsplittableError, match=r'Name it: `db\.snapshot\("things"\)`'):
            await snap.blocks("things", 2)


async def test_a_lock_is_never_missing_between_exporter_and_reader(
    things: Database, fresh_database_url: str, clean_server: ServerWatch
) -> None:
    """A table that was truncated after its exporter died is not read as empty: the reader locks it first."""
    with pytest.raises(SnapshotGoneError):
        async with things.snapshot("things") as snap:
            [exporter] = exporters(clean_server)
            clean_server.query("select pg_terminate_backend(%s, 5000)", exporter.pid)
            await make(things, "truncate things")
            with pytest.raises(SnapshotGoneError):
                await count(snap)
            await make(things, "drop table things")
            with pytest.raises(SnapshotGoneError):
                await count(snap)


async def test_timeouts_of_idle_and_long_transactions_do_not_end_it(fresh_database_url: str) -> None:
    settings = {"idle_in_transaction_session_timeout": "50ms", "transaction_timeout": "500ms"}
    async with Database(fresh_database_url, connect_args={"server_settings": settings}) as db, db.snapshot() as snap:
        with psycopg.connect(fresh_database_url) as other:
            other.execute("select pg_sleep(1)")
        async with snap.session() as session:
            assert await session.scalar(text("show idle_in_transaction_session_timeout")) == "50ms"


async def test_a_session_has_a_timeout_for_its_statements(things: Database) -> None:
    async with things.snapshot() as snap:
        with pytest.raises(DBAPIError, match="statement timeout"):
            async with snap.session(timeout=0.05) as session:
                await session.execute(text("select pg_sleep(100)"))


async def test_it_is_taken_of_the_users_own_session_class(fresh_database_url: str) -> None:
    class Mine(AsyncSession):
        pass

    async with Database(fresh_database_url, Mine) as db, db.snapshot() as snap, snap.session() as session:
        assert isinstance(session, Mine)


@pytest.mark.parametrize("options", [{"isolation_level": "AUTOCOMMIT"}, {"poolclass": NullPool}], ids=str)
async def test_engines_of_all_kinds_take_part(fresh_database_url: str, options: dict[str, Any]) -> None:
    async with Database(fresh_database_url, **options) as db:
        await make(db, "create table things as select 1 as id")
        async with db.snapshot("things") as snap:
            await make(db, "delete from things")
            assert await count(snap) == 1


@pytest.mark.parametrize("name", ['Weird "Name"', "müll; drop table x", "n" * 63, "select"])
async def test_hostile_names_are_quoted(db: Database, name: str) -> None:
    quoted = '"' + name.replace('"', '""') + '"'
    await make(db, f"create schema {quoted}", f"create table {quoted}.{quoted} as select 1 as id")
    async with db.snapshot(f"{name}.{name}") as snap, snap.session() as session:
        [statement] = await snap.blocks(f"{name}.{name}", 1)
        assert (await frame(session, statement))["id"].tolist() == [1]


async def test_a_table_that_is_not_there_is_named_with_its_neighbours(things: Database) -> None:
    with pytest.raises(UnknownTableError, match="Did you mean things"):
        async with things.snapshot("thigns"):
            pass


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("create materialized view odd as select 1 as id", "materialized view"),
        ("create foreign data wrapper w; create server s foreign data wrapper w; "
         "create foreign table odd (id int) server s", "foreign table"),
    ],
    ids=["materialized view", "foreign table"],
)  # fmt: skip
async def test_what_cannot_be_locked_is_refused_with_the_reason(db: Database, statement: str, reason: str) -> None:
    await make(db, *statement.split("; "))
    with pytest.raises(UnsplittableError, match=reason):
        async with db.snapshot("odd"):
            pass


async def test_a_snapshot_says_how_to_open_it(db: Database) -> None:
    with pytest.raises(TypeError, match=r"async with db\.snapshot"), db.snapshot():
        pass
    with pytest.raises(TypeError, match="got 7"):
        db.snapshot(7)  # type: ignore[arg-type]


async def test_taking_it_can_be_cancelled_while_it_waits_for_a_lock(things: Database, fresh_database_url: str) -> None:
    async def take() -> None:
        async with things.snapshot("things"):
            pass

    with psycopg.connect(fresh_database_url) as other:
        other.execute("lock table things in access exclusive mode")
        taking = asyncio.create_task(take())
        waiting = "select count(*) from pg_locks where not granted and relation = 'things'::regclass"
        with psycopg.connect(fresh_database_url, autocommit=True) as watch:
            await until(lambda: watch.execute(waiting).fetchone() == (1,))
            taking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await taking
            await until(lambda: watch.execute(waiting).fetchone() == (0,))

    assert things.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
