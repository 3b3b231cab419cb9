"""Every type of a stock PostgreSQL: one dtype whatever the data, and the value that was stored."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pandas_versions import STR, in_microseconds
from sqlalchemy import text
from sqlalchemy.dialects.postgresql import Range
from sqlalchemy.ext.asyncio import AsyncSession

from asyncdb_nb import FrameError, frame, table
from asyncdb_nb.dataframes.type_families.kind import KINDS
from asyncdb_nb.dataframes.types.table import column_type, markdown

OWN_TYPES = """
create type mood as enum ('calm', 'tense', '');
create type inner_row as (day date, label text);
create type outer_row as (id bigint, inside inner_row, days date[]);
create type text_row as (id int, words tsvector);
create type spans as range (subtype = interval);
create domain price as numeric(8, 3);
create domain many as int[];
"""

NOON = dt.datetime(2024, 5, 6, 12, 0, 0, 1, tzinfo=dt.UTC)
FEB = dt.date(2024, 2, 29)
ID = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"

# SQL type, a literal of it, the value in a frame, the default dtype
CASES = [
    ("bool", "true", True, "boolean"),
    ("int2", "-32768", -32768, "Int16"),
    ("int4", "2147483647", 2147483647, "Int32"),
    ("int8", "9007199254740993", 9007199254740993, "Int64"),
    ("oid", "4294967295", 4294967295, "UInt32"),
    ("xid8", "18446744073709551615", 18446744073709551615, "UInt64"),
    ("float4", "1.5", 1.5, "float32"),
    ("float8", "-0.1", -0.1, "float64"),
    ("float8", "-Infinity", float("-inf"), "float64"),
    ("numeric(12,2)", "-1234567890.10", Decimal("-1234567890.10"), "decimal128(12, 2)[pyarrow]"),
    ("numeric(2,5)", "0.00012", Decimal("0.00012"), "decimal128(5, 5)[pyarrow]"),
    ("numeric(3,-2)", "12345", Decimal("12300"), "decimal128(5, 0)[pyarrow]"),
    ("numeric(60,1)", "9" * 59 + ".5", Decimal("9" * 59 + ".5"), "decimal256(60, 1)[pyarrow]"),
    ("numeric(300,200)", "1." + "3" * 200, Decimal("1." + "3" * 200), "object"),
    ("numeric", "1" * 200 + "." + "7" * 90, Decimal("1" * 200 + "." + "7" * 90), "object"),
    ("numeric", "Infinity", Decimal("Infinity"), "object"),
    ("price", "1.5", Decimal("1.500"), "decimal128(8, 3)[pyarrow]"),
    ("money", "-1234.50", Decimal("-1234.50"), "decimal128(19, 2)[pyarrow]"),
    ("text", "a'\"\\é\n😀", "a'\"\\é\n😀", "str"),
    ("varchar(3)", "abc", "abc", "str"),
    ("char(4)", "ab", "ab  ", "str"),
    ("name", "n", "n", "str"),
    ('"char"', "x", "x", "str"),
    ("mood", "tense", "tense", "str"),
    ("tsvector", "b a", "'a' 'b'", "str"),
    ("tsvector[]", '[2:3]={"","b a"}', ["", "'a' 'b'"], "object"),
    ("tsvector[]", r"""{{"'x\"y,z'",NULL}}""", [["""'x"y,z'""", None]], "object"),
    ("regclass[]", "{}", [], "object"),
    ("regclass", "pg_class", "pg_class", "str"),
    ("bytea", "\\x00ff", b"\x00\xff", "object"),
    ("date", "2024-02-29", FEB, "date32[day][pyarrow]"),
    ("time", "23:59:59.999999", dt.time(23, 59, 59, 999999), "time64[us][pyarrow]"),
    ("timetz", "12:00:00.5+02:00:30", "12:00:00.5+02:00:30", "str"),
    ("timetz", "12:00-03:30", "12:00:00-03:30", "str"),
    ("timestamp", "2024-05-06 12:00:00.000001", pd.Timestamp("2024-05-06 12:00:00.000001"), "datetime64[us]"),
    ("timestamp", "294246-12-31 23:59:59", np.datetime64("294246-12-31T23:59:59", "us"), "datetime64[us]"),
    ("timestamp", "0044-03-15 01:02:03 BC", np.datetime64("-0043-03-15T01:02:03", "us"), "datetime64[us]"),
    ("timestamptz", "2024-05-06 14:00:00.000001+02", pd.Timestamp(NOON), "datetime64[us, UTC]"),
    (
        "interval",
        "1 year 2 mons -3 days 25:00:00.5",
        pd.DateOffset(months=14, days=-3, microseconds=90_000_500_000),
        "object",
    ),
    ("uuid", ID, uuid.UUID(ID), "object"),
    ("json", '{"x": [1, null]}', {"x": [1, None]}, "object"),
    ("jsonb", '{"x": 1.5}', {"x": 1.5}, "object"),
    ("jsonpath", "$.a[*]", '$."a"[*]', "str"),
    ("jsonpath[]", '{"$.a",NULL}', ['$."a"', None], "object"),
    ("inet", "10.0.0.1", "10.0.0.1", "str"),
    ("inet", "10.0.0.1/8", "10.0.0.1/8", "str"),
    ("cidr", "::1/128", "::1/128", "str"),
    ("macaddr", "08:00:2b:01:02:03", "08:00:2b:01:02:03", "str"),
    ("macaddr8", "08:00:2b:01:02:03:04:05", "08:00:2b:01:02:03:04:05", "str"),
    ("macaddr[]", "{{08:00:2b:01:02:03}}", [["08:00:2b:01:02:03"]], "object"),
    ("refcursor", "cursor", "cursor", "str"),
    ("pg_snapshot", "10:20:10,14", "10:20:10,14", "str"),
    ("bit(10)", "1010101010", "1010101010", "str"),
    ("varbit", "101", "101", "str"),
    ("pg_lsn", "16/B374D848", "16/B374D848", "str"),
    ("tid", "(7,3)", "(7,3)", "str"),
    ("point", "(1,2.5)", [1.0, 2.5], "object"),
    ("line", "{1,2,3}", [1.0, 2.0, 3.0], "object"),
    ("lseg", "[(1,2),(3,4)]", [1.0, 2.0, 3.0, 4.0], "object"),
    ("box", "(3,4),(1,2)", [3.0, 4.0, 1.0, 2.0], "object"),
    ("circle", "<(1,2),3>", [1.0, 2.0, 3.0], "object"),
    ("polygon", "((0,0),(1,0),(1,1))", [0.0, 0.0, 1.0, 0.0, 1.0, 1.0], "object"),
    ("path", "[(0,0),(1,1)]", {"closed": False, "points": [0.0, 0.0, 1.0, 1.0]}, "object"),
    ("int4[]", "{1,NULL,3}", [1, None, 3], "object"),
    ("int4[]", "{}", [], "object"),
    ("int4[]", "[5:6]={1,2}", [1, 2], "object"),
    ("int8[]", "{{1,2},{3,NULL}}", [[1, 2], [3, None]], "object"),
    ("text[]", '{a,"b,c",NULL}', ["a", "b,c", None], "object"),
    ("date[]", "{{{2024-02-29}},{{infinity}}}", [[[FEB]], [["infinity"]]], "object"),
    ("timestamptz[]", "{-infinity,4713-01-01 01:00+00 BC}", ["-infinity", "4713-01-01 01:00:00+00 BC"], "object"),
    ("jsonb[]", '{"[1]",NULL}', [[1], None], "object"),
    ("point[]", '{"(1,2)"}', [[1.0, 2.0]], "object"),
    ("many", "{1,2}", [1, 2], "object"),
    ("mood[]", "{calm}", ["calm"], "object"),
    ("mood[]", '{{""},{NULL}}', [[""], [None]], "object"),
    ("int2vector", "1 2", [1, 2], "object"),
    ("int4range", "[1,5)", Range(1, 5, bounds="[)"), "object"),
    ("int4range", "empty", Range(empty=True), "object"),
    ("numrange", "(0.5,]", Range(Decimal("0.5"), None, bounds="()"), "object"),
    ("daterange", "[2024-02-29,infinity)", Range(FEB, "infinity", bounds="[)"), "object"),
    ("spans", "[1 mon,2 mons]", Range(pd.DateOffset(months=1, days=0, microseconds=0),
                                      pd.DateOffset(months=2, days=0, microseconds=0), bounds="[]"), "object"),
    ("int8multirange", "{[1,2),[5,)}", [Range(1, 2, bounds="[)"), Range(5, None, bounds="[)")], "object"),
    ("inner_row", "(2024-02-29,x)", {"day": FEB, "label": "x"}, "object"),
    (
        "outer_row",
        '(1,"(infinity,)","{2024-02-29}")',
        {"id": 1, "inside": {"day": "infinity", "label": None}, "days": [FEB]},
        "object",
    ),
    ("inner_row[]", '{"(,a)"}', [{"day": None, "label": "a"}], "object"),
    ("text_row", '(1,"b a")', "(1,\"'a' 'b'\")", "str"),
    ("text_row[]", '{"(1,)"}', '{"(1,)"}', "str"),
]  # fmt: skip

# SQL type, a literal that the dtype cannot hold, what the frame says of it
BEYOND = [
    ("numeric(12,2)", "NaN", "NA for NaN (1)"),
    ("timestamptz", "infinity", "NA for infinity (1)"),
    ("timestamp", "-infinity", "NA for infinity (1)"),
    ("timestamp", "294276-12-31", "NA for a year after 294246 (1)"),
    ("date", "infinity", "NA for infinity (1)"),
    ("date", "0044-03-15 BC", "NA for a year outside 1 to 9999 (1)"),
    ("time", "24:00:00", "NA for 24:00:00 (1)"),
]


@pytest.fixture
async def types(session: AsyncSession) -> AsyncSession:
    """A session whose transaction has types of its own."""
    await session.execute(text("create schema if not exists frame_types"))
    await session.execute(text("set local search_path to frame_types, public"))
    for statement in OWN_TYPES.strip().split(";\n"):
        await session.execute(text(statement.rstrip(";")))
    return session


@pytest.mark.parametrize("backend", [None, "numpy_nullable", "pyarrow"])
async def test_a_type_has_one_dtype_and_the_exact_value(types: AsyncSession, backend: str | None) -> None:
    """Full, all NULL and empty results have the same dtypes; the values are the ones that were stored."""
    columns = _select_list()
    nulls = ", ".join(f"null::{sql} as c{n}" for n, (sql, *_) in enumerate(CASES))

    full = await frame(types, f"select {columns}", dtype_backend=backend)
    null = await frame(types, f"select {nulls}", dtype_backend=backend)
    empty = await frame(types, f"select {columns} where false", dtype_backend=backend)

    assert full.dtypes.equals(null.dtypes)
    assert full.dtypes.equals(empty.dtypes)
    assert null.isna().all(axis=None)
    if backend is None:
        for name, (sql, literal, value, dtype) in zip(full, CASES, strict=True):
            got = full[name].iloc[0] if dtype != "datetime64[us]" else full[name].to_numpy()[0]
            got = got if not isinstance(got, pa.Scalar) else got.as_py()
            assert str(full.dtypes[name]) == (STR if dtype == "str" else dtype), sql
            assert got == (np.datetime64(value) if dtype == "datetime64[us]" else value), (sql, literal)
        assert full.attrs["asyncdb"]["lossy"] == {}


@pytest.mark.parametrize(("sql", "literal", "said"), BEYOND, ids=[f"{sql} {literal}" for sql, literal, _ in BEYOND])
async def test_a_value_beyond_its_dtype_is_na_and_counted(
    session: AsyncSession, sql: str, literal: str, said: str
) -> None:
    """What a dtype cannot hold is never another value: it is NA, and `attrs` says so by column."""
    got = await frame(session, f"select '{literal}'::{sql} as x, 1 as y")

    assert got["x"].isna().all()
    assert got.attrs["asyncdb"]["lossy"] == {"x": said}


@pytest.mark.parametrize("backend", [None, "numpy_nullable", "pyarrow"])
@pytest.mark.parametrize("rows", [1, 20_000], ids=["one part of a stream", "several"])
async def test_a_frame_can_be_changed(session: AsyncSession, backend: Any, rows: int) -> None:
    """Not every dtype lets Arrow's memory, which is read-only, be written to."""
    moment = pd.Timestamp("2020-01-01", tz="UTC")
    changes = {"i": 7, "f": 2.5, "r": 1.5, "b": False, "z": moment, "d": moment.tz_localize(None), "t": "new"}
    statement = "select g as i, g::float8 as f, g::real as r, true as b, now() as z, now()::timestamp as d, 'old' as t"

    got = await frame(session, f"{statement} from generate_series(1, {rows}) g", dtype_backend=backend)
    for name, value in changes.items():
        got.loc[0, name] = value

    assert got.loc[0].to_dict() == changes


async def test_several_dimensions_are_nested_lists_and_na_only_in_arrow(session: AsyncSession) -> None:
    """A 2-D array is never flattened."""
    statement = "select * from (values (array[1]), (array[[1,2],[3,4]])) v(a)"

    assert (await frame(session, statement))["a"].tolist() == [[1], [[1, 2], [3, 4]]]
    made = await table(session, statement)
    assert made["a"].to_pylist() == [[1], None]
    assert b"several dimensions" in made.schema.metadata[b"asyncdb"]


@pytest.mark.parametrize("backend", ["numpy_nullable", "pyarrow"])
async def test_a_backend_is_what_pandas_means_by_it(session: AsyncSession, backend: Any) -> None:
    """Where pandas can know the type from the values; of narrower types and the rest it sees less than the server."""
    columns = "g::int8 a, g / 2.0::float8 b, g > 2 c, 'x' || g d, timestamp '2024-01-01' + g * interval '1 h' e"
    statement = (
        f"select {columns}, timestamptz '2024-01-01+05' + g * interval '1 us' f from generate_series(1, 4) g "
        "union all select null, null, null, null, null, null"
    )

    got = await frame(session, statement, dtype_backend=backend)

    result = await session.execute(text(statement.replace("::", r"\:\:")))
    want = pd.DataFrame(result.all(), columns=list(result.keys())).convert_dtypes(dtype_backend=backend)
    pd.testing.assert_frame_equal(got, in_microseconds(want))


async def test_an_anonymous_row_is_a_tuple(session: AsyncSession) -> None:
    got = await frame(session, "select row(1, 'x', '1 mon'::interval, null) as r")

    assert got["r"].tolist() == [(1, "x", pd.DateOffset(months=1, days=0, microseconds=0), None)]


async def test_an_anonymous_row_of_types_that_are_not_built_in(types: AsyncSession) -> None:
    """They are only known when the rows are there; the server is asked, and the statement runs once."""
    await types.execute(text("create temp sequence frame_rows"))
    mixed = (
        "row('calm'::mood, array['(2024-02-29,x)'::inner_row], row('1.5'::price), '2.50'::money, nextval('frame_rows'))"
    )

    got = await frame(types, f"select {mixed} as r from generate_series(1, 2)")

    assert got["r"].tolist() == [
        ("calm", [{"day": FEB, "label": "x"}], (Decimal("1.500"),), Decimal("2.50"), n) for n in (1, 2)
    ]
    assert got.attrs["asyncdb"]["path"] == "rows"
    with pytest.raises(FrameError, match=r"holds a tsvector.*::text"):
        await frame(types, "select row('a'::tsvector) as r")
    assert len(await frame(types, "select 1 as a")) == 1


async def test_the_catalog_itself_is_a_frame(session: AsyncSession) -> None:
    """asyncpg refuses its anyarray columns."""
    stats = await frame(session, "select most_common_vals, n_distinct from pg_stats where false")

    assert [str(dtype) for dtype in stats.dtypes] == [STR, "float32"]
    assert (await frame(session, "select '{a,b}'::name[]::text as a, s from pg_statistic s limit 1")).shape[1] == 2


async def test_numeric_float_is_the_nearest_double_and_said_to_be(session: AsyncSession) -> None:
    got = await frame(
        session, "select 0.1::numeric(3,1) as a, 'NaN'::numeric as b, 1e400::numeric as c", numeric="float"
    )

    assert [str(dtype) for dtype in got.dtypes] == ["float64"] * 3
    assert got["a"].tolist() == [0.1]
    assert got["b"].isna().all()
    rounded = "numeric read as the nearest float64"
    beyond = f"{rounded}; digits beyond the first 15 may be lost"
    assert got.attrs["asyncdb"]["lossy"] == {"a": rounded, "b": beyond, "c": beyond}


async def test_null_and_nan_differ_in_the_pyarrow_dtype(session: AsyncSession) -> None:
    got = await frame(session, "select * from (values ('NaN'::float8), (null)) v(x)", dtype_backend="pyarrow")

    assert pa.array(got["x"]).null_count == 1


async def test_a_table_has_the_arrow_types(types: AsyncSession) -> None:
    """Arrow keeps json as the server's text, uuid as bytes and an interval's months."""
    columns = _select_list()
    made = await table(types, f"select {columns}, '{{\"a\":  1.10}}'::json as j, '1 mon'::interval as i")
    empty = await table(types, f"select {columns}, '{{\"a\":  1.10}}'::json as j, '1 mon'::interval as i where false")

    assert made.schema.equals(empty.schema)
    assert made["j"].to_pylist() == ['{"a":  1.10}']
    assert made["i"].to_pylist() == [(1, 0, 0)]


def test_the_table_of_types_renders_as_markdown() -> None:
    """One line a rule, each with as many cells as the head."""
    lines = markdown().splitlines()

    assert len(lines) == len(KINDS) + 2
    assert {line.count("|") for line in lines} == {7}


def test_the_documentation_has_the_table_of_the_code() -> None:
    """To renew it, put what `markdown()` gives behind the comment in docs/types.md."""
    documented = Path(__file__).parents[2].joinpath("docs/types.md").read_text(encoding="utf-8")

    assert documented.endswith("-->\n" + markdown())


@pytest.mark.parametrize(
    ("typmod", "kind", "precision", "scale"),
    [(-1, "numeric", 0, 0), (786438, "decimal", 12, 2), ((1000 << 16 | 5) + 4, "numeric", 0, 0)],
    ids=["none", "numeric(12,2)", "numeric(1000,5)"],
)
def test_a_typmod_holds_precision_and_scale(typmod: int, kind: str, precision: int, scale: int) -> None:
    found = column_type(1700, typmod)

    assert (found.kind, found.precision, found.scale) == (kind, precision, scale)


def _select_list() -> str:
    literals = [(literal.replace("'", "''"), sql) for sql, literal, *_ in CASES]
    return ", ".join(f"'{literal}'::{sql} as c{n}" for n, (literal, sql) in enumerate(literals))
