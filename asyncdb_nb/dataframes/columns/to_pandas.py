"""
A column's values → the array of a pandas column.

Most come by Arrow. A few Python values, which pandas takes as they are, become its arrays without Arrow between: that
would be most of the time that a small frame takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa


def of_objects(values: Sequence[Any]) -> Any:
    """Make a series of Python objects; a bare array of texts would become `str`."""
    objects = np.fromiter(values, dtype=object, count=len(values))
    return pd.Series(objects, dtype=object, copy=False)


def of_python(values: Sequence[Any], dtype: Any) -> Any | None:
    """Make an array of values as they are; None where Arrow has to be asked, or says which value does not fit."""
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


def of_arrow(array: Any, dtype: Any) -> Any:
    """Make an array of an Arrow array, chunked or not."""
    if isinstance(dtype, pd.ArrowDtype):
        return pd.arrays.ArrowExtensionArray(array)
    if isinstance(dtype, np.dtype):
        values = array.to_numpy(zero_copy_only=False) if not hasattr(array, "chunks") else array.to_numpy()
        return values if values.flags.writeable else values.copy()  # a frame can be changed; Arrow's memory not
    made = dtype.__from_arrow__(array)
    return made.copy() if isinstance(dtype, pd.DatetimeTZDtype) and not made.asi8.flags.writeable else made


def _with_mask(values: Sequence[Any], dtype: Any) -> tuple[Any, Any]:
    if None not in values:
        return np.array(values, dtype), np.zeros(len(values), np.bool_)
    held = [0 if value is None else value for value in values]
    return np.array(held, dtype), np.array([value is None for value in values], np.bool_)
