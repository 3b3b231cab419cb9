"""Ranges, and lists of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from sqlalchemy.dialects import postgresql as pg

from asyncdb_nb.dataframes.type_families.arrays import (
    is_scalar,
    list_converter,
    list_from_driver,
    list_to_arrow,
    list_type,
)
from asyncdb_nb.dataframes.type_families.items import INT4, items, prefixed
from asyncdb_nb.dataframes.type_families.kind import (
    ARROW,
    OBJECT,
    BuiltIn,
    ColumnType,
    Dumps,
    Function,
    Kind,
    Loads,
    Reader,
    Writer,
    need,
)

_EMPTY, _LOWER_INCLUSIVE, _UPPER_INCLUSIVE, _NO_LOWER, _NO_UPPER = 1, 2, 4, 8, 16


def _reader(column: ColumnType, loads: Loads) -> Reader:
    return partial(_read, column.inside.reader(loads))


def _read(bound: Reader, data: bytes) -> Any:
    flags = data[0]
    if flags & _EMPTY:
        return pg.Range(empty=True)
    bounds = items(data, 1)
    lower = None if flags & _NO_LOWER else bound(next(bounds) or b"")
    upper = None if flags & _NO_UPPER else bound(next(bounds) or b"")
    return _range(lower, upper, bool(flags & _LOWER_INCLUSIVE), bool(flags & _UPPER_INCLUSIVE))


def _range(lower: Any, upper: Any, lower_inclusive: bool, upper_inclusive: bool) -> Any:
    bounds: Any = "(["[lower_inclusive] + ")]"[upper_inclusive]
    return pg.Range(lower, upper, bounds=bounds)


def _writer(column: ColumnType, dumps: Dumps) -> Writer:
    write = column.inside.writer(dumps)

    def write_range(value: Any) -> bytes:
        if isinstance(value, dict):  # Arrow's
            value = _of_fields(**value)
        if getattr(value, "isempty", False) or getattr(value, "empty", False) is True:
            return bytes([_EMPTY])
        bounds = value.bounds if isinstance(value, pg.Range) else "(["[value.lower_inc] + ")]"[value.upper_inc]
        flags = _NO_LOWER if value.lower is None else _LOWER_INCLUSIVE * (bounds[0] == "[")
        flags |= _NO_UPPER if value.upper is None else _UPPER_INCLUSIVE * (bounds[1] == "]")
        return bytes([flags]) + b"".join(
            prefixed(write(bound)) for bound in (value.lower, value.upper) if bound is not None
        )

    return write_range


def _of_fields(lower: Any, upper: Any, lower_inc: bool, upper_inc: bool, empty: bool) -> Any:
    return pg.Range(empty=True) if empty else _range(lower, upper, lower_inc, upper_inc)


def _multirange_writer(column: ColumnType, dumps: Dumps) -> Writer:
    write = column.inside.writer(dumps)
    return lambda value: INT4.pack(len(value)) + b"".join(prefixed(write(each)) for each in value)


def _arrow_type(column: ColumnType) -> Any:
    import pyarrow as pa

    bounds = [("lower", column.inside.arrow()), ("upper", column.inside.arrow())]
    return pa.struct([*bounds, ("lower_inc", pa.bool_()), ("upper_inc", pa.bool_()), ("empty", pa.bool_())])


def _from_driver(column: ColumnType) -> Function:
    return partial(_converted, column.inside.from_driver())


def _converted(bound: Function | None, value: Any) -> Any:
    if getattr(value, "isempty", False) or getattr(value, "empty", False) is True:
        return pg.Range(empty=True)
    lower, upper = (edge if edge is None or bound is None else bound(edge) for edge in (value.lower, value.upper))
    if isinstance(value, pg.Range):
        return pg.Range(lower, upper, bounds=value.bounds)
    return _range(lower, upper, value.lower_inc, value.upper_inc)


def _converter(column: ColumnType) -> Function | None:
    inside = column.inside.converter()
    return None if inside is None else partial(_take, inside)


def _take(inside: Function, value: Any) -> Any:
    for bound in (value.lower, value.upper):
        need(bound is None or inside(bound) is bound, value)
    return value


def _to_arrow(column: ColumnType) -> Function:
    fit = column.inside.to_arrow()

    def bound(value: Any) -> Any:
        return value if value is None or fit is None else fit(value)

    return lambda value: {
        "lower": bound(value.lower),
        "upper": bound(value.upper),
        "lower_inc": value.bounds[0] == "[" and not value.empty,
        "upper_inc": value.bounds[1] == "]" and not value.empty,
        "empty": value.empty,
    }


def _multirange_reader(column: ColumnType, loads: Loads) -> Reader:
    one = column.inside.reader(loads)
    return lambda data: [one(item) for item in items(data, 4) if item is not None]


def _multirange_from_driver(column: ColumnType) -> Callable[[Any], Any]:
    return partial(list_from_driver, column.inside.from_driver(), is_scalar)


_RANGES = {
    "int4range": BuiltIn(3904, 3905, element="int4"),
    "numrange": BuiltIn(3906, 3907, element="numeric"),
    "tsrange": BuiltIn(3908, 3909, element="timestamp"),
    "tstzrange": BuiltIn(3910, 3911, element="timestamptz"),
    "daterange": BuiltIn(3912, 3913, element="date"),
    "int8range": BuiltIn(3926, 3927, element="int8"),
}
_MULTIRANGES = {
    "int4multirange": BuiltIn(4451, 6150, element="int4range"),
    "nummultirange": BuiltIn(4532, 6151, element="numrange"),
    "tsmultirange": BuiltIn(4533, 6152, element="tsrange"),
    "tstzmultirange": BuiltIn(4534, 6153, element="tstzrange"),
    "datemultirange": BuiltIn(4535, 6155, element="daterange"),
    "int8multirange": BuiltIn(4536, 6157, element="int8range"),
}

KINDS = (
    Kind(
        name="range",
        documented="any range",
        arrow="struct<lower, upper, lower_inc, upper_inc, empty>",
        dtypes=(OBJECT, OBJECT, ARROW),
        note="sqlalchemy.dialects.postgresql.Range.",
        types=_RANGES,
        arrow_type=_arrow_type,
        reader=_reader,
        writer=_writer,
        from_driver=_from_driver,
        converter=_converter,
        to_arrow=_to_arrow,
        keeps_values=True,
        sqlalchemy={getattr(pg, name.upper()): name for name in _RANGES},
    ),
    Kind(
        name="multirange",
        documented="any multirange",
        arrow="list<range>",
        dtypes=(OBJECT, OBJECT, ARROW),
        note="List of Range.",
        types=_MULTIRANGES,
        arrow_type=list_type,
        reader=_multirange_reader,
        writer=_multirange_writer,
        from_driver=_multirange_from_driver,
        converter=list_converter,
        to_arrow=list_to_arrow,
        keeps_values=True,
        depth=1,
        sqlalchemy={getattr(pg, name.upper()): name for name in _MULTIRANGES},
    ),
)
