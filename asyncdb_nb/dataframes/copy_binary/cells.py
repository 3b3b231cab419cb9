"""Where the values of a column stand in the bytes of a stream, and what they are where that is known already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from asyncdb_nb.dataframes.copy_binary.row_chain import Positions


@dataclass(frozen=True, slots=True)
class Cells:
    """The places of one column's values.

    Attributes:
        base: A position before each value's first byte, int64.
        at: How far before.
        lengths: Each value's number of bytes, int64, -1 for NULL; None when `content` has all values.
        content: The values themselves when they are of one width and none is NULL, as a void dtype; else None.
    """

    base: Positions
    at: int = 0
    lengths: Positions | None = None
    content: NDArray[Any] | None = None

    @property
    def start(self) -> Positions:
        """Position of each value's first byte."""
        return self.base + self.at if self.at else self.base

    @property
    def length(self) -> Positions:
        """Number of bytes of each value, -1 for NULL."""
        if self.lengths is not None:
            return self.lengths
        assert self.content is not None, "cells without lengths have content"  # noqa: S101
        return np.full(len(self.base), self.content.dtype.itemsize, np.int64)

    def head(self, count: int) -> Cells:
        """Give the first values."""
        lengths = None if self.lengths is None else self.lengths[:count]
        return Cells(self.base[:count], self.at, lengths, None if self.content is None else self.content[:count])

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Cells:
        """Put cells of one column one after the other."""
        start = np.concatenate([part.start for part in parts])
        contents = [part.content for part in parts if part.content is not None]
        if len(contents) == len(parts):
            return Cells(start, content=np.concatenate(contents))
        return Cells(start, lengths=np.concatenate([part.length for part in parts]))


@dataclass(frozen=True, slots=True)
class Run:
    """Rows that follow each other.

    Attributes:
        cells: One for each column.
        starts: Where each row starts.
        end: Where the last one ends.
    """

    cells: list[Cells]
    starts: Positions
    end: int

    @property
    def count(self) -> int:
        """The number of rows."""
        return len(self.starts)

    def without_last(self) -> Run:
        """Leave the last row out."""
        rows = self.count - 1
        return (
            self
            if rows < 0
            else Run([cells.head(rows) for cells in self.cells], self.starts[:rows], int(self.starts[-1]))
        )

    @classmethod
    def join(cls, runs: Sequence[Run], end: int, columns: int) -> Run:
        """Put runs of rows one after the other."""
        filled = [run for run in runs if run.count] or list(runs)
        if not filled:
            nothing = np.empty(0, np.int64)
            return Run([Cells(nothing, lengths=nothing)] * columns, nothing, end)
        if len(filled) == 1:
            return filled[0]
        cells = [Cells.join(column) for column in zip(*(run.cells for run in filled), strict=True)]
        return Run(cells, np.concatenate([run.starts for run in filled]), end)
