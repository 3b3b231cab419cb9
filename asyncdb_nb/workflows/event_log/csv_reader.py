"""
Read a CSV file of any size record by record, and know the line of each.

Quoted fields may hold line breaks and delimiters. A record that cannot be read is given with its fault, so that the
caller can set it aside; what makes the records after it doubtful, such as a quote that is never closed, is an error.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

from asyncdb_nb.errors import EventLogError, MalformedRowError
from asyncdb_nb.workflows.event_log.csv_layout import find_layout, other_delimiter
from asyncdb_nb.workflows.event_log.text_reader import TextFile
from asyncdb_nb.workflows.event_log.unreadable import cut

_LONGEST_FIELD = 1_000_000
_SAMPLE = 1_000  # records
_SAMPLE_CHARACTERS = 2_000_000
_FIRST = 100  # lines that show the delimiter and the header
_FIRST_CHARACTERS = 500_000
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
        delimiter: The character between fields; found in the first lines if None.
        skip: How many lines stand before the header; if None, lines other than empty ones are refused there.

    Attributes:
        header: The fields of the first record, stripped of spaces around them.
        delimiter: The character between fields.
        sample: The first records after it, a thousand at most; `records()` has them too.
        size: The length of the file in bytes, as it is on disk.

    Raises:
        EventLogError: The file is empty, is no text, or its delimiter or its header is not clear.
        OSError: The file cannot be opened.
    """

    def __init__(
        self, path: Path, encoding: str = "utf-8", delimiter: str | None = None, skip: int | None = None
    ) -> None:
        self.path, self._encoding = path, encoding
        self._text = TextFile(path, encoding)
        self.size = self._text.size
        self._faults: dict[int, str] = {}
        self._last_line = ""
        try:
            self._open(delimiter, skip)
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
        return chain(self.sample, map(self._without_trailing, self._records))

    def _open(self, delimiter: str | None, skip: int | None) -> None:
        self._raise_field_limit()
        lines = self._lines()
        first = next(lines, "")
        if said := _SEP.fullmatch(first):
            delimiter = delimiter or said[1]
        above = max(skip or 0, bool(said))
        lines = islice(chain([first], lines), above, None)
        start = _some(lines)
        self._faults = {line: fault for line, fault in self._faults.items() if line > above}
        if "NUL" in self._faults.get(1, ""):
            raise self._malformed(1, self._faults[1], first)
        self._find_header(start, above, delimiter, skip)
        self._records = self._read(chain(start, lines), above + 1)
        header = next(self._records)
        if header.fault:
            raise self._malformed(header.line, header.fault)
        self.header = [column.strip() for column in header.fields]
        records = list(self._first_records())
        self._trailing = bool(records) and self._has_trailing(records[0])
        self.sample = list(map(self._without_trailing, records))
        self._check_widths(header.line)

    def _raise_field_limit(self) -> None:
        csv.field_size_limit(max(_LONGEST_FIELD, csv.field_size_limit()))  # which is the whole process's

    def _find_header(self, lines: list[str], above: int, delimiter: str | None, skip: int | None) -> None:
        name, said = self.path.name, next((line.strip() for line in lines if line.strip()), "")
        if not said:
            where = f"has no header in line {max(self._text.line, above + 1)}" if self._text.line else "is empty"
            raise EventLogError(f"{name} {where}.")
        self._layout = layout = find_layout(lines, delimiter)
        self.delimiter, before = layout.delimiter, layout.header
        if skip is None and before is not None and not layout.begins_with_header:
            raise EventLogError(
                f"{name} does not begin with its header: it begins with {cut(said)}, and what looks like the header is "
                f"in line {above + before + 1}.",
                {"skip_lines": above + before},
            )
        if delimiter is None and layout.usual[0] == 1 and (mark := other_delimiter(lines)):
            problem = f"The header is one column, {cut(said)}, and an event log needs three."
            raise EventLogError(f"{problem} Does {mark!r} stand between its fields?", {"delimiter": mark})

    def _check_widths(self, line: int) -> None:
        """Refuse a header that no row goes with."""
        widths, wanted = [len(record.fields) for record in self.sample if not record.fault], len(self.header)
        if wanted >= 3 and len(widths) > 1 and set(widths) == {wanted + 1}:
            raise EventLogError(
                f"The header of {self.path.name}, in line {line}, has {wanted} names, and all rows have {wanted + 1} "
                "fields. If the first is the number of the row, as R writes it, write a name for it before the others, "
                f"such as: row{self.delimiter}{self.delimiter.join(self.header[:2])}{self.delimiter}…"
            )

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
            yield text

    def _read(self, lines: Iterator[str], first_line: int) -> Iterator[Record]:
        spaced = self._layout.spaced
        reader = csv.reader(self._remembered(lines), delimiter=self.delimiter, skipinitialspace=spaced, strict=True)
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

    def _remembered(self, lines: Iterable[str]) -> Iterator[str]:
        for self._last_line in lines:
            yield self._last_line

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
        if "NUL" in fault and "\0\0" not in text:  # in a header: UTF-16 without a byte order mark
            remedy = {"encoding": "utf-16-be" if text.startswith("\0") else "utf-16-le"}
        return MalformedRowError(self.path.name, line, fault, remedy)


def remedy_for(fault: str) -> dict[str, str]:
    """What to type where the bytes of a line are at fault."""
    return {"encoding": "cp1252"} if " is not utf-8" in fault else {}


def _some(lines: Iterator[str]) -> list[str]:
    """Take the first lines, as far as they are needed to see what the file is like."""
    taken, characters = [], 0
    for line in islice(lines, _FIRST):
        taken.append(line)
        characters += len(line)
        if characters > _FIRST_CHARACTERS:
            break
    return taken
