"""
How far a row of a COPY BINARY stream can be read in one go.

The layout is described in PostgreSQL's manual under COPY, "Binary Format": all integers are big-endian; a row is the
number of its fields in 2 bytes, then for each field its length in 4 bytes (-1 for NULL) and as many bytes. Fields of a
fixed width that follow each other are thus one record of known size, as long as none of them is NULL. A column that was
NULL once is read on its own from then on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from struct import Struct

import numpy as np

_PATIENCE = 32  # times that columns turn out to have NULL, before all are expected to


@dataclass(frozen=True, slots=True)
class Field:
    """What is known of a column's values: its name, and the only width in bytes that they can have, or None."""

    name: str
    width: int | None


class Segment:
    """Fields in a row that are read in one go: some of fixed width, then the length of one that is not.

    Attributes:
        first: Number of its first column.
        end: Number of the column after its last one.
        widths: The fixed widths.
        last: The field of which only the length belongs to it; None at the end of a row.
        dtype: Its layout: for each fixed field `length` and `value` with its place, then `length`.
        record: The same to read one of them: it gives the lengths alone.
        size: Bytes.
    """

    def __init__(self, first: int, widths: Sequence[int], last: Field | None) -> None:
        self.first = first
        self.end = first + len(widths) + (last is not None)
        self.widths = tuple(widths)
        self.last = last
        parts = [part for n, w in enumerate(widths) for part in ((f"length{n}", ">i4"), (f"value{n}", f"V{w}"))]
        self.dtype = np.dtype(parts + ([("length", ">i4")] if last is not None else []))
        self.record = Struct("!" + "".join(f"i{width}x" for width in widths) + ("i" if last is not None else ""))
        self.size = self.record.size


class Layout:
    """The segments of a row, as far as is known by now.

    Args:
        fields: What is known of each column.
    """

    def __init__(self, fields: Sequence[Field]) -> None:
        self.fields = fields
        self._alone = {column for column, field in enumerate(fields) if not field.width}
        self._segments: dict[int, Segment] = {}
        self._changes = 0

    def segment(self, column: int) -> Segment:
        """Give the segment that begins with a column."""
        if column not in self._segments:
            self._segments[column] = self._from(column)
        return self._segments[column]

    def segments(self) -> list[Segment]:
        """Give all segments of a row."""
        found: list[Segment] = []
        while (column := found[-1].end if found else 0) < len(self.fields):
            found.append(self.segment(column))
        return found

    def read_alone(self, columns: Iterable[int]) -> bool:
        """Take note of columns that can be NULL, and say whether there is a new one among them."""
        known = len(self._alone)
        self._alone.update(columns)
        if len(self._alone) == known:
            return False
        self._segments.clear()
        self._changes += 1
        if self._changes > _PATIENCE:
            self._alone.update(range(len(self.fields)))
        return True

    def _from(self, first: int) -> Segment:
        widths: list[int] = []
        for column in range(first, len(self.fields)):
            field = self.fields[column]
            if column in self._alone or field.width is None:
                return Segment(first, widths, field)
            widths.append(field.width)
        return Segment(first, widths, None)
