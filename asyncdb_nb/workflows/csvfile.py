"""
Read a CSV file of any size record by record, and know the line of each.

Quoted fields may hold line breaks and delimiters; the file may be gzipped, and begin with a byte order mark. Memory
stays bounded whatever the file holds: a line or a field that is too long to be true is an error.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import IO, cast

from asyncdb_nb.errors import EventLogError, MalformedRowError

DELIMITERS = (",", ";", "\t", "|")

_LONGEST_LINE = 4_000_000  # characters; a file without line ends must not be read into memory as one
_LONGEST_FIELD = 1_000_000


class CSVFile:
    """
    A CSV file, open for reading once from the start. Close it, or use it as a context manager.

    Args:
        path: The file. It is gunzipped when it begins as gzip files do.
        encoding: As Python names it; one in which ASCII is ASCII.
        delimiter: The character between fields; found in the first line if None.

    Attributes:
        header: The fields of the first record, stripped of spaces around them.
        delimiter: The character between fields.
        size: The length of the file in bytes, as it is on disk.

    Raises:
        EventLogError: The file is empty, is not text, or its delimiter is not clear.
        OSError: The file cannot be opened.
    """

    def __init__(self, path: Path, encoding: str = "utf-8", delimiter: str | None = None) -> None:
        self.path, self.size = path, path.stat().st_size
        self._encoding = encoding
        self._line = 0
        self._disk = path.open("rb")
        try:
            self._lines = self._opened()
            first = next(self._decoded(), "").removeprefix("\ufeff")
            if not first.strip():
                raise EventLogError(f"{path.name} is empty." if not first else f"{path.name} has no header in line 1.")
            self.delimiter = delimiter or _delimiter(first)
            self._records = self._read(first)
            self.header = [name.strip() for name in next(self._records)[1]]
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> CSVFile:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. May be called again."""
        self._disk.close()

    @property
    def position(self) -> int:
        """How many bytes of the file on disk have been read."""
        return self._disk.tell()

    def records(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the line and the fields of each record after the header; empty lines are passed over.

        Raises:
            EventLogError: A record cannot be read; the message names its line.
        """
        return self._records

    def _opened(self) -> IO[bytes]:
        gzipped = self._disk.peek(2)[:2] == b"\x1f\x8b"
        return cast("IO[bytes]", gzip.GzipFile(fileobj=self._disk)) if gzipped else self._disk

    def _decoded(self) -> Iterator[str]:
        """Yield line by line, counting them in `_line`."""
        while line := self._next_line():
            self._line += 1
            if len(line) >= _LONGEST_LINE:
                raise MalformedRowError(
                    self.path.name, self._line, f"it is longer than {_LONGEST_LINE:,} bytes. Is this a text file?"
                )
            try:
                text = line.decode(self._encoding)
            except UnicodeDecodeError as error:
                raise MalformedRowError(self.path.name, self._line, self._not_decodable(line, error)) from error
            if "\0" in text:
                raise MalformedRowError(self.path.name, self._line, "it has a NUL byte, which text cannot have.")
            yield text

    def _next_line(self) -> bytes:
        try:
            return self._lines.readline(_LONGEST_LINE)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            reason = f"the gzip data is damaged or cut off after the line before ({error})."
            raise MalformedRowError(self.path.name, self._line + 1, reason) from error

    def _not_decodable(self, line: bytes, error: UnicodeDecodeError) -> str:
        byte = f"byte 0x{line[error.start]:02x} at position {error.start + 1} is not {self._encoding}."
        if self._line == 1 and line[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return f"{byte} The file is UTF-16: save it as UTF-8."
        return f"{byte} Name the encoding: encoding='cp1252' (on the command line, --encoding cp1252)."

    def _read(self, first: str) -> Iterator[tuple[int, list[str]]]:
        csv.field_size_limit(_LONGEST_FIELD)
        reader = csv.reader(chain([first], self._decoded()), delimiter=self.delimiter, strict=True)
        line = 1
        try:
            for record in reader:
                if record:
                    yield line, record
                line = reader.line_num + 1
        except csv.Error as error:
            raise MalformedRowError(self.path.name, line, f"{error}.") from error


def _delimiter(first: str) -> str:
    """The delimiter that the header has most of."""
    counts = sorted(((_fields(first, delimiter), delimiter) for delimiter in DELIMITERS), reverse=True)
    if counts[0][0] > 1 and counts[0][0] == counts[1][0]:
        raise EventLogError(
            f"The delimiter may be {counts[0][1]!r} or {counts[1][1]!r}. Name it: delimiter={counts[0][1]!r} "
            f"(on the command line, --delimiter {counts[0][1]!r})."
        )
    return counts[0][1] if counts[0][0] > 1 else ","


def _fields(line: str, delimiter: str) -> int:
    return len(next(csv.reader([line], delimiter=delimiter), []))
