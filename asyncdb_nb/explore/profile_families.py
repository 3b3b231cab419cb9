"""
What can be asked of a column, by its type: which figures there are, and the SQL expressions that give them.

`{x}` in an expression is the column. Every function and operator is named with `pg_catalog`; what sorts and groups goes
by the type's own order. A type that is not listed (ranges, rows, those of extensions) is looked at as its text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

from asyncdb_nb.engine.search_path import EQ, GT, LT, NE

_TOO_LARGE = "1e150"  # whose square a float still holds


@dataclass(frozen=True)
class Family:
    """What is asked of the columns of some types.

    Attributes:
        group: What is counted as one value: the column, or a text of it.
        shown: How such a value, `v`, is shown: a text may be very long.
        smallest: The smallest value; None where there is no order.
        largest: Likewise.
        number: The value as float8, of finite and not too large ones (see `finite`); None where it is no number.
        mean_of: What the mean and the deviation are of; None where there is none.
        finite: True of the values that `number` takes.
        special: Counts of NaN, infinity, minus infinity and values too large for `number`; None where there are none.
        quantiles: Whether values in between mean something.
        length: Of a value; None where it has none.
        keys: The keys of a value, as a set; None where it has none.
        is_time: Whether there are gaps.
        read: Makes a Python value of one that JSON holds.
    """

    group: str = "{x}"
    shown: str = "v"
    smallest: str | None = "pg_catalog.min({x})"
    largest: str | None = "pg_catalog.max({x})"
    number: str | None = None
    mean_of: str | None = None
    finite: str | None = None
    special: str | None = None
    quantiles: bool = False
    length: str | None = None
    keys: str | None = None
    is_time: bool = False
    read: Callable[[Any], Any] = lambda value: value


def _timestamp(value: str) -> Any:
    """Read a time stamp; what Python has no date for stays the text that the server writes."""
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        return value
    return found if found.tzinfo is None else found.astimezone(UTC)


def _or_text(read: Callable[[str], Any]) -> Callable[[str], Any]:
    def value(text: str) -> Any:
        try:
            return read(text)
        except ValueError:
            return text

    return value


def _special(x: str, type_: str) -> str:
    """Count the values that are no ordinary numbers: a json array."""
    counts = [f"{x} {EQ} '{name}'::pg_catalog.{type_}" for name in ("NaN", "Infinity", "-Infinity")]
    counts.append(f"{_plain(x, type_)} and not {_small(x, type_)}")
    return ", ".join(f"pg_catalog.count(*) filter (where {each})" for each in counts)


def _plain(x: str, type_: str) -> str:
    names = ("NaN", "Infinity", "-Infinity")
    return "(" + " and ".join(f"{x} {NE} '{name}'::pg_catalog.{type_}" for name in names) + ")"


def _small(x: str, type_: str) -> str:
    bound = f"{_TOO_LARGE}::pg_catalog.{type_}"
    return f"({x} {LT} {bound} and {x} {GT} -{bound})"


def _number(x: str, type_: str, read: Callable[[Any], Any]) -> Family:
    finite = f"{_plain(x, type_)} and {_small(x, type_)}"
    number = f"(case when {finite} then {x} end)"
    is_number = f"{x} {NE} 'NaN'::pg_catalog.{type_}"
    return Family(
        group=x,
        smallest=f"pg_catalog.min({x}) filter (where {is_number})",
        largest=f"pg_catalog.max({x}) filter (where {is_number})",
        number=f"{number}::pg_catalog.float8",
        mean_of=number,
        finite=is_number,
        special=_special(x, type_),
        quantiles=True,
        read=read,
    )


def _integer(x: str) -> Family:
    number = f"{x}::pg_catalog.float8"
    return Family(
        group=x,
        smallest=f"pg_catalog.min({x})",
        largest=f"pg_catalog.max({x})",
        number=number,
        mean_of=number,
        quantiles=True,
        read=int,
    )


def _time(read: Callable[[str], Any], *, gaps: bool = False, finite: bool = True) -> Family:
    epoch = "extract(epoch from {x})::pg_catalog.float8"
    return Family(
        number=f"(case when pg_catalog.isfinite({{x}}) then {epoch} end)" if finite else epoch,
        quantiles=True,
        is_time=gaps,
        read=_or_text(read),
    )


_TEXT_OF = '({x}::pg_catalog.text collate "C")'
_BEGIN = "pg_catalog.left(v::pg_catalog.text, 200)"
_LENGTH = "pg_catalog.length({x}::pg_catalog.text)"
_FLOAT = _number("{x}::pg_catalog.float8", "float8", float)
_TEXT = Family(shown=_BEGIN, length=_LENGTH)
_AS_TEXT = Family(_TEXT_OF, _BEGIN, None, None)
_TEXT_ORDER = Family(_TEXT_OF, _BEGIN, f"pg_catalog.min({_TEXT_OF})", f"pg_catalog.max({_TEXT_OF})")
_OF_ARRAYS = "(pg_catalog.{name}(array[{{x}}]) filter (where {{x}} is not null))[1]"
_ENUM = Family(  # there is no min() of a domain over an enum, and there is one of its array
    smallest=_OF_ARRAYS.format(name="min"), largest=_OF_ARRAYS.format(name="max")
)
_ARRAY = replace(_AS_TEXT, length="pg_catalog.cardinality({x})")
_BYTES = Family(
    shown="pg_catalog.left(pg_catalog.concat(E'\\\\x', pg_catalog.encode(v, 'hex')), 200)",
    smallest=None,
    largest=None,
    length="pg_catalog.length({x})",
)
_ADDRESS = "{x}::pg_catalog.inet"


def _json(kind: str) -> Family:
    is_object = f"pg_catalog.{kind}_typeof({{x}}) {EQ} 'object'"
    return replace(_AS_TEXT, keys=f"pg_catalog.{kind}_object_keys(case when {is_object} then {{x}} end)")


_DECIMAL: Callable[[Any], Any] = lambda value: Decimal(str(value))  # noqa: E731
_FAMILIES: dict[int, Family] = {
    16: Family(
        smallest="pg_catalog.bool_and({x})",
        largest="pg_catalog.bool_or({x})",
        mean_of="{x}::pg_catalog.int4::pg_catalog.float8",
    ),
    20: _integer("{x}"),
    21: _integer("{x}"),
    23: _integer("{x}"),
    26: _integer("{x}::pg_catalog.int8"),
    700: _FLOAT,
    701: _FLOAT,
    1700: _number("{x}", "numeric", _DECIMAL),
    790: _number("{x}::pg_catalog.numeric", "numeric", _DECIMAL),
    25: _TEXT,
    1042: _TEXT,
    1043: _TEXT,
    19: replace(_TEXT_ORDER, length=_LENGTH),
    18: _TEXT_ORDER,
    2950: _TEXT_ORDER,
    17: _BYTES,
    1082: _time(date.fromisoformat, gaps=True),
    1114: _time(_timestamp, gaps=True),
    1184: _time(_timestamp, gaps=True),
    1083: _time(time.fromisoformat, finite=False),
    1266: Family(quantiles=True),
    1186: Family(
        number="(case when pg_catalog.isfinite({x}) then extract(epoch from {x})::pg_catalog.float8 end)",
        mean_of="(case when pg_catalog.isfinite({x}) then extract(epoch from {x})::pg_catalog.float8 end)",
        quantiles=True,
    ),
    869: Family(),
    650: Family(_ADDRESS, "v", f"pg_catalog.min({_ADDRESS})", f"pg_catalog.max({_ADDRESS})"),
    114: _json("json"),
    3802: _json("jsonb"),
}


def family_of(oid: int, kind: str) -> Family:
    """Choose the family of a type.

    Args:
        oid: Of the type; of a domain, of what it stands for.
        kind: "enum", "array", or anything else.
    """
    return {"enum": _ENUM, "array": _ARRAY}.get(kind) or _FAMILIES.get(oid, _AS_TEXT)
