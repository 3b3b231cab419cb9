"""
Python values → an Arrow array of a column's type.

Most values are what pyarrow takes for their type. The others are fitted first: a range becomes a struct, an interval
its months, days and nanoseconds. One that its Arrow type cannot hold is NA, and counted by reason.
"""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from collections.abc import Callable, Sequence
from numbers import Number
from typing import TYPE_CHECKING, Any

from asyncdb_nb.dataframes.types import binary
from asyncdb_nb.dataframes.types.exact import unfit
from asyncdb_nb.dataframes.types.table import ColumnType
from asyncdb_nb.errors import FrameError

if TYPE_CHECKING:
    import pyarrow as pa


def arrow(
    name: str,
    type_: ColumnType,
    values: Sequence[Any],
    fit: Callable[[Any], Any] | None,
    lossy: Counter[str] | None = None,
) -> pa.Array:
    """Make an Arrow array of what `fit` makes of the values; one that does not fit is NA and counted in `lossy`."""
    import pyarrow as pa

    fitted: Sequence[Any] = ()
    try:
        fitted = values if fit is None else _fitted(values, fit, Counter() if lossy is None else lossy)
        if type_.kind == "python":
            return _inferred(name, fitted)
        return pa.array(fitted, type_.arrow())
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        for value, item in zip(values, fitted, strict=False):
            if not _is_taken(item, type_):
                raise unfit(name, type_, value) from error
        raise FrameError(f"Column {name!r} cannot become {type_.name} in Arrow: {error}") from error


def _is_taken(value: Any, type_: ColumnType) -> bool:
    import pyarrow as pa

    try:
        pa.array([value], None if type_.kind == "python" else type_.arrow())
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return False
    return True


def _inferred(name: str, values: Sequence[Any]) -> pa.Array:
    """Make an array of the type that pyarrow finds for values; it finds a date for a date and a datetime."""
    import pyarrow as pa

    array = pa.array(values)
    for value, held in zip(values, array.to_pylist(), strict=True):
        if isinstance(value, dt.date | dt.time | Number) and not (value == held or value != value):
            raise FrameError(f"Column {name!r} cannot hold {value!r} in Arrow beside its other values.")
    return array


def fitter(type_: ColumnType) -> Callable[[Any], Any] | None:
    """Give what turns a value into one that pyarrow takes, or raises `_UnfitError`; None where pyarrow takes all."""
    match type_.kind:
        case "decimal" | "money":
            return _fit_decimal
        case "date" | "timestamp" | "timestamptz" | "time":
            return _fit_temporal
        case "numeric":
            return _fit_numeric
        case "interval":
            return _fit_interval
        case "uuid":
            return lambda value: value.bytes
        case "json":
            return lambda value: value if isinstance(value, str) else json.dumps(value)
        case "record":
            return repr
        case "hstore":
            return lambda value: list(value.items())
        case "array" | "multirange":
            return _fit_list(type_)
        case "range":
            return _fit_range(type_)
        case "composite":
            return _fit_fields(type_)
    return None


def since_1970(type_: ColumnType) -> Callable[[bytes], int]:
    """Give what reads the bytes of a date or timestamp as Arrow counts it: days or microseconds from 1970."""
    size, epoch = (4, binary.EPOCH_DAYS) if type_.kind == "date" else (8, binary.EPOCH_MICROSECONDS)
    limit = 2 ** (8 * size - 1)

    def fit(data: bytes) -> int:
        count = int.from_bytes(data, signed=True)
        if count in (limit - 1, -limit):
            raise _UnfitError("infinity")
        if count + epoch >= limit:
            raise _UnfitError("a year after 294246")
        return count + epoch

    return fit


class _UnfitError(Exception):
    """A value that its Arrow type cannot hold; the message is the reason."""


def _fitted(values: Sequence[Any], fit: Callable[[Any], Any], lossy: Counter[str]) -> list[Any]:
    fitted: list[Any] = []
    for value in values:
        try:
            fitted.append(None if value is None else fit(value))
        except _UnfitError as reason:
            lossy[f"NA for {reason}"] += 1
            fitted.append(None)
    return fitted


def _fit_decimal(value: Any) -> Any:
    if not value.is_finite():
        raise _UnfitError("NaN")
    return value


def _fit_numeric(value: Any) -> str:
    text = str(value)
    return f"{value:f}" if "E" in text else text


def _fit_temporal(value: Any) -> Any:
    if isinstance(value, str):  # Python has no date or time for it
        raise _UnfitError("infinity" if value.endswith("infinity") else value)
    return value


def _fit_interval(value: Any) -> tuple[int, int, int]:
    if isinstance(value, str):
        raise _UnfitError("infinity")
    parts: dict[str, int] = value.kwds
    nanoseconds = parts.get("microseconds", 0) * 1000 + parts.get("nanoseconds", 0)
    if not -(2**63) <= nanoseconds < 2**63:
        raise _UnfitError("more than 292 years of hours")
    return parts.get("months", 0), parts.get("days", 0), nanoseconds


def _fit_list(type_: ColumnType) -> Callable[[Any], Any]:
    assert type_.element is not None, f"a {type_.kind} has an element"  # noqa: S101
    fit = _fit_inside(type_.element)
    own_depth = _depth_of(type_.element)

    def fit_all(values: list[Any]) -> list[Any]:
        if type_.kind == "array" and any(_depth(value) > own_depth for value in values):
            raise _UnfitError("an array of several dimensions")
        return [fit(value) for value in values]

    return fit_all


def _fit_range(type_: ColumnType) -> Callable[[Any], Any]:
    assert type_.element is not None, "a range has a bound"  # noqa: S101
    fit = _fit_inside(type_.element)
    return lambda value: {
        "lower": fit(value.lower),
        "upper": fit(value.upper),
        "lower_inc": value.bounds[0] == "[" and not value.empty,
        "upper_inc": value.bounds[1] == "]" and not value.empty,
        "empty": value.empty,
    }


def _fit_fields(type_: ColumnType) -> Callable[[Any], Any]:
    fits = {name: _fit_inside(inner) for name, inner in type_.fields}
    return lambda value: {name: fits[name](item) for name, item in value.items()}


def _fit_inside(type_: ColumnType) -> Callable[[Any], Any]:
    fit = fitter(type_)
    return lambda value: value if value is None or fit is None else fit(value)


def _depth(value: Any) -> int:
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 0


def _depth_of(type_: ColumnType) -> int:
    """Say how many lists deep one value of a type may be without being an array's own dimensions."""
    if type_.kind == "multirange":
        return 1
    return {"floats": 1, "json": 1_000}.get(type_.kind, 0)
