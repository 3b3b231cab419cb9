"""
No conversion changes a value: which Python values each kind of column takes.

pyarrow makes 1 of 1.5 for an integer column, a date of a datetime, and drops time zones, all without a word. So every
value passes here on its way into a column. What a column takes is what it can give back as an equal value: an int where
floats stand, if a double holds it; a Decimal where floats stand, if it is what that double prints. Everything else is
an error that names the column and the value.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import math
import numbers
import re
import struct
import uuid
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any

from asyncdb_nb.dataframes.types.table import ColumnType
from asyncdb_nb.engine.exact_dates import asyncpgs_infinity
from asyncdb_nb.errors import FrameError

IP = (ipaddress.IPv4Address, ipaddress.IPv6Address, ipaddress.IPv4Network, ipaddress.IPv6Network)

# The classes whose every value a kind takes as it is.
_OWN: dict[str, tuple[type, ...]] = {
    "bool": (bool,),
    "int2": (int,),
    "int4": (int,),
    "int8": (int,),
    "oid": (int,),
    "xid8": (int,),
    "float8": (float,),
    "float": (float, Decimal),  # `numeric="float"` asks for the nearest double, and it is listed as lossy
    "numeric": (Decimal,),
    "decimal": (Decimal,),
    "text": (str,),
    "bytea": (bytes,),
    "date": (dt.date,),
    "uuid": (uuid.UUID,),
    "inet": (str, *IP),
    "macaddr": (str,),
}


def exact(name: Any, type_: ColumnType, values: Sequence[Any]) -> Sequence[Any]:
    """Give values in the classes that a column of `type_` takes.

    Raises:
        FrameError: A value would become another one in such a column.
    """
    kept = _OWN.get(type_.kind, ())
    if not {*map(type, values)} - {type(None), *kept}:
        return values
    take = _taker(type_)
    if take is None:
        return values
    taken: list[Any] = []
    for value in values:
        try:
            taken.append(value if value is None or type(value) in kept else take(value))
        except (TypeError, ValueError, ArithmeticError, AttributeError) as error:
            raise unfit(name, type_, value) from error
    return taken


def are_json(values: Iterable[Any]) -> bool:
    """Say whether values can be what was parsed out of JSON."""
    return {*map(type, values)} <= {type(None), dict, list, str, int, float, bool, Decimal}


def unfit(name: Any, type_: ColumnType, value: Any) -> FrameError:
    """Say that a value does not fit its column."""
    shown = repr(value)
    shown = shown if len(shown) <= 100 else f"{shown[:100]}…"
    return FrameError(f"Column {name!r} is {type_.name}, and {shown} ({type(value).__name__}) would change in it.")


def _taker(type_: ColumnType) -> Callable[[Any], Any] | None:
    """Give what turns a value into one that the kind takes, or raises; None where any value may stand."""
    if type_.kind in ("array", "multirange") and type_.element is not None:
        return _list_taker(type_)
    if type_.kind == "range" and type_.element is not None:
        inside = _taker(type_.element)
        return None if inside is None else lambda value: _range(value, inside)
    if type_.kind == "money":
        return lambda value: _money(value, type_.scale)
    return _TAKERS.get(type_.kind)


def _list_taker(type_: ColumnType) -> Callable[[Any], Any] | None:
    """Look at the elements, however deep they lie; none of them is converted."""
    inner = type_
    while inner.element is not None and inner.kind in ("array", "multirange"):
        inner = inner.element
    inside, kept = _taker(inner), _OWN.get(inner.kind, ())
    if inside is None or not inner.binary:
        return None

    def take(value: Any) -> Any:
        for item in scalars(value):
            if item is not None and type(item) not in kept and inside(item) is not item:
                raise ValueError(item)
        return value

    return take


def scalars(value: Iterable[Any]) -> Iterable[Any]:
    """Yield what stands in lists of lists."""
    for item in value:
        if isinstance(item, list):
            yield from scalars(item)
        else:
            yield item


def _need(right: bool, value: Any) -> Any:
    if not right:
        raise ValueError(value)
    return value


def _of(*classes: type) -> Callable[[Any], Any]:
    return lambda value: _need(isinstance(value, classes), value)


def _integer(value: Any) -> Any:
    return _need(isinstance(value, numbers.Integral) and not isinstance(value, bool), value)


def _double(value: Any) -> Any:
    if isinstance(value, float):
        return value
    number = float(value)
    if isinstance(value, Decimal):
        return _need(not value.is_finite() or Decimal(repr(number)) == value, number)
    return _need(_is_real(value) and (number == value or math.isnan(number)), number)


def _single(value: Any) -> Any:
    number = _double(value)
    [nearest] = struct.unpack("f", struct.pack("f", number))
    return _need(number == nearest or math.isnan(number), number)


def _decimal(value: Any) -> Any:
    if isinstance(value, Decimal):
        return value
    _need(_is_real(value), value)
    return Decimal(repr(float(value))) if isinstance(value, float) else Decimal(_integer(value))


def _is_real(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _date(value: Any) -> Any:
    return _need(isinstance(value, dt.date) and not isinstance(value, dt.datetime), value)


def _time(value: Any) -> Any:
    return _need(isinstance(value, dt.time) and value.tzinfo is None, value)


def _timetz(value: Any) -> Any:
    return _need(isinstance(value, str) or (isinstance(value, dt.time) and value.tzinfo is not None), value)


def _timestamp(value: Any) -> Any:
    return _need(isinstance(value, dt.datetime) and value.tzinfo is None and _is_in_microseconds(value), value)


def _timestamptz(value: Any) -> Any:
    if asyncpgs_infinity(value):  # which has no time zone
        return value
    return _need(isinstance(value, dt.datetime) and value.tzinfo is not None and _is_in_microseconds(value), value)


def _interval(value: Any) -> Any:
    is_interval = isinstance(value, dt.timedelta | str) or hasattr(value, "kwds")
    return _need(is_interval and _is_in_microseconds(value), value)


def _is_in_microseconds(value: Any) -> bool:
    """Say whether a value of pandas' own has no nanoseconds beside the microseconds."""
    return not getattr(value, "nanosecond", 0) and not getattr(value, "nanoseconds", 0)


def _range(value: Any, inside: Callable[[Any], Any]) -> Any:
    for bound in (value.lower, value.upper):
        _need(bound is None or inside(bound) is bound, value)
    return value


def _money(value: Any, scale: int) -> Any:
    """Take an amount that is written with as many digits after the point as the column has."""
    if isinstance(value, str):
        return _need(re.search(rf"[.,]\d{{{scale}}}\D*$" if scale else r"\d\D*$", value) is not None, value)
    return _decimal(value)


_TAKERS: dict[str, Callable[[Any], Any]] = {
    "bool": lambda value: _need(isinstance(value, bool) or type(value).__name__ in ("bool", "bool_"), value),  # numpy's
    "int2": _integer,
    "int4": _integer,
    "int8": _integer,
    "oid": _integer,
    "xid8": _integer,
    "float4": _single,
    "float8": _double,
    "float": _double,
    "numeric": _decimal,
    "decimal": _decimal,
    "text": _of(str),
    "bytea": _of(bytes, bytearray, memoryview),
    "date": _date,
    "time": _time,
    "timetz": _timetz,
    "timestamp": _timestamp,
    "timestamptz": _timestamptz,
    "interval": _interval,
    "uuid": _of(uuid.UUID),
    "inet": _of(str, *IP),
    "macaddr": _of(str),
}
