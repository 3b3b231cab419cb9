"""
One column of data → what pgpq writes as the values of its column in the table, each of them equal.

What Arrow converts safely it does; the rest goes value by value, through the family's `writer`. A value that would be
another one is an error, which names it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from asyncdb_nb.dataframes.type_families.array_text import array_text
from asyncdb_nb.dataframes.type_families.arrays import VECTORS
from asyncdb_nb.dataframes.type_families.kind import Dumps, Function
from asyncdb_nb.dataframes.type_families.text import encoded
from asyncdb_nb.dataframes.types.exact import CHANGES
from asyncdb_nb.dataframes.writing.arrow_casts import Cast, arrow_cast, limits, plain
from asyncdb_nb.dataframes.writing.parts import is_objects
from asyncdb_nb.dataframes.writing.python_values import python_values
from asyncdb_nb.dataframes.writing.target import Target
from asyncdb_nb.errors import UnfitValueError

_UNFIT = (*CHANGES, pa.ArrowException, struct.error, OverflowError, LookupError)


class Conversion:
    """Converts a column for its place in the table.

    Args:
        target: The column in the table.
        dumps: What writes JSON.
        first: The number of the part's first row among all that are written.
        key: Whether the column is of the key, which takes no NULL.
    """

    def __init__(self, target: Target, dumps: Dumps, first: int = 0, *, key: bool = False) -> None:
        self._target = target
        self._first = first
        self._needs_values = target.not_null or key
        self._write: Function = _as_text(target) if target.is_text else target.type.writer(dumps)
        self._casts: dict[pa.DataType, Cast | None] = {}

    def __call__(self, column: Any, start: int) -> pa.Array:
        """Convert some rows of the column.

        Args:
            column: A Series or an Arrow array.
            start: The number of its first row in its part.

        Raises:
            UnfitValueError: A value does not fit.
        """
        start += self._first
        if is_objects(column):
            return self._each(_without_missing(column), start)
        array = self._arrow(column, start)
        self._refuse_null(array, start)
        cast = self._cast(array.type)
        encode = None if self._target.is_text else self._target.type.traits.encode
        if cast is not None and encode is not None:
            found = encode(self._target.type, self._cast_all(cast, array, start))
            if found is not None:
                return found
        return self._each(self._values(array, start), start)

    def _arrow(self, column: Any, start: int) -> pa.Array:
        try:
            return plain(_arrow_array(column))
        except _UNFIT as error:
            kind = getattr(column, "dtype", getattr(column, "type", type(column).__name__))
            first = column.iloc[0] if isinstance(column, pd.Series) else _shown(column[0])
            raise UnfitValueError(self._target.name, self._target.sql, start, first, f"it is {kind}") from error

    def _cast(self, given: pa.DataType) -> Cast | None:
        if given not in self._casts:
            self._casts[given] = arrow_cast(self._target.type, given)
        return self._casts[given]

    def _cast_all(self, cast: Cast, array: pa.Array, start: int) -> pa.Array:
        try:
            return limits(self._target.type, cast(array))
        except _UNFIT as error:
            row = _first_unfit(lambda part: limits(self._target.type, cast(part)), array)
            raise self._unfit(start + row, array[row], error) from error

    def _values(self, array: pa.Array, start: int) -> Sequence[Any]:
        try:
            values = python_values(array)
        except _UNFIT as error:  # a year that Python does not have
            row = _first_unfit(python_values, array)
            raise self._unfit(start + row, array[row], error) from error
        return values

    def _each(self, values: Sequence[Any], start: int) -> pa.Array:
        written: list[bytes | None] = []
        for row, value in enumerate(values, start):
            try:
                if value is None and self._needs_values:
                    raise ValueError("NULL")
                written.append(None if value is None else self._write(value))
            except _UNFIT as error:
                raise self._unfit(row, value, error) from error
        return pa.array(written, pa.large_binary())

    def _refuse_null(self, array: pa.Array, start: int) -> None:
        if self._needs_values and array.null_count:
            raise self._unfit(start + pc.index(array.is_null(), True).as_py(), None)

    def _unfit(self, row: int, value: Any, error: BaseException | None = None) -> UnfitValueError:
        if isinstance(value, pa.Scalar):
            value = _shown(value)
        return UnfitValueError(
            self._target.name, self._target.sql, row, value, "" if error is None else _why(error, value)
        )


def _arrow_array(column: Any) -> pa.Array:
    """Give a column as one Arrow array; NaN of numpy is missing, NaN of Arrow and of pandas' masked arrays is NaN."""
    if isinstance(column, pd.Series):
        column = pa.array(column.array, from_pandas=isinstance(column.dtype, np.dtype) or None)
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _without_missing(column: Any) -> list[Any]:
    """Give Python objects, None for those that stand for a missing value."""
    values = column.tolist()
    missing = pd.isna(column).tolist()
    return [None if gone and not _is_decimal(value) else value for value, gone in zip(values, missing, strict=True)]


def _is_decimal(value: Any) -> bool:
    return hasattr(value, "as_tuple")  # whose NaN is numeric's


def _first_unfit(convert: Callable[[pa.Array], Any], array: pa.Array) -> int:
    """Find the first row that cannot be converted; there is one."""
    start, count = 0, len(array)
    while count > 1:
        half = count // 2
        try:
            convert(array.slice(start, half))
        except _UNFIT:
            count = half
        else:
            start, count = start + half, count - half
    return start


def _as_text(target: Target) -> Callable[[Any], bytes]:
    """Give what writes a value as text, which the server casts to the type."""
    if target.type.name in VECTORS:
        return lambda value: encoded(" ".join(map(str, value)))
    is_array = target.type.kind == "array"
    return lambda value: encoded(array_text(value) if is_array and isinstance(value, list) else value)


def _shown(value: pa.Scalar) -> Any:
    try:
        return value.as_py()
    except _UNFIT:  # a date that Python does not have
        return [each.value for each in value.values] if isinstance(value, pa.ListScalar) else value.value


def _why(error: BaseException, value: Any) -> str:
    """Say why a value does not fit, where the error knows more than the value."""
    said = str(error)
    if isinstance(error, KeyError | IndexError) or said in (str(value), repr(value), "NULL", ""):
        return ""
    return said if " " in said else f"{said} does not fit"  # an element, or a field
