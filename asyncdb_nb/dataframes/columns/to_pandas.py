"""
A column's values → the array of a pandas column.

Most come by Arrow. A few Python values, which pandas takes as they are, become its arrays without Arrow between: that
would be most of the time that a small frame takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from asyncdb_nb.dataframes.families.kind import DtypeBackend

if TYPE_CHECKING:
    from asyncdb_nb.dataframes.columns.column import Column


def to_pandas(column: Column, backend: DtypeBackend) -> Any:
    """Give a column's values as an array or series of `column.type.dtype(backend)`."""
    dtype: Any = column.type.dtype(backend)
    if dtype == np.dtype(object):
        objects = np.fromiter(column.objects(), dtype=object, count=len(column))
        return pd.Series(objects, dtype=object, copy=False)  # a bare array of texts would become `str`
    if column.array is None and column.type.traits.to_arrow is None:
        made = _from_python(column.objects(), dtype)
        if made is not None:
            return made
    array: Any = column.to_arrow()
    if column.type.traits.for_pandas is not None:
        array = column.type.traits.for_pandas(array, column.lossy)
    if isinstance(dtype, pd.ArrowDtype):
        return pd.arrays.ArrowExtensionArray(array)
    if isinstance(dtype, np.dtype):
        values = array.to_numpy(zero_copy_only=False) if not hasattr(array, "chunks") else array.to_numpy()
        return values if values.flags.writeable else values.copy()  # a frame can be changed; Arrow's memory not
    made = dtype.__from_arrow__(array)
    return made.copy() if isinstance(dtype, pd.DatetimeTZDtype) and not made.asi8.flags.writeable else made


def _from_python(values: Sequence[Any], dtype: Any) -> Any | None:
    """Make the array without Arrow; None where Arrow has to be asked, or says which value does not fit."""
    from_arrow = dtype.__from_arrow__ if isinstance(dtype, pd.StringDtype) else None  # type: ignore[attr-defined]
    try:
        if from_arrow is not None:
            return from_arrow(pa.array(values, pa.large_string()))  # which pandas need not change
        if isinstance(dtype, np.dtype):
            return np.array(values, dtype) if dtype.kind == "f" else None  # with NaN for None
        if isinstance(dtype, pd.BooleanDtype):
            return pd.arrays.BooleanArray(*_with_mask(values, np.bool_))
        if dtype.kind in ("i", "u") and not isinstance(dtype, pd.ArrowDtype):
            return pd.arrays.IntegerArray(*_with_mask(values, dtype.numpy_dtype))
    except (TypeError, ValueError, OverflowError):
        pass
    return None


def _with_mask(values: Sequence[Any], dtype: Any) -> tuple[Any, Any]:
    if None not in values:
        return np.array(values, dtype), np.zeros(len(values), np.bool_)
    held = [0 if value is None else value for value in values]
    return np.array(held, dtype), np.array([value is None for value in values], np.bool_)
