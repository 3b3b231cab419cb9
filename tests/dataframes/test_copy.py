"""The fast way: which statements take it, that it gives what the plain way gives, and that nothing gets in."""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
import json
import time
import uuid
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest
from models import Hours, Job, Level, Owner
from sqlalchemy import Float, bindparam, cast, event, func, literal, literal_column, select, text, type_coerce
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import ORMExecuteState, aliased
from tiers import few_of
from waiting import HANG

from asyncdb_nb import FrameError, TooManyRowsError, frame, table
from asyncdb_nb.dataframes.query import capture

MANY = "select g, g::text as t from generate_series(1, 200000) g"


@pytest.fixture(params=["copy", "rows"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Either way, for statements that may take both."""
    plain = request.param == "rows"
    monkeypatch.setattr(capture, "gave_few", lambda dialect, statement: plain)
    return request.param


@pytest.mark.parametrize(
    ("statement", "path"),
    [
        ("select 1 as a", "copy"),
        ("select 1 as a;  -- done", "copy"),
        ("/* why */ (select 1 as a -- why\n)", "copy"),
        ("values (1)", "copy"),
        ("table frame_owners", "copy"),
        ("with a as (select 1) select * from a", "copy"),
        ("select from generate_series(1, 3)", "copy"),
        ("select id from frame_owners for update", "copy"),
        ("with a as (insert into frame_owners values (7, 'x') returning id) select * from a", "rows"),
        ("insert into frame_owners values (8, 'x') returning id", "rows"),
        ("explain select 1", "rows"),
        ("show server_version", "rows"),
        ("select '{}'::aclitem[] as a", "rows"),
        ("select E'a'\n'b\\'c' as a", "copy"),
    ],
)
async def test_a_query_goes_by_copy_and_other_statements_do_not(
    tables: AsyncSession, statement: str, path: str
) -> None:
    got = await frame(tables, statement)

    assert got.attrs["asyncdb"]["path"] == path


HOSTILE = [
    "'", "''", "\\", "\\'", "\\\\'", "$1", "$2", "$$", "$a$", "'); drop table frame_owners; --", "/*", "*/", "--",
    "\n--\n", "E'\\''", "\"", "{", "}", "{a,b}", ",", "NULL", "", " ", "%s", ":a", "::int", "'||version()||'",
    "U&'\\0027'", "é😀", "\u2028", "(x::pg_catalog.text)", ") TO STDOUT; select (1", "\x7f\x01", "a" * 10_000,
]  # fmt: skip
AROUND = [
    "select $1::text as v, '$1 $2' as other",
    "select $1::text as v, '''$1' as other, $$ $1 $$ as d, $a$ $1 $$ $a$ as e",
    'select $1::text as v, E\'\\\'$1\\\\\' as other, "$1" from (select 1 as "$1") s',
    "select /* $1 ' /* $1 */ */ $1::text as v -- $1 '\n, U&'$1' as other",
    "select f$1 || '$1' as other, v from (select 'f' as f$1, $1::text as v) s",
    "select v from (values ($1::text)) s(v) where v = $1 and v || '$1' = $1||'$1' or v like $1 limit '1'",
    "select $1::text as v;;",
]


@pytest.mark.parametrize("statement", AROUND)
async def test_hostile_values_stay_values(tables: AsyncSession, path: str, statement: str) -> None:
    """Whatever a value holds, and whatever stands around its parameter, the result is what asyncpg's binding gives."""
    raw = (await (await tables.connection()).get_raw_connection()).driver_connection
    for value in HOSTILE:
        want = await raw.fetch(statement, value)

        got = await _driver_frame(tables, statement, value)

        assert got.to_dict("records") == [dict(row) for row in want], value
        assert got.attrs["asyncdb"]["path"] == path
    assert (await frame(tables, "select to_regclass('frame_owners') is not null as there"))["there"].all()


async def test_hostile_json_stays_json(tables: AsyncSession, path: str) -> None:
    hostile = {value: [value, {"in": value}] for value in HOSTILE}
    statement = select(literal(hostile, JSONB).label("core"), cast(bindparam("text"), JSONB).label("cast"))

    for got in (
        await frame(tables, statement, {"text": json.dumps(hostile)}),
        await frame(tables, "select :text::json as core, cast(:text as jsonb) as cast", {"text": json.dumps(hostile)}),
    ):
        assert got.to_dict("records") == [{"core": hostile, "cast": hostile}]
        assert got.attrs["asyncdb"]["path"] == path


async def _driver_frame(session: AsyncSession, statement: str, *values: Any) -> pd.DataFrame:
    """Frame a statement that has `$1` already, as SQLAlchemy would hand it over."""
    parameters = tuple(values)

    def with_parameters(conn: Any, cursor: Any, sql: str, params: Any, context: Any, many: bool) -> tuple[str, Any]:
        return sql, parameters

    engine = session.get_bind()
    event.listen(engine, "before_cursor_execute", with_parameters, retval=True)
    try:
        return await frame(session, statement)
    finally:
        event.remove(engine, "before_cursor_execute", with_parameters)


VALUES = [
    True, 1, -(2**31), 2**40, "a'b", 2.5, -0.0, float("nan"), float("-inf"), 1e-300, Decimal("1.50"), Decimal("-1E+3"),
    Decimal("NaN"), b"\x00'\\", uuid.UUID(int=5), dt.date(2024, 2, 29), dt.date.max, dt.date.min,
    dt.datetime(2024, 2, 29, 1, 2, 3, 4), dt.datetime.max, dt.datetime(1, 1, 1),
    dt.datetime(2024, 2, 29, tzinfo=dt.timezone(dt.timedelta(hours=-5))), dt.time(1, 2),
    dt.timedelta(days=1, seconds=-5), dt.timedelta(days=-3, microseconds=1), dt.timedelta.min,
    dt.time(23, 59, 59, 999999), dt.time(1, tzinfo=dt.UTC),
    dt.datetime.max.replace(tzinfo=dt.timezone(dt.timedelta(hours=-5))), dt.datetime.min.replace(tzinfo=dt.UTC),
    [dt.timedelta(-1), None], [1, None], [], ["a\"b", "\\", "NULL", None, "", "{x}", "'"],
    [True], [2.5], [dt.date(2024, 1, 1)], [[1, 2], [3, 4]],
]  # fmt: skip


@pytest.mark.parametrize(
    "settings",
    few_of(
        [
            "datestyle = 'ISO, MDY'",
            "datestyle = 'SQL, DMY'",
            "standard_conforming_strings = off",
            "intervalstyle = sql_standard",
            "timezone = 'Asia/Kolkata'",
            "extra_float_digits = -5",
        ],
        2,
    ),
)
async def test_binds_of_every_type_are_the_same_by_both_ways(session: AsyncSession, settings: str) -> None:
    """Whatever the session's settings say about text; and where asyncpg refuses a value, both do."""
    await session.execute(text(f"set local {settings}"))
    paths = set()
    for value in VALUES:
        bind = bindparam("v", value)
        statement = select(bind.label("v"), (bind == bind).label("same"), bindparam("n", None, bind.type).label("n"))

        copied, plain = [await _either(session, statement, few=few) for few in (False, True)]

        paths.add(copied if isinstance(copied, str) else copied.attrs["asyncdb"]["path"])
        if isinstance(copied, str) or isinstance(plain, str):
            assert copied is plain, value
        else:
            pd.testing.assert_frame_equal(copied, plain)
    assert "copy" in paths


@pytest.mark.parametrize("value", [dt.timedelta(days=-1, seconds=5), dt.time(1, 2)])
async def test_binds_that_are_times_go_by_copy(session: AsyncSession, value: Any) -> None:
    bind = bindparam("v", value)

    got = await frame(session, select((bind == bind).label("same")))

    assert got.attrs["asyncdb"]["path"] == "copy"
    assert got["same"].all()


@pytest.mark.parametrize("value", [['a"b', "\\", "NULL", "null", None, "", "{x}", "'", " a ", ",", '\\"'], [], [None]])
async def test_binds_that_are_arrays_go_by_copy(session: AsyncSession, path: str, value: list[str | None]) -> None:
    got = await frame(session, "select :v ::text[] as v", {"v": value})

    assert got["v"].tolist() == [value]
    assert got.attrs["asyncdb"]["path"] == path


async def test_a_backslash_that_may_escape_is_left_to_the_server(session: AsyncSession) -> None:
    await session.execute(text("set local standard_conforming_strings = off"))

    got = await _driver_frame(session, r"select '\'||$1||\'' as v, $1::text as w", "x")

    assert got.to_dict("list") == {"v": ["'||$1||'"], "w": ["x"]}
    assert got.attrs["asyncdb"]["path"] == "rows"


async def test_without_a_transaction_there_is_no_copy(engine: AsyncEngine) -> None:
    """Nothing would keep a table from changing between its description and its rows."""
    async with AsyncSession(engine.execution_options(isolation_level="AUTOCOMMIT")) as session:
        assert (await frame(session, "select 1 as a")).attrs["asyncdb"]["path"] == "rows"


@pytest.mark.parametrize("label", ["calm", 'o\'so "tense"', "$1"])
async def test_enum_binds_go_by_copy(session: AsyncSession, path: str, label: str) -> None:
    """Their type is found by name, whatever the name."""
    await session.execute(text("""create type "Mood $1 ""s" as enum ('calm', 'o''so "tense"', '$1')"""))
    await session.execute(text('create domain mild as "Mood $1 ""s"'))
    statement = """select s.* from (values ('calm'), (:label ::"Mood $1 ""s")) s(mood) where mood = :label"""

    got = await frame(session, statement, {"label": label})

    assert set(got["mood"]) == {label}
    assert got.attrs["asyncdb"]["path"] == path
    assert (await frame(session, "select :a ::mild as a", {"a": "calm"})).attrs["asyncdb"]["path"] == "rows"  # a domain
    await session.execute(text("create type mood_row as (a int)"))
    async with session.begin_nested() as savepoint:
        with pytest.raises(DBAPIError, match="invalid input for query argument"):
            await frame(session, "select (:a ::mood_row).a", {"a": "(1)"})  # a text is no row to asyncpg
        await savepoint.rollback()
    with pytest.raises(DBAPIError):
        await frame(session, statement, {"label": "'||version()||'"})


async def _either(session: AsyncSession, statement: Any, *, few: bool) -> pd.DataFrame | str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(capture, "gave_few", lambda dialect, statement: few)
        try:
            async with session.begin_nested():
                return await frame(session, statement)
        except DBAPIError:
            return "refused"


@pytest.mark.parametrize("name", ["a'b", 'q"u', "$1", "x$1", "; drop table x; --", "%s", ":n", "\\", "/*", "é😀"])
async def test_hostile_names_stay_names(session: AsyncSession, path: str, name: str) -> None:
    quoted = '"' + name.replace('"', '""') + '"'

    got = await frame(session, f"select :v ::int as {quoted}", {"v": 5})

    assert got.to_dict("list") == {name: [5]}
    assert got.attrs["asyncdb"]["path"] == path


async def test_a_column_that_is_a_bare_bind_keeps_its_name(session: AsyncSession, path: str) -> None:
    """A literal would have a name where a parameter has none."""
    named = await frame(session, "select row_to_json(s) as j from (select :v ||'', :v ::text) s", {"v": "x"})
    bare = await frame(session, "select row_to_json(s) as j from (select :v ) s", {"v": "x"})

    assert named["j"].tolist() == [{"?column?": "x", "text": "x"}]
    assert bare["j"].tolist() == [{"?column?": "x"}]
    assert (named.attrs["asyncdb"]["path"], bare.attrs["asyncdb"]["path"]) == (path, "rows")


async def test_a_query_with_effects_runs_once(session: AsyncSession, path: str) -> None:
    await session.execute(text("create temp sequence frame_calls"))

    got = await frame(session, "select nextval('frame_calls') as n from generate_series(1, 3)")

    assert got["n"].tolist() == [1, 2, 3]
    assert (await frame(session, "select last_value from frame_calls")).iloc[0, 0] == 3


async def test_max_rows_is_applied_on_the_server(session: AsyncSession) -> None:
    """One row beyond the limit is made, and no more."""
    await session.execute(text("create temp sequence frame_limited"))
    many = "select nextval('frame_limited') as n from generate_series(1, 100000) g where g % 2 = 0 offset 0;"

    with pytest.raises(TooManyRowsError):
        await frame(session, many, max_rows=2_000)
    assert (await frame(session, "select last_value from frame_limited")).iloc[0, 0] == 2_001
    cut = await frame(session, many, max_rows=2_000, truncate=True)

    assert (len(cut), cut.attrs["asyncdb"]["path"], cut.attrs["asyncdb"]["truncated"]) == (2_000, "copy", True)
    assert cut["n"].tolist()[-1] == 4_001


async def test_columns_are_described_anew_each_time(session: AsyncSession) -> None:
    """An integer that has become a float of the same width is never read as an integer."""
    for schema, kind in (("frame_a", "int"), ("frame_b", "real")):
        await session.execute(text(f"create schema {schema}"))
        await session.execute(
            text(f"create table {schema}.changing as select g::{kind} as v from generate_series(1, 600) g")
        )
    seen = []
    for schema in ("frame_a", "frame_b"):
        await session.execute(text(f"set local search_path to {schema}"))
        seen.append(await frame(session, "select v from changing"))

    assert [str(one["v"].dtype) for one in seen] == ["Int32", "float32"]
    assert seen[0]["v"].tolist() == seen[1]["v"].tolist() == list(range(1, 601))


async def test_an_error_in_mid_stream_is_sqlalchemys(session: AsyncSession) -> None:
    """The transaction is aborted, and usable after a rollback."""
    with pytest.raises(DBAPIError, match="division by zero"):
        await frame(session, "select 1 / (190000 - g) as v, repeat('x', 100) as t from generate_series(1, 200000) g")

    with pytest.raises(DBAPIError, match="current transaction is aborted"):
        await frame(session, "select 1 as a")
    await session.rollback()
    assert len(await frame(session, MANY)) == 200_000


async def test_a_lost_connection_is_replaced(engine: AsyncEngine) -> None:
    """The error is SQLAlchemy's for a disconnect, and the pool does not give the dead connection out again."""
    async with AsyncSession(engine) as session:
        with pytest.raises(DBAPIError) as raised:
            await frame(session, "select pg_terminate_backend(pg_backend_pid()), g from generate_series(1, 9) g")
        assert raised.value.connection_invalidated
    async with AsyncSession(engine) as session:
        assert len(await frame(session, "select 1 as a")) == 1


async def test_cancelling_stops_the_server_at_once(engine: AsyncEngine) -> None:
    """In mid-stream; the pool is as good as before."""
    async with AsyncSession(engine) as session, AsyncSession(engine) as watching:
        pid = (await frame(session, "select pg_backend_pid() as pid")).iloc[0, 0]
        reading = asyncio.create_task(frame(session, "select generate_series(1, 100000000) as g, repeat('x', 500)"))
        await _until(watching, f"select state = 'active' from pg_stat_activity where pid = {pid}")

        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading

        await _until(
            watching, f"select not exists (select from pg_stat_activity where pid = {pid} and state = 'active')"
        )
    async with AsyncSession(engine) as session:
        assert len(await frame(session, MANY)) == 200_000


async def _until(session: AsyncSession, condition: str) -> None:
    async with asyncio.timeout(HANG):
        while not await session.scalar(text(condition)):
            await session.rollback()


@pytest.mark.second_tier
@pytest.mark.parametrize(("column", "path"), [("1", "copy"), ("'{}'::aclitem[]", "rows")], ids=["copy", "rows"])
async def test_the_loop_is_free_while_a_large_result_is_read(session: AsyncSession, column: str, path: str) -> None:
    """Receiving, decoding and building hold it for moments only: of its thread's own time, whatever else runs."""
    held = []

    async def tick() -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0.01)
            held.append(time.thread_time() - before)

    statement = f"select {column} as c, g::text as t, jsonb_build_object('g', g) as j, g::numeric as n"
    await frame(session, f"{statement} from generate_series(1, 10) g")  # imports what it needs
    gc.collect()
    gc.freeze()  # the objects of all the tests before, which a collection would go through
    ticking = asyncio.create_task(tick())
    got = await frame(session, f"{statement} from generate_series(1, 100000) g")
    ticking.cancel()
    gc.unfreeze()

    assert (got.attrs["asyncdb"]["path"], len(got)) == (path, 100_000)
    assert len(held) > 10
    assert max(held) < 0.1  # seconds; a hundredth is usual


async def test_python_side_types_are_the_same_by_both_ways(jobs: AsyncSession, path: str) -> None:
    statement = select(Job.secret, Job.level, Job.cost, Job.ratio).order_by(Job.id)

    got = await frame(jobs, statement)

    assert got.attrs["asyncdb"]["path"] == path
    assert got["secret"].tolist() == [None, "xyz"]
    assert got["level"].tolist() == [None, Level.HIGH]
    assert (await table(jobs, statement))["job_title" if "job_title" in got else "level"].to_pylist() == [None, "HIGH"]


async def test_a_float_that_is_wanted_as_decimal_is_one_by_both_ways(jobs: AsyncSession, path: str) -> None:
    wanted = type_coerce(Job.ratio, Float(asdecimal=True))

    got = await frame(jobs, select(wanted.label("ratio")).where(Job.ratio.is_not(None)))

    assert [type(value) for value in got["ratio"]] == [Decimal]
    assert got["ratio"].tolist() == [0.5]


async def test_a_mapped_interval_keeps_its_months_by_both_ways(tables: AsyncSession, path: str) -> None:
    """SQLAlchemy's `Interval` does nothing on PostgreSQL, though it is a TypeDecorator."""
    await tables.execute(text("insert into frame_jobs (id, tenant, took) values (1, 'a', '1 mon 2 days')"))

    got = await frame(tables, select(Job.took))

    assert got["took"].tolist() == [pd.DateOffset(months=1, days=2, microseconds=0)]
    assert got.attrs["asyncdb"]["lossy"] == {}


async def test_python_side_types_hold_under_every_name_by_both_ways(jobs: AsyncSession, path: str) -> None:
    """A label that SQLAlchemy makes up, a name that two columns share, and one that is the server's alone."""
    other = aliased(Job)
    statement = (
        select(func.max(Job.secret), Job.level, other.level, Job.title.label("x"), Job.secret.label("x"))
        .where(Job.id == other.id, Job.level.is_not(None))
        .group_by(Job.id, other.id)
    )
    unnamed = type_coerce(literal_column("interval '30 min'"), Hours)

    got = await frame(jobs, statement)

    assert got.attrs["asyncdb"]["path"] == path
    assert got.iloc[0].tolist() == ["xyz", Level.HIGH, Level.HIGH, "load", "xyz"]
    assert (await frame(jobs, select(unnamed))).iloc[0].tolist() == [0.5]


async def test_a_name_that_the_server_cuts_keeps_its_type_by_both_ways(jobs: AsyncSession, path: str) -> None:
    """PostgreSQL counts the bytes of a name, SQLAlchemy its characters."""
    long = "я" * 40

    got = await frame(jobs, select(Job.secret.label(long), Job.waited.label(f"{long}2")).where(Job.secret.is_not(None)))

    assert got.iloc[0].tolist() == ["xyz", 1.5]
    assert list(got) == [long, f"{long}2"]


async def test_a_few_rows_are_read_the_plain_way_the_next_time(session: AsyncSession) -> None:
    """And by COPY again when they have become many."""
    statement = "select g from generate_series(1, :n ::int) g"

    paths = [(await frame(session, statement, {"n": n})).attrs["asyncdb"]["path"] for n in (3, 3, 1000, 3, 3)]

    assert paths == ["copy", "rows", "rows", "copy", "rows"]


async def test_a_hook_that_runs_a_statement_twice_is_an_error_that_says_so(tables: AsyncSession) -> None:
    def twice(state: ORMExecuteState) -> Any:
        state.invoke_statement()
        return state.invoke_statement()

    event.listen(tables.sync_session, "do_orm_execute", twice)

    with pytest.raises(FrameError, match=r"more than once.*to_frame"):
        await frame(tables, select(Owner.id))
