"""A frame that several connections read is the frame that one gives, in a stated order, or one clear error."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pandas as pd
import psycopg
import pytest
from bank import ACCOUNTS, EACH, LIVELY, busy_bank
from entries import Entry, Level
from pandas.testing import assert_frame_equal
from server_checks import ServerWatch
from sqlalchemy import event, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import ORMExecuteState, Session, with_loader_criteria
from tiers import few_of
from waiting import until

from asyncdb_nb import Database, FrameError, TooManyRowsError, UnsplittableError, session_scope
from asyncdb_nb.database import parallel
from asyncdb_nb.dataframes.query import progress

MANY = """create table many as select g as id, g * 7919::int8 as big, 'name ' || g as name,
    nullif(g % 5, 0)::int2 as few, (g * 1.25)::numeric(12, 2) as cost, g / 3.0::float8 as ratio, g % 2 = 0 as ok,
    timestamptz '2024-01-01' + g * interval '1.5 s' as at, md5(g::text)::uuid as code,
    jsonb_build_object('g', g) as data, array[g, null] as list, date '2024-01-01' + g % 1000 as day,
    interval '1 month' * (g % 5) as took from generate_series(1, 20000) g"""

NAP = """create function nap(seconds float8) returns text stable language plpgsql as
    'begin perform pg_sleep(seconds); return 1; end'"""


async def make(db: Database, *statements: str) -> None:
    async with db.session() as session:
        for statement in statements:
            await session.execute(text(statement.replace(":", r"\:")))


@pytest.fixture
async def many(db: Database) -> Database:
    await make(db, MANY, NAP)
    return db


@pytest.fixture
async def far_many(database_url: str, far_database_url: str) -> AsyncIterator[Database]:
    """A tenth of that table, 100 ms away."""
    async with Database(database_url) as near:
        await make(near, MANY.replace("20000", "2000"))
        async with Database(far_database_url) as far:
            yield far
        await make(near, "drop table many")


def in_use(db: Database) -> int:
    return int(db.engine.pool.checkedout())  # type: ignore[attr-defined]


@pytest.mark.parametrize("n", few_of([2, 1, 5], 1))
@pytest.mark.parametrize("backend", few_of([None, "pyarrow"], 1))
async def test_a_whole_table_is_the_frame_that_one_connection_gives(many: Database, n: int, backend: Any) -> None:
    """All types, values, dtypes, and the order in which the rows lie on disk."""
    one = await many.frame("select * from many order by ctid", dtype_backend=backend)
    several = await many.frame("many", parallel=n, dtype_backend=backend)

    assert_frame_equal(several, one)
    report = several.attrs["asyncdb"]
    assert (report["rows"], report["path"], report["parallel"], report["truncated"]) == (20_000, "copy", n, False)


@pytest.mark.second_tier
@pytest.mark.parametrize(
    "statement", ["many", "public.many", '"many"', "table many", "select * from many", "SELECT * FROM public.MANY ;"]
)
async def test_a_whole_table_is_named_as_one_types_it(many: Database, statement: str) -> None:
    assert len(await many.frame(statement, parallel=2)) == 20_000


async def test_a_statement_is_cut_by_its_key_and_in_its_order(many: Database) -> None:
    statement, values = "select id, name, cost from many where id > :low and name <> ':low'", {"low": 500}
    one = await many.frame(statement + " order by id", values)

    assert_frame_equal(await many.frame(statement, values, parallel=3, key="id"), one)
    assert_frame_equal(pd.concat([part async for part in many.frames(statement, values, parallel=3, key="id")]), one)
    by_few = await many.frame("many", parallel=3, key="few")
    assert by_few["few"].dropna().is_monotonic_increasing
    assert by_few["few"].isna().to_numpy().nonzero()[0].tolist() == list(range(16_000, 20_000))
    assert sorted(by_few["id"]) == list(range(1, 20_001))


@pytest.mark.second_tier
async def test_an_arrow_table_is_the_same(many: Database) -> None:
    one, several = await many.table("select * from many order by ctid"), await many.table("many", parallel=3)

    assert several.equals(one)
    assert several.schema.equals(one.schema)


@pytest.mark.second_tier
async def test_parts_of_a_stream_come_in_order_and_in_the_size_that_was_asked_for(
    many: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "PART", 100_000)
    one = await many.frame("select * from many order by ctid")
    parts = [part async for part in many.frames("many", parallel=2, rows=3_000)]

    assert [len(part) for part in parts] == [3_000] * 6 + [2_000]
    assert_frame_equal(pd.concat(parts, ignore_index=True), one)
    assert all(part.index[0] == 0 for part in parts)


@pytest.mark.parametrize("rows", [1, 10_000, 20_000])
async def test_the_last_part_of_a_stream_has_the_rest_and_is_not_empty(many: Database, rows: int) -> None:
    await make(many, "delete from many where id > 20") if rows == 1 else None
    total = 20 if rows == 1 else 20_000

    assert [len(part) async for part in many.frames("many", parallel=2, rows=rows)] == [rows] * (total // rows)


async def test_an_empty_table_has_its_columns(many: Database) -> None:
    dtypes = (await many.frame("select * from many limit 1")).dtypes
    await make(many, "delete from many")

    assert (await many.frame("many", parallel=3)).dtypes.equals(dtypes)
    assert (await many.frame("many", parallel=3, key="id")).dtypes.equals(dtypes)
    [part] = [part async for part in many.frames("many", parallel=3)]
    assert part.dtypes.equals(dtypes)


@pytest.mark.parametrize("kind", ["plain", "partitioned"])
async def test_scenario_80_beside_four_writers_every_read_is_of_one_moment(fresh_database_url: str, kind: str) -> None:
    """Number and sum of the accounts never change, whichever way they are read."""
    async with Database(fresh_database_url) as db, busy_bank(fresh_database_url, kind) as bank:
        for options in ({"parallel": 4}, {"parallel": 2, "key": "id"}, {"parallel": 3, "key": "amount"}) * 2:
            frame = await db.frame("bank", **options)
            assert is_right(frame), (kind, options)
        stream = [part async for part in db.frames("bank", parallel=3, rows=700)]
        assert is_right(pd.concat(stream))

    assert bank.transactions > 0


async def test_beside_four_writers_reads_of_different_moments_are_wrong(fresh_database_url: str) -> None:
    """The check fails without the snapshot: the same parts, read by sessions with snapshots of their own."""
    wrong = 0
    async with Database(fresh_database_url) as db, busy_bank(fresh_database_url, "plain"):
        while not wrong:
            async with db.snapshot("bank") as snap:
                parts = await snap.blocks("bank", 5)
            frames = [await db.frame(part) for part in parts]
            wrong += not is_right(pd.concat(frames))

    assert wrong


def is_right(frame: pd.DataFrame) -> bool:
    number = ACCOUNTS + LIVELY
    return (len(frame), frame["id"].nunique(), frame["amount"].sum()) == (number, number, number * EACH)


@pytest.mark.soak
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("kind", ["plain", "partitioned"])
async def test_two_hundred_reads_beside_four_writers(fresh_database_url: str, kind: str) -> None:
    """By blocks and by ranges. Some are read again without the shared snapshot, and some of these are wrong."""
    wrong = 0
    async with Database(fresh_database_url) as db, busy_bank(fresh_database_url, kind) as bank:
        for number in range(200):
            options = [{"parallel": 4}, {"parallel": 3, "key": "id"}][number % 2]
            assert is_right(await db.frame("bank", **options)), (number, options, bank.transactions)
            if number % 10 < 2:
                async with db.snapshot("bank") as snap:
                    statement = "select * from bank"
                    parts = await (snap.ranges(statement, "id", 5) if "key" in options else snap.blocks("bank", 5))
                wrong += not is_right(pd.concat([await db.frame(part) for part in parts]))
    assert wrong
    assert bank.transactions > 100


async def test_the_session_class_of_the_user_filters_each_part(fresh_database_url: str) -> None:
    class Tenant(Session):
        pass

    @event.listens_for(Tenant, "do_orm_execute")
    def only_a(state: ORMExecuteState) -> None:
        state.statement = state.statement.options(with_loader_criteria(Entry, Entry.tenant == "a"))

    async with Database(fresh_database_url) as db, db.session() as session:
        await (await session.connection()).run_sync(Entry.metadata.create_all)
        session.add_all([Entry(id=g, tenant="ab"[g % 2], level=Level.LOW, secret=f"x{g}") for g in range(1, 41)])
    async with Database(fresh_database_url, Tenant) as db:
        one = await db.frame(select(Entry).order_by(Entry.id))
        several = await db.frame(select(Entry), parallel=3, key="id")

    assert len(one) == 20
    assert_frame_equal(several, one)


@pytest.mark.parametrize("kind", ["entities", "columns"])
async def test_options_of_a_select_hold_for_each_part(db: Database, kind: str) -> None:
    """Its criteria, and those of execution: another schema, say, or how SQLAlchemy itself would fetch."""
    await make(db, "create schema other")
    async with session_scope(db.engine.execution_options(schema_translate_map={None: "other"})) as session:
        await (await session.connection()).run_sync(Entry.metadata.create_all)
        session.add_all([Entry(id=g, tenant="ab"[g % 2]) for g in range(1, 41)])
    chosen = select(Entry) if kind == "entities" else select(Entry.id, Entry.tenant)
    statement = chosen.options(with_loader_criteria(Entry, Entry.tenant == "a")).execution_options(
        schema_translate_map={None: "other"}, stream_results=True, yield_per=5
    )

    one = await db.frame(statement.order_by(Entry.id))
    several = await db.frame(statement, parallel=3, key="id")

    assert len(one) == 20
    assert_frame_equal(several, one)


@pytest.mark.second_tier
async def test_max_rows_holds_for_the_whole(many: Database) -> None:
    assert len(await many.frame("many", parallel=3, max_rows=20_000)) == 20_000
    with pytest.raises(TooManyRowsError):
        await many.frame("many", parallel=3, max_rows=19_999)
    first = await many.frame("many", parallel=3, max_rows=12_000, truncate=True)

    assert first["id"].tolist() == list(range(1, 12_001))
    assert first.attrs["asyncdb"]["truncated"]
    alone = await many.frame("many", parallel=1, max_rows=10, truncate=True)
    assert (len(alone), alone.attrs["asyncdb"]["truncated"]) == (10, True)
    assert in_use(many) == 0


async def test_the_error_of_one_part_is_the_error_and_ends_the_others(
    many: Database, clean_server: ServerWatch
) -> None:
    """The others would sleep for minutes."""
    statement = "select id, case when id >= 13334 then (1 / (id - id))::text else nap(100) end as x from many"
    with pytest.raises(DBAPIError, match="division by zero"):
        await many.frame(statement, parallel=3, key="id")

    assert in_use(many) == 0
    assert not [one for one in clean_server.backends() if one.state != "idle"]


async def test_the_part_that_fails_may_be_the_first_one_of_a_stream(many: Database, clean_server: ServerWatch) -> None:
    statement = "select id, case when id < 5 then (1 / (id - id))::text else nap(100) end as x from many"
    with pytest.raises(DBAPIError, match="division by zero"):
        async for _ in many.frames(statement, parallel=3, key="id"):
            pass

    assert in_use(many) == 0
    assert not [one for one in clean_server.backends() if one.state != "idle"]


async def test_a_connection_that_is_lost_while_it_reads_is_replaced(
    many: Database, fresh_database_url: str, clean_server: ServerWatch
) -> None:
    """Another one sees the same rows: those of before the writes that were committed meanwhile."""
    await make(
        many,
        """create function pass(id int) returns bool stable language plpgsql as
        'begin if id % 5000 = 0 then perform pg_advisory_xact_lock_shared(17); end if; return true; end'""",
    )
    statement = "select id, name, pass(id) as passed from many"
    one = await many.frame(f"{statement} order by id")

    def waiting() -> set[int]:
        return {each.pid for each in clean_server.backends() if "pass(id)" in each.query and each.state == "active"}

    async with await psycopg.AsyncConnection.connect(fresh_database_url, autocommit=True) as holder:
        await holder.execute("select pg_advisory_lock(17)")
        reading = asyncio.create_task(many.frame(statement, parallel=3, key="id"))
        await until(lambda: len(waiting()) == 3)
        await holder.execute("update many set name = 'other'")
        [lost, *_] = before = waiting()
        clean_server.query("select pg_terminate_backend(%s, 60000)", lost)
        await until(lambda: len(waiting()) == 3 and waiting() != before)
        await holder.execute("select pg_advisory_unlock(17)")
        several = await reading

    assert_frame_equal(several, one)
    assert in_use(many) == 0


@pytest.mark.parametrize("times", [1, 2], ids=["once", "again and again"])
async def test_a_connection_that_is_lost_when_all_is_read_is_replaced_once(
    many: Database, clean_server: ServerWatch, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """A commit that fails is an error, although nothing was written: it may be the snapshot that has ended."""
    lost = 0

    async def read(session: Any, *args: Any, **options: Any) -> Any:
        nonlocal lost
        rows = await original(session, *args, **options)
        if lost < times:
            lost += 1
            pid = await session.scalar(text("select pg_backend_pid()"))
            clean_server.query("select pg_terminate_backend(%s, 60000)", pid)
        return rows

    original = parallel._read
    monkeypatch.setattr(parallel, "_read", read)
    reading = many.frame("many", parallel=1)
    if times == 1:
        assert len(await reading) == 20_000
    else:
        with pytest.raises(DBAPIError):
            await reading

    assert lost == times
    assert in_use(many) == 0


@pytest.mark.parametrize("stream", [False, True], ids=["frame", "frames"])
async def test_a_cancelled_read_gives_all_connections_back_and_ends_the_snapshot(
    many: Database, clean_server: ServerWatch, stream: bool
) -> None:
    statement = "select id, nap(100) from many"

    async def read() -> None:
        if stream:
            async for _ in many.frames(statement, parallel=3, key="id"):
                pass
        await many.frame(statement, parallel=3, key="id")

    reading = asyncio.create_task(read())
    await until(lambda: sum("nap" in one.query for one in clean_server.backends() if one.state == "active") == 3)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading

    assert in_use(many) == 0
    await until(lambda: not [one for one in clean_server.backends() if one.state != "idle"])


async def test_a_stream_that_is_left_early_gives_all_back(
    many: Database, clean_server: ServerWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "PART", 100_000)
    async with aclosing(many.frames("many", parallel=3, rows=100)) as parts:
        async for part in parts:
            assert len(part) == 100
            break

    assert in_use(many) == 0
    assert not [one for one in clean_server.backends() if one.state != "idle"]


@pytest.mark.second_tier
async def test_cancels_at_any_moment_leave_nothing(many: Database, clean_server: ServerWatch) -> None:
    await cancel_at_many_moments(many, clean_server, 30)


@pytest.mark.soak
@pytest.mark.timeout(3_600)
async def test_five_hundred_cancels_leave_nothing(many: Database, clean_server: ServerWatch) -> None:
    await cancel_at_many_moments(many, clean_server, 500)


@pytest.mark.second_tier
async def test_cancels_over_a_slow_link_leave_nothing(far_many: Database, clean_server: ServerWatch) -> None:
    await cancel_after_random_times(far_many, clean_server, 8)


@pytest.mark.soak
@pytest.mark.timeout(3_600)
async def test_five_hundred_cancels_over_a_slow_link_leave_nothing(
    far_many: Database, clean_server: ServerWatch
) -> None:
    await cancel_after_random_times(far_many, clean_server, 500)


async def cancel_after_random_times(db: Database, watch: ServerWatch, number: int) -> None:
    """Cancel after a part of the time that a whole read takes."""
    chance, begun = random.Random(7), time.monotonic()
    assert len(await db.frame("many", parallel=3)) == 2_000
    whole, cancelled = time.monotonic() - begun, 0
    for turn in range(number):
        options: dict[str, Any] = [{"parallel": 3}, {"parallel": 2, "key": "id"}][turn % 2]
        reading = asyncio.create_task(db.frame("many", **options))
        await asyncio.wait([reading], timeout=chance.random() * whole)
        reading.cancel()
        try:
            await reading
        except asyncio.CancelledError:
            cancelled += 1
        assert in_use(db) == 0
    await until(lambda: not [one for one in watch.backends() if one.state not in ("idle", None)])
    assert cancelled
    assert len(await db.frame("many", parallel=3)) == 2_000


async def cancel_at_many_moments(db: Database, watch: ServerWatch, number: int) -> None:
    """Cancel after so many steps of the loop, from none to those of a whole read."""
    steps, whole = 0, asyncio.create_task(db.frame("many", parallel=3))
    while not whole.done():
        steps += 1
        await asyncio.sleep(0)
    cancelled = 0
    for turn in range(number):
        options: dict[str, Any] = [{"parallel": 3}, {"parallel": 2, "key": "id"}][turn % 2]
        reading = asyncio.create_task(db.frame("many", **options))
        for _ in range(steps * turn // number):
            await asyncio.sleep(0)
        reading.cancel()
        try:
            await reading
        except asyncio.CancelledError:
            cancelled += 1
        assert in_use(db) == 0
    await until(lambda: not [one for one in watch.backends() if one.state != "idle"])
    assert cancelled > number // 2
    assert len(await db.frame("many", parallel=3)) == 20_000


async def test_the_number_of_connections_is_bounded_by_the_pool(fresh_database_url: str) -> None:
    async with Database(fresh_database_url, pool_size=2, max_overflow=1) as db:
        await make(db, "create table few as select 1 as id")
        with pytest.raises(
            FrameError, match=r"the pool has 3 a loop .* Type parallel=2, or `connect\(..., pool_size=4\)`"
        ):
            db.frame("few", parallel=3)
        assert len(await db.frame("few", parallel=2)) == 1
    async with Database(fresh_database_url, pool_size=2, max_overflow=-1) as db:
        assert len(await db.frame("few", parallel=50)) == 1


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"parallel": 0}, "parallel=0"),
        ({"parallel": True}, "parallel=True"),
        ({"parallel": 2.0}, "parallel=2.0"),
        ({"key": "id"}, "Say how many: `parallel=2`"),
    ],
)
async def test_what_is_no_number_of_connections_is_refused_at_the_call(
    db: Database, arguments: dict[str, Any], reason: str
) -> None:
    with pytest.raises(FrameError, match=reason):
        db.frame("many", **arguments)
    with pytest.raises(FrameError, match=reason):
        db.frames("many", **arguments)


async def test_a_statement_without_a_key_is_refused_at_the_call(db: Database) -> None:
    for statement in ("select id from many", "select * from a, b", "select * from a join b using (id)", select(Entry)):
        with pytest.raises(UnsplittableError, match="key="):
            db.frame(statement, parallel=2)
    with pytest.raises(FrameError, match="no option 'paralel'"):
        db.frame("many", paralel=2)


async def test_a_view_is_refused_with_the_reason_and_can_be_cut_by_a_column(many: Database) -> None:
    await make(many, "create view seen as select id from many")
    with pytest.raises(UnsplittableError, match=r"public\.seen is a view"):
        await many.frame("seen", parallel=2)

    assert (await many.frame("seen", parallel=2, key="id"))["id"].tolist() == list(range(1, 20_001))
    assert in_use(many) == 0


@pytest.mark.second_tier
async def test_a_scan_that_starts_elsewhere_changes_no_order(many: Database, fresh_database_url: str) -> None:
    """Plain scans of a large table start where another one is (`synchronize_seqscans`); ranges do not."""
    async with Database(fresh_database_url, connect_args={"server_settings": {"enable_tidscan": "off"}}) as db:
        frames = await asyncio.gather(*(db.frame("many", parallel=2) for _ in range(3)))

    assert all(frame["id"].tolist() == list(range(1, 20_001)) for frame in frames)


@pytest.mark.second_tier
async def test_many_reads_at_once_share_the_pool(fresh_database_url: str) -> None:
    async with Database(fresh_database_url, pool_size=5, max_overflow=5) as db:
        await make(db, MANY)
        frames = await asyncio.gather(*(db.frame("many", parallel=4) for _ in range(4)))

    assert [len(frame) for frame in frames] == [20_000] * 4


@pytest.mark.second_tier
async def test_one_bar_shows_the_rows_of_all_parts(
    many: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "is_watched", lambda: True)
    monkeypatch.setattr(progress, "PATIENCE", 0)
    monkeypatch.setattr(progress, "PAUSE", 0)
    await make(many, "insert into many select * from many", "insert into many select * from many")
    await many.frame("many", parallel=2, max_rows=80_000, truncate=True)

    shown = capsys.readouterr().err
    assert "80.0k" in shown  # the total
    rows = [float(found) for found in re.findall(r"([\d.]+)k/80.0k", shown)]
    assert rows == sorted(rows)
    assert rows[-1] > 40  # more than one part has
    assert shown.endswith("\r")


@pytest.mark.second_tier
async def test_an_exporter_that_is_ended_is_one_clear_error(many: Database, clean_server: ServerWatch) -> None:
    reading = asyncio.create_task(many.frame("select id, nap(0.0002) from many", parallel=2, key="id"))
    await until(lambda: sum("nap" in one.query for one in clean_server.backends() if one.state == "active") == 2)
    [exporter] = [one for one in clean_server.backends() if one.state == "idle in transaction"]
    clean_server.query("select pg_terminate_backend(%s, 5000)", exporter.pid)
    with pytest.raises(Exception, match="is gone: the transaction that keeps it has ended"):
        await reading

    assert in_use(many) == 0


def test_nothing_of_frames_or_snapshots_is_imported_before_it_is_used() -> None:
    import subprocess
    import sys

    code = "import asyncdb_nb.database.database, sys; print(*sys.modules)"
    imported = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.split()
    assert "asyncdb_nb.database.database" in imported
    assert not {"asyncdb_nb.database.snapshot", "asyncdb_nb.dataframes"} & {*imported}
