"""Bytes of a COPY stream become the same columns however they were cut, and never wrong ones."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from decimal import Decimal
from struct import pack
from typing import Any

import copy_stream
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from test_types import BEYOND, CASES, OWN_TYPES

from asyncdb_nb.dataframes.columns import column as assembly
from asyncdb_nb.dataframes.columns.column import Column, from_wire
from asyncdb_nb.dataframes.columns.decoder import Batch, Decoder, is_readable
from asyncdb_nb.dataframes.copy_binary import numeric_head, numeric_text, row_candidates, row_chain, row_finder
from asyncdb_nb.dataframes.copy_binary.row_candidates import Walk
from asyncdb_nb.dataframes.query.describe import prepare
from asyncdb_nb.dataframes.type_families.kind import ColumnType
from asyncdb_nb.dataframes.types.table import column_type
from asyncdb_nb.errors import CorruptStreamError, FrameError

EXAMPLES = int(os.environ.get("ASYNCDB_NB_EXAMPLES", "50"))  # 10_000 for a soak

OIDS = {
    "bool": 16, "int2": 21, "int4": 23, "int8": 20, "oid": 26, "float4": 700, "float8": 701, "text": 25, "bytea": 17,
    "char": 18, "uuid": 2950, "date": 1082, "time": 1083, "timetz": 1266, "timestamptz": 1184, "interval": 1186,
    "numeric": 1700, "money": 790, "jsonb": 3802, "int4[]": 1007,
    "text[]": 1009,
}  # fmt: skip
TYPES = {name: column_type(oid) for name, oid in OIDS.items()} | {
    "numeric(12,2)": column_type(1700, (12 << 16 | 2) + 4),
    "numeric(38,10)": column_type(1700, (38 << 16 | 10) + 4),
    "numeric(60,1)": column_type(1700, (60 << 16 | 1) + 4),
    "float": column_type(1700).as_float(),
}


# ── what it gives ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_every_type_is_what_its_bytes_are_one_by_one(session: AsyncSession) -> None:
    """Columns read together equal columns read value by value, full and NULL, in values, dtypes and losses."""
    for statement in ["create schema frame_types", "set local search_path to frame_types, public", *_statements()]:
        await session.execute(text(statement))
    literals = [(sql, literal.replace("'", "''")) for sql, literal, *_ in [*CASES, *BEYOND]]
    for sql, literal in literals:
        columns, data = await _copied(session, f"values ('{literal}'::{sql}), (null), ('{literal}'::{sql})")
        if columns is None:
            continue
        [(name, type_)] = columns
        plain = from_wire(name, type_, [values[0] for values in copy_stream.rows(data)])

        _assert_equal(_decoded(columns, [data]).columns[0], plain)


async def test_types_without_a_binary_form_are_refused(session: AsyncSession) -> None:
    """Before a byte is read: the caller takes another way."""
    attributes = (await prepare(await _connection(session), "select 'a'::tsvector as t, 1 as i", ""))[1]
    assert attributes is not None
    assert [is_readable(column.type) for column in attributes] == [False, True]

    with pytest.raises(ValueError, match="'t' \\(tsvector\\)"):
        Decoder([(column.name, column.type) for column in attributes])


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("select from generate_series(1, 5)", 5),
        ("select from generate_series(1, 0)", 0),
        ("select 1 as x where false", 0),
        ("select null::text as x from generate_series(1, 3)", 3),
        ("select repeat('x', 300000) as x, i from generate_series(1, 20) i", 20),
        ("select " + ", ".join(f"{n} as c{n}" for n in range(1600)) + " from generate_series(1, 3)", 3),
    ],
    ids=["no columns", "no columns, no rows", "no rows", "all NULL", "rows larger than a part", "1600 columns"],
)
@pytest.mark.parametrize("size", [7, 100_000], ids=["parts of 7 bytes", "large parts"])
async def test_a_result_of_any_shape(session: AsyncSession, sql: str, rows: int, size: int) -> None:
    columns, data = await _copied(session, sql)
    assert columns is not None

    got = _decoded(columns, _cut(data, size), rows)

    expected = copy_stream.rows(data)
    assert got.rows == rows
    assert len(got.columns) == len(columns)
    for n, (column, (name, type_)) in enumerate(zip(got.columns, columns, strict=True)):
        _assert_equal(column, from_wire(name, type_, [values[n] for values in expected]))


# ── what never happens ─────────────────────────────────────────────────────────────────────────────────────────────


SMALL = [("a", TYPES["int4"]), ("b", TYPES["text"]), ("c", TYPES["bytea"]), ("d", TYPES["numeric(12,2)"])]
SMALL_ROWS: list[list[bytes | None]] = [
    [pack("!i", 4), b"ab", b"\0\4\0\0\0\4", pack("!hhHh2h", 2, 0, 0, 2, 12, 5000)],
    [None, "é".encode(), None, None],
    [pack("!i", -1), b"", b"\xff\xff", pack("!hhHh", 0, 0, 0, 2)],
]


def test_a_truncated_stream_raises() -> None:
    data = copy_stream.stream(SMALL_ROWS)

    for size in range(len(data)):
        with pytest.raises(CorruptStreamError):
            _decoded(SMALL, [data[:size]])


def test_a_stream_with_more_behind_it_raises() -> None:
    data = copy_stream.stream(SMALL_ROWS)

    for parts in ([data + b"\0"], [data, b"\0"], [data, data]):
        with pytest.raises(CorruptStreamError, match="bytes follow its end"):
            _decoded(SMALL, parts)


def test_a_stream_of_another_length_than_the_server_says_raises() -> None:
    with pytest.raises(CorruptStreamError, match="it has 3 rows and the server sent 4"):
        _decoded(SMALL, [copy_stream.stream(SMALL_ROWS)], 4)


def test_a_corrupt_byte_raises_or_is_inside_one_value() -> None:
    """Whatever byte is changed: rows and columns are never misaligned."""
    data = copy_stream.stream(SMALL_ROWS * 2)
    right = _values(_decoded(SMALL, [data]))
    outcomes: Counter[str] = Counter()

    for position in range(len(data)):
        for change in (1, 2, 4, 0x20, 0x80, 0xFF):
            corrupt = bytearray(data)
            corrupt[position] ^= change
            try:
                got = _values(_decoded(SMALL, [bytes(corrupt)], 6))
            except CorruptStreamError:
                outcomes["raised"] += 1
                continue
            changed = [(n, k) for n in range(6) for k in range(4) if repr(got[k][n]) != repr(right[k][n])]
            assert [len(column) for column in got] == [6] * 4
            assert len(changed) <= 1, (position, change)
            outcomes["a value changed"] += len(changed)
    assert outcomes["raised"] > 800
    assert outcomes["a value changed"] > 100


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("bool", b"\2"),
        ("text", b"\xff"),
        ("text", b"a\0"),
        ("text", "é".encode()[:1]),
        ("time", pack("!q", -1)),
        ("jsonb", b"\2{}"),
        ("jsonb", b""),
        ("numeric", pack("!hhHhh", 1, 0, 0, 0, 10_000)),
        ("numeric(12,2)", pack("!hhHhh", 1, 0, 0, 0, -1)),
        ("numeric", pack("!hhHhh", 2, 0, 0, 0, 1)),
        ("numeric", pack("!hhHhh", 1, 0, 0x1234, 0, 1)),
        ("numeric", b"\0\0"),
        ("numeric", pack("!hhHhhh", 2, 0, 0, 2, 1, 1)),
        ("numeric(12,2)", pack("!hhHhhh", 2, 0, 0, 4, 1, 1)),
        ("numeric(12,2)", pack("!hhHhh", 1, 9, 0, 0, 1)),
        ("int4[]", pack("!iiIii", 1, 0, 23, 2, 1) + pack("!ii", 4, 1)),
        ("int4[]", pack("!iiIii", 1, 0, 23, 1, 1) + pack("!ii", 4, 1) + b"\0"),
        ("int4[]", b"\0\0"),
        ("text[]", pack("!iiIii", 1, 0, 25, 1, 1) + pack("!i", 9) + b"a"),
        ("text[]", pack("!iiIii", 1, 0, 25, 1, 1) + pack("!i", -2) + b"a"),
    ],
)
def test_bytes_that_no_value_has_raise(name: str, value: bytes) -> None:
    with pytest.raises((CorruptStreamError, FrameError), match="'x'"):
        _decoded([("x", TYPES[name])], [copy_stream.stream([[None], [value]])])


# ── however it is cut, whatever it holds ───────────────────────────────────────────────────────────────────────────


def _numeric(value: Decimal) -> bytes:
    if not value.is_finite():
        return pack("!hhHh", 0, 0, 0xC000 if value.is_nan() else 0xF000 if value < 0 else 0xD000, 0)
    sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    scale = max(0, -exponent)
    integer = int("".join(map(str, digits))) * 10 ** (exponent + scale) * 10 ** (-scale % 4)
    groups = []
    while integer:
        integer, group = divmod(integer, 10_000)
        groups.append(group)
    weight = len(groups) - 1 - (scale + 3) // 4
    groups.reverse()
    while groups and groups[-1] == 0:
        groups.pop()
    return pack(
        f"!hhHh{len(groups)}h", len(groups), weight if groups else 0, 0x4000 * (sign and bool(groups)), scale, *groups
    )


def _decimals(precision: int, scale: int) -> st.SearchStrategy[bytes]:
    limit = 10**precision - 1
    return (
        st.one_of(st.integers(-limit, limit), st.integers(-(10**6), 10**6))
        .map(lambda n: Decimal((n < 0, tuple(map(int, str(abs(n)))), -scale)))
        .flatmap(lambda d: st.just(d) | st.just(Decimal("NaN")) if precision % 2 == 0 else st.just(d))
        .map(_numeric)
    )


def _packed(form: str, low: int, high: int, *more: int) -> st.SearchStrategy[bytes]:
    return (st.integers(low, high) | st.sampled_from([low, high, *more])).map(lambda n: pack(form, n))


LOOK_ALIKE = b"".join(pack("!hi", n, length) for n in range(1, 5) for length in (-1, 0, 4, 8))
VALUES: dict[str, st.SearchStrategy[bytes]] = {
    "bool": st.sampled_from([b"\0", b"\1"]),
    "int2": _packed("!h", -(2**15), 2**15 - 1, 0, 1, 2, 3, 4),
    "int4": _packed("!i", -(2**31), 2**31 - 1, 0, 1, 2, 3, 4),
    "int8": _packed("!q", -(2**63), 2**63 - 1, 0, 1, 2, 3, 4),
    "oid": _packed("!I", 0, 2**32 - 1),
    "float4": st.floats(width=32).map(lambda x: pack("!f", x)),
    "float8": st.floats().map(lambda x: pack("!d", x)),
    "text": st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=9).map(str.encode),
    "bytea": st.binary(max_size=20) | st.integers(0, 40).map(lambda n: LOOK_ALIKE[n:]),
    "date": _packed("!i", -2_451_545, 2**31 - 1, -(2**31), 2_145_031_948),
    "time": _packed("!q", 0, 86_400_000_000),
    "timestamptz": _packed("!q", -211_813_488_000_000_000, 2**63 - 1, -(2**63), 9_223_371_331_199_999_999, 0),
    "uuid": st.binary(min_size=16, max_size=16),
    "numeric": (st.decimals() | st.decimals(places=3)).filter(lambda d: not d.is_snan()).filter(
        lambda d: not d.is_finite() or (abs(d.as_tuple().exponent) < 900 and d.adjusted() < 900)).map(_numeric),
    "jsonb": st.sampled_from([b'\1{"a": [1]}', b"\1null"]),
    "char": st.binary(min_size=1, max_size=1),
    "interval": st.tuples(st.integers(-(2**40), 2**40), st.integers(-99, 99), st.integers(-99, 99)).map(
        lambda parts: pack("!qii", *parts)),
    "numeric(12,2)": _decimals(12, 2),
    "numeric(38,10)": _decimals(38, 10),
    "numeric(60,1)": _decimals(60, 1),
    "money": _packed("!q", -(2**63) // 10, 2**63 // 10),
    "int4[]": st.sampled_from([
        pack("!iiI", 0, 0, 23), pack("!iiIiiiiii", 1, 1, 23, 2, 1, 4, 7, -1, 0)[:-4],
        pack("!iiIiiii", 2, 0, 23, 1, 1, 1, 1) + pack("!ii", 4, 4)]),
    "timetz": st.just(pack("!qi", 3_600_000_000, -7200)),
}  # fmt: skip
VALUES["float"] = VALUES["numeric"]


@st.composite
def results(draw: st.DrawFn) -> tuple[list[str], list[list[bytes | None]]]:
    names = draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=4))
    row = st.tuples(*(st.none() | VALUES[name] for name in names)).map(list)
    return names, draw(st.lists(row, max_size=12))


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    results(),
    st.integers(1, 200),
    st.integers(1, 20),
    st.integers(1, 100),
    st.integers(0, 20),
    st.integers(0, 4),
    st.booleans(),
)
def test_any_result_in_any_parts(
    result: tuple[list[str], list[list[bytes | None]]],
    size: int,
    many: int,
    span: int,
    crowded: int,
    few: int,
    arrow: bool,
) -> None:
    """Random rows of random types, cut anywhere, walked together or one by one: what each value's own bytes say."""
    names, rows = result
    columns = [(name, TYPES[name]) for name in names]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_finder, "_CROWDED", crowded)
        patch.setattr(row_finder, "_ROWS_MIN", 1)
        patch.setattr(row_finder, "_ROWS_MAX", 2)
        patch.setattr(row_finder, "_SPAN_MIN", span)
        patch.setattr(row_candidates, "_MANY", many)
        patch.setattr(row_candidates, "_BLOCK", span)
        patch.setattr(row_chain, "_FEW", few)
        patch.setattr(numeric_text, "_FEW", few)
        got = _decoded(columns, _cut(copy_stream.stream(rows), size), len(rows), arrow=arrow)

    for n, (name, type_) in enumerate(columns):
        _assert_equal(got.columns[n], from_wire(name, type_, [row[n] for row in rows]))


RAW_NUMERICS = st.builds(
    lambda groups, weight, sign, scale: pack(
        f"!hhHh{len(groups)}h", len(groups), weight, sign if any(groups) or sign > 0x4000 else 0, scale, *groups
    ),
    st.lists(st.sampled_from([0, 1, 9, 10, 99, 100, 999, 1000, 5000, *[9999] * 5, -1, 10_000]), max_size=6),
    st.integers(-6, 6) | st.sampled_from([-900, 900]),
    st.sampled_from([0, 0, 0, 0x4000, 0x4000, 0xC000, 0xD000]),
    st.integers(0, 24) | st.sampled_from([3000, 4000]),
)


FAR_APART = [pack("!hhHhh", 1, weight, 0, scale, 5) for weight, scale in [(0, 0), (4, 0), (0, 2**14 - 1)]]


@example(FAR_APART, "text", 16)
@example(FAR_APART, "decimal", 3)
@settings(max_examples=3 * EXAMPLES, deadline=None)
@given(
    st.lists(st.none() | RAW_NUMERICS, min_size=1, max_size=6),
    st.sampled_from(["decimal", "text", "float"]),
    st.integers(0, 6),
)
def test_any_digits_make_the_same_numbers_together_as_one_by_one(
    values: list[bytes | None], wanted: str, heads: int
) -> None:
    """Also such as no server sends: zeros before the first digit, digits behind the last one that is shown."""
    one = column_type(1700).reader()
    convert = {"decimal": lambda value: value, "text": lambda value: f"{value:f}", "float": float}[wanted]
    columns = [("x", TYPES["float" if wanted == "float" else "numeric"])]

    def read() -> Any:
        stream = copy_stream.stream([[value] for value in values])
        [column] = _decoded(columns, [stream], arrow=wanted != "decimal").columns
        return column.objects() if wanted == "decimal" else column.to_arrow().to_pylist()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numeric_text, "_FEW", 0)
        patch.setattr(numeric_head, "_FEW", heads)
        try:
            want = [None if value is None else convert(one(value)) for value in values]
        except ValueError as error:
            assume(wanted != "float" or "behind" not in str(error))  # a float has these digits, too
            with pytest.raises(CorruptStreamError):
                read()
        else:
            assert list(map(repr, read())) == list(map(repr, want))


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.dictionaries(st.integers(0, 60), st.integers(1, 9), min_size=1), st.integers(0, 20))
def test_the_chain_through_any_candidates(lengths: dict[int, int], few: int) -> None:
    starts = np.array(sorted(lengths))
    ends = starts + [lengths[start] for start in starts.tolist()]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_chain, "_FEW", few)
        rows = starts[row_chain.chain(int(starts[0]), starts, ends)].tolist()

    position, right = int(starts[0]), []
    while position in lengths:
        right.append(position)
        position += lengths[position]
    assert rows == right


# ── look-alikes ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def walked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts the candidates that were walked."""
    count: Counter[str] = Counter()
    together = Walk.together

    def counted(walk: Walk, first: int, starts: Any) -> Any:
        count["candidates"] += len(starts)
        return together(walk, first, starts)

    monkeypatch.setattr(Walk, "together", counted)
    return count


@pytest.mark.parametrize(
    "value",
    [
        pack("!hi", 2, 4) * 2000,
        copy_stream.row([pack("!i", 2), b"x"]) * 800,
        copy_stream.row([None, b""]) * 1000,
        b"\0\2" * 6000,
        b"\0" * 12000,
    ],
    ids=["row headers", "whole rows", "rows with NULL", "counts", "zeros"],
)
def test_values_full_of_look_alikes_are_passed_over(value: bytes, walked: Counter[str]) -> None:
    """The rows are right, and what is walked stays in proportion to them."""
    rows: list[list[bytes | None]] = [[pack("!i", n), value] for n in range(400)]
    data = copy_stream.stream(rows)
    columns = [("n", TYPES["int4"]), ("b", TYPES["bytea"])]

    got = _decoded(columns, _cut(data, 2**20), 400)

    assert got.columns[0].to_arrow().to_pylist() == list(range(400))
    assert got.columns[1].to_arrow().to_pylist() == [value] * 400
    assert walked["candidates"] <= row_finder._SPAN_MIN + 20 * 400


def test_integers_that_equal_the_number_of_columns_are_no_rows(walked: Counter[str]) -> None:
    """Every integer here looks like the start of a row, in every column."""
    rows: list[list[bytes | None]] = [[pack("!i", 3)] * 3 for _ in range(10_000)]

    got = _decoded([(name, TYPES["int4"]) for name in "abc"], _cut(copy_stream.stream(rows), 2**16), 10_000)

    assert [column.to_arrow().to_pylist() for column in got.columns] == [[3] * 10_000] * 3
    assert walked["candidates"] <= 5 * 10_000


# ── helpers of these tests ─────────────────────────────────────────────────────────────────────────────────────────


def _statements() -> list[str]:
    return [statement for statement in OWN_TYPES.strip().rstrip(";").split(";\n") if statement]


async def _connection(session: AsyncSession) -> Any:
    return (await (await session.connection()).get_raw_connection()).driver_connection


async def _copied(session: AsyncSession, query: str) -> tuple[list[tuple[str, ColumnType]] | None, bytes]:
    """COPY a query; its columns are None when one of them has no binary form."""
    connection = await _connection(session)
    described = (await prepare(connection, query, ""))[1] or []
    columns = [(column.name, column.type) for column in described]
    if not all(is_readable(type_) for _, type_ in columns):
        return None, b""
    parts: list[bytes] = []

    async def collect(part: bytes) -> None:
        parts.append(part)

    await connection.copy_from_query(query, output=collect, format="binary")
    return columns, b"".join(parts)


def _cut(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


def _decoded(
    columns: list[tuple[str, ColumnType]], parts: Iterable[bytes], rows: int | None = None, *, arrow: bool = False
) -> Batch:
    decoder = Decoder(columns, arrow=arrow)
    batches = [batch for part in parts if (batch := decoder.feed([part])) is not None]
    batches.append(decoder.finish(rows))
    return Batch(assembly.joined([batch.columns for batch in batches]), sum(batch.rows for batch in batches))


def _values(batch: Batch) -> list[list[Any]]:
    return [column.to_arrow().to_pylist() for column in batch.columns]


def _assert_equal(got: Column, expected: Column) -> None:
    ours, theirs = got.to_pandas(), expected.to_pandas()
    if ours.dtype == np.dtype(object):
        assert list(map(repr, ours)) == list(map(repr, theirs))
    else:
        pd.testing.assert_series_equal(pd.Series(ours), pd.Series(theirs))
    assert _shown(got.to_arrow()) == _shown(expected.to_arrow())
    assert +got.lossy == +expected.lossy


def _shown(array: Any) -> tuple[str, str]:
    if pa.types.is_temporal(array.type) and not pa.types.is_interval(array.type):  # Python has not all years
        return str(array.type), repr(array.cast(f"int{array.type.bit_width}").to_pylist())
    return str(array.type), repr(array.to_pylist())
