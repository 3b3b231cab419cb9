"""
Read a text file of any size line by line, whatever its encoding and its line ends, and know the faults of each line.

The file may be gzipped, begin with a byte order mark (UTF-8, UTF-16, UTF-32), and end its lines by LF, CR LF, or CR
alone as Excel for Mac writes them. Memory stays bounded: a line that is too long to be true is an error.
"""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from asyncdb_nb.errors import EventLogError, MalformedRowError
from asyncdb_nb.workflows.event_log.file_formats import GZIP, refuse_other_formats

_LONGEST_LINE = 4_000_000  # bytes; a file without line ends must not be read into memory as one
_AT_ONCE = 65_536
_MARKS = (  # the longer ones first: UTF-32's begins as UTF-16's does
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class TextFile:
    """
    A text file, open for reading once from the start. Close it.

    Args:
        path: The file. It is gunzipped when it begins as gzip files do.
        encoding: As Python names it. A byte order mark of UTF-16 or UTF-32 counts more.

    Attributes:
        size: The length of the file in bytes, as it is on disk.
        line: How many lines have been read.

    Raises:
        EventLogError: It is no text but another format, or there is no such encoding.
        OSError: The file cannot be opened.
    """

    def __init__(self, path: Path, encoding: str) -> None:
        self.path, self.size, self.line = path, path.stat().st_size, 0
        self._disk = path.open("rb")
        try:
            gzipped = self._disk.peek(2)[:2] == GZIP
            self._bytes: Any = gzip.GzipFile(fileobj=cast("IO[bytes]", self._disk)) if gzipped else self._disk
            first = self._read_or_refuse(lambda: self._bytes.peek(512))
            marked = next((name for mark, name in _MARKS if first.startswith(mark)), None)
            self._encoding = marked or encoding
            self._plain = _has_ascii(self._encoding)
            refuse_other_formats(path, first.decode(marked, "ignore").encode() if marked else first)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file. May be called again."""
        self._disk.close()

    @property
    def position(self) -> int:
        """How many bytes of the file on disk have been read."""
        return self._disk.tell()

    def lines(self) -> Iterator[tuple[str, str | None]]:
        """
        Yield each line with its end, and what is wrong with its bytes, or None.

        Raises:
            MalformedRowError: The file cannot be read on from some line.
        """
        encoding = self._encoding if self._plain else "utf-8"
        for line in self._lines_of_bytes():
            self.line += 1
            if len(line) >= _LONGEST_LINE:
                self._refuse(self.line, f"it is longer than {_LONGEST_LINE:,} bytes. Is this a text file?")
            try:
                text, fault = line.decode(encoding), None
            except UnicodeDecodeError as error:
                text = line.decode(encoding, "backslashreplace")
                fault = f"byte 0x{line[error.start]:02x} at position {error.start + 1} is not {encoding}."
            if "\0" in text:
                fault = "it has a NUL byte, which text cannot have."
            yield text.removeprefix("\ufeff") if self.line == 1 else text, fault

    def _lines_of_bytes(self) -> Iterator[bytes]:
        rest = b""
        for chunk in self._chunks():
            lines = (rest + chunk).splitlines(keepends=True)
            goes_on = bool(lines) and not lines[-1].endswith(b"\n")  # in the next chunk, as may CR LF
            rest = lines.pop() if goes_on else b""
            yield from lines
            if len(rest) >= _LONGEST_LINE:
                yield rest
        if rest:
            yield rest

    def _chunks(self) -> Iterator[bytes]:
        """Yield the file's bytes, in an encoding in which ASCII is ASCII."""
        decode = None if self._plain else codecs.getincrementaldecoder(self._encoding)().decode
        while True:
            chunk = self._read_or_refuse(lambda: self._bytes.read1(_AT_ONCE))
            if decode is not None:
                try:
                    yield decode(chunk, final=not chunk).encode()
                except UnicodeError as error:
                    reason = f"from here on, the file is not {self._encoding} ({error})."
                    raise MalformedRowError(self.path.name, self.line + 1, reason) from error
            elif chunk:
                yield chunk
            if not chunk:
                return

    def _read_or_refuse(self, read: Any) -> bytes:
        try:
            return cast("bytes", read())
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            reason = f"the gzip data is damaged or cut off after the line before ({error})."
            raise MalformedRowError(self.path.name, self.line + 1, reason) from error

    def _refuse(self, line: int, reason: str) -> None:
        raise MalformedRowError(self.path.name, line, reason)


def _has_ascii(encoding: str) -> bool:
    try:
        return "\n".encode(encoding) == b"\n"
    except (LookupError, UnicodeError) as error:  # the latter from the codec `undefined`
        raise EventLogError(f"There is no encoding {encoding!r}; usual ones are 'utf-8' and 'cp1252'.") from error
