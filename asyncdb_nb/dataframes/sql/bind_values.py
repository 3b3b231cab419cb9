"""
A value as a user gives it for a bind → what is sent for it, by the type that the server has for the parameter.

A dict is JSON where json or jsonb is asked for, numpy's and pandas' scalars are the values that they stand for, and
their missing values are NULL. Dates, time stamps and intervals, and arrays and ranges of them, go as text, because
asyncpg's own form of them is not exact (see `datetimes`); whatever else asyncpg takes is left to asyncpg.
"""

from __future__ import annotations

import datetime as dt
import enum
import json
import math
import numbers
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import PurePath
from reprlib import repr as short
from typing import Any

from asyncdb_nb.dataframes.sql import datetimes
from asyncdb_nb.dataframes.type_families.kind import ColumnType
from asyncdb_nb.dataframes.type_families.text import char_bytes

Dumps = Callable[[Any], str]

_WRITERS: dict[str, Callable[[Any], str]] = {
    "date": datetimes.date,
    "timestamp": datetimes.timestamp,
    "timestamptz": datetimes.timestamptz,
    "interval": datetimes.interval,
}
_HAS_NAN = frozenset({"float4", "float8", "float", "numeric", "decimal"})
_INTEGERS = frozenset({"int2", "int4", "int8", "oid", "xid8"})
_FLOATS = frozenset({"float4", "float8"})
_CHANGED = frozenset(
    {*_WRITERS, "json", *_INTEGERS, *_FLOATS, "bit", "char", "timetz"}
)  # kinds for which a plain value may change
_BEYOND_INTEGERS = 2**64  # `int()` of a Decimal with a large exponent does not end
_HOLDS_OTHERS = frozenset({"array", "range", "multirange"})
_PLAIN = frozenset({type(None), bool, int, str, bytes, Decimal, uuid.UUID})
_ARRAYS = frozenset({"ndarray", "Series", "Index", "ChunkedArray"})
_TABLES = frozenset({"DataFrame", "LazyFrame", "Table", "RecordBatch"})  # which give their columns, not their rows


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a prepared statement.

    Attributes:
        oid: Its type's number, as the server describes it.
        type: What that is.
        written: Whether its values go as text.
    """

    oid: int
    type: ColumnType
    written: bool

    def in_sql(self) -> str:
        """Name the type as a cast does."""
        element = self.type.element if self.type.kind == "array" else None
        return self.type.name if element is None else f"{element.name}[]"


def goes_as_text(column: ColumnType) -> bool:
    """Say whether values of a parameter's type are to be written."""
    return column.kind in _WRITERS or (column.kind in _HOLDS_OTHERS and any(map(goes_as_text, _inside(column))))


def fitted(values: Sequence[Any], parameters: Sequence[Parameter], dumps: Dumps | None = None) -> list[Any]:
    """Bring values to what is sent for them.

    Args:
        values: As they were given.
        parameters: What the server says of each.
        dumps: What writes JSON; None is `json.dumps`.

    Returns:
        For a parameter that is `written` a text, for others what asyncpg takes; None for NULL.

    Raises:
        asyncpg.DataError: A value is not of the parameter's type. The words are those of asyncpg.
    """
    if len(values) != len(parameters):
        return list(values)  # which asyncpg refuses
    fitted_: list[Any] = []
    for number, (value, parameter) in enumerate(zip(values, parameters, strict=True), 1):
        try:
            fitted_.append(_fitted(value, parameter.type, parameter.written, dumps or json.dumps))
        except (TypeError, ValueError, ArithmeticError, AttributeError) as error:
            from asyncpg import DataError

            raise DataError(f"invalid input for query argument ${number}: {short(value)} ({error})") from error
    return fitted_


def _fitted(value: Any, column: ColumnType, written: bool, dumps: Dumps) -> Any:
    kind = column.kind
    if kind == "python":  # a user's codec takes it as it is
        return value
    if kind == "array":
        return _array(value, column, written, dumps)
    if type(value) in _PLAIN and kind not in _CHANGED:
        return value
    given, value = value, plain(value)
    if value is None or (kind not in _HAS_NAN and _is_nan(value)):
        return None
    if kind == "numeric" and isinstance(value, float):
        return Decimal(str(given if isinstance(given, numbers.Real) else value))  # as it prints: numpy's float32, too
    if kind in _AS_FRAMES_SHOW and isinstance(value, str):
        return _AS_FRAMES_SHOW[kind](value)
    if kind == "json":
        return value if isinstance(value, str | bytes) else dumps(_jsonable(value))
    if kind in _WRITERS:
        return _WRITERS[kind](value) if written else value
    if kind == "range":
        return _range(value, column, written, dumps)
    if kind == "multirange":
        return _multirange(value, column, written, dumps)
    if kind in _INTEGERS and not isinstance(value, int) and isinstance(value, numbers.Real | Decimal):
        return _whole(value)
    if kind in _FLOATS and isinstance(value, Decimal) and value.is_finite() and math.isinf(value):
        raise OverflowError(f"value out of {kind} range")
    if kind == "time" and getattr(value, "tzinfo", None) is not None:
        raise ValueError("expected a time without a time zone, got one with it")
    return str(value) if kind == "text" and isinstance(value, PurePath) else value


def _bits(text: str) -> Any:
    from asyncpg import BitString

    return BitString(text)


def _whole(value: Any) -> int:
    """Give a whole number as an int; asyncpg would cut any other down to one."""
    if value == value and not -_BEYOND_INTEGERS < value < _BEYOND_INTEGERS:
        raise OverflowError("value out of int64 range")
    if value != value or value != int(value):
        raise ValueError(f"expected an int, got {type(value).__name__}")
    return int(value)


def plain(value: Any) -> Any:
    """Give the Python value that an Enum's member, or a scalar of numpy, pandas or pyarrow, stands for."""
    if isinstance(value, enum.Enum):
        return plain(value.value)
    match type(value).__module__.partition(".")[0], type(value).__name__:
        case "pandas", "NAType" | "NaTType":
            return None
        case "numpy", "datetime64" | "timedelta64":
            return None if value != value else value  # NaT is not equal to itself
        case "numpy", _ if hasattr(value, "item") and not getattr(value, "ndim", 0):
            return value.item()
        case "pyarrow", _ if hasattr(value, "as_py"):
            return value.as_py()
    return value


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _jsonable(value: Any) -> Any:
    """Bring what is inside a JSON value to what `json` writes; JSON has no NaN."""
    value = plain(value)
    if isinstance(value, Mapping):
        return {plain(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple) or _is_array(value):
        return [_jsonable(item) for item in value]
    return None if _is_nan(value) else value


def _is_array(value: Any) -> bool:
    """Tell an array of numpy, pandas or pyarrow; numpy's texts look like one."""
    is_like_one = hasattr(value, "__array__") and hasattr(value, "__len__") and not isinstance(value, str | bytes)
    return type(value).__name__ in _ARRAYS or (is_like_one and not _is_table(value))


def _is_table(value: Any) -> bool:
    return type(value).__name__ in _TABLES


def _inside(column: ColumnType) -> Iterable[ColumnType]:
    return () if column.element is None else (column.element,)


def _array(value: Any, column: ColumnType, written: bool, dumps: Dumps) -> Any:
    value = plain(value)
    if value is None or _is_nan(value):
        return None
    if _is_table(value):
        raise TypeError(f"a list was expected, got {type(value).__name__}")
    if not _is_array(value) and not (isinstance(value, Collection) and not isinstance(value, str | bytes | Mapping)):
        if written:
            raise TypeError(f"a list was expected, got {type(value).__name__}")
        return value  # which asyncpg refuses
    items = _items(value, column, written, dumps)
    return _array_text(items) if written else items


def _items(values: Iterable[Any], column: ColumnType, written: bool, dumps: Dumps) -> list[Any]:
    element = next(iter(_inside(column)))
    items = list(values)
    if element.kind not in _CHANGED and _PLAIN.issuperset(map(type, items)):
        return items
    return [
        _items(item, column, written, dumps)
        if element.kind != "json" and (isinstance(item, list | tuple) or _is_array(item))
        else _fitted(item, element, written, dumps)
        for item in items
    ]


def _array_text(items: list[Any]) -> str:
    return "{" + ",".join(_array_text(item) if isinstance(item, list) else _item(item) for item in items) + "}"


def _item(text: str | None) -> str:
    return "NULL" if text is None else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _range(value: Any, column: ColumnType, written: bool, dumps: Dumps) -> Any:
    """Bring a Range of SQLAlchemy or asyncpg, a pair, or an Interval of pandas to asyncpg's Range, or write it."""
    from asyncpg import Range

    if getattr(value, "isempty", False) or getattr(value, "empty", False) is True:
        return "empty" if written else Range(empty=True)
    lower, upper, bounds = _bounds(value)
    element = next(iter(_inside(column)))
    lower, upper = (_fitted(bound, element, written, dumps) for bound in (lower, upper))
    if not written:
        return Range(lower, upper, lower_inc=bounds[0] == "[", upper_inc=bounds[1] == "]")
    lower, upper = ("" if bound is None else _item(bound) for bound in (lower, upper))
    return f"{bounds[0]}{lower},{upper}{bounds[1]}"


def _bounds(value: Any) -> tuple[Any, Any, str]:
    if isinstance(value, list | tuple) and len(value) == 2:
        return value[0], value[1], "[)"
    if hasattr(value, "closed") and hasattr(value, "left"):  # pandas' Interval
        return value.left, value.right, "[("[not value.closed_left] + "])"[not value.closed_right]
    if hasattr(value, "lower_inc"):
        return value.lower, value.upper, "[("[not value.lower_inc] + "])"[not value.upper_inc]
    raise TypeError(f"expected a Range, got {type(value).__name__}")


def _multirange(value: Any, column: ColumnType, written: bool, dumps: Dumps) -> Any:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError(f"expected a list of Range, got {type(value).__name__}")
    ranges = [_range(each, next(iter(_inside(column))), written, dumps) for each in value]
    return "{" + ",".join(ranges) + "}" if written else ranges


_AS_FRAMES_SHOW: dict[str, Callable[[str], Any]] = {
    "bit": _bits,
    "char": char_bytes,
    "timetz": dt.time.fromisoformat,
}
