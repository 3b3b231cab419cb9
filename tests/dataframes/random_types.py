"""Every type of a stock PostgreSQL for random results: what to ask for, and random literals of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from test_types import BEYOND, CASES
from test_types import OWN_TYPES as TYPES_OF_THE_TABLE

NAMES = ["a", "a", "b", "q\"u'o", "é😀", " ", "x" * 63, "%s", "%(x)s", ":n", "$1", "{0}"]
# What has no binary form that is read here, or (an anonymous row) one that does not say enough.
WITHOUT_COPY = (
    "aclitem", "reg", "record", "text_row", "tsquery", "tsvector",
)  # fmt: skip
_MORE = {
    "aclitem": ["=r/postgres"],
    "bpchar": ["ab  ", ""],
    "cid": ["7"],
    "jsonpath": ["$.a[*]"],
    "macaddr8": ["08:00:2b:01:02:03:04:05"],
    "mood_domain": ["calm"],
    "mood_span": ["[calm,tense]", "empty"],
    "oidvector": ["1 2", ""],
    "pg_snapshot": ["10:20:10,14", "10:20:"],
    "refcursor": ["cursor"],
    "regtype": ["int4", "frame_types.mood"],
    "row_domain": ['(2024-02-29,"x y")'],
    "spans": ["[1 mon,2 mons)", "(,)"],
    "spans_multirange": ["{[1 mon,2 mons),[4 mons,)}"],
    "tsquery": ["a & !b", ""],
    "tsvector": ["b a", ""],
    "varchar": ["", "x"],
    "xid": ["4294967295"],
}


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _range(bound: st.SearchStrategy[Any]) -> st.SearchStrategy[str]:
    ends = st.tuples(bound, bound).map(sorted)
    shapes = st.sampled_from(["[{},{}]", "({},{})", "[{},)", "(,{1}]", "(,)", "[{},{})", "empty"])
    return st.tuples(shapes, ends).map(lambda drawn: drawn[0].format(*(f'"{end}"' for end in drawn[1])))


def _multirange(bound: st.SearchStrategy[Any]) -> st.SearchStrategy[str]:
    return st.lists(_range(bound), max_size=3).map(lambda ranges: "{" + ",".join(ranges) + "}")


_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _TEXT,
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(_TEXT, inside, max_size=3),
    max_leaves=6,
).map(json.dumps)
_POINT = st.tuples(st.floats(), st.floats()).map(lambda xy: f"({xy[0]!r},{xy[1]!r})")
_POINTS = st.lists(_POINT, min_size=1, max_size=4).map(",".join)
_DECIMALS = st.decimals(-(10**9), 10**9, places=2)
_INTEGERS = st.integers(-(2**31), 2**31 - 2)
_DAYS = st.dates()
_MOMENTS = st.datetimes()
_ZONED = _MOMENTS.map(lambda moment: f"{moment}+00")
_CLOCK = st.times().map(str)
_OFFSETS = st.sampled_from(["+00", "+05:30", "-03:30:15", "+14"])
_PARTS = st.integers(-1000, 1000)
_GENERATED: dict[str, st.SearchStrategy[str]] = {
    "bit(10)": st.integers(0, 1023).map(lambda bits: f"{bits:010b}"),
    "bool": st.booleans().map(str),
    "box": st.tuples(_POINT, _POINT).map(",".join),
    "bytea": st.binary(max_size=30).map(lambda data: "\\x" + data.hex()),
    "cidr": st.ip_addresses().map(str),
    "circle": st.tuples(_POINT, st.floats(0, 1e300)).map(lambda drawn: f"<{drawn[0]},{drawn[1]!r}>"),
    "date": _DAYS.map(str),
    "datemultirange": _multirange(_DAYS),
    "daterange": _range(_DAYS),
    "float4": st.floats(width=32).map(str),
    "float8": st.floats().map(str),
    "inet": st.tuples(st.ip_addresses(), st.integers(0, 32)).map(lambda drawn: f"{drawn[0]}/{drawn[1]}"),
    "int2": st.integers(-(2**15), 2**15 - 1).map(str),
    "int4": _INTEGERS.map(str),
    "int4multirange": _multirange(_INTEGERS),
    "int4range": _range(_INTEGERS),
    "int8": st.integers(-(2**63), 2**63 - 1).map(str),
    "int8multirange": _multirange(_INTEGERS),
    "int8range": _range(_INTEGERS),
    "interval": st.tuples(_PARTS, _PARTS, _MOMENTS).map(lambda drawn: f"{drawn[0]} mons {drawn[1]} days {drawn[2]:%T}"),
    "json": _JSON.filter(lambda text: "\\u0000" not in text),
    "jsonb": _JSON.filter(lambda text: "\\u0000" not in text and "e+" not in text),
    "lseg": st.tuples(_POINT, _POINT).map(",".join),
    "macaddr": st.binary(min_size=6, max_size=6).map(lambda data: data.hex(":")),
    "macaddr8": st.binary(min_size=8, max_size=8).map(lambda data: data.hex(":")),
    "money": _DECIMALS.map(str),
    "mood": st.sampled_from(["calm", "tense", ""]),
    "numeric": st.decimals(-(10**60), 10**60).map(str)
    | st.sampled_from(["NaN", "-Infinity", "1e-300", "9e800", "0.00"]),
    "numeric(12,2)": _DECIMALS.map(str) | st.just("NaN"),
    "numeric(60,1)": st.decimals(-(10**58), 10**58, places=1).map(str),
    "numrange": _range(_DECIMALS),
    "nummultirange": _multirange(_DECIMALS),
    "oid": st.integers(0, 2**32 - 1).map(str),
    "path": _POINTS.map(lambda points: f"[{points}]") | _POINTS.map(lambda points: f"({points})"),
    "pg_lsn": st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)).map(lambda lsn: f"{lsn[0]:X}/{lsn[1]:X}"),
    "point": _POINT,
    "polygon": _POINTS.map(lambda points: f"({points})"),
    "text": _TEXT,
    "tid": st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**16 - 1)).map(str),
    "time": _CLOCK,
    "timestamp": _MOMENTS.map(str),
    "timestamptz": _ZONED,
    "timetz": st.tuples(_CLOCK, _OFFSETS).map("".join),
    "tsmultirange": _multirange(_MOMENTS),
    "tsrange": _range(_MOMENTS),
    "tstzmultirange": _multirange(_ZONED),
    "tstzrange": _range(_ZONED),
    "uuid": st.uuids().map(str),
    "varbit": st.text("01", max_size=20),
    "xid8": st.integers(0, 2**64 - 1).map(str),
}  # fmt: skip


def _literals() -> dict[str, st.SearchStrategy[str]]:
    known: dict[str, list[str]] = {name: [*literals] for name, literals in _MORE.items()}
    for sql, literal, *_ in [*CASES, *BEYOND]:
        known.setdefault(sql, []).append(literal)
    literals = {sql: st.sampled_from(texts) for sql, texts in known.items()}
    return {
        sql: literals[sql] | _GENERATED[sql] if sql in literals and sql in _GENERATED else made
        for sql, made in {**_GENERATED, **literals}.items()
    }


LITERALS = _literals()
_PARTS = {**LITERALS, "oidvector": LITERALS["oidvector"].filter(bool)}
"""Literals inside of other values, where PostgreSQL does not receive an empty oidvector in binary form."""

_SCALARS = sorted(sql for sql in LITERALS if not sql.endswith("[]"))
_FIELDS = [sql for sql in _SCALARS if not any(word in sql for word in WITHOUT_COPY)]  # asyncpg takes no other row
WIDE_ROW = [*_FIELDS, "int8[]", "text[]", "inner_row[]"]
OWN_TYPES = [
    *(statement for statement in TYPES_OF_THE_TABLE.strip().rstrip(";").split(";\n") if statement),
    "create type mood_span as range (subtype = mood)",
    "create domain mood_domain as mood",
    "create domain row_domain as inner_row",
    f"create type wide_row as ({', '.join(f'f{number} {sql}' for number, sql in enumerate(WIDE_ROW))})",
]


class Column:
    """What to select, written with `{0}` for a text of one of the literals; `sql` names the type."""

    def __init__(self, sql: str, expression: str, literals: st.SearchStrategy[str]) -> None:
        self.sql = sql
        self.expression = expression
        self.literals = literals

    def __repr__(self) -> str:
        return self.sql


def is_copyable(sql: str) -> bool:
    return not any(word in sql for word in WITHOUT_COPY)


def _array(sql: str) -> Column:
    delimiter = ";" if sql == "box" else ","
    item = st.none() | _PARTS[sql]
    shapes = st.sampled_from(
        [("", ()), ("", (1,)), ("", (3,)), ("[5:7]=", (3,)), ("", (2, 2)), ("[2:2][0:2]=", (1, 3)), ("", (2, 1, 2))]
    )
    literals = shapes.flatmap(lambda shape: _nested(item, shape[1], delimiter).map(lambda items: shape[0] + items))
    return Column(f"{sql}[]", f"{{0}}::{sql}[]", literals)


def _nested(item: st.SearchStrategy[str | None], shape: Sequence[int], delimiter: str) -> st.SearchStrategy[str]:
    if not shape:
        return st.just("{}")
    if len(shape) == 1:
        inside = item.map(lambda text: "NULL" if text is None else _quoted(text))
    else:
        inside = _nested(item, shape[1:], delimiter)
    items = st.lists(inside, min_size=shape[0], max_size=shape[0])
    return items.map(lambda texts: "{" + delimiter.join(texts) + "}")


def _wide_row() -> Column:
    fields = st.tuples(*(st.none() | _PARTS[sql] for sql in WIDE_ROW))
    literals = fields.map(lambda texts: "(" + ",".join("" if text is None else _quoted(text) for text in texts) + ")")
    return Column("wide_row", "{0}::wide_row", literals)


def _record(sql: str) -> Column:
    return Column(f"record of {sql}", f"row({{0}}::{sql}, {{0}}, 1.50, null::date, row({{0}}::{sql}))", _PARTS[sql])


# A column of any type: one of the types above, an array of one, a row of all of them, an anonymous row.
_COLUMNS = st.one_of(
    st.sampled_from(
        [_wide_row(), *(Column(sql, f"{{0}}::{sql}", literals) for sql, literals in sorted(LITERALS.items()))]
    ),
    st.sampled_from([_array(sql) for sql in _SCALARS]),
    st.sampled_from([_record(sql) for sql in _FIELDS]),
)


@st.composite
def columns(draw: st.DrawFn) -> tuple[Column, list[str | None]]:
    """Draw a column, and the literals to fill it with."""
    column = draw(_COLUMNS)
    return column, draw(st.lists(st.none() | column.literals, min_size=1, max_size=4))
