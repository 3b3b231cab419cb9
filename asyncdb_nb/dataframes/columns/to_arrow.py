"""
Python values → an Arrow array of a column's type.

Most values are what pyarrow takes for their type. The others are fitted first, as their kind says: a range becomes a
struct, an interval its months, days and nanoseconds. One that its Arrow type cannot hold is NA, and counted by reason.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Sequence
from numbers import Number
from reprlib import repr as short
from typing import TYPE_CHECKING, Any

from asyncdb_nb.dataframes.type_families.kind import ColumnType, UnfitError
from asyncdb_nb.dataframes.types.exact import unfit
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
                if type_.kind == "python":
                    raise _without_type(name, value) from error
                raise unfit(name, type_, value) from error
        raise FrameError(f"Column {name!r} cannot become {type_.name} in Arrow: {error}") from error


def _without_type(name: str, value: Any) -> FrameError:
    return FrameError(
        f"Column {name!r} holds {short(value)} ({type(value).__name__}), for which Arrow has no type. Read a frame, "
        "or select what is stored: `type_coerce(column, Text)` for a text, `LargeBinary` for bytes."
    )


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


def _fitted(values: Sequence[Any], fit: Callable[[Any], Any], lossy: Counter[str]) -> list[Any]:
    fitted: list[Any] = []
    for value in values:
        try:
            fitted.append(None if value is None else fit(value))
        except UnfitError as reason:
            lossy[f"NA for {reason}"] += 1
            fitted.append(None)
    return fitted
