"""
Go from field to field through rows of a COPY BINARY stream: through many rows together, or through one after the other.

The layout is described in PostgreSQL's manual under COPY, "Binary Format": all integers are big-endian; a row is the
number of its fields in 2 bytes, then for each field its length in 4 bytes (-1 for NULL) and as many bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from asyncdb_nb.errors import CorruptStreamError

Positions = NDArray[np.int64]
Mask = NDArray[np.bool_]

_TRAILER = -1  # where a row would have its number of fields
_NULL = -1
_LARGEST = 2**30 - 1  # bytes in one value: PostgreSQL allocates no more
_BLOCK = 2**18  # bytes searched at a time: they stay in the processor's cache
_COUNT, _LENGTH = Struct("!h"), Struct("!i")
TRAILER_SIZE = _COUNT.size


@dataclass(frozen=True, slots=True)
class Field:
    """What is known of a column's values: its name, and the only width in bytes that they can have, or None."""

    name: str
    width: int | None


@dataclass(frozen=True, slots=True)
class Cells:
    """Where the values of one column stand in the data.

    Attributes:
        start: Position of each value's first byte, int64.
        length: Its number of bytes, int64; -1 for NULL.
    """

    start: Positions
    length: Positions

    def __getitem__(self, rows: Any) -> Cells:
        return Cells(self.start[rows], self.length[rows])


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
        if not self.count:
            return self
        return Run([cells[:-1] for cells in self.cells], self.starts[:-1], int(self.starts[-1]))

    @classmethod
    def join(cls, runs: Sequence[Self], end: int, fields: int) -> Run:
        """Put runs one after the other."""
        if len(runs) == 1:
            return runs[0]
        if not runs:
            nothing = np.empty(0, np.int64)
            return Run([Cells(nothing, nothing)] * fields, nothing, end)
        cells = [
            Cells(np.concatenate([each.start for each in column]), np.concatenate([each.length for each in column]))
            for column in zip(*(run.cells for run in runs), strict=True)
        ]
        return Run(cells, np.concatenate([run.starts for run in runs]), end)


class Walk:
    """The walks through one part of a stream.

    Args:
        data: The part.
        fields: What is known of each column.
        offset: Position of `data` in the stream.
    """

    def __init__(self, data: bytes, fields: Sequence[Field], offset: int) -> None:
        self._data = data
        self._fields = fields
        self._offset = offset

    def candidates(self, first: int) -> Positions:
        """Give, in order, the positions from `first` on that a row may start at.

        There the number of fields is right, and the first field's length has a first byte that it can have.
        """
        octets = np.frombuffer(self._data, np.uint8)
        high, low = divmod(len(self._fields), 256)
        longest = min(self._fields[0].width or _LARGEST, len(self._data)) >> 24
        found = []
        for start in range(first, len(octets) - 5, _BLOCK):
            stop = min(start + _BLOCK, len(octets) - 5)
            hit = octets[start:stop] == high
            hit &= octets[start + 1 : stop + 1] == low
            hit &= octets[start + 2 : stop + 2] + np.uint8(1) <= longest + 1  # wraps round: 255 begins -1, for NULL
            found.append(np.flatnonzero(hit) + start)
        return np.concatenate(found) if found else np.empty(0, np.int64)

    def together(self, starts: Positions) -> Run:
        """Walk candidates side by side, and give the rows of the chain that begins at the first of them."""
        first = int(starts[0])
        lengths = every(self._data, ">i4")
        cells: list[Cells] = []
        alive = np.ones(len(starts), np.bool_)
        position = starts + _COUNT.size
        for field in self._fields:
            length = lengths[np.minimum(position, len(lengths) - 1)].astype(np.int64)
            start = position + _LENGTH.size
            position = start + np.maximum(length, 0)
            cells.append(Cells(start, length))
            if not _all_possible(length, field, alive) and 2 * np.count_nonzero(alive) < len(alive):
                starts, position, cells = starts[alive], position[alive], [column[alive] for column in cells]
                alive = alive[alive]
        alive &= position <= len(self._data)
        chain = _chain(first, starts, position, alive)
        ends = position[chain]
        return Run([column[chain] for column in cells], starts[chain], int(ends[-1]) if len(ends) else first)

    def one_by_one(self, position: int, limit: int) -> Run:
        """Read rows one after the other: `limit` of them, or up to the first that is not complete."""
        starts: list[int] = []
        table: list[list[int]] = []
        while len(starts) < limit and (row := self._row(position)) is not None:
            starts.append(position)
            table.append(row)
            position = row[-2] + max(row[-1], 0)
        columns = np.array(table, np.int64).reshape(len(table), len(self._fields), 2).transpose(1, 2, 0)
        cells = [Cells(np.ascontiguousarray(start), np.ascontiguousarray(length)) for start, length in columns]
        return Run(cells, np.array(starts, np.int64), position)

    def check(self, position: int) -> bool:
        """Make sure that a row begins at a position, whole or not, or the trailer; say whether it is the trailer.

        Raises:
            CorruptStreamError: Something else is there, or something follows the trailer.
        """
        if self.is_trailer(position):
            if len(self._data) > position + _COUNT.size:
                raise CorruptStreamError("bytes follow its end", self._offset + position + _COUNT.size)
            return True
        while row := self._row(position):
            position = row[-2] + max(row[-1], 0)
        return False

    def is_trailer(self, position: int) -> bool:
        """Say whether the stream's trailer is at a position."""
        return self._count_at(position) == _TRAILER

    def _row(self, position: int) -> list[int] | None:
        """Read where each field of the row at a position is, start and length in turn; None if it is not complete."""
        count = self._count_at(position)
        if count is None or count == _TRAILER:
            return None
        if count != len(self._fields):
            what = f"a row has {count} fields and the statement has {len(self._fields)} columns"
            raise CorruptStreamError(what, self._offset + position)
        row: list[int] = []
        position += _COUNT.size
        size, read = len(self._data), _LENGTH.unpack_from
        for field in self._fields:
            if position + 4 > size:
                return None
            length: int = read(self._data, position)[0]
            if length != _NULL and (length != field.width if field.width is not None else not 0 <= length <= _LARGEST):
                what = f"a value of column {field.name!r} says that it is {length} bytes long"
                raise CorruptStreamError(what, self._offset + position)
            position += 4
            row += (position, length)
            if length > 0:
                position += length
        return row if position <= size else None

    def _count_at(self, position: int) -> int | None:
        if position + _COUNT.size > len(self._data):
            return None
        return _COUNT.unpack_from(self._data, position)[0]  # type: ignore[no-any-return]


def every(data: bytes, dtype: str) -> NDArray[Any]:
    """View bytes as an array of what a value of `dtype` would be at every single position."""
    kind = np.dtype(dtype)
    return np.ndarray((max(len(data) - kind.itemsize + 1, 0),), kind, data, strides=(1,))


def _all_possible(length: Positions, field: Field, alive: Mask) -> bool:
    """Say whether lengths can be those of a field; where not, the row is no longer `alive`."""
    unsigned = length.view(np.uint64)  # negative numbers are large ones
    wrong = unsigned > _LARGEST if field.width is None else length != field.width
    if not wrong.any():
        return True
    wrong &= length != _NULL
    alive &= ~wrong
    return False


def _chain(first: int, starts: Positions, ends: Positions, alive: Mask) -> slice | Positions:
    """Choose the candidates that follow from the first: each starts where the one before it ends."""
    count = int(np.count_nonzero(alive))
    if alive[:count].all():  # the others are cut off by the end of the data, as a rule
        rows: Positions | None = None
        starts, ends = starts[:count], ends[:count]
    else:
        rows = np.flatnonzero(alive)
        starts, ends = starts[rows], ends[rows]
    if not count or starts[0] != first:
        return slice(0, 0)
    breaks = np.flatnonzero(ends[:-1] != starts[1:])
    chain = _follow(starts, ends, breaks) if len(breaks) else slice(0, count)
    return chain if rows is None else rows[chain]


def _follow(starts: Positions, ends: Positions, breaks: Positions) -> Positions:
    """Follow the chain where it jumps: `breaks[k]` is not followed by the next candidate, but perhaps by another."""
    breaks = np.append(breaks, len(starts) - 1)
    goals = starts.searchsorted(ends[breaks])
    lands = goals < len(starts)
    lands[lands] = starts[goals[lands]] == ends[breaks[lands]]
    next_breaks = breaks.searchsorted(goals)
    begun, ended = [0], [0]
    jumps = list(zip(goals.tolist(), next_breaks.tolist(), lands.tolist(), strict=True))
    while jumps[ended[-1]][2]:
        goal, following, _ = jumps[ended[-1]]
        begun.append(goal)
        ended.append(following)
    inside = np.zeros(len(starts) + 1, np.int8)
    inside[begun] += 1
    inside[breaks[ended] + 1] -= 1
    return np.flatnonzero(np.cumsum(inside[:-1], dtype=np.int8))
