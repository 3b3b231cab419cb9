"""Columns of Arrow and pandas → rows of a COPY stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from asyncdb_nb.dataframes.writing.conversion import Conversion
from asyncdb_nb.dataframes.writing.parts import Part
from asyncdb_nb.errors import MissingExtraError

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
_KEPT = 32 * 2**20  # bytes that are encoded while they are checked

Rows = tuple[int, memoryview]  # how many, and their bytes


def encoded(arrays: Sequence[pa.Array]) -> memoryview:
    """Encode rows, whose values pgpq takes: all of a batch, without the head and the end of a stream."""
    batch = pa.RecordBatch.from_arrays(list(arrays), names=[str(position) for position in range(len(arrays))])
    with MissingExtraError.instead("writing", "write"):  # on Linux with another processor than x86-64
        import pgpq

    encoder = pgpq.ArrowToPostgresBinaryEncoder(batch.schema)
    parts = [encoder.write_header(), encoder.write_batch(batch), encoder.finish()]
    if not parts[1]:  # few rows come with the end
        return memoryview(parts[2])[: -len(TRAILER)]
    return memoryview(parts[1] if len(parts[2]) == len(TRAILER) else b"".join(parts[1:])[: -len(TRAILER)])


class PartEncoder:
    """The rows of a part, which are all checked before the first is sent.

    What is encoded meanwhile is kept up to a limit; the rest is encoded again as it is sent.

    Args:
        part: The rows.
        conversions: For each of its columns, what converts it.
    """

    def __init__(self, part: Part, conversions: Sequence[Conversion]) -> None:
        self._part = part
        self._conversions = conversions
        self._kept: list[Rows] = []

    def check(self) -> None:
        """Convert every value.

        Raises:
            WriteError: One does not fit its column.
        """
        size = 0
        for start, columns in self._part.slices():
            arrays = self._converted(start, columns)
            if size < _KEPT:
                self._kept.append((len(arrays[0]), encoded(arrays)))
                size += len(self._kept[-1][1])

    def stream(self) -> Iterator[Rows]:
        """Yield all of a COPY stream, rows by rows."""
        yield 0, memoryview(HEADER)
        yield from self._rows()
        yield 0, memoryview(TRAILER)

    def _rows(self) -> Iterator[Rows]:
        kept, self._kept = self._kept, []
        done = sum(rows for rows, _ in kept)
        while kept:
            yield kept.pop(0)
        for start, columns in self._part.slices():
            if start >= done:
                yield len(columns[0]), encoded(self._converted(start, columns))

    def _converted(self, start: int, columns: Sequence[Any]) -> list[pa.Array]:
        return [convert(column, start) for convert, column in zip(self._conversions, columns, strict=True)]
