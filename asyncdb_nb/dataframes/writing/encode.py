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
_KEPT = 24 * 2**20  # bytes of converted values that are kept from the check until they are sent
_PIECE = 2**19  # bytes that are encoded at a time: pgpq holds the GIL, and the loop shall send meanwhile

Rows = tuple[int, memoryview]  # how many, and their bytes


def encoded(batch: pa.RecordBatch) -> memoryview:
    """Encode rows, whose values pgpq takes: all of a batch, without the head and the end of a stream."""
    encoder = _pgpq().ArrowToPostgresBinaryEncoder(batch.schema)
    parts = [encoder.write_header(), encoder.write_batch(batch), encoder.finish()]
    if not parts[1]:  # few rows come with the end
        return memoryview(parts[2])[: -len(TRAILER)]
    return memoryview(parts[1] if len(parts[2]) == len(TRAILER) else b"".join(parts[1:])[: -len(TRAILER)])


def _pgpq() -> Any:
    with MissingExtraError.instead("writing", "write"):  # on Linux with another processor than x86-64
        import pgpq

    return pgpq


class PartEncoder:
    """The rows of a part, which are all checked before the first is sent.

    What is converted meanwhile is kept up to a limit; the rest is converted again as it is sent.

    Args:
        part: The rows.
        conversions: For each of its columns, what converts it.
    """

    def __init__(self, part: Part, conversions: Sequence[Conversion]) -> None:
        self._part = part
        self._conversions = conversions
        self._kept: list[pa.RecordBatch] = []

    def check(self) -> None:
        """Convert every value.

        Raises:
            WriteError: One does not fit its column.
            MissingExtraError: pgpq is not there.
        """
        _pgpq()
        size = 0
        for start, columns in self._part.slices():
            batch = self._converted(start, columns)
            if size < _KEPT:
                self._kept.append(batch)
                size += batch.nbytes

    def stream(self) -> Iterator[Rows]:
        """Yield all of a COPY stream, rows by rows."""
        yield 0, memoryview(HEADER)
        for batch in self._batches():
            step = max(1, _PIECE * batch.num_rows // max(batch.nbytes, 1))
            for start in range(0, batch.num_rows, step):
                piece = batch.slice(start, step)
                yield piece.num_rows, encoded(piece)
        yield 0, memoryview(TRAILER)

    def _batches(self) -> Iterator[pa.RecordBatch]:
        kept, self._kept = self._kept, []
        done = sum(batch.num_rows for batch in kept)
        while kept:
            yield kept.pop(0)
        for start, columns in self._part.slices():
            if start >= done:
                yield self._converted(start, columns)

    def _converted(self, start: int, columns: Sequence[Any]) -> pa.RecordBatch:
        arrays = [convert(column, start) for convert, column in zip(self._conversions, columns, strict=True)]
        return pa.RecordBatch.from_arrays(arrays, names=[str(position) for position in range(len(arrays))])
