"""The values of one column in a part of a stream, as numpy reads them and as Arrow takes them."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from asyncdb_nb.dataframes.copy_binary.cells import Cells
from asyncdb_nb.dataframes.copy_binary.row_candidates import every
from asyncdb_nb.dataframes.copy_binary.row_chain import Mask, Positions


class Values:
    """The bytes of one column's values.

    Args:
        data: The part of the stream that they are in.
        cells: Where they are in it.

    Attributes:
        data: As given.
        nulls: Whether any value is NULL.
    """

    def __init__(self, data: bytes, cells: Cells) -> None:
        self.data = data
        self._cells = cells
        self.nulls = cells.lengths is not None and bool((cells.lengths < 0).any())

    def __len__(self) -> int:
        return len(self._cells.base)

    @cached_property
    def start(self) -> Positions:
        """Position of each value's first byte."""
        return self._cells.start

    @cached_property
    def length(self) -> Positions:
        """Number of bytes of each value; 0 for NULL."""
        return np.maximum(self._cells.length, 0) if self.nulls else self._cells.length

    @cached_property
    def null(self) -> Mask:
        """Which are NULL."""
        return self._cells.length < 0 if self.nulls else np.zeros(len(self), np.bool_)

    @cached_property
    def valid(self) -> Mask:
        """Which are not NULL."""
        return ~self.null

    def fixed(self, dtype: str, at: int = 0) -> NDArray[Any]:
        """Read a number of `dtype`, `at` so many bytes into each value; zero for NULL."""
        if self._cells.content is not None and not at:
            return self._cells.content.view(dtype)
        everywhere = every(self.data, dtype)
        if not self.nulls:
            return everywhere[self.start + at if at else self.start]
        found = np.zeros(len(self), everywhere.dtype)
        found[self.valid] = everywhere[self.start[self.valid] + at]
        return found

    def native(self, dtype: str) -> NDArray[Any]:
        """Read numbers of `dtype`, and put their bytes in this machine's order."""
        found = self.fixed(dtype)
        return found.astype(found.dtype.newbyteorder("="))

    def numbers(self, dtype: str, type_: pa.DataType) -> pa.Array:
        """Make an Arrow array of numbers of `dtype`."""
        return array_of(type_, self.native(dtype), self.null)

    def bits(self, found: NDArray[Any]) -> pa.Array:
        """Make an Arrow array of what is 0 or 1 for each value."""
        buffer = pa.py_buffer(np.packbits(found, bitorder="little"))
        return pa.Array.from_buffers(pa.bool_(), len(self), [validity(self.null), buffer])

    def after(self, count: int) -> Values:
        """Leave out the first `count` bytes of each value, which are there."""
        return Values(self.data, Cells(self.start, count, np.where(self.null, -1, self.length - count)))

    def only(self, rows: NDArray[np.intp]) -> Values:
        """Choose some of the values."""
        return Values(self.data, Cells(self.start[rows], lengths=np.where(self.null, -1, self.length)[rows]))

    def one(self, row: int) -> bytes:
        """Give the bytes of one value that is not NULL."""
        start = int(self.start[row])
        return self.data[start : start + int(self.length[row])]

    def each(self) -> list[bytes | None]:
        """Give the bytes of every value."""
        data = self.data
        ends = self.start + self.length
        places = zip(self.start.tolist(), ends.tolist(), self.null.tolist(), strict=True)
        return [None if null else data[start:end] for start, end, null in places]


def array_of(type_: pa.DataType, values: NDArray[Any], null: Mask) -> pa.Array:
    """Make an Arrow array of one buffer of fixed-width values."""
    return pa.Array.from_buffers(type_, len(null), [validity(null), pa.py_buffer(values)])


def validity(null: Mask) -> pa.Buffer | None:
    """Make the bitmap that says which values are there; None when all are."""
    return pa.py_buffer(np.packbits(~null, bitorder="little")) if null.any() else None
