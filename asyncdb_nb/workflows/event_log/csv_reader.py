"""
Read a CSV file of any size record by record, and know the line of each.

Quoted fields may hold line breaks and delimiters. A record that cannot be read is given with its fault, so that the
caller can set it aside; what makes the records after it doubtful, such as a quote that is never closed, is an error.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from asyncdb_nb.errors import EventLogError, MalformedRowError
from asyncdb_nb.workflows.event_log.text_reader import TextFile

DELIMITERS = (",", ";", "\t", "|")

_LONGEST_FIELD = 1_000_000
_SAMPLE = 1_000  # records
_SAMPLE_CHARACTERS = 2_000_000
_SEP = re.compile(r'"?sep=(.)"?[,;|\t]*\s*', re.IGNORECASE)  # Excel's own first line, which names the delimiter


class Record(NamedTuple):
    """
    One record of the file.

    Attributes:
        line: The line that it begins on, from 1.
        fields: As they are; of a record that is no CSV, the whole line.
        fault: Why it cannot be read; None if it can.
    """

    line: int
    fields: list[str]
    fault: str | None = None


class CSVFile:
    """
    A CSV file, open for reading once from the start. Close it, or use it as a context manager.

    Args:
        path: The file, which may be gzipped.
        encoding: As Python names it. A byte order mark of UTF-16 or UTF-32 counts more.
        delimiter: The character between fields; found in the first line if None.

    Attributes:
        header: The fields of the first record, stripped of spaces around them.
        delimiter: The character between fields.
        sample: The first records after it, a thousand at most; `records()` has them too.
        size: The length of the file in bytes, as it is on disk.

    Raises:
        EventLogError: The file is empty, is no text, or its delimiter is not clear.
        OSError: The file cannot be opened.
    """

    def __init__(self, path: Path, encoding: str = "utf-8", delimiter: str | None = None) -> None:
        self.path, self._encoding = path, encoding
        self._text = TextFile(path, encoding)
        self.size = self._text.size
        self._faults: dict[int, str] = {}
        self._last_line = ""
        try:
            self._open(delimiter)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> CSVFile:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. May be called again."""
        self._text.close()

    @property
    def position(self) -> int:
        """How many bytes of the file on disk have been read."""
        return self._text.position

    def records(self) -> Iterator[Record]:
        """Yield the records after the header; those without anything in them are passed over.

        Raises:
            MalformedRowError: The file cannot be read on.
        """
        return map(self._without_trailing, chain(self.sample, self._records))

    def _open(self, delimiter: str | None) -> None:
        name = self.path.name
        lines = self._lines()
        first = next(lines, "")
        if said := _SEP.fullmatch(first):
            delimiter, first = delimiter or said[1], next(lines, "")
        if not first.strip():
            where = f"has no header in line {self._text.line}" if self._text.line else "is empty"
            raise EventLogError(f"{name} {where}.")
        if self._faults:
            raise self._malformed(*self._faults.popitem(), first)
        self.delimiter = delimiter or _delimiter(first)
        self._records = self._read(chain([first], lines), self._text.line)
        header = next(self._records)
        if header.fault:
            raise self._malformed(header.line, header.fault)
        self.header = [column.strip() for column in header.fields]
        self.sample = list(self._first_records())
        self._trailing = bool(self.sample) and self._has_trailing(self.sample[0])

    def _first_records(self) -> Iterator[Record]:
        characters = 0
        for number, record in enumerate(self._records, start=1):
            yield record
            characters += sum(map(len, record.fields))
            if number == _SAMPLE or characters > _SAMPLE_CHARACTERS:
                return

    def _has_trailing(self, record: Record) -> bool:
        """Say whether the record ends in a delimiter that the header does not have."""
        return len(record.fields) == len(self.header) + 1 and not record.fields[-1].strip()

    def _without_trailing(self, record: Record) -> Record:
        if self._trailing and self._has_trailing(record):
            return record._replace(fields=record.fields[:-1])
        return record

    def _lines(self) -> Iterator[str]:
        for text, fault in self._text.lines():
            if fault is not None:
                self._faults[self._text.line] = fault
            self._last_line = text
            yield text

    def _read(self, lines: Iterator[str], first_line: int) -> Iterator[Record]:
        csv.field_size_limit(max(_LONGEST_FIELD, csv.field_size_limit()))  # which is the whole process's
        reader = csv.reader(lines, delimiter=self.delimiter, strict=True)
        while True:
            line = first_line + reader.line_num
            try:
                record = Record(line, next(reader))
            except StopIteration:
                return
            except csv.Error as error:
                record = self._not_csv(line, first_line + reader.line_num, error)
            if self._faults:
                record = self._with_fault(record, first_line + reader.line_num)
            if record.fault or any(field.strip() for field in record.fields):
                yield record

    def _not_csv(self, line: int, next_line: int, error: csv.Error) -> Record:
        """Give the line as a faulty record; where the record has several, nobody knows where the next begins."""
        if next_line - line > 1 or "unexpected end" in str(error):
            raise self._malformed(line, f"{error}. A quote is opened there that is not closed.") from error
        return Record(line, [self._last_line.rstrip("\r\n")], f"{error}.")

    def _with_fault(self, record: Record, next_line: int) -> Record:
        faults = [self._faults.pop(line) for line in range(record.line, next_line) if line in self._faults]
        return record._replace(fault=faults[0]) if faults else record

    def _malformed(self, line: int, fault: str, text: str = "") -> MalformedRowError:
        remedy = remedy_for(fault)
        if "NUL" in fault:  # in a header: UTF-16 without a byte order mark
            remedy = {"encoding": "utf-16-be" if text.startswith("\0") else "utf-16-le"}
        return MalformedRowError(self.path.name, line, fault, remedy)


def remedy_for(fault: str) -> dict[str, str]:
    """What to type where the bytes of a line are at fault."""
    return {"encoding": "cp1252"} if " is not utf-8" in fault else {}


def _delimiter(first: str) -> str:
    """The delimiter that the header has most of."""
    counts = sorted(((_fields(first, delimiter), delimiter) for delimiter in DELIMITERS), reverse=True)
    if counts[0][0] > 1 and counts[0][0] == counts[1][0]:
        raise EventLogError(f"The delimiter may be {counts[0][1]!r} or {counts[1][1]!r}.", {"delimiter": counts[0][1]})
    return counts[0][1] if counts[0][0] > 1 else ","


def _fields(line: str, delimiter: str) -> int:
    return len(next(csv.reader([line], delimiter=delimiter), []))
