"""
Find the rows, and where their values stand, in the bytes of a COPY BINARY stream.

A row is a field count and then its fields, each with its length before it. Nothing marks where a row starts, and
reading one after the other is slow in Python. So every place that looks like the start of a row is taken for a
candidate, all of them are walked together, and then a proof tells rows from look-alikes: the first row starts where the
stream's header ends, and each next one exactly where the one before it ends. A row is given
out only when what follows it is another row, or the end of the stream; anything else is an error that says where.

Data may be full of look-alikes (integers that equal the field count, bytes that hold a COPY stream themselves), even
on purpose. Where they crowd, the candidates are found by stepping from row to row instead, which passes over them.
Either way the cost grows with the number of bytes, and no faster.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asyncdb_nb.dataframes.copy_binary.cells import Cells, Run
from asyncdb_nb.dataframes.copy_binary.row_candidates import TRAILER_SIZE, Walk
from asyncdb_nb.dataframes.copy_binary.row_chain import Positions
from asyncdb_nb.dataframes.copy_binary.row_layout import Field, Layout

_SPAN_MIN, _SPAN_MAX = 2**14, 2**28  # bytes in which candidates are looked for at a time
_CROWDED = 8  # candidates for each row, from where on it is quicker to step from row to row
_ROWS_MIN, _ROWS_MAX = 2**8, 2**12  # steps before the density is looked at again


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
        self._layout = Layout(fields)
        self._span = _SPAN_MIN
        self._rows = _ROWS_MIN  # to step when look-alikes crowd
        self._to_step = 0  # of them, before candidates are searched again

    def find(self, data: bytes, first: int, offset: int = 0) -> Rows:
        """Find the rows that are complete.

        Args:
            data: A part of the stream.
            first: Where in it a row, or the end of the stream, must begin.
            offset: Position of `data` in the stream, for errors to tell.

        Raises:
            CorruptStreamError: There is something else.
        """
        walk = Walk(data, self._layout, offset)
        if not self._layout.fields:
            return _rows_without_fields(walk, data, first)
        runs: list[Run] = []
        position, followed = first, True
        while followed and walk.is_row(position):
            run = self._next_run(walk, position)
            if not run.count and walk.learn(position):
                continue
            followed = run.count > 0 and (walk.is_start(run.end) or walk.is_trailer(run.end))
            if not followed:
                run = run.without_last()
            runs.append(run)
            position = run.end
        last = walk.check(position)
        whole = Run.join(runs, position, len(self._layout.fields))
        return Rows(whole.count, whole.cells, position + TRAILER_SIZE * last, last)

    def between(self, data: bytes, starts: Positions, ends: Positions) -> Rows | None:
        """Read rows that are to begin and end at these places.

        Returns:
            None when something else does.
        """
        if not len(starts):
            return self.find(b"", 0)
        run = Walk(data, self._layout, 0).between(starts, ends) if self._layout.fields else None
        return None if run is None else Rows(run.count, run.cells, run.end, last=False)

    def _next_run(self, walk: Walk, position: int) -> Run:
        """Read on from a row's start; the last row of the run has no proof yet."""
        if self._to_step:
            run = walk.together(position, walk.stepped(position, self._to_step))
            self._to_step -= min(max(run.count, 1), self._to_step)
            return run
        candidates = walk.searched(position, self._span)
        run = walk.together(position, candidates)
        if len(candidates) > _CROWDED * max(run.count, 1):
            self._span, self._rows = _SPAN_MIN, min(2 * self._rows, _ROWS_MAX)
            self._to_step = self._rows
        else:
            self._span, self._rows = min(8 * self._span, _SPAN_MAX), _ROWS_MIN
        return run


def _rows_without_fields(walk: Walk, data: bytes, first: int) -> Rows:
    """Find the rows of a result without columns: each is a field count of zero."""
    counts = np.frombuffer(data, ">i2", (len(data) - first) // 2, first)
    others = np.flatnonzero(counts)
    count = int(others[0]) if len(others) else len(counts)
    end = first + 2 * count
    last = walk.check(end)
    return Rows(count, [], end + TRAILER_SIZE * last, last)
