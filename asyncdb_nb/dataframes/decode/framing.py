"""
Find the rows, and where their values stand, in the bytes of a COPY BINARY stream.

A row is a field count and then its fields, each with its length before it. Nothing marks where a row starts, and
reading one after the other is slow in Python. So every place that looks like the start of a row is taken for a
candidate (`walk` finds them and goes through all of them together), and then a proof tells rows from look-alikes: the
first row starts where the stream's header ends, and each next one exactly where the one before it ends. A row is given
out only when what follows it is another row, or the end of the stream; anything else is an error that says where.

Data may be full of look-alikes (integers that equal the field count, bytes that hold a COPY stream themselves), even
on purpose. Where they crowd, rows are read one after the other instead, which passes over them. Either way the cost
grows with the number of bytes, and no faster.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asyncdb_nb.dataframes.decode.walk import TRAILER_SIZE, Cells, Field, Positions, Run, Walk

_WINDOW_MIN, _WINDOW_MAX = 2**10, 2**16  # candidates that are walked together
_CROWDED = 16  # candidates for each row, from where on reading rows one by one is quicker
_FEW_ROWS = 2**8  # rows read one by one before the density is looked at again


@dataclass(frozen=True, slots=True)
class Rows:
    """Consecutive rows that are proven.

    Attributes:
        count: How many.
        cells: One for each column.
        end: Position of the first byte behind them; behind the trailer, too, if it follows.
        last: Whether it does, and the stream ends there.
    """

    count: int
    cells: list[Cells]
    end: int
    last: bool


class RowFinder:
    """Finds rows in one part of a stream after the other.

    Args:
        fields: What is known of each column.
    """

    def __init__(self, fields: Sequence[Field]) -> None:
        self._fields = fields
        self._window = _WINDOW_MAX  # 0: read rows one by one

    def find(self, data: bytes, first: int, offset: int = 0) -> Rows:
        """Find the rows that are complete.

        Args:
            data: A part of the stream.
            first: Where in it a row, or the end of the stream, must begin.
            offset: Position of `data` in the stream, for errors to tell.

        Raises:
            CorruptStreamError: There is something else.
        """
        walk = Walk(data, self._fields, offset)
        if not self._fields:
            return _rows_without_fields(walk, data, first)
        candidates = walk.candidates(first)
        runs: list[Run] = []
        position, followed = first, True
        while followed and _holds(candidates, position):
            run = self._next_run(walk, candidates, position)
            followed = run.count > 0 and (_holds(candidates, run.end) or walk.is_trailer(run.end))
            if not followed:
                run = run.without_last()
            runs.append(run)
            position = run.end
        last = walk.check(position)
        whole = Run.join(runs, position, len(self._fields))
        return Rows(whole.count, whole.cells, position + TRAILER_SIZE * last, last)

    def _next_run(self, walk: Walk, candidates: Positions, position: int) -> Run:
        """Read on from a row's start; the last row of the run has no proof yet."""
        index = int(candidates.searchsorted(position))
        if self._window:
            window = candidates[index : index + self._window]
            run, passed = walk.together(window), len(window)
        else:
            run = walk.one_by_one(position, _FEW_ROWS)
            passed = int(candidates.searchsorted(run.end)) - index
        crowded = passed > _CROWDED * max(run.count, 1)
        self._window = 0 if crowded else min(max(2 * self._window, _WINDOW_MIN), _WINDOW_MAX)
        return run


def _holds(candidates: Positions, position: int) -> bool:
    index = int(candidates.searchsorted(position))
    return index < len(candidates) and int(candidates[index]) == position


def _rows_without_fields(walk: Walk, data: bytes, first: int) -> Rows:
    """Find the rows of a result without columns: each is a field count of zero."""
    counts = np.frombuffer(data, ">i2", (len(data) - first) // 2, first)
    others = np.flatnonzero(counts)
    count = int(others[0]) if len(others) else len(counts)
    end = first + 2 * count
    last = walk.check(end)
    return Rows(count, [], end + TRAILER_SIZE * last, last)
