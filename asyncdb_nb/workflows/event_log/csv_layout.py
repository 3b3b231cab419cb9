"""
Find out, from the first lines of a CSV file, what stands between its fields, and which line is its header.

Reports begin with a title, a date, a few lines of comment. A line is the header where it has at least three names, none
of which is a number or a time, and as many as most of the lines have fields.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property

from asyncdb_nb.errors import EventLogError
from asyncdb_nb.workflows.event_log.time_format_proposals import forms_of

DELIMITERS = (",", ";", "\t", "|")

_FEWEST = 3  # columns: case, activity, time
_NUMBER = re.compile(r"[\d.,]+")


class Layout:
    """
    How lines are read with one delimiter.

    Args:
        lines: The first lines of a file, with their ends.
        delimiter: Between fields.
    """

    def __init__(self, lines: Sequence[str], delimiter: str) -> None:
        self.lines, self.delimiter = lines, delimiter
        self.spaced = bool(re.search(rf'(?m)(^|{re.escape(delimiter)}) +"[^"]', "".join(lines)))

    @cached_property
    def records(self) -> list[tuple[int, list[str]]]:
        """The fields of each record, and how many lines stand before it."""
        reader = csv.reader(self.lines, delimiter=self.delimiter, skipinitialspace=self.spaced)
        found: list[tuple[int, list[str]]] = []
        before = 0
        with suppress(csv.Error):  # a field that is too long; what comes before it is enough
            for fields in reader:
                if any(field.strip() for field in fields):
                    found.append((before, fields))
                before = reader.line_num
        return found

    @cached_property
    def usual(self) -> tuple[int, int]:
        """How many fields most records have, of those that have enough, and how many records these are."""
        widths = Counter(len(fields) for _, fields in self.records)
        if wide := {width: count for width, count in widths.items() if width >= _FEWEST}:
            widths = Counter(wide)
        return max(widths.items(), key=lambda item: (item[1], item[0]), default=(0, 0))

    @property
    def begins_with_header(self) -> bool:
        """Whether the first record may be the header of the others."""
        if not self.records:
            return False
        first, (_, most) = self.records[0][1], self.usual
        alike = sum(len(fields) == len(first) for _, fields in self.records)
        return _names(first) >= _FEWEST and (self._as_wide(first) or 2 * alike > most)

    @property
    def header(self) -> int | None:
        """How many lines stand before what looks like the header; None where nothing does."""
        found = (before for before, fields in self.records if self._as_wide(fields) and _may_be_names(fields))
        return next(found, None)

    def _as_wide(self, header: list[str]) -> bool:
        """Say whether it has the usual number of fields, also where all others end in a delimiter."""
        width, _ = self.usual
        return len(header) == width or (
            len(header) == width - 1
            and not any(fields[-1].strip() for _, fields in self.records if len(fields) == width)
        )


def find_layout(lines: Sequence[str], delimiter: str | None = None) -> Layout:
    """
    Choose the delimiter of which the header has most, or, where the first line is none, with which there is a header.

    Args:
        lines: The first lines of a file.
        delimiter: The one that the caller told, or None.

    Raises:
        EventLogError: Two would do.
    """
    if delimiter is not None:
        return Layout(lines, delimiter)
    first = next((line for line in lines if line.strip()), "")
    layouts = [Layout(lines, each) for each in DELIMITERS]
    counts = [len(next(csv.reader([first], delimiter=layout.delimiter), [])) for layout in layouts]
    most = max(counts)
    likely = [layout for layout, count in zip(layouts, counts, strict=True) if count == most > 1]
    if len(likely) > 1:
        likely.sort(key=lambda layout: (layout.begins_with_header, layout.usual[1]), reverse=True)
        if likely[0].usual[1] == likely[1].usual[1]:
            names = [layout.delimiter for layout in likely]
            raise EventLogError(f"The delimiter may be {names[0]!r} or {names[1]!r}.", {"delimiter": names[0]})
    if likely and likely[0].begins_with_header:
        return likely[0]
    later = [layout for layout in layouts if layout.usual[0] >= _FEWEST and layout.header is not None]
    return max(later, key=lambda layout: layout.usual[1], default=(likely or layouts)[0])


def other_delimiter(lines: Sequence[str]) -> str | None:
    """Name a mark other than the usual delimiters that would make all these lines records with a header, or None."""
    first = next((line for line in lines if line.strip()), "").rstrip("\r\n")
    marks: list[str] = re.findall(r"""[^\w\s"'.\-]""", first)
    for mark in dict.fromkeys([*marks, *(" " if " " in first.strip() else "")]):
        layout = Layout(lines, mark)
        if layout.usual[1] == len(layout.records) and layout.header == layout.records[0][0]:
            return str(mark)
    return None


def _names(fields: Sequence[str]) -> int:
    return sum(bool(field.strip()) for field in fields)


def _may_be_names(fields: Sequence[str]) -> bool:
    names = [field.strip() for field in fields if field.strip()]
    return len(names) >= _FEWEST and not any(_NUMBER.fullmatch(name) or forms_of([name]) for name in names)
