"""Values that go in: found by name outside of literals, sent as what they are, and refused with what to type."""

from __future__ import annotations

import datetime as dt
import enum
import ipaddress
import uuid
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from models import Job
from sqlalchemy import bindparam, column, select, text
from sqlalchemy.dialects.postgresql import JSONB, Range
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from asyncdb_nb import FrameError, frame, frames, table
from asyncdb_nb.dataframes.query import capture
from asyncdb_nb.dataframes.sql.bind_values import plain
from asyncdb_nb.dataframes.sql.type_mismatches import misfit


@pytest.fixture(params=["copy", "rows"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Either way, for statements that may take both."""
    monkeypatch.setattr(capture, "gave_few", lambda dialect, statement: request.param == "rows")
    return str(request.param)


class Level(enum.Enum):
    LOW = "low"
    HIGH = "high"


UNTOUCHED = {
    "a literal": ("'orders of :who'", "orders of :who"),
    "a literal with doubled quotes": ("'it''s :who'", "it's :who"),
    "a literal with a time": ("'12:30'", "12:30"),
    "escapes": (r"E'a\' :who \\:who'", r"a' :who \:who"),
    "escapes that go on in the next line": ("E'a'\n  -- why\n  '\\' :who'", "a' :who"),
    "unicode escapes": (r"U&':who \0061'", ":who a"),
    "a national literal": ("N':who'::text", ":who"),
    "dollars": ("$$:who$$", ":who"),
    "dollars with a tag": ("$a$ $$:who$$ $a$", " $$:who$$ "),
    "python's placeholder in a literal": ("'%(who)s %s 5%'", "%(who)s %s 5%"),
    "a nested comment": ("'a' /* :who /* ':who */ \" */", "a"),
    "a comment at the end of a line": ("'a' -- ':who\n", "a"),
    "a cast": ("'5'::text::int::text", "5"),
    "an array's slice": ("array_to_string((array['a','b','c'])[2:3], ':')", "b:c"),
    "an operator": ("""('{"who": 1}'::jsonb ? 'who' and array[1, 2] @> array[1])::text""", "true"),
    "a remainder": ("(5 % 3)::text", "2"),
}
BACKSLASHES = {
    "a literal": (r"'\:who \\:who'", r"\:who \\:who"),
    "a literal that ends in one": (r"'\'::text", "\\"),
    "a national literal": (r"N'\:who'::text", r"\:who"),
    "unicode escapes": (r"U&'\\:who'", r"\:who"),
    "escapes": (r"E'\:who \\:who'", r":who \:who"),
    "dollars": (r"$a$\:who$a$", r"\:who"),
    "a comment": (r"'a' /* \:who */ -- \:who" "\n", "a"),
    "a quoted name": (r'(select "\:x" from (select 5::text as "\:x") q)', "5"),
}


@pytest.mark.parametrize(("expression", "value"), UNTOUCHED.values(), ids=UNTOUCHED)
@pytest.mark.parametrize("form", ["text", "clause", "columns", "part"])
async def test_scenario_58_a_name_is_a_bind_only_outside_of_literals(
    session: AsyncSession, path: str, form: str, expression: str, value: str
) -> None:
    """In SQL text, in `text()` and in pieces of it alike, by COPY and plainly."""
    typed = f'select :who::text as who, {expression} as ":who"'
    statement: Any = {
        "text": typed,
        "clause": text(typed),
        "columns": text(typed).columns(column("who"), column(":who")),
        "part": select(text(":who::text as who"), text(f'{expression} as ":who"')),
    }[form]

    got = await frame(session, statement, {"who": "Ada"})

    assert got.iloc[0].tolist() == ["Ada", value]
    assert list(got.columns) == ["who", ":who"]
    assert got.attrs["asyncdb"]["path"] == ("rows" if path == "rows" else "copy")


@pytest.mark.parametrize(("expression", "value"), BACKSLASHES.values(), ids=BACKSLASHES)
async def test_a_backslash_before_a_colon_is_what_postgresql_takes_it_for(
    session: AsyncSession, path: str, expression: str, value: str
) -> None:
    """Where `:name` is no bind, `\\:` is no escaped one, with values as without."""
    typed = rf'select {expression} as "\:who"'

    got = await frame(session, f"{typed}, :who::text as who", {"who": "Ada"})

    assert got.iloc[0].tolist() == [value, "Ada"]
    assert list(got.columns) == [r"\:who", "who"]
    assert got.iloc[:, :1].equals(await frame(session, typed))


async def test_an_escaped_colon_is_one_outside_of_literals_and_as_sqlalchemy_says_in_text(
    session: AsyncSession,
) -> None:
    slice_ = r"(array['a','b','c'])[2\:3]"

    assert (await frame(session, f"select {slice_} as a, :n::int as n", {"n": 1}))["a"][0] == ["b", "c"]
    assert (await frame(session, text(rf"select '\:x' as a, {slice_} as b")))["a"][0] == ":x"


async def test_what_is_sent_is_what_was_typed(session: AsyncSession) -> None:
    typed = "select ':who' as a, :who::text as b, '%(who)s' as c -- :who"

    got = await frame(session, typed, {"who": "Ada"})

    assert got.attrs["asyncdb"]["statement"] == typed.replace(":who::text", "$1::text")


async def test_scenario_58_holds_for_parts_and_tables(session: AsyncSession) -> None:
    typed, params = "select ':who' as a, :who::text as b", {"who": "Ada"}

    assert (await table(session, typed, params)).to_pylist() == [{"a": ":who", "b": "Ada"}]
    assert [part.iloc[0].tolist() async for part in frames(session, typed, params)] == [[":who", "Ada"]]


async def test_binds_of_a_text_keep_their_values_and_types(session: AsyncSession) -> None:
    statement = text("select ':n' as a, :n as n").bindparams(bindparam("n", 5))

    assert (await frame(session, statement)).iloc[0].tolist() == [":n", 5]
    assert (await frame(session, statement, {"n": 6})).iloc[0].tolist() == [":n", 6]


INSTEAD = [
    ("select 1", {"x": 2}, "params has 'x', and the statement has no :x. Leave the value out, or type `:x`"),
    ("select ':x' as a", {"x": 2}, "In quotes, :x is text. Type it without them: `:x`."),
    ("select 'a' like '%:w%' as a", {"w": "a"}, "In quotes, :w is text. Type `'%' || :w || '%'`."),
    ("select 'a' like ':w%' as a", {"w": "a"}, "Type `:w || '%'`."),
    ("select interval ':d days' as a", {"d": 3}, "Type `:d * interval '1 days'`."),
    ("select ':d days'::interval as a", {"d": 3}, "Type `:d * interval '1 days'`."),
    ("select date ':d' as a", {"d": 3}, "Type `:d::date`."),
    ("select '{x}' as a", {"x": 2}, "In quotes, {x} is text. Type it without them: `:x`."),
    ("select 'a %(x)s' as a", {"x": 2}, "In quotes, %(x)s is text. Type `'a ' || :x`."),
    ("select $$:x$$ as a", {"x": 2}, "Between dollar signs, :x is text."),
    ('select 1 as ":x"', {"x": 2}, 'In double quotes, :x is a name. Type it without them: `:x`.'),
    ("select 1 -- :x", {"x": 2}, "In a comment, :x is text."),
    ("select %(x)s as a", {"x": 2}, "Type `:x` in place of `%(x)s`."),
    ("select {x} as a", {"x": 2}, "Type `:x` in place of `{x}`."),
    ("select $1 as a", {"x": 2}, "Type `:x` in place of `$1`."),
    ("select 1 where 1 = ?", {"x": 2}, "Type `:x` in place of `?`."),
    ("select %s as a", {"x": 2}, "Type `:x` in place of `%s`."),
    ("select :1 as a", {"1": 2}, "params has '1', which no `:name` can stand for. The name of a value begins "
     'with a letter: type `:p1` in place of `:1`, and `{"p1": ...}`.'),
    ("select $1 as a", {1: 2}, "params has 1, which no `:name` can stand for. The name of a value begins with a "
     'letter: type `:p1` in place of `$1`, and `{"p1": ...}`.'),
    ("select %s as a", {"1": 2}, "type `:p1` in place of `%s`"),
    ("select 1 where 1 = ?", {"1": 2}, "type `:p1` in place of `?`"),
    ("select :a-b as a", {"a-b": 2}, 'type `:a_b` in place of `:a-b`, and `{"a_b": ...}`.'),
    ("select 1 as a", {"2": 2}, 'type `:p2` where it belongs, and `{"p2": ...}`.'),
    ("select $1 as a, :x as b", {"x": 2}, "The statement has $1 beside :x. Name that value as well"),
]  # fmt: skip


@pytest.mark.parametrize("kind", [str, text])
@pytest.mark.parametrize(("statement", "params", "says"), INSTEAD)
def test_a_value_that_no_bind_takes_is_refused_with_what_to_type(
    kind: Any, statement: str, params: dict[str, Any], says: str
) -> None:
    with pytest.raises(FrameError) as raised:
        frame(AsyncSession(), kind(statement), params)

    assert says in str(raised.value)


@pytest.mark.parametrize(
    ("statement", "params", "value"),
    [
        ("select 'cat' like '%' || :w || '%' as a", {"w": "a"}, True),
        ("select ('2024-01-01'::date + :d * interval '1 days')::text as a", {"d": 3}, "2024-01-04 00:00:00"),
        ("select :x as a", {"x": "v"}, "v"),
        ("select 5::text like :n::int::text as a", {"n": 5}, True),
    ],
)
async def test_what_is_advised_instead_works(
    session: AsyncSession, statement: str, params: dict[str, Any], value: Any
) -> None:
    assert (await frame(session, statement, params))["a"].tolist() == [value]


@pytest.mark.parametrize(
    ("statement", "name"),
    [("select %(x)s", "x"), ("select {x}", "x"), ("select $1", "name"), ("select 1 where 1 = ?", "name"),
     ("select 1 where 1 = %s", "name"), ("select ${x}", "x")],
)  # fmt: skip
async def test_a_placeholder_of_another_kind_is_answered_with_the_one_to_type(
    session: AsyncSession, statement: str, name: str
) -> None:
    with pytest.raises(DBAPIError) as raised:
        await frame(session, statement)

    [note] = raised.value.__notes__
    assert note.startswith(f"Type `:{name}` in place of `")
    assert note.endswith(f'and the value after the statement: `{{"{name}": ...}}`.')


@pytest.mark.parametrize("statement", ["", " \n", ";", "-- only a comment", "/* a */ ; "])
def test_an_empty_statement_is_called_empty(statement: str) -> None:
    with pytest.raises(FrameError, match="The statement is empty"):
        frame(AsyncSession(), statement)


async def test_a_syntax_error_shows_its_line_and_a_caret(session: AsyncSession) -> None:
    with pytest.raises(DBAPIError) as raised:
        await frame(session, "select :a::int as ä,\n  'ö' as b\n\tfrom pg_class as nothing nothing", {"a": 5})

    place = "Line 3: \tfrom pg_class as nothing nothing\n        \t                         ^\n[SQL: "
    assert f'syntax error at or near "nothing"\n{place}' in str(raised.value)


FAR = ["9999-12-31", "0001-01-01", "infinity", "-infinity", "0044-03-15 BC", "12345-06-07", "2024-02-29"]


@pytest.mark.parametrize("day", FAR)
@pytest.mark.parametrize("kind", ["date", "timestamp", "timestamptz"])
@pytest.mark.parametrize("container", ["scalar", "array", "range"])
async def test_scenario_59_a_day_from_a_frame_finds_its_row(
    session: AsyncSession, path: str, day: str, kind: str, container: str
) -> None:
    """Whatever the frame gives for it: a date, a datetime, a text; alone, in an array, as the bound of a range."""
    ranges = {"date": "daterange", "timestamp": "tsrange", "timestamptz": "tstzrange"}
    expression = {
        "scalar": f"'{day}'::{kind}",
        "array": f"array['{day}'::{kind}, null]",
        "range": f"{ranges[kind]}('{day}'::{kind}, null, '(]')",
    }[container]
    typed = {"scalar": kind, "array": f"{kind}[]", "range": ranges[kind]}[container]
    await session.execute(text("set local timezone = 'UTC'"))
    # in a list a date is an object; a date column of pandas has no infinity
    [given] = await frame_list(session, expression if container == "array" else f"array[{expression}]")
    value = given if container == "array" else given[0]

    got = await frame(session, f"select :v::{typed} = {expression} as same, :v::{typed}::text as a", {"v": value})

    assert got["same"].tolist() == [True], got["a"].tolist()


async def frame_list(session: AsyncSession, expression: str) -> list[Any]:
    return (await frame(session, f"select {expression} as a"))["a"].tolist()


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "UTC"])
async def test_a_date_for_a_moment_is_midnight_there_in_any_season(
    session: AsyncSession, monkeypatch: pytest.MonkeyPatch, zone: str
) -> None:
    """In the time zone of this computer, with the offset of that day, not of today."""
    import time

    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        for day in (dt.date(2024, 1, 15), dt.date(2024, 7, 15)):
            got = await frame(session, "select :d::timestamptz as a", {"d": day})
            assert got["a"][0].tz_convert(zone).to_pydatetime().replace(tzinfo=None) == dt.datetime(
                day.year, day.month, 15
            )
    finally:
        monkeypatch.undo()
        time.tzset()


MEAN = [
    ("jsonb", {"a": [1, None]}, '{"a": [1, null]}'),
    ("jsonb", [1, "a"], '[1, "a"]'),
    ("json", {}, "{}"),
    ("jsonb", "[1]", "[1]"),
    ("jsonb", 5, "5"),
    ("jsonb", {"n": np.int64(5), "m": pd.NA, "f": float("nan"), "l": np.array([1, 2])},
     '{"f": null, "l": [1, 2], "m": null, "n": 5}'),
    ("jsonb[]", [{"a": 1}, [2], None], '{"{\\"a\\": 1}",[2],NULL}'),
    ("bool", np.True_, "true"),
    ("int", np.int64(5), "5"),
    ("bigint", np.uint8(5), "5"),
    ("int", 5.0, "5"),
    ("int", np.float64(5), "5"),
    ("int", Decimal("5.00"), "5"),
    ("float8", np.float32(0.5), "0.5"),
    ("text", np.str_("a"), "a"),
    ("bytea", np.bytes_(b"a"), "\\x61"),
    ("bytea", memoryview(b"a"), "\\x61"),
    ("date", np.datetime64("2024-02-01"), "2024-02-01"),
    ("date", pd.Timestamp("2024-02-01 03:00"), "2024-02-01"),
    ("timestamp", np.datetime64("2024-02-01T03:04:05.000006"), "2024-02-01 03:04:05.000006"),
    ("timestamp", pd.Timestamp("2024-02-01 03:04:05"), "2024-02-01 03:04:05"),
    ("timestamp", dt.date(2024, 2, 1), "2024-02-01 00:00:00"),
    ("timestamptz", pd.Timestamp("2024-02-01 03:00", tz="Europe/Berlin"), "2024-02-01 02:00:00+00"),
    ("timestamptz", dt.datetime(2024, 2, 1, tzinfo=dt.timezone(dt.timedelta(hours=-5))), "2024-02-01 05:00:00+00"),
    ("interval", np.timedelta64(90, "m"), "01:30:00"),
    ("interval", np.timedelta64(14, "M"), "1 year 2 mons"),
    ("interval", pd.Timedelta(days=-1, seconds=5), "-1 days +00:00:05"),
    ("interval", pd.DateOffset(months=1, days=-2, microseconds=3), "1 mon -2 days +00:00:00.000003"),
    ("interval", pd.DateOffset(years=1, weeks=1, hours=-2), "1 year 7 days -02:00:00"),
    ("interval", "infinity", "infinity"),
    ("uuid", uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
    ("inet", ipaddress.ip_network("10.0.0.0/8"), "10.0.0.0/8"),
    ("text", PurePosixPath("/a/b"), "/a/b"),
    ("text", Level.HIGH, "high"),
    ("numeric", pa.scalar(Decimal("1.50")), "1.50"),
    ("int", pd.NA, None),
    ("timestamptz", pd.NaT, None),
    ("date", np.datetime64("NaT", "us"), None),
    ("interval", np.timedelta64("NaT"), None),
    ("text", float("nan"), None),
    ("jsonb", pd.NA, None),
    ("int", np.float64("nan"), None),
    ("float8", float("nan"), "NaN"),
    ("numeric", Decimal("NaN"), "NaN"),
    ("int[]", [1, np.int64(2), pd.NA, float("nan"), None], "{1,2,NULL,NULL,NULL}"),
    ("int[]", pd.array([1, None], dtype="Int64"), "{1,NULL}"),
    ("int[]", np.array([[1, 2], [3, 4]]), "{{1,2},{3,4}}"),
    ("text[]", pd.Series(["a", None]), "{a,NULL}"),
    ("bool[]", np.array([True, False]), "{t,f}"),
    ("float8[]", np.array([1.5, float("nan")]), "{1.5,NaN}"),
    ("timestamp[]", np.array(["2024-02-01", "NaT"], "datetime64[ns]"), '{"2024-02-01 00:00:00",NULL}'),
    ("date[]", [[dt.date(2024, 2, 1)], [dt.date.max]], "{{2024-02-01},{9999-12-31}}"),
    ("date[]", {dt.date(2024, 2, 1)}, "{2024-02-01}"),
    ("int4range", Range(1, 5), "[1,5)"),
    ("int4range", pd.Interval(1, 5), "[2,6)"),
    ("numrange", Range(empty=True), "empty"),
    ("tsrange", pd.Interval(pd.Timestamp("2024-02-01"), pd.Timestamp("2024-02-02")),
     '("2024-02-01 00:00:00","2024-02-02 00:00:00"]'),
    ("datemultirange", [Range(dt.date(2024, 2, 1), None)], "{[2024-02-01,)}"),
    ("int4multirange", [Range(1, 3), Range(5, 6)], "{[1,3),[5,6)}"),
    ("float8", Decimal("1.5"), "1.5"),
    ("float8", Decimal("-Infinity"), "-Infinity"),
    ("timetz", "12:00:00.5+02", "12:00:00.5+02"),
    ('"char"', "", ""),
    ('"char"', "\\344", "\\344"),
]  # fmt: skip


@pytest.mark.parametrize(("type_", "value", "written"), MEAN)
async def test_scenario_61_values_mean_what_they_are(
    session: AsyncSession, path: str, type_: str, value: Any, written: str | None
) -> None:
    """dict and list are JSON where that is asked for; scalars of numpy and pandas are values, missing ones NULL."""
    for setting in ("timezone = 'UTC'", "datestyle = 'ISO'", "intervalstyle = 'postgres'"):
        await session.execute(text(f"set local {setting}"))

    got = await frame(session, f"select :v::{type_}::text as a", {"v": value})

    assert got["a"].tolist() == ([written] if written is not None else got["a"].tolist())
    assert got["a"].isna().tolist() == [written is None]


@pytest.mark.parametrize("style", ["sql_standard", "postgres", "iso_8601", "postgres_verbose"])
@pytest.mark.parametrize("parts", [(1, -2, 3), (-1, 2, -3_000_000), (0, 0, -1), (0, -1, 5), (-14, 0, 86_400_000_001)])
async def test_an_interval_from_a_frame_is_the_same_under_every_style(
    session: AsyncSession, style: str, parts: tuple[int, int, int]
) -> None:
    months, days, microseconds = parts
    await session.execute(text(f"set local intervalstyle = {style}"))
    offset = pd.DateOffset(months=months, days=days, microseconds=microseconds)

    got = await frame(session, "select :v::interval as a", {"v": offset})

    assert got["a"].tolist() == [offset]


async def test_scenario_61_holds_in_selects_of_core_and_the_orm(jobs: AsyncSession) -> None:
    """Where the server asks for a type, not SQLAlchemy."""
    day = np.datetime64("2024-05-06")

    assert len(await frame(jobs, select(Job.id).where(Job.day == day, Job.done == np.True_))) == 1
    assert len(await frame(jobs, select(Job).where(Job.day == bindparam("d")), {"d": day})) == 1
    assert len(await frame(jobs, select(Job.id).where(Job.title.is_distinct_from(bindparam("t"))), {"t": pd.NA})) == 1


async def test_values_of_an_insert_mean_what_they_are(session: AsyncSession) -> None:
    await session.execute(text("create temp table ends (day date, data jsonb, n int)"))
    insert = "insert into ends values (:day, :data, :n) returning day::text, data, n"

    got = await frame(session, insert, {"day": dt.date(9999, 12, 31), "data": {"a": 1}, "n": pd.NA})

    assert got["day"].tolist() == ["9999-12-31"]
    assert got["data"].tolist() == [{"a": 1}]
    assert got["n"].isna().all()


CAST = [
    ("text", 5), ("text", 2.5), ("text", True), ("text", Decimal("1.5")), ("text", dt.date(2024, 2, 1)),
    ("text", dt.datetime(2024, 2, 1)), ("text", dt.datetime(2024, 2, 1, tzinfo=dt.UTC)), ("text", dt.timedelta(1)),
    ("text", uuid.UUID(int=5)), ("text", {"a": 1}), ("text", b"a"), ("text", ipaddress.ip_address("10.0.0.1")),
    ("text", 2**40), ("text", np.int64(5)), ("text", dt.time(1)),
    ("int", 5.5), ("int", Decimal("5.5")), ("bigint", 5.5), ("smallint", 2.5),
    ("int", "5"), ("bool", "true"), ("date", "2024-02-01"), ("timestamptz", "2024-02-01 00:00+00"),
    ("timestamp", "2024-02-01"), ("interval", "1 day"), ("float8", "1.5"), ("numeric", 5j),
    ("bytea", "a"), ("uuid", 5), ("bool", 1), ("date", 5), ("date", dt.timedelta(1)), ("interval", 5), ("time", 5),
    ("int[]", 5), ("int[]", "{1}"), ("date[]", "{2024-02-01}"), ("daterange", dt.date(2024, 2, 1)), ("int4range", 5),
]  # fmt: skip


@pytest.mark.parametrize(("type_", "value"), CAST)
async def test_a_misfit_names_bind_type_and_what_is_expected_and_its_advice_works(
    session: AsyncSession, type_: str, value: Any
) -> None:
    with pytest.raises(DBAPIError) as raised:
        await frame(session, f"select (:v)::{type_} as a", {"v": value})
    await session.rollback()

    [note] = raised.value.__notes__
    assert note.startswith(":v ")
    if not isinstance(value, str):
        assert f"a value of type {type(plain(value)).__name__}," in note
        assert "is expected there. Give " in note
    advised = [part for part in note.split("`") if part.startswith(":v::")]
    for cast in advised:
        assert len(await frame(session, f"select ({cast})::{type_} as a", {"v": value})) == 1


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("int", 2**31), ("bigint", 2**63), ("smallint", 1e5), ("bigint", Decimal("1e30")), ("int", Decimal("1e999999")),
        ("float8", Decimal("1e400")), ("float8", 2**1030), ("real", 1e39), ("real", Decimal("1e50")),
    ],
)  # fmt: skip
async def test_a_number_that_is_too_large_is_called_so_and_the_advice_works(
    session: AsyncSession, type_: str, value: Any
) -> None:
    """A cast to the type that is too small for it would fail on the server; asyncpg makes Infinity of a Decimal."""
    with pytest.raises(DBAPIError, match=r"out of .* range|too large") as raised:
        await frame(session, f"select 0::{type_} = (:v)::{type_} as a", {"v": value})
    await session.rollback()

    [note] = raised.value.__notes__
    assert note.startswith(f":v is out of the range of {type_}. Give a smaller one")
    assert ("`:v::" in note) == (type_ != "float8")
    if "`" in note and value != Decimal("1e999999"):  # which PostgreSQL does not hold
        assert len(await frame(session, f"select 0::{type_} = {note.split('`')[1]} as a", {"v": value})) == 1


@pytest.mark.parametrize("type_", ["jsonb", "text[]", "date[]"])
async def test_a_table_is_no_value(session: AsyncSession, type_: str) -> None:
    """Iterated, a DataFrame gives the names of its columns."""
    for value in (pd.DataFrame({"a": ["x"]}), pa.table({"a": ["x"]})):
        with pytest.raises(DBAPIError, match="invalid input for query argument"):
            await frame(session, f"select :v::{type_} as a", {"v": value})
        await session.rollback()


NOTED = [
    ("int", Decimal("NaN"), ":v got a value of type Decimal, and int is expected there. Give an int."),
    ("int4range", (1.5, 3), ":v got a value of type tuple, and int4range is expected there. Give a Range."),
    ("jsonb", {1}, ":v got a value of type set, and jsonb is expected there. Give what `json.dumps` takes"),
    ("uuid", "zz", ":v is a text that is no uuid."),
    ("inet", "zz", ":v is a text that is no inet."),
    ("timetz", "zz", ":v is a text that is no timetz."),
    ("timetz", dt.time(1), ":v got a value of type time, and timetz is expected there. Give a time with a fixed off"),
    ("text", "a\ud800", ":v has half of a character, which no encoding writes: `value.encode(errors='ignore')"),
    ("money", Decimal("1.5"), ":v got a value of type Decimal, and money is expected there. Give a str, or cast it: "
     "`:v::numeric::money`."),
]  # fmt: skip


@pytest.mark.parametrize(("type_", "value", "said"), NOTED)
async def test_a_note_advises_nothing_that_fails(session: AsyncSession, type_: str, value: Any, said: str) -> None:
    with pytest.raises(DBAPIError) as raised:
        await frame(session, f"select :v::{type_} as a", {"v": value})

    [note] = raised.value.__notes__
    assert note.startswith(said)


async def test_a_value_that_would_be_cut_is_refused(session: AsyncSession) -> None:
    """asyncpg cuts 5.5 to 5 for an int, and drops nanoseconds."""
    for type_, value in [
        ("int", 5.5), ("int[]", [5.5]), ("timestamp", pd.Timestamp("2024-02-01 00:00:00.123456789")),
        ("timestamp", np.datetime64("2024-02-01T00:00:00.123456789")), ("interval", pd.Timedelta(1, "ns")),
    ]:  # fmt: skip
        with pytest.raises(DBAPIError, match="invalid input for query argument"):
            await frame(session, f"select :v::{type_} as a", {"v": value})
        await session.rollback()


@pytest.mark.parametrize(
    ("type_", "value", "note", "instead"),
    [
        ("timestamptz", pd.Timestamp("2024-02-01"), ":v has no time zone. Give it one: `value.tz_localize('UTC')`.",
         pd.Timestamp("2024-02-01").tz_localize("UTC")),
        ("timestamptz", np.datetime64("2024-02-01"),
         ":v has no time zone. Give it one: `pd.Timestamp(value, tz='UTC')`.",
         pd.Timestamp(np.datetime64("2024-02-01"), tz="UTC")),
        ("timestamp", dt.datetime(2024, 2, 1, tzinfo=dt.UTC),
         ":v has a time zone, and none is expected. Give it without: `value.replace(tzinfo=None)`.",
         dt.datetime(2024, 2, 1)),
        ("time", dt.time(12, tzinfo=dt.UTC),
         ":v has a time zone, and none is expected. Give it without: `value.replace(tzinfo=None)`.", dt.time(12)),
        ("timestamp", pd.Timestamp("2024-02-01 00:00:00.123456789"),
         ":v has nanoseconds, and PostgreSQL counts microseconds. Give it without: `value.floor('us')`.",
         pd.Timestamp("2024-02-01 00:00:00.123456789").floor("us")),
    ],
)  # fmt: skip
async def test_a_time_that_says_too_little_or_too_much_is_refused(
    session: AsyncSession, type_: str, value: Any, note: str, instead: Any
) -> None:
    with pytest.raises(DBAPIError) as raised:
        await frame(session, f"select :v::{type_} as a", {"v": value})
    await session.rollback()

    assert raised.value.__notes__ == [note]
    assert len(await frame(session, f"select :v::{type_} as a", {"v": instead})) == 1


async def test_a_member_whose_name_is_the_label_is_told_apart(session: AsyncSession) -> None:
    await session.execute(text("create type pg_temp.level as enum ('LOW', 'HIGH')"))
    await session.commit()
    with pytest.raises(DBAPIError) as raised:
        await frame(session, "select :v::pg_temp.level as a", {"v": Level.HIGH})

    assert raised.value.__notes__[-1] == (
        "The value of Level.HIGH was sent. If its name is meant, give that: `value.name`, 'HIGH'."
    )


def test_a_misfit_of_a_select_is_not_told_to_type_a_cast() -> None:
    assert "`" not in misfit("$1", 5, "", None)


@pytest.mark.parametrize("none_as_null", [True, False])
async def test_none_in_a_column_of_json_is_null_as_the_docs_write_it(session: AsyncSession, none_as_null: bool) -> None:
    """Without `none_as_null`, SQLAlchemy writes JSON's own null, which no `is null` finds."""
    written = pd.DataFrame({"data": [{"a": 1}, None]})
    connection = await session.connection()
    await connection.run_sync(
        lambda c: written.to_sql("json_of_frame", c, index=False, dtype={"data": JSONB(none_as_null=none_as_null)})
    )

    got = await frame(session, "select data is null as missing from json_of_frame order by 1")

    assert got["missing"].tolist() == [False, none_as_null]


@pytest.mark.parametrize(
    ("expression", "value", "literal"),
    [
        (":v::interval", pd.offsets.Hour(3), "interval '3 hours'"),
        (":v::interval", pd.offsets.Day(2), "interval '2 days'"),
        (":v::interval", pd.DateOffset(2), "interval '2 days'"),
        (":v::text[]", np.array(["a", "b"]), "array['a', 'b']"),
        (":v::text[]", [np.str_("a"), None], "array['a', null]"),
        (":v::numeric", 1.1, "1.1"),
        (":v::numeric", np.float32(1.1), "1.1::real::numeric"),
        (":v::numeric[]", [1.1, None], "array[1.1, null]"),
        (":v::bit(3)", "101", "B'101'"),
        (':v::"char"', "a", "'a'::\"char\""),
    ],
)
async def test_a_value_is_what_its_literal_is(
    session: AsyncSession, path: str, expression: str, value: Any, literal: str
) -> None:
    """An offset of pandas has its length, numpy's text is no array, a float is the number that it prints."""
    got = await frame(session, f"select ({expression})::text as given, ({literal})::text as literal", {"v": value})

    assert got["given"].tolist() == got["literal"].tolist()


@pytest.mark.parametrize(
    ("expression", "value", "says"),
    [
        (":v::interval", pd.offsets.MonthEnd(), "got MonthEnd"),
        (":v::int[]", (number for number in (1, 2)), "a sized iterable container expected (got type 'generator')"),
        (":v::jsonb", {"a": Decimal("1.10")}, "what `json.dumps` takes, or a text of JSON"),
        (":v::money", Decimal("1.10"), "Give a str"),
        (":v::bit(3)", "10x", "10x"),
    ],
)
async def test_a_value_without_a_literal_is_refused(
    session: AsyncSession, expression: str, value: Any, says: str
) -> None:
    """An offset without a length, what can be read once only, what JSON has no form for."""
    with pytest.raises(DBAPIError) as raised:
        await frame(session, f"select {expression} as a", {"v": value})

    assert says in "\n".join([str(raised.value), *getattr(raised.value, "__notes__", [])])


async def test_a_value_in_place_of_a_name_is_called_one(session: AsyncSession) -> None:
    with pytest.raises(DBAPIError) as raised:
        await frame(session, "select * from :t", {"t": "pg_class"})

    assert raised.value.__notes__ == [
        ":t is a value, and only a name or a keyword can stand there. Those belong in the statement's text."
    ]


@pytest.mark.parametrize(
    ("literal", "value", "typed"),
    [
        ("interval :v", "5 days", ":v::text::interval"),
        ("interval :v", dt.timedelta(days=5), ":v::interval"),
        ("interval :v day", 5, ":v * interval '1 day'"),
        ("date :v", "2024-02-29", ":v::text::date"),
        ("timestamp with time zone :v", "2024-02-29 12:00+01", ":v::text::timestamp with time zone"),
        ("jsonb :v", {"a": 1}, ":v::jsonb"),
    ],
)
async def test_a_type_before_a_value_is_answered_with_a_cast_that_works(
    session: AsyncSession, literal: str, value: Any, typed: str
) -> None:
    with pytest.raises(DBAPIError) as raised:
        await frame(session, f"select {literal} as a", {"v": value})
    await session.rollback()

    assert raised.value.__notes__ == [f"Type `{typed}` in place of `{literal}`."]
    assert len(await frame(session, f"select {typed} as a", {"v": value})) == 1


@pytest.mark.parametrize("value", [Fraction(1, 2), Fraction(5, 2), 2.5, Decimal("2.5")])
@pytest.mark.parametrize("expression", [":v::int", ":v::bigint[]"])
async def test_no_number_is_cut_to_an_integer(session: AsyncSession, expression: str, value: Any) -> None:
    """asyncpg takes `int(value)`."""
    with pytest.raises(DBAPIError, match="expected an int"):
        await frame(session, f"select {expression} as a", {"v": [value] if "[]" in expression else value})


async def test_a_whole_fraction_is_an_integer(session: AsyncSession) -> None:
    assert (await frame(session, "select :v::int as a", {"v": Fraction(4, 2)}))["a"].tolist() == [2]
