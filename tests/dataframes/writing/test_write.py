"""`write`: what goes into which table, and what is refused before anything does."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import sys
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from server_checks import ServerWatch
from sqlalchemy import BigInteger, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from waiting import HANG

from asyncdb_nb import Database, Repository, WriteError, frame, session_scope, table, to_frame, write
from asyncdb_nb.dataframes.writing import writing
from asyncdb_nb.errors import MissingExtraError, UnfitValueError, UnknownOptionError

NAN = float("nan")


@pytest.fixture
async def db(fresh_database_url: str) -> AsyncIterator[Database]:
    async with Database(fresh_database_url) as db:
        yield db


async def rows(session: AsyncSession, query: str) -> list[Any]:
    return [tuple(row) for row in await session.execute(text(query.replace(":", "\\:")))]


async def run(session: AsyncSession, *statements: str) -> None:
    for statement in statements:
        await session.execute(text(statement.replace(":", "\\:")))


# What does not fit: the column's type, data, the row that is named, and what is said
UNFIT = [
    ("int4", [1.0, 1.5], 1, r"is integer, and in row 1 it is 1\.5 \(float\): Float value 1\.5"),
    ("int4", [2**31], 0, "2147483648"),
    ("int2", pd.Series([1, None, 40_000], dtype="Int64"), 2, "40000"),
    ("int8", pa.array([2**63], pa.uint64()), 0, "9223372036854775808"),
    ("int4", [True], 0, "True"),
    ("int4", ["1"], 0, "'1'"),
    ("int4", [Decimal("1.5")], 0, "1.5"),
    ("oid", [-1], 0, "-1"),
    ("bool", [1], 0, "1 "),
    ("real", [0.5, 0.1], 1, "rounded"),
    ("real", [1e300], 0, "rounded"),
    ("float8", [2**53 + 1], 0, "9007199254740993"),
    ("float8", [Decimal("0.1"), Decimal("0.12345678901234567890")], 1, "0.1234567890"),
    ("numeric(5,2)", [1.25, 1.255], 1, "it would become 1.2"),
    ("numeric(5,2)", [Decimal("1000")], 0, "too many digits"),
    ("numeric(5,2)", [100_000], 0, "100000"),
    ("numeric(5,2)", pa.array([Decimal("1.234")]), 0, "data loss"),
    ("money", [Decimal("1.234")], 0, "it would become"),
    ("text", [5], 0, "5"),
    ("text", ["a", "b\0"], 1, "zero byte|b.x00"),  # pandas 3 has texts, pandas 2 objects
    ("text", pd.Series(["a", "b\0"], dtype=object), 1, "b.x00"),
    ("text", pd.Series(["\ud800"], dtype=object), 0, "surrogate"),
    ("bytea", ["a"], 0, "'a'"),
    ("uuid", ["no"], 0, "hexadecimal"),
    ("date", pd.DatetimeIndex([dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 1, 5)]), 1, "normalize"),
    ("date", pa.array([2**31 - 1], pa.int32()).cast(pa.date32()), 0, "no such date"),
    ("timestamp", pd.DatetimeIndex(np.array([0, 1], "datetime64[ns]")), 1, "lose data"),
    ("timestamp", pd.to_datetime(["2024-01-01"], utc=True), 0, "tz_localize"),
    ("timestamp", pa.array([-(2**62)], pa.int64()).cast(pa.timestamp("us")), 0, "no such date"),
    ("timestamp", [dt.datetime(2024, 1, 1, tzinfo=dt.UTC), "x"], 0, "time zone"),
    ("timestamptz", pd.to_datetime(["2024-01-01"]), 0, r"tz_localize\('UTC'\)"),
    ("timestamptz", pd.Series([dt.datetime(2024, 1, 1)], dtype=object), 0, "2024"),
    ("time", pa.array([1], pa.time64("ns")), 0, "lose data"),
    ("interval", pd.to_timedelta([1], unit="ns"), 0, "lose data"),
    ("json", pd.Series([{"a": 1}, {"a": NAN}], dtype=object), 1, "JSON"),
    ("json", pd.Series([{"a": {1}}], dtype=object), 0, "serializable"),
    ("int4[]", [[1], [1, "x"]], 1, "'x'|x does not fit"),
    ("int4[]", [[[1], [1, 2]]], 0, r"\[\[1\]"),
    ("inet", ["10.0.0.1/8", "nowhere"], 1, "nowhere"),
    ("int4range", [5], 0, "5"),
    ("pair", pd.Series([{"a": 1, "c": 2}], dtype=object), 0, "'c'"),
    ("point", [[1.0]], 0, r"\[1\.0\]"),
    ("int4 not null", pd.Series([1, None], dtype="Int64"), 1, "missing"),
    ("text not null", ["a", None], 1, "missing"),
    ("given", pd.Series([1, None], dtype="Int64"), 1, "missing"),
    ("text", pd.Series(pd.period_range("2020", periods=1, freq="M")), 0, "period"),
    ("timestamp(0)", [dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 1, 0, 0, 0, 600_000)], 1, "600000"),
    ("timestamptz(3)", pd.to_datetime(["2024-01-01 00:00:00.123456"], utc=True), 0, "123456"),
    ("time(0)", [dt.time(1, 2, 3, 4)], 0, "rounded to 0 digits"),
    ("timestamp(0)[]", [[dt.datetime(2024, 1, 1, 0, 0, 0, 600_000)]], 0, "600000"),
    ("timestamptz", ["2024-01-01 00:00:00"], 0, "2024-01-01"),
    ("timestamp", ["2024-01-01 00:00:00+00"], 0, "2024-01-01"),
    ("timestamp", ["2024-01-01 25:61:00"], 0, "25:61"),
    # What the server would cut, round or set to zero without a word
    ("varchar(3)", ["abc", "ab  "], 1, "it has 4 characters"),
    ("varchar(3)", pa.array(["ab\u20ac", "x", "ab\u20ac "]), 2, "it has 4 characters"),
    ("varchar(3)", pd.Series(["ab  "], dtype="category"), 0, "it has 4 characters"),
    ("char(3)", ["ab", "ab  "], 1, "it has 4 characters"),
    ("varchar(3)[]", [["ab", "ab  "]], 0, "it has 4 characters"),
    ("code", ["ab", "ab  "], 1, "it has 4 characters"),
    ("code[]", [["ab", "ab  "]], 0, "it has 4 characters"),
    ("narrow", [{"a": "ab  "}], 0, "it has 4 characters"),
    ("narrow", [{"a": None, "b": Decimal("1.555")}], 0, "it would become 1.56"),
    ("narrow", [{"c": dt.datetime(2024, 1, 1, 0, 0, 0, 1)}], 0, "rounded to 0 digits"),
    ("bit(3)", ["101", "1010"], 1, "it has 4 bits"),
    ("bit(3)", ["10"], 0, "it has 2 bits"),
    ("varbit(3)", ["", "1010"], 1, "it has 4 bits"),
    ("bit(3)[]", [["1010"]], 0, "it has 4 bits"),
    ("numeric(4,2)", [1.555], 0, "it would become 1.56"),
    ("numeric(4,2)[]", [[Decimal("1.555")]], 0, "it would become 1.56"),
    ("numeric(4,2)", [Decimal("Infinity")], 0, "no infinity"),
    ("numeric(3,-2)", [Decimal(1200), Decimal(1250)], 1, "it would become 1200"),
    ("numeric(3,-2)", pa.array([Decimal(1250)]), 0, "it would become 1200"),
    ("numeric(3,-2)", [Decimal(100_000)], 0, "too many digits"),
    ("numeric(2,5)", [Decimal("0.00012"), Decimal("0.1")], 1, "too many digits"),
    ("numeric(100,2)", [Decimal("1.555")], 0, "it would become 1.56"),
    ("numeric(100,2)", pa.array([Decimal("1.555")]), 0, "it would become 1.56"),
    ("numeric(100,2)", ["1.555"], 0, "it would become 1.56"),
    ("time(0)", pa.array([1], pa.time64("us")), 0, "rounded"),
    ("timetz(1)", ["12:00:00.12+00"], 0, "rounded to 1 digits"),
    ("interval(3)", pd.to_timedelta([1], unit="us"), 0, "rounded to 3 digits"),
    ("interval day", [dt.timedelta(1), dt.timedelta(1, 5)], 1, "would be lost"),
    ("interval year", [pd.DateOffset(months=12), pd.DateOffset(months=13)], 1, "would be lost"),
    ("interval year to month", [pd.DateOffset(months=1, days=1)], 0, "would be lost"),
    ("interval hour to minute", pd.to_timedelta([60, 61], unit="s"), 1, "would be lost"),
    ("interval second(0)", pd.to_timedelta([1], unit="us"), 0, "rounded to 0 digits"),
    ("interval minute[]", [[dt.timedelta(0, 1)]], 0, "would be lost"),
    ("interval", pa.array([pa.MonthDayNano([0, 0, 1])]), 0, "nano"),
    ("real", pa.array([2**24 + 1]), 0, "16777217"),
    ("float8", pa.array([2**53 + 1]), 0, "9007199254740993"),
    ("int4", pa.array([Decimal("1.5")]), 0, "1.5"),
    ("int8", pa.array([2.0**63]), 0, "9223372036854775808|922337203685477|9.22337203685477"),
    ("int8", pa.array([1.0, NAN]), 1, "nan"),
    ("date", pa.array([0, 1], pa.int64()).cast(pa.date64()), 1, "lose data|1970"),
    ("timestamp[]", pa.array([[-(2**63)]], pa.list_(pa.int64())).cast(pa.list_(pa.timestamp("us"))), 0, "no such date"),
    ("date[]", pa.array([[-(2**31)]], pa.list_(pa.int32())).cast(pa.list_(pa.date32())), 0, "no such date"),
    ("time[]", pa.array([[-1]], pa.list_(pa.int64())).cast(pa.list_(pa.time64("us"))), 0, "no such date"),
    ("point", [[1, 2**53 + 1]], 0, "9007199254740992"),
    ("inet", ["fe80::1", "fe80::1%eth0"], 1, "no zone"),
    ("inet", [ipaddress.ip_address("fe80::1%1")], 0, "no zone"),
    ("inet", ["10.0.0.1/33"], 0, "32 bits at most"),
    ("inet", ["10.0.0.1/"], 0, "10.0.0.1/"),
    ("inet", ["10.0.0.1/255.0.0.0"], 0, "255"),
    ("cidr", ["10.0.0.0/8", "10.0.0.1/8"], 1, "bits to the right of its mask"),
    ("macaddr", ["08:00:2b:01:02:03:04:05"], 0, "04:05"),
    ("macaddr8", ["08:00:2b:01:02"], 0, "01:02"),
    ("jsonb", pd.Series([{"1": 1}, {"a": [{1: 1, "1": 2}]}], dtype=object), 1, "no other keys than texts"),
]


@pytest.mark.parametrize(("sql", "data", "row", "said"), UNFIT, ids=[f"{n} {case[0]}" for n, case in enumerate(UNFIT)])
async def test_a_value_that_does_not_fit_is_named_before_anything_is_sent(
    session: AsyncSession, sql: str, data: Any, row: int, said: str
) -> None:
    """Column, row and value: and not even a sequence has moved."""
    await run(
        session,
        "create type pair as (a int, b text)",
        "create domain given as int not null",
        "create domain code as varchar(3)",
        "create type narrow as (a varchar(3), b numeric(4, 2), c timestamp(0))",
        "create sequence sent",
        f'create temp table "T:" (n int default nextval(\'sent\'), "Q""u:" {sql})',
    )
    name = 'Q"u:'
    given = pa.table({name: data}) if isinstance(data, pa.Array) else pd.DataFrame({name: data})

    with pytest.raises(UnfitValueError, match=said) as caught:
        await write(session, given, "T:")

    assert (caught.value.column, caught.value.row) == (name, row)
    assert f"Column {name!r} " in str(caught.value)
    assert f" in row {row} it is " in str(caught.value)
    assert await rows(session, 'select count(*), (select is_called from sent) from "T:"') == [(0, False)]


async def test_the_row_is_named_however_many_come_before_it(session: AsyncSession) -> None:
    await run(session, "create temp table many (a int4, b text)")
    data = pd.DataFrame({"a": np.arange(100_000, dtype=np.int64), "b": pd.Series(["x"] * 100_000, dtype=object)})
    data.loc[98_765, "a"] = 2**40
    other = data.assign(a=1)
    other.loc[77_777, "b"] = 5

    for given, row, column in ((data, 98_765, "a"), (pa.Table.from_pandas(data), 98_765, "a"), (other, 77_777, "b")):
        with pytest.raises(UnfitValueError) as caught:
            await write(session, iter([other[:50_000], given]), "many")
        assert (caught.value.row, caught.value.column) == (50_000 + row, column)
    assert await rows(session, "select count(*) from many") == [(0,)]


# What fits: the column's type, data, and the texts that the server then has
FIT = [
    ("int4", [1.0, NAN], ["1", None]),
    ("int2", pd.Series([1, None], dtype="Int64"), ["1", None]),
    ("int8", pd.Series([2**63 - 1, np.int16(7), None], dtype=object), [str(2**63 - 1), "7", None]),
    ("float8", pd.Series([1.5, NAN]), ["1.5", None]),
    ("float8", pd.Series([1.5, NAN, None], dtype=object), ["1.5", None, None]),
    ("float8", pa.array([1.5, NAN, None]), ["1.5", "NaN", None]),
    ("float8", pd.Series(pd.arrays.ArrowExtensionArray(pa.array([NAN, None]))), ["NaN", None]),
    ("float8", pd.Series([1, 2**53]), ["1", "9.007199254740992e+15"]),
    ("real", pd.Series([0.1], dtype="float32"), ["0.1"]),
    ("real", [0.5, -np.inf, NAN], ["0.5", "-Infinity", None]),
    ("numeric(5,2)", [1.25, 1], ["1.25", "1.00"]),
    ("numeric(5,2)", [1, 2], ["1.00", "2.00"]),
    ("numeric(5,2)", [Decimal("NaN"), Decimal("1.1")], ["NaN", "1.10"]),
    ("numeric", [0.1, 1e300, NAN], ["0.1", f"{Decimal('1e300'):f}", None]),
    ("numeric", [Decimal("1.10"), Decimal("-Infinity"), None], ["1.10", "-Infinity", None]),
    ("numeric", pa.array([Decimal("1.10")], pa.decimal256(60, 2)), ["1.10"]),
    ("numeric", pa.array([2**64 - 1], pa.uint64()), ["18446744073709551615"]),
    ("numeric", ["1.10", "NaN"], ["1.10", "NaN"]),
    ("numeric", [Decimal("0.004786"), Decimal("-0.470786"), Decimal("1E+5")], ["0.004786", "-0.470786", "100000"]),
    ("numeric(60,1)", [Decimal("9" * 59 + ".5")], ["9" * 59 + ".5"]),
    ("money", [Decimal("-1234.5")], ["-1,234.50"]),
    ("text", pd.Series(["a", None, "a"], dtype="category"), ["a", None, "a"]),
    ("text", pa.array(["a", "b" * 100, None], pa.string_view()), ["a", "b" * 100, None]),
    (  # as polars has a Categorical
        "text",
        pa.DictionaryArray.from_arrays([1, 0, 1, None], pa.array(["b" * 100, "a"], pa.string_view()))[1:],
        ["b" * 100, "a", None],
    ),
    ("text", pa.array(["x", "a", None], pa.large_string())[1:], ["a", None]),
    ("text", pa.chunked_array([["x"], [], ["y", None]]), ["x", "y", None]),
    ("text", pa.nulls(2), [None, None]),
    ("varchar(3)", ["abc"], ["abc"]),
    ("bytea", pa.array([b"\x00", None], pa.binary_view()), ["\\x00", None]),
    ("bytea", [b"a", bytearray(b"b"), memoryview(b"c")], ["\\x61", "\\x62", "\\x63"]),
    ("int4", pa.RunEndEncodedArray.from_arrays([2, 3], pa.array([5, None])), ["5", "5", None]),
    ("uuid", ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"], ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"]),
    ("uuid", pa.array([uuid.UUID(int=1).bytes], pa.binary(16)), [str(uuid.UUID(int=1))]),
    ("date", pd.to_datetime(["2024-02-29", None]), ["2024-02-29", None]),
    ("date", [dt.date(9999, 12, 31), "infinity", "0044-03-15 BC"], ["9999-12-31", "infinity", "0044-03-15 BC"]),
    ("timestamp", [dt.datetime(2024, 1, 1), "294276-12-31 23:59:59"], ["2024-01-01 00:00:00", "294276-12-31 23:59:59"]),
    ("timestamp", pa.array([dt.date(2024, 1, 1)]), ["2024-01-01 00:00:00"]),
    ("timestamp", pd.to_datetime(["2024-01-01 00:00:00.5"]).as_unit("ms"), ["2024-01-01 00:00:00.5"]),
    ("timestamptz", pd.to_datetime(["2024-01-01 00:00+02:00"], utc=False), ["2023-12-31 22:00:00+00"]),
    ("timetz", [dt.time(12, tzinfo=dt.UTC), "12:00:00-03:30:15"], ["12:00:00+00", "12:00:00-03:30:15"]),
    ("interval", pd.to_timedelta(["1 day 00:00:01", None]), ["1 day 00:00:01", None]),
    ("interval", [pd.DateOffset(months=1, days=-2), dt.timedelta(-1, 5)], ["1 mon -2 days", "-1 days +00:00:05"]),
    ("jsonb", pd.Series([{"a": [1, None]}, "text", None, 5], dtype=object), ['{"a": [1, null]}', '"text"', None, "5"]),
    ("json", pa.array(['{"a":  1.50}', None]), ['{"a":  1.50}', None]),
    ("jsonb", pa.array([{"a": 1}, None]), ['{"a": 1}', None]),
    ("jsonb", pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())), ['{"k": 1}']),
    ("int4[]", [np.array([1, 2]), [3, None], []], ["{1,2}", "{3,NULL}", "{}"]),
    ("text[]", pa.array([["a", None], [], None]), ["{a,NULL}", "{}", None]),
    ("text[]", pa.array([["x"], ["a"], ["b"]])[1:], ["{a}", "{b}"]),
    ("uuid[]", [[uuid.UUID(int=1)]], [f"{{{uuid.UUID(int=1)}}}"]),
    ("varchar[]", pa.array([["a"]]), ["{a}"]),
    ("timestamptz[]", pa.array([[dt.datetime(2024, 1, 1, tzinfo=dt.UTC)]]), ['{"2024-01-01 00:00:00+00"}']),
    ("float8[]", [[1, 2.5, NAN]], ["{1,2.5,NaN}"]),
    ("float8[]", [[[1.0], [2.0]]], ["{{1},{2}}"]),
    ("numeric[]", pa.array([[Decimal("1.5")]]), ["{1.5}"]),
    ("tsvector", ["b a", None], ["'a' 'b'", None]),
    ("tsvector[]", [["b a", None, 'x"y']], ["{\"'a' 'b'\",NULL,\"'x\\\"y'\"}"]),
    ("mood", ["calm", None], ["calm", None]),
    ("moods", ["calm"], ["calm"]),
    ("mood[]", [["calm"]], ["{calm}"]),
    ("moods[]", [["calm"]], ["{calm}"]),
    ("pair", [{"a": 1, "b": None}], ["(1,)"]),
    ("domains", [{"a": 1, "b": "calm"}], ["(1,calm)"]),
    ("bit(3)", ["101"], ["101"]),
    ("varbit(3)", ["", "101"], ["", "101"]),
    ("varchar(3)", pa.array(["\u20ac\U0001f600x", "a  ", None]), ["\u20ac\U0001f600x", "a  ", None]),
    ("varchar", ["a" * 100 + " "], ["a" * 100 + " "]),
    ("varchar(3)[]", [["a  ", None]], ['{"a  ",NULL}']),
    ("char(3)", ["a", "abc"], ["a", "abc"]),
    ("numeric(3,-2)", [Decimal("12300"), 0], ["12300", "0"]),
    ("numeric(3,-2)", pa.array([Decimal("12300")]), ["12300"]),
    ("numeric(2,5)", [Decimal("0.00012")], ["0.00012"]),
    ("numeric(100,2)", [Decimal("1.5"), Decimal("NaN")], ["1.50", "NaN"]),
    ("numeric(100,2)", pa.array([Decimal("1.50")]), ["1.50"]),
    ("timestamp(3)", [dt.datetime(2024, 1, 1, 0, 0, 0, 123_000), "infinity"], ["2024-01-01 00:00:00.123", "infinity"]),
    ("interval year", [pd.DateOffset(months=24), pd.DateOffset(months=-12)], ["2 years", "-1 years"]),
    ("interval day to minute", pd.to_timedelta(["3 days 04:05:00"]), ["3 days 04:05:00"]),
    ("interval second(3)", pd.to_timedelta([1_001], unit="ms"), ["00:00:01.001"]),
    ("inet", ["10.0.0.1/8", "::1/64", "fe80::1"], ["10.0.0.1/8", "::1/64", "fe80::1/128"]),
    ("inet", [ipaddress.ip_interface("10.0.0.1/8"), ipaddress.ip_network("10.0.0.0/8")], ["10.0.0.1/8", "10.0.0.0/8"]),
    ("cidr", [ipaddress.ip_network("10.0.0.0/8"), "::/0", "10.0.0.1"], ["10.0.0.0/8", "::/0", "10.0.0.1/32"]),
    ("macaddr8", ["08:00:2b:01:02:03"], ["08:00:2b:ff:fe:01:02:03"]),
    ("point", [[1, 2.5]], ["(1,2.5)"]),
]


@pytest.mark.parametrize(("sql", "data", "texts"), FIT, ids=[f"{n} {case[0]}" for n, case in enumerate(FIT)])
async def test_a_value_that_fits_is_what_the_server_has(
    session: AsyncSession, sql: str, data: Any, texts: list[str | None]
) -> None:
    await run(
        session,
        "set local timezone to 'UTC'",
        "create type mood as enum ('calm', 'tense')",
        "create domain moods as mood check (value <> 'tense')",
        "create domain small as int check (value < 10)",
        "create type pair as (a int, b text)",
        "create type domains as (a small, b moods)",
        f"create temp table target (row serial, a {sql})",
    )
    given = pa.table({"a": data}) if isinstance(data, pa.Array | pa.ChunkedArray) else pd.DataFrame({"a": data})

    written = await write(session, given, "target")

    found = [row[0] for row in await rows(session, "select a::text from target order by row")]
    assert written.inserted == len(found)
    assert [each if sql != "money" else each.replace("$", "") for each in found] == texts


async def test_columns_go_by_name_and_the_others_have_their_defaults(session: AsyncSession) -> None:
    await run(
        session,
        "create temp table target (id int generated by default as identity, a int, b text default 'new', "
        "c int generated always as (a * 2) stored, d int default 5)",
    )

    written = await write(session, pd.DataFrame({"d": [1, 2], "a": [7, 8]}), "target")

    assert await rows(session, "select * from target") == [(1, 7, "new", 14, 1), (2, 8, "new", 16, 2)]
    assert (written.table.rpartition(".")[2], written.rows, written.inserted) == ("target", 2, 2)
    assert (written.updated, written.unchanged, written.created) == (0, 0, False)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"a": [1], "z": [1]}, "no column 'z'. It has 'id', 'a', 'b', 'c'"),
        ({"b": [1]}, "no column 'a', which takes no NULL and has no default"),
        ({"a": [1], "c": [1]}, r"Only the server gives column 'c' its values.*drop\(columns='c'\)"),
        ({"a": [1], "id": [1]}, "Only the server gives column 'id'"),
        ({}, "no columns"),
    ],
    ids=["unknown", "missing", "generated", "identity", "none"],
)
async def test_columns_that_do_not_fit_the_table_are_named(
    session: AsyncSession, data: dict[str, Any], said: str
) -> None:
    await run(
        session,
        "create temp table target (id int generated always as identity, a int not null, b int, "
        "c int generated always as (a * 2) stored)",
    )

    with pytest.raises(WriteError, match=said):
        await write(session, pd.DataFrame(data), "target")


async def test_what_only_the_server_refuses_is_told_with_its_row_and_leaves_the_transaction_usable(
    session: AsyncSession,
) -> None:
    """Checks and keys by their line; a foreign key, which is checked at the end, by its value."""
    await run(
        session,
        "create temp table owners (name text primary key, x int)",
        "insert into owners values ('Ada', 1)",
        "create temp table target (a int primary key check (a < 100), b varchar(3), c text references owners)",
        "insert into target values (50)",
    )
    refused = [
        ({"a": [1, 2, 100]}, IntegrityError, "row 2 of the data: a=100"),
        ({"a": [1, 50]}, IntegrityError, "row 1 of the data: a=50"),
        ({"a": [1, 2, 3], "c": ["Ada", "Bob", "Bob"]}, IntegrityError, "row 1 of the data: a=2, c='Bob'"),
    ]

    for data, kind, said in refused:
        with pytest.raises(kind) as caught:
            await write(session, pd.DataFrame(data), "target")
        assert said in "\n".join(caught.value.__notes__)

    assert await rows(session, "select a from target") == [(50,)]
    assert (await write(session, pd.DataFrame({"a": [1]}), "target")).inserted == 1


async def test_if_exists_is_what_pandas_means_by_it(session: AsyncSession) -> None:
    one, two = pd.DataFrame({"a": [1]}), pd.DataFrame({"a": ["x"]})

    assert (await write(session, one, "pg_temp.target")).created
    assert not (await write(session, one, "target")).created
    with pytest.raises(WriteError, match=r"There is a table .*target.* already\. Type if_exists='append'"):
        await write(session, one, "target", if_exists="fail")
    assert (await write(session, one, "target", if_exists="truncate")).inserted == 1
    assert await rows(session, "select * from target") == [(1,)]
    assert (await write(session, two, "pg_temp.target", if_exists="replace")).created
    assert await rows(session, "select * from target") == [("x",)]
    with pytest.raises(WriteError, match="it is one of 'append'"):
        await write(session, one, "target", if_exists="delete")  # type: ignore[arg-type]


async def test_a_frame_that_was_read_makes_a_table_of_the_same_types(session: AsyncSession) -> None:
    """json or jsonb, varchar(n), inet, an enum, numeric with a precision or without; unless the dtype has changed."""
    await run(
        session,
        "create type mood as enum ('calm', 'tense')",
        "create temp table source (a json, b jsonb, c varchar(9), d inet, e mood, f numeric, g numeric(7,2), h real, "
        "i smallint, j char(3), k timestamp(3), l int4range, m mood[], n xml, o tsvector)",
        "insert into source default values",
    )
    types = (
        "select attname, format_type(atttypid, atttypmod) from pg_attribute "
        "where attrelid = '{}'::regclass and attnum > 0 order by attnum"
    )

    for data in (
        await frame(session, "select * from source"),
        await frame(session, "select * from source", dtype_backend="pyarrow"),
        await table(session, "select * from source"),
    ):
        await write(session, data, "pg_temp.target", if_exists="replace")
        assert await rows(session, types.format("target")) == await rows(session, types.format("source"))
    changed = (await frame(session, "select g, i, d from source")).assign(g=1.234, i="text")
    await write(session, changed, "pg_temp.target", if_exists="replace", types={"d": "text"})
    assert await rows(session, types.format("target")) == [("g", "double precision"), ("i", "text"), ("d", "text")]


async def test_new_tables_have_the_types_that_the_data_say(session: AsyncSession) -> None:
    data = pd.DataFrame(
        {
            "a": pd.Series([1], dtype="int8"),
            "b": pd.Series([1], dtype="uint32"),
            "c": [Decimal("1.5")],
            "d": [uuid.uuid4()],
            "e": [{"a": 1}],
            "f": [[1, 2]],
            "g": [dt.date(2024, 1, 1)],
            "h": [pd.Timestamp("2024-01-01", tz="UTC")],
            "i": [True],
            "j": [b"x"],
            "k": pd.to_timedelta([1], unit="s"),
            "l": pd.Series([None], dtype=object),
            "m": pd.Series(["x"], dtype="category"),
            "n": [["x"]],
            "o": [dt.time(12)],
        }
    )

    await write(session, data, "pg_temp.target", key=["a", "b"])

    assert await rows(
        session,
        "select string_agg(format_type(atttypid, atttypmod), ' ' order by attnum) from pg_attribute "
        "where attrelid = 'target'::regclass and attnum > 0",
    ) == [
        (
            "smallint bigint numeric uuid jsonb bigint[] date timestamp with time zone boolean bytea interval text "
            "text text[] time without time zone",
        )
    ]
    assert await rows(
        session,
        "select pg_get_constraintdef(oid) from pg_constraint where contype = 'p' and conrelid = 'target'::regclass",
    ) == [("PRIMARY KEY (a, b)",)]
    runs = pa.table({"x": pa.RunEndEncodedArray.from_arrays([2, 3], pa.array([5, None]))})
    await write(session, runs, "pg_temp.runs")
    assert await rows(session, "select x, pg_typeof(x)::text from runs") == [(5, "bigint")] * 2 + [(None, "bigint")]
    with pytest.raises(WriteError, match=r"Column 'x' of int and str does not say.*types=\{'x': 'text'\}"):
        await write(session, pd.DataFrame({"x": pd.Series([1, "a"], dtype=object)}), "pg_temp.other")
    with pytest.raises(WriteError, match="no column 'y'"):
        await write(session, pd.DataFrame({"x": [1]}), "pg_temp.other", types={"y": "int"})


class Stream:
    """Data of another library, which has nothing but Arrow's C interface."""

    def __init__(self, data: pa.Table) -> None:
        self._data = data

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self._data.__arrow_c_stream__(requested_schema)


async def parts(*given: Any) -> AsyncIterator[Any]:
    for part in given:
        yield part


def made_of(data: pd.DataFrame) -> Iterator[tuple[str, Any]]:
    whole = pa.Table.from_pandas(data)
    yield "frame", data
    yield "table", whole
    yield "batch", whole.to_batches()[0]
    yield "reader", pa.RecordBatchReader.from_batches(whole.schema, whole.to_batches(max_chunksize=2))
    yield "stream", Stream(whole)
    yield "iterator", (data[start : start + 2] for start in range(0, 5, 2))
    yield "asynchronous iterator", parts(data[:0], whole.slice(0, 2), data[2:])


async def test_data_come_in_many_forms(session: AsyncSession) -> None:
    data = pd.DataFrame({"a": range(5), "b": list("abcde")})

    for form, given in made_of(data):
        written = await write(session, given, "pg_temp.target", if_exists="replace")
        assert (form, written.rows) == (form, 5)
        assert await rows(session, "select * from target") == list(data.itertuples(index=False, name=None))
    await write(session, data.set_index("b"), "pg_temp.target", if_exists="replace", index=True)
    assert await rows(session, "select b, a from target limit 1") == [("a", 0)]
    for none in ({"a": [1]}, [1, 2], 5):
        with pytest.raises(WriteError, match=r"is no table. Give a DataFrame.*to_frame\(\.\.\.\)"):
            await write(session, none, "target")
    for column in (Stream(pa.chunked_array([[1]])), iter([Stream(pa.chunked_array([[1]]))])):
        with pytest.raises(WriteError, match=r"A Stream is no table that pyarrow reads.*\.to_frame\(\)"):
            await write(session, column, "target")
    with pytest.raises(WriteError, match=r"cannot insert a, already exists\. Rename it: `frame\.rename_axis"):
        await write(session, data.rename_axis("a"), "pg_temp.target", index=True)
    periods = pa.Table.from_pandas(pd.DataFrame({"b": pd.period_range("2024", periods=2)}))
    with pytest.raises(UnfitValueError, match=r"Column 'b' is text, and in row 0 .*pandas\.period"):
        await write(session, periods, "target")
    with pytest.raises(WriteError, match="There are no data yet"):
        await write(session, frame(session, "select 1 as a"), "target")
    with pytest.raises(WriteError, match="no parts, not even an empty one"):
        await write(session, parts(), "target")
    with pytest.raises(WriteError, match="Two columns are called 'a'"):
        await write(session, pd.DataFrame([[1, 2]], columns=["a", "a"]), "target")
    with pytest.raises(WriteError, match="other columns than the first"):
        await write(session, parts(data, data[["a"]]), "target")


async def test_parts_of_the_same_session_can_be_written_while_they_are_read(session: AsyncSession) -> None:
    from asyncdb_nb import frames

    await run(session, "create temp table source as select g as a from generate_series(1, 1000) g")

    written = await write(session, frames(session, "select * from source", rows=300), "pg_temp.target")

    assert written.rows == 1000
    assert await rows(session, "select sum(a) from target") == [(500_500,)]


async def test_a_table_is_copied_from_one_database_to_another(db: Database, session: AsyncSession) -> None:
    async with db.session() as other:
        await run(other, "create table source as select g as a, 'é' || g as b from generate_series(1, 2500) g")

    written = await write(session, db.frames("select * from source", rows=1000), "pg_temp.target")

    assert (written.rows, written.created) == (2500, True)
    assert await rows(session, "select count(*), sum(a), min(b) from target") == [(2500, 3126250, "é1")]


@pytest.mark.parametrize("kind", ["table", "view", "rule", "policy", "partitions"])
async def test_what_copy_does_not_do_insert_does(session: AsyncSession, kind: str) -> None:
    """Into a view; where a rule or a policy decides. Triggers run either way."""
    await run(
        session,
        "create table target (a int, b text, c tsvector) " + ("partition by list (a)" if kind == "partitions" else ""),
        "create function shout() returns trigger language plpgsql as "
        "$$ begin raise notice 'a row'; new.b := upper(new.b); return new; end $$",
        "create trigger shout before insert on target for each row execute function shout()",
    )
    extra = {
        "view": ["create view shown as select * from target"],
        "rule": [
            "create table log (a int)",
            "create rule noted as on insert to target do also insert into log values (new.a)",
        ],
        "policy": [
            "create role clerk",
            "grant insert, select on target to clerk",
            "alter table target enable row level security",
            "create policy few on target to clerk using (true) with check (a < 10)",
            "set local role clerk",
        ],
        "partitions": ["create table target_1 partition of target for values in (1, 2)"],
    }
    await run(session, *extra.get(kind, []))

    written = await write(
        session, pd.DataFrame({"a": [1, 2], "b": ["x", None]}), "shown" if kind == "view" else "target"
    )

    assert written.inserted == 2
    assert await rows(session, "select a, b from target") == [(1, "X"), (2, None)]
    if kind == "rule":
        assert await rows(session, "select * from log") == [(1,), (2,)]
    if kind == "policy":
        with pytest.raises(DBAPIError, match="row-level security"):
            await write(session, pd.DataFrame({"a": [10]}), "target")
        await run(session, "reset role")


@pytest.mark.parametrize("if_exists", ["truncate", "replace"])
async def test_a_stream_of_the_table_that_it_would_replace_is_refused(
    database_url: str, monkeypatch: pytest.MonkeyPatch, if_exists: str
) -> None:
    """It reads the table, and so would be waited for while it waits itself."""
    monkeypatch.setattr(writing, "LOCK_SECONDS", 1)
    async with Database(database_url) as db:
        await db.execute("create table own_source as select g as id from generate_series(1, 100000) g")
        try:
            with pytest.raises(WriteError, match=r"If the data come from that table, read them first"):
                await db.write(db.frames("select * from own_source", rows=1000), "own_source", if_exists=if_exists)
            data = await db.table("select * from own_source")
            assert (await db.write(data, "own_source", if_exists=if_exists)).rows == 100_000
            parts = db.frames("select g as id from generate_series(1, 3000) g", rows=1000)
            async with db.session() as session:
                assert (await write(session, parts, "own_source", if_exists=if_exists)).rows == 3_000
                assert await session.scalar(text("show lock_timeout")) == "0"
        finally:
            await db.execute("drop table own_source")


async def test_a_stream_that_is_not_written_to_its_end_is_closed(session: AsyncSession) -> None:
    closed = False

    async def given() -> AsyncIterator[Any]:
        nonlocal closed
        try:
            yield pd.DataFrame({"a": [1]})
            yield pd.DataFrame({"b": [1]})
        finally:
            closed = True

    with pytest.raises(WriteError, match="other columns"):
        await write(session, given(), "pg_temp.target")

    assert closed


class Source:
    """An iterator that is no generator, and can be closed."""

    def __init__(self, *given: Any) -> None:
        self._given = iter(given)
        self.closed = False

    def __iter__(self) -> Source:
        return self

    def __next__(self) -> Any:
        return next(self._given)

    def close(self) -> None:
        self.closed = True


async def test_an_iterator_is_closed_whether_it_was_written_or_not(session: AsyncSession) -> None:
    """Generators, readers, whatever can be closed: at the end, when a part does not fit, when the server refuses."""
    closed = []

    def given(*parts: Any) -> Iterator[Any]:
        try:
            yield from parts
        finally:
            closed.append(threading.current_thread() is not threading.main_thread())

    good, bad = pd.DataFrame({"a": [1]}), pd.DataFrame({"b": [1]})
    await write(session, given(good), "pg_temp.target")
    for parts in ((good, bad), (good, pd.DataFrame({"a": [2**70]}, dtype=object)), (good.assign(a="x"),)):
        with pytest.raises(WriteError):
            await write(session, given(*parts), "target")
    await run(session, "alter table target add check (a < 5)")
    with pytest.raises(IntegrityError):
        await write(session, given(good, pd.DataFrame({"a": [9]}), good), "target")
    assert closed == [True] * 5
    source = Source(good, bad)
    with pytest.raises(WriteError):
        await write(session, source, "target")
    assert source.closed


async def test_what_closing_an_iterator_raises_is_raised(session: AsyncSession) -> None:
    def given() -> Iterator[Any]:
        try:
            yield pd.DataFrame({"a": [1]})
            yield pd.DataFrame({"b": [1]})
        finally:
            raise OSError("it cannot be closed")

    with pytest.raises(OSError, match="it cannot be closed") as caught:
        await write(session, given(), "pg_temp.target")
    assert isinstance(caught.value.__context__, WriteError)


async def test_an_iterator_that_is_at_work_when_the_write_is_stopped_is_closed_after_that(
    session: AsyncSession,
) -> None:
    working, go_on, closed = threading.Event(), threading.Event(), threading.Event()

    def given() -> Iterator[Any]:
        try:
            yield pd.DataFrame({"a": [1]})
            working.set()
            go_on.wait(HANG)
            yield pd.DataFrame({"a": [2]})
        finally:
            closed.set()

    task = asyncio.ensure_future(write(session, given(), "pg_temp.target"))
    await asyncio.to_thread(working.wait, HANG)
    task.cancel()
    await asyncio.wait([task])

    assert task.cancelled()
    assert not closed.is_set()
    go_on.set()
    assert await asyncio.to_thread(closed.wait, HANG)


async def test_a_privilege_for_some_columns_is_enough_for_them(session: AsyncSession) -> None:
    await run(
        session,
        "create table target (a int, b text)",
        "create role column_clerk",
        "grant insert (a) on target to column_clerk",
        "set local role column_clerk",
    )

    assert (await write(session, pd.DataFrame({"a": [1]}), "target")).inserted == 1
    with pytest.raises(DBAPIError, match="permission denied"):
        await write(session, pd.DataFrame({"a": [1], "b": ["x"]}), "target")
    await run(session, "reset role")


async def test_hostile_names_change_nothing_but_what_they_name(session: AsyncSession) -> None:
    """Quotes, colons, percent signs, 63 bytes, capitals; a name with a dot is quoted; a schema of the caller's."""
    names = ['Q"u', "a:b", "%s", "%(x)s", "$1", "x" * 63, "é😀", "select", " ", "A", "a", "t", "s", "excluded"]
    data = pd.DataFrame([list(range(len(names)))], columns=names)
    await run(session, 'create schema "S""ch.:"', 'create table "S""ch.:"."T.""x:" (a int)')

    for table_name in ('"S""ch.:"."T.""x:"', 'pg_temp.T"; drop table x;--'.replace('"', ""), "pg_temp.MixedCase"):
        await write(session, data, table_name, if_exists="replace", key=["A", 'Q"u'])
        again = await write(session, data.assign(s=9), table_name, if_exists="upsert", key=['Q"u', "A"])
        assert (again.inserted, again.updated) == (0, 1)
    assert (await frame(session, 'select * from "S""ch.:"."T.""x:"')).columns.tolist() == names
    assert (await frame(session, 'select * from "MixedCase"')).columns.tolist() == names
    for bad in ("", "a.b.c", 'a"b', "a..b", ".a"):
        with pytest.raises(WriteError, match="is no name of a table"):
            await write(session, data, bad)
    with pytest.raises(WriteError, match="is no name"):
        await write(session, pd.DataFrame({"a\0b": [1]}), "pg_temp.other")


async def test_objects_on_the_search_path_are_not_called(session: AsyncSession) -> None:
    """An operator that fits better than the built-in one, and functions of the names that are used."""
    await run(
        session,
        "create schema trap",
        "create function trap.caught() returns bool language plpgsql as $$ begin raise exception 'caught'; end $$",
        "create function trap.eq(int, int) returns bool language sql as 'select trap.caught()'",
        "create function trap.eq(name, name) returns bool language sql as 'select trap.caught()'",
        "create function trap.count(int) returns bool language sql as 'select trap.caught()'",
        "create operator trap.= (leftarg = int, rightarg = int, function = trap.eq)",
        "create operator trap.= (leftarg = name, rightarg = name, function = trap.eq)",
        "create table public.trapped (k int primary key, v int)",
        "set local search_path to trap, public, pg_catalog",
    )
    data = pd.DataFrame({"k": [1, 2], "v": [1, 2]})

    await write(session, data, "trapped")
    written = await write(session, data, "trapped", if_exists="upsert", key="k")

    assert written.unchanged == 2


async def test_db_write_commits_all_or_nothing(db: Database) -> None:
    data = pd.DataFrame({"k": [1, 2], "v": ["a", "b"]})

    assert (await db.write(data, "target", key="k")).created
    with pytest.raises(IntegrityError):
        await db.write(pd.DataFrame({"k": [3, 2]}), "target")
    with pytest.raises(UnknownOptionError):
        db.write(data, "target", if_exist="append")

    assert (await db.frame("select * from target"))["k"].tolist() == [1, 2]
    assert "await db.write" in repr(db.write(data, "target"))


async def test_a_readonly_session_refuses_and_stays_usable(db: Database) -> None:
    await db.write(pd.DataFrame({"a": [1]}), "target")

    async with db.session(readonly=True) as session:
        with pytest.raises(DBAPIError, match="read-only"):
            await write(session, pd.DataFrame({"a": [1]}), "target")
        assert await session.scalar(text("select count(*) from target")) == 1


async def test_a_repository_writes_into_its_table(session: AsyncSession) -> None:
    class Base(DeclarativeBase):
        pass

    class Stock(Base):
        __tablename__ = "Stock items"
        id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
        count: Mapped[int | None]

    await (await session.connection()).run_sync(Base.metadata.create_all)
    stock = Repository[Stock](session)
    session.add(Stock(id=1, count=5))

    written = await stock.write(to_frame([{"id": 1, "count": 6}, {"id": 2, "count": None}]), if_exists="upsert")

    assert (written.inserted, written.updated) == (1, 1)
    assert await stock.count() == 2
    assert "Stock items" in written.table


async def test_writing_leaves_no_statement_and_no_table_behind(session: AsyncSession) -> None:
    await run(session, "create temp table target (k int primary key, v tsvector)")
    await write(session, pd.DataFrame({"k": [1], "v": ["x"]}), "target", if_exists="upsert", key="k")

    assert await rows(session, "select relname from pg_class where relname like 'asyncdb%'") == []


async def test_what_is_not_a_session_on_asyncpg_is_refused(database_url: str) -> None:
    with pytest.raises(WriteError, match=r"in a session, not in a str.*db\.write\(data"):
        write("session", pd.DataFrame({"a": [1]}), "target")  # type: ignore[arg-type]
    async with session_scope(Database(database_url)) as session:
        connection = await session.connection()
        assert (await write(connection, pd.DataFrame({"a": [1]}), "pg_temp.target")).rows == 1  # type: ignore[arg-type]


async def test_to_sql_that_fails_says_what_to_type_instead(db: Database) -> None:
    """pandas sends a decimal as text, which asyncpg refuses."""
    data = pd.DataFrame({"a": [Decimal("1.5")], "b": [[1, 2]]})

    async with db.session() as session:
        connection = await session.connection()
        with pytest.raises(Exception, match=r"expected str, got Decimal") as caught:
            await connection.run_sync(lambda sync: data.to_sql("target", sync, index=False))
        await session.rollback()
    error: Any = caught.value if isinstance(caught.value, DBAPIError) else caught.value.__cause__  # pandas 3 wraps it
    assert any("await db.write(frame" in note for note in error.__notes__)
    async with db.session() as session:
        with pytest.raises(DBAPIError) as other:
            await session.execute(text("select nothing"))
        assert not any("db.write" in note for note in getattr(other.value, "__notes__", []))
        await session.rollback()
    assert (await db.write(data, "target")).rows == 1


async def test_without_pgpq_it_says_what_to_install(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no wheel for Linux on other processors than x86-64; everything else works there."""
    monkeypatch.setitem(sys.modules, "pgpq", None)

    with pytest.raises(MissingExtraError, match=r"asyncdb_nb\[write\]"):
        await db.write(pd.DataFrame({"a": [1]}), "made")
    assert "made" not in (await db.tables())["table"].tolist()


async def test_on_a_connection_it_is_of_the_transaction_that_is_committed(db: Database) -> None:
    async with db.engine.connect() as connection:
        await write(connection, pd.DataFrame({"a": [1, 2]}), "made")
        await connection.commit()

    assert (await db.frame("select a from made order by a"))["a"].tolist() == [1, 2]


async def test_a_repository_writes_into_the_schema_that_its_session_reads(db: Database) -> None:
    class Base(DeclarativeBase):
        pass

    class Item(Base):
        __tablename__ = "item"
        id: Mapped[int] = mapped_column(primary_key=True)

    await db.execute("create schema tenant; create table tenant.item (id int primary key); create table item (id int)")
    async with AsyncSession(db.engine.execution_options(schema_translate_map={None: "tenant"})) as session:
        await Repository[Item](session).write(pd.DataFrame({"id": [7]}))
        await session.commit()

    assert (await db.frame("select id from tenant.item"))["id"].tolist() == [7]
    assert (await db.frame("select id from public.item")).empty


async def test_a_replaced_table_is_where_and_what_it_was_called(db: Database) -> None:
    await db.execute("create table orders (a int); create schema app; create table app.found (a int)")
    async with db.session() as session:
        await session.execute(text("set local search_path = app, public"))
        await write(session, pd.DataFrame({"b": [1]}), "found", if_exists="replace")
        await write(session, pd.DataFrame({"b": [1]}), "Orders", if_exists="replace")

    tables = (await db.tables())[["schema", "table"]].to_numpy().tolist()
    assert tables == [["app", "found"], ["public", "orders"]]
    assert (await db.frame("select * from orders")).columns.tolist() == ["b"]


OWN = (
    "create type public.mood as enum ('other'); create schema app; create type app.mood as enum ('calm'); "
    "create type app.pair as (a int, b app.mood)"
)
DECLARED = (
    "select attname, pg_catalog.format_type(atttypid, atttypmod) from pg_attribute "
    "where attrelid = 'app.made'::pg_catalog.regclass and attnum > 0 order by attnum"
)


async def test_a_new_table_has_types_of_schemas_that_are_not_on_the_search_path(
    db: Database, fresh_database_url: str, server_watch: ServerWatch
) -> None:
    """Also in another database, where they have other numbers."""
    await db.execute(
        f"{OWN}; create table source (a app.mood, b app.mood[], c app.pair, d varchar(3));"
        "insert into source values ('calm', '{calm}', '(1,calm)', 'x')"
    )
    types = ["app.mood", "app.mood[]", "app.pair", "character varying(3)"]
    server_watch.query("create database other_types")
    url = urlsplit(fresh_database_url)._replace(path="/other_types").geturl()
    async with Database(url) as other:
        await other.execute(f"create type public.first as (a int); {OWN}")
        for data in (await db.frame("select * from source"), await db.table("select * from source")):
            for written_to in (db, other):
                await written_to.write(data, "app.made", if_exists="replace")
                async with written_to.session() as session:
                    assert [type_ for _, type_ in await rows(session, DECLARED)] == types
    server_watch.query("drop database other_types with (force)")


async def test_a_new_table_has_built_in_types_where_others_hide_them(session: AsyncSession) -> None:
    await run(session, "create schema app")
    for name in ("text", "uuid", "jsonb", "int8", "timestamptz", "date", "bytea", "bool"):
        await run(session, f"create type app.{name} as (caught int)")
    await run(session, "set local search_path to app, public, pg_catalog")
    moment = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    values = pd.DataFrame(
        {"a": ["x"], "b": [1], "c": [moment], "d": [dt.date(2024, 1, 1)], "e": [b"x"], "f": [["x"]], "g": [None]}
    )

    for data in (
        values,
        values.astype(object).assign(h=[{"k": 1}], i=[uuid.UUID(int=1)]),
        pa.Table.from_pandas(values),
    ):
        await write(session, data, "app.made", if_exists="replace")
        assert not [type_ for _, type_ in await rows(session, DECLARED) if type_.startswith("app.")]


async def test_an_empty_vector_inside_of_a_row_is_named(session: AsyncSession) -> None:
    """PostgreSQL does not receive what it sends there."""
    await session.execute(text("create type with_vector as (v oidvector, n int)"))
    await session.execute(text("create temp table inside (a with_vector) on commit drop"))
    assert (await write(session, pd.DataFrame({"a": [{"v": [1, 2], "n": 3}]}), "inside")).inserted == 1
    data = pd.DataFrame({"a": [{"v": [], "n": 3}]})

    with pytest.raises(WriteError, match=r"'a'.*row 0.*no empty oidvector inside of another value"):
        await write(session, data, "inside")


async def test_a_column_may_be_called_like_a_method(session: AsyncSession) -> None:
    data = pd.DataFrame({"__aiter__": [1], "__arrow_c_stream__": [2], "aclose": [3], "columns": [4]})

    assert (await write(session, data, "methods", if_exists="fail")).rows == 1
    assert (await frame(session, "select * from methods")).to_dict("list") == data.to_dict("list")


@pytest.mark.parametrize("backend", [None, "numpy_nullable", "pyarrow"])
async def test_a_text_under_the_name_of_a_padded_one_is_not_padded(session: AsyncSession, backend: Any) -> None:
    read = await frame(session, "select 'ab'::char(5) as c, 'ab'::text as t, null::char(3) as n", dtype_backend=backend)
    await write(session, read, "as_read", if_exists="fail")
    await write(session, read[["t"]].rename(columns={"t": "c"}), "renamed", if_exists="fail")

    types = "select array_agg(format_type(atttypid, atttypmod) order by attnum) from pg_attribute where attnum > 0 and "
    assert await session.scalar(text(f"{types} attrelid = cast('as_read' as regclass)")) == [
        *("character(5)", "text", "character(3)"),
    ]
    assert await session.scalar(text("select octet_length(c) from renamed")) == 2
