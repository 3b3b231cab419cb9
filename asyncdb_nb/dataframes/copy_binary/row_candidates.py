"""
Go from field to field through rows of a COPY BINARY stream, through many of them together.

Where rows may start is `searched` or, where look-alikes crowd, `stepped`; `together` then reads them all, segment by
segment as `row_layout` says, and gives those that `chain` proves.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from struct import Struct
from struct import error as StructError  # noqa: N812
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from asyncdb_nb.dataframes.copy_binary.cells import Cells, Run
from asyncdb_nb.dataframes.copy_binary.row_chain import Mask, Positions, chain
from asyncdb_nb.dataframes.copy_binary.row_layout import Field, Layout, Segment
from asyncdb_nb.errors import CorruptStreamError

_TRAILER = -1  # where a row would have its number of fields
_NULL = -1
_LARGEST = 2**30 - 1  # bytes in one value: PostgreSQL allocates no more
_BLOCK = 2**18  # bytes searched at a time: they stay in the processor's cache
_MANY = 2**18  # candidates, from where on those that are found are walked before more are searched
_COUNT, _LENGTH = Struct("!h"), Struct("!i")
_SPARSE = 64  # bytes for each that is the lower one of the number of fields, from where on that is rare
_RARE = 1_000  # NULL in one of so many candidates is taken for a look-alike, until `learn` sees it in a row
_PATIENCE = 4  # times that a segment is cut at columns with NULL before all of its columns are read alone
TRAILER_SIZE = _COUNT.size


@dataclass(slots=True)
class _Track:
    """One segment of many rows: where it is in each, and the bytes there, which numpy moves fastest as a void dtype."""

    segment: Segment
    position: Positions
    record: NDArray[np.void]

    @classmethod
    def at(cls, segment: Segment, position: Positions, data: bytes) -> Self:
        """Read a segment at each position."""
        return cls(segment, position, every(data, f"V{segment.size}")[position])

    def __getitem__(self, rows: Any) -> _Track:
        return _Track(self.segment, self.position[rows], self.record[rows])

    def after(self) -> Positions:
        """Give the position behind it in each row, and behind the value whose length it ends with."""
        position = self.position + self.segment.size
        if self.segment.last is not None:
            position += np.maximum(self.parts()["length"].astype(np.int64), 0)
        return position

    def parts(self) -> NDArray[Any]:
        """See the bytes as what they mean."""
        return self.record.view(self.segment.dtype)

    def cells(self) -> list[Cells]:
        """Give the cells of its columns."""
        parts = self.parts()
        fields: Any = self.segment.dtype.fields
        values = [f"value{n}" for n in range(len(self.segment.widths))]
        cells = [Cells(self.position, fields[value][1], content=parts[value]) for value in values]
        if self.segment.last is not None:
            cells.append(Cells(self.position, self.segment.size, parts["length"].astype(np.int64)))
        return cells


class _Search:
    """The search for numbers of fields that a byte follows with which the first length can begin.

    Args:
        fields: The number.
        longest: The largest such byte, other than 255, with which NULL begins.
    """

    def __init__(self, fields: int, longest: int) -> None:
        self._high, self._low = divmod(fields, 256)
        self._longest = longest
        self._sparse = True  # as long as the lower byte of the number is rare, the rest is looked at only beside it

    def __call__(self, octets: NDArray[np.uint8]) -> Positions:
        """Give the positions; the last two bytes are only looked at as what follows."""
        hit = octets[1:-1] == self._low
        if self._sparse:
            found = np.flatnonzero(hit)
            self._sparse = len(found) < len(hit) // _SPARSE
            return found[self._is_right(octets[found], octets[found + 2])]
        hit &= self._is_right(octets[:-2], octets[2:])
        return np.flatnonzero(hit)

    def _is_right(self, before: NDArray[np.uint8], behind: NDArray[np.uint8]) -> Mask:
        right: Mask = before == self._high
        right &= behind + np.uint8(1) <= self._longest + 1  # wraps round: 255 becomes 0
        return right


class Walk:
    """The walks through one part of a stream.

    Args:
        data: The part.
        layout: Of its rows; what is learned of it on the way is noted there.
        offset: Position of `data` in the stream.
    """

    def __init__(self, data: bytes, layout: Layout, offset: int) -> None:
        self._data = data
        self._layout = layout
        self._fields = layout.fields
        self._offset = offset

    def searched(self, first: int, span: int) -> Positions:
        """Give, in order, the positions in the `span` bytes from `first` on that a row may start at.

        There the number of fields is right, and the first field's length has a first byte that it can have. The search
        ends early where they are very many.
        """
        octets = np.frombuffer(self._data, np.uint8)
        end = min(first + span, len(octets) - 5)
        search = _Search(len(self._fields), min(self._fields[0].width or _LARGEST, len(self._data)) >> 24)
        found: list[Positions] = []
        for start in range(first, end, _BLOCK):
            found.append(search(octets[start : min(start + _BLOCK, end) + 2]) + start)
            if sum(map(len, found)) > _MANY:
                break
        return np.concatenate(found) if found else np.empty(0, np.int64)

    def stepped(self, first: int, limit: int) -> Positions:
        """Give up to `limit` positions that a row may start at, by going from one to the next as the lengths say."""
        data, read = self._data, _LENGTH.unpack_from
        sizes = [segment.size for segment in self._layout.segments()]
        sizes[0] += _COUNT.size
        rest = sizes.pop() if self._layout.segments()[-1].last is None else 0
        starts: list[int] = []
        position = first
        with suppress(StructError):  # the end of the data
            while len(starts) < limit:
                starts.append(position)
                for size in sizes:  # up to behind a length that may be any
                    position += size
                    length = read(data, position - _LENGTH.size)[0]
                    if length > 0:
                        position += length
                position += rest
        found = np.array(starts, np.int64)
        found = found[found <= len(data) - _COUNT.size]
        right: Mask = every(data, ">i2")[found] == len(self._fields)
        return found[right]

    def is_start(self, position: int) -> bool:
        """Say whether what is at a position may be a row."""
        if self._count_at(position) != len(self._fields) or position + 6 > len(self._data):
            return False
        return _is_possible(self._fields[0], _LENGTH.unpack_from(self._data, position + 2)[0])

    def is_row(self, position: int) -> bool:
        """Say whether what is at a position may be a row, and all of it is there."""
        return self.is_start(position) and self._row(position) is not None

    def between(self, starts: Positions, ends: Positions) -> Run | None:
        """Read rows that are to begin and end at these places, one or more; None when something else does."""
        if (ends - starts < _COUNT.size).any() or (every(self._data, ">i2")[starts] != len(self._fields)).any():
            return None
        tracks: list[_Track] = []
        position = starts + _COUNT.size
        alive = np.ones(len(starts), np.bool_)
        while len(tracks) == 0 or tracks[-1].segment.end < len(self._fields):
            track, alive = self._track(tracks[-1].segment.end if tracks else 0, position, alive, look_alikes=0)
            position = track.after()
            tracks.append(track)
        if not alive.all() or not np.array_equal(position, ends):
            return None
        return Run([cells for track in tracks for cells in track.cells()], starts, int(ends[-1]))

    def together(self, first: int, starts: Positions) -> Run:
        """Walk candidates side by side, and give the rows of the chain that begins at `first`."""
        tracks: list[_Track] = []
        alive = np.ones(len(starts), np.bool_)
        position = starts + _COUNT.size
        column = 0
        while column < len(self._fields):
            track, alive = self._track(column, position, alive, len(alive) // _RARE)
            position = track.after()
            column = track.segment.end
            tracks.append(track)
            if 2 * np.count_nonzero(alive) < len(alive):
                starts, position = starts[alive], position[alive]
                tracks = [each[alive] for each in tracks]
                alive = alive[alive]
        alive &= position <= len(self._data)
        count = int(np.count_nonzero(alive))
        living: Any = slice(count) if alive[:count].all() else alive  # the dead are cut off by the end, as a rule
        starts, ends = starts[living], position[living]
        rows = chain(first, starts, ends)
        cells = [cells for track in tracks for cells in track[living][rows].cells()]
        ends = ends[rows]
        return Run(cells, starts[rows], int(ends[-1]) if len(ends) else first)

    def learn(self, position: int) -> bool:
        """Take note of what is NULL in the row at a position, if it is complete; say whether that was not known."""
        row = self._row(position)
        return row is not None and self._layout.read_alone(np.flatnonzero(np.array(row[1::2]) == _NULL).tolist())

    def check(self, position: int) -> bool:
        """Make sure that a row begins at a position, whole or not, or the trailer; say whether it is the trailer.

        Raises:
            CorruptStreamError: Something else is there.
        """
        if self.is_trailer(position):
            return True
        while row := self._row(position):
            position = row[-2] + max(row[-1], 0)
        return False

    def is_trailer(self, position: int) -> bool:
        """Say whether the stream's trailer is at a position."""
        return self._count_at(position) == _TRAILER

    def _track(self, column: int, position: Positions, alive: Mask, look_alikes: int) -> tuple[_Track, Mask]:
        """Read the segment that begins with a column, at each position; also say which of them can still be rows.

        Of so many, NULL in a column of fixed width is taken for a sign that they are none.
        """
        for cuts in range(_PATIENCE + 2):
            segment = self._layout.segment(column)
            limit = len(self._data) - segment.size
            still = alive & (position <= limit)
            if limit < 0:
                return _Track(segment, position, np.zeros(len(position), f"V{segment.size}")), still
            track = _Track.at(segment, np.minimum(position, limit), self._data)
            null = _check_widths(segment, track.parts(), still, look_alikes)
            if not null:
                break
            last = segment.first + len(segment.widths)
            self._layout.read_alone(null if cuts < _PATIENCE else range(segment.first, last))
        if segment.last is not None:
            _check_length(segment.last, track.parts()["length"], still)
        return track, still

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
        for field in self._fields:
            if position + _LENGTH.size > len(self._data):
                return None
            length = _LENGTH.unpack_from(self._data, position)[0]
            if not _is_possible(field, length):
                what = f"a value of column {field.name!r} says that it is {length} bytes long"
                raise CorruptStreamError(what, self._offset + position)
            position += _LENGTH.size
            row += (position, length)
            position += max(length, 0)
        return row if position <= len(self._data) else None

    def _count_at(self, position: int) -> int | None:
        if position + _COUNT.size > len(self._data):
            return None
        return _COUNT.unpack_from(self._data, position)[0]  # type: ignore[no-any-return]


def every(data: bytes, dtype: Any) -> NDArray[Any]:
    """View bytes as an array of what a value of `dtype` would be at every single position."""
    kind = np.dtype(dtype)
    return np.ndarray((max(len(data) - kind.itemsize + 1, 0),), kind, data, strides=(1,))


def _is_possible(field: Field, length: int) -> bool:
    return length in (field.width, _NULL) if field.width is not None else _NULL <= length <= _LARGEST


def _check_widths(segment: Segment, record: NDArray[Any], alive: Mask, few: int) -> list[int]:
    """Take life from rows where a field has not its width, and give the columns that are NULL in more than a few."""
    nulls = []
    for n, width in enumerate(segment.widths):
        length = record[f"length{n}"]
        wrong = length != width
        if not wrong.any():
            continue
        wrong &= alive
        if np.count_nonzero(length[wrong] == _NULL) > few:
            nulls.append(segment.first + n)
        alive &= ~wrong
    return nulls


def _check_length(field: Field, length: NDArray[Any], alive: Mask) -> None:
    """Take life from rows where the field's length cannot be."""
    wrong = length > _LARGEST if field.width is None else length != field.width
    wrong |= length < 0
    if wrong.any():
        wrong &= length != _NULL
        alive &= ~wrong
