"""
COPY BINARY bytes → columns of a frame, while they are still coming.

Pure: no connection, no loop, no SQL. `copy_binary` finds the rows, and most kinds of types read all values of a part
together, with numpy and pyarrow, which release the GIL for most of it, so that decoding can run in a thread beside
receiving. The other kinds, and values that cannot be read so, are read one by one; both ways give the same column. The
result never depends on how the stream was cut into parts.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from struct import Struct
from struct import error as StructError  # noqa: N812

import numpy as np

from asyncdb_nb.dataframes.columns.column import Column, from_wire
from asyncdb_nb.dataframes.copy_binary.messages import Contents
from asyncdb_nb.dataframes.copy_binary.row_finder import RowFinder, Rows
from asyncdb_nb.dataframes.copy_binary.row_layout import Field
from asyncdb_nb.dataframes.copy_binary.values import Values
from asyncdb_nb.dataframes.type_families.built_in import UnknownTypeError
from asyncdb_nb.dataframes.type_families.kind import ColumnType, Loads
from asyncdb_nb.engine.copy_protocol import Messages
from asyncdb_nb.errors import CorruptStreamError, FrameError

_SIGNATURE = b"PGCOPY\n\xff\r\n\0"
_HEADER = Struct("!11sII")  # signature, flags, length of an extension
_TRAILER = b"\xff\xff"
_LARGEST_PART = 2**31 - 1  # bytes: Arrow's offsets are of 32 bits


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive rows of a result.

    Attributes:
        columns: One for each column of the result, of `rows` values.
        rows: How many there are.
    """

    columns: list[Column]
    rows: int


class Decoder:
    """Decodes one COPY BINARY stream, given in parts of any size, or as the messages that it came in.

    PostgreSQL sends each row as a message of its own, so that messages tell where rows are. A pooler may cut them
    differently: from where that is seen, messages are read for their bytes alone.

    A part's bytes are not kept once their rows are decoded. One thread uses a decoder at a time.

    Args:
        columns: Name and type of each column; every type `is_readable`.
        loads: What parses JSON text.
        arrow: Whether Arrow arrays are wanted where there is a choice; else Python objects.

    Attributes:
        rows: How many rows were given out so far.

    Example:
        >>> decoder = Decoder([("id", column_type(20)), ("title", column_type(25))])
        >>> batches = [batch for part in parts if (batch := decoder.feed([part]))] + [decoder.finish()]
    """

    def __init__(
        self,
        columns: Sequence[tuple[str, ColumnType]],
        loads: Loads = json.loads,
        *,
        arrow: bool = False,
    ) -> None:
        unreadable = [f"{name!r} ({type_.name})" for name, type_ in columns if not is_readable(type_)]
        if unreadable:
            raise ValueError(f"These columns have no binary form that is read here: {', '.join(unreadable)}.")
        self._columns = columns
        self._loads = loads
        self._arrow = arrow
        self._finder = RowFinder([Field(name, type_.width) for name, type_ in columns])
        self._parts: list[bytes] = []  # not decoded yet
        self._size = 0  # of them, in bytes
        self._wanted = 0  # the size from which on to try
        self._offset = 0  # where in the stream they begin
        self._begun = self._ended = False
        self._by_message = True  # each has one row
        self.rows = 0

    def feed(self, parts: Iterable[bytes | Messages]) -> Batch | None:
        """Take the next bytes of the stream, and give the rows that are complete with them; None when there are none.

        A row among bytes is held back until what follows it shows that it is one.

        Args:
            parts: Bytes in order, or messages; together a few megabytes are best, and less than 1 GiB necessary.

        Raises:
            CorruptStreamError: The bytes are not those of these columns.
        """
        batch = self._taken(parts)
        if batch is None and self._size >= self._wanted:
            batch = self._decode()
        return batch if batch is not None and batch.rows else None

    def finish(self, rows: int | None = None, parts: Iterable[bytes | Messages] = ()) -> Batch:
        """Give the last rows, which may be none: the stream is over.

        Args:
            rows: How many rows the server says there were, in all.
            parts: The last of the stream, where they were not given to `feed`.

        Raises:
            CorruptStreamError: The stream is not complete, or has another number of rows.
        """
        batch = self._taken(parts) or self._decode()
        if batch is None or not self._ended:
            raise CorruptStreamError("it breaks off", self._offset + sum(map(len, self._parts)))
        if rows is not None and rows != self.rows:
            raise CorruptStreamError(f"it has {self.rows} rows and the server sent {rows}", self._offset)
        return batch

    def _taken(self, parts: Iterable[bytes | Messages]) -> Batch | None:
        """Take the next of the stream: decode it if it is messages with a row each, else keep its bytes."""
        parts = list(parts)
        messages = [part for part in parts if isinstance(part, Messages)]
        if self._by_message and messages and len(messages) == len(parts):
            batch = self._decode_messages(Contents.of(messages))
            if batch is not None:
                return batch
        self._by_message &= not parts
        kept = [Contents.of([part]).joined() if isinstance(part, Messages) else part for part in parts]
        self._parts += kept
        self._size += sum(map(len, kept))
        return None

    def _decode(self) -> Batch | None:
        """Decode the rows that are complete; None as long as the stream's header is not."""
        data = b"".join(self._parts)
        if len(data) > _LARGEST_PART:
            raise ValueError(f"{len(data):,} bytes are too many to decode at a time.")
        if self._ended and data:
            raise CorruptStreamError("bytes follow its end", self._offset)
        first = 0 if self._begun else _header_size(data)
        if first is None:
            return None
        self._begun = True
        found = self._finder.find(data, first, self._offset)
        batch = self._batch(data, found, self._offset)
        self._keep(data[found.end :])
        self._offset += found.end
        self._ended |= found.last
        self.rows += found.count
        return batch

    def _decode_messages(self, messages: Contents) -> Batch | None:
        """Decode messages that have a row each; None when one has something else, and nothing is taken then."""
        data, starts, ends = messages.data, messages.starts, messages.ends
        header = 0 if self._begun else _header_size(data[starts[0] : ends[0]])
        if header is None or self._ended or len(data) > _LARGEST_PART:
            return None
        origin, size = self._offset - int(starts[0]), messages.size
        if header:
            starts = np.append(starts[0] + header, starts[1:])
        first = int(header > 0 and starts[0] == ends[0])
        last = len(starts) - int(data[starts[-1] : ends[-1]] == _TRAILER)
        found = self._finder.between(data, starts[first:last], ends[first:last])
        if found is None:
            return None
        batch = self._batch(data, found, origin)
        self._offset += size
        self._begun, self._ended = True, last < len(starts)
        self.rows += batch.rows
        return batch

    def _batch(self, data: bytes, found: Rows, origin: int) -> Batch:
        columns = [
            self._read(name, type_, Values(data, cells), origin)
            for (name, type_), cells in zip(self._columns, found.cells, strict=True)
        ]
        return Batch(columns, found.count)

    def _read(self, name: str, type_: ColumnType, values: Values, origin: int) -> Column:
        try:
            return _column(name, type_, values, self._loads, arrow=self._arrow)
        except (FrameError, UnknownTypeError):
            raise
        except (ValueError, LookupError, ArithmeticError, StructError) as error:
            what = f"a value of column {name!r}, type {type_.name}, cannot be: {error}"
            raise CorruptStreamError(what, origin + int(values.start[0])) from error

    def _keep(self, rest: bytes) -> None:
        """Keep the bytes of the row that is not complete; try again when they have grown in proportion.

        Otherwise a row of a gigabyte would be looked at as often as a part of it comes.
        """
        self._parts = [rest]
        self._size = len(rest)
        self._wanted = len(rest) * 3 // 2


def is_readable(type_: ColumnType) -> bool:
    """Say whether columns of a type can be read from the bytes that PostgreSQL sends."""
    return type_.binary and all(part.kind != "python" for part in type_.parts())


def _column(name: str, type_: ColumnType, values: Values, loads: Loads, *, arrow: bool) -> Column:
    kind = type_.traits
    if kind.vectorized_objects is not None and not arrow:
        return Column(name, type_, values=kind.vectorized_objects(values))
    lossy: Counter[str] = Counter()
    array = None if kind.vectorized is None else kind.vectorized(values, type_, lossy)
    if array is None:
        return from_wire(name, type_, values.each(), loads)
    return Column(name, type_, array=array, lossy=lossy, loads=loads)


def _header_size(data: bytes) -> int | None:
    """Read the stream's header, and give its length; None when it is not complete."""
    if data[: len(_SIGNATURE)] != _SIGNATURE[: len(data)]:
        raise CorruptStreamError(f"it begins with {data[: len(_SIGNATURE)]!r}", 0)
    if len(data) < _HEADER.size:
        return None
    _, flags, extension = _HEADER.unpack_from(data)
    if flags >> 16:
        raise CorruptStreamError(f"its flags are {flags:#x}, which asks for what this version cannot read", 11)
    size: int = _HEADER.size + extension
    return size if size <= len(data) else None
