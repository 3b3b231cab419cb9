"""
A value as asyncpg or SQLAlchemy gives it in Python → the value that `wire` reads from the same bytes.

Rows that are here already (a repository's results, `INSERT ... RETURNING` through the ORM) were decoded by asyncpg.
Each type's value is brought to the one form that frames use. What asyncpg lost before is lost; the one thing that can
be told afterwards, because asyncpg always gives the same object for it, is `infinity`.
"""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from functools import partial
from typing import Any

from asyncdb_nb.dataframes.types.array_text import array_items
from asyncdb_nb.dataframes.types.binary import offset, snapshot_text, timetz_text
from asyncdb_nb.dataframes.types.table import ColumnType
from asyncdb_nb.engine.exact_dates import asyncpgs_infinity

Converter = Callable[[Any], Any]

PLAIN = frozenset(
    {"bool", "int2", "int4", "int8", "oid", "xid8", "float4", "float8", "text", "bytea", "json", "python"}
)


def converter(column: ColumnType) -> Converter | None:
    """Give the function for one value of type `column` that is not None; None where values stand as they are."""
    match column.kind:
        case kind if kind in PLAIN:
            return None
        case "array" if not column.binary:
            return partial(_written_array, _element(column))
        case "array":
            return partial(_array, _element(_innermost(column)), _is_item(_innermost(column)))
        case "range":
            return partial(_range, _element(column))
        case "multirange":
            return partial(_array, _element(column), _is_scalar)
        case "composite":
            return partial(_composite, [(name, converter(field) or _same) for name, field in column.fields])
        case "money":
            return partial(_money, column.scale)
        case kind:
            return _CONVERTERS[kind]


def _element(column: ColumnType) -> Converter:
    assert column.element is not None, f"a {column.kind} has an element"  # noqa: S101
    return converter(column.element) or _same


def _same(value: Any) -> Any:
    return value


def _array(element: Converter, is_item: Callable[[Any], bool], values: Iterable[Any]) -> list[Any]:
    return [
        None if value is None else element(value) if is_item(value) else _array(element, is_item, value)
        for value in values
    ]


def _written_array(element: Converter, values: str | Iterable[Any]) -> list[Any]:
    return _array(element, _is_scalar, array_items(values) if isinstance(values, str) else values)


def _innermost(column: ColumnType) -> ColumnType:
    """Give the array inside arrays of arrays (int2vector[]), whose values are lists in lists just the same."""
    while column.element is not None and column.element.kind == "array":
        column = column.element
    return column


def _is_item(column: ColumnType) -> Callable[[Any], bool]:
    """Give what tells an element from a row of elements: multiranges are lists too, but of ranges alone."""
    if column.element is None or column.element.kind != "multirange":
        return _is_scalar
    return lambda value: all(item is not None and type(item) is not list for item in value)


def _is_scalar(value: Any) -> bool:
    return type(value) is not list


def _range(bound: Converter, value: Any) -> Any:
    from sqlalchemy.dialects.postgresql import Range

    if getattr(value, "isempty", False) or getattr(value, "empty", False) is True:
        return Range(empty=True)
    lower, upper = (None if edge is None else bound(edge) for edge in (value.lower, value.upper))
    bounds = value.bounds if isinstance(value, Range) else "[("[not value.lower_inc] + "])"[not value.upper_inc]
    return Range(lower, upper, bounds=bounds)  # type: ignore[arg-type]


def _composite(fields: list[tuple[str, Converter]], value: Any) -> dict[str, Any]:
    items = value.values() if isinstance(value, Mapping) or hasattr(value, "values") else value
    return {name: None if item is None else read(item) for (name, read), item in zip(fields, items, strict=True)}


def _money(scale: int, value: Any) -> Decimal:
    """Read the amount out of text such as `-$1,234.50`, whose last `scale` digits stand after the point."""
    if not isinstance(value, str):
        return Decimal(value)
    amount = Decimal(re.sub(r"\D", "", value)).scaleb(-scale)
    return -amount if "-" in value or "(" in value else amount


def _temporal(value: Any) -> Any:
    return asyncpgs_infinity(value) or value


def _timetz(value: Any) -> str:
    if isinstance(value, str):
        return value
    east = value.utcoffset() or dt.timedelta(0)
    seconds = (value.hour * 60 + value.minute) * 60 + value.second
    return timetz_text(seconds * 1_000_000 + value.microsecond, int(east.total_seconds()))


def _interval(value: Any) -> Any:
    if not isinstance(value, dt.timedelta):
        return value
    days = int(value / dt.timedelta(days=1))  # towards zero: of a timedelta below it, days alone are negative
    return offset(0, days, (value - dt.timedelta(days=days)) // dt.timedelta(microseconds=1))


def _uuid(value: Any) -> uuid.UUID:
    return uuid.UUID(value) if isinstance(value, str) else uuid.UUID(int=value.int)


def _numeric(value: Any) -> Decimal:
    number = value if isinstance(value, Decimal) else Decimal(value)
    large = number.is_finite() and number.adjusted() > 28
    return Decimal(f"{number:f}") if large else number  # asyncpg gives 9E+800; PostgreSQL writes all digits


def _bits(value: Any) -> str:
    return value if isinstance(value, str) else value.as_string().replace(" ", "")


def _char(value: Any) -> str:
    from asyncdb_nb.dataframes.types.binary import reader

    return value if isinstance(value, str) else str(reader(ColumnType(18, "char", "char"))(value))


def _lsn(value: Any) -> str:
    if isinstance(value, str):
        return value
    return f"{value >> 32 & 0xFFFFFFFF:X}/{value & 0xFFFFFFFF:X}"  # asyncpg reads it as a signed number


def _tid(value: Any) -> str:
    return value if isinstance(value, str) else f"({value[0]},{value[1]})"


def _floats(value: Any) -> list[float]:
    """Flatten asyncpg's points, boxes and circles, which are tuples of tuples."""
    return [n for part in value for n in (_floats(part) if isinstance(part, tuple | list) else [float(part)])]


def _path(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {"closed": value.is_closed, "points": _floats(tuple(value.points))}


def _hstore(value: Any) -> dict[str, str | None]:
    from sqlalchemy.dialects.postgresql import HSTORE, dialect

    if not isinstance(value, str):
        return dict(value)
    parse: Any = HSTORE().result_processor(dialect(), None)  # type: ignore[no-untyped-call]
    return dict(parse(value))


_CONVERTERS: dict[str, Converter] = {
    "numeric": _numeric,
    "decimal": _numeric,
    "float": float,
    "char": _char,
    "date": _temporal,
    "time": _same,
    "timetz": _timetz,
    "timestamp": _temporal,
    "timestamptz": _temporal,
    "interval": _interval,
    "uuid": _uuid,
    "inet": str,
    "macaddr": str,
    "bit": _bits,
    "pg_lsn": _lsn,
    "snapshot": lambda value: value if isinstance(value, str) else snapshot_text(*value),
    "tid": _tid,
    "floats": _floats,
    "path": _path,
    "hstore": _hstore,
    "record": tuple,
    "void": lambda value: None,
}
