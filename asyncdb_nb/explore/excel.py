"""
Excel files of DataFrames, written row by row.

Excel has 15 digits of a number, no time zones, no days before 1900, and takes a text that begins with `=` for a
formula. So a number with more digits is written as text, a time with a zone in UTC, and every text as text.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import tempfile
from collections import Counter
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from asyncdb_nb.errors import ExportError
from asyncdb_nb.explore.arrow_files import readable
from asyncdb_nb.explore.interval_text import iso_interval

if TYPE_CHECKING:
    import pandas as pd

MOST_ROWS, MOST_COLUMNS, MOST_CHARACTERS = 1_048_575, 16_384, 32_767
_FIRST_DAY = dt.datetime(1900, 3, 1)  # before, Excel counts a 29th of February that was none
_DIGITS = 15
_LARGEST = 10**_DIGITS
_FORMATS = {"date": "yyyy-mm-dd", "time": "hh:mm:ss", "datetime": "yyyy-mm-dd hh:mm:ss"}
_INSTEAD = "`.csv` or `.parquet`, or fewer columns and rows"

_LONG = "numbers of more than 15 digits, as text"
_LONG_DECIMAL = f"{_LONG}; `round(…, 2)` in the statement cuts those behind the point"
_UTC = "Excel has no time zones: the times are UTC"
_FINE = "Excel shows milliseconds: microseconds are cut off"
_EARLY = "days before 1900-03-01, as text"
_NOT_FINITE = "NaN and infinity, as text"
_OTHER = "as text"


class ExcelWriter:
    """Writes DataFrames of the same columns onto one sheet.

    Raises:
        ExportError: Excel has fewer columns, rows or characters of a text.
    """

    def __init__(self, path: Path, first: pd.DataFrame) -> None:
        import xlsxwriter

        if len(first.columns) > MOST_COLUMNS:
            raise ExportError(f"The result has {len(first.columns):,} columns, and Excel {MOST_COLUMNS:,}", _INSTEAD)
        self._folder = tempfile.TemporaryDirectory(prefix="adb-")
        options = {"constant_memory": True, "tmpdir": self._folder.name, "in_memory": False}
        self._book: Any = xlsxwriter.Workbook(str(path), options)
        self._sheet: Any = self._book.add_worksheet()
        self._names = [str(name) for name in first.columns]
        self._formats = {kind: self._book.add_format({"num_format": form}) for kind, form in _FORMATS.items()}
        self._scales = [self._scale(dtype) for dtype in first.dtypes]
        self._noted: Counter[tuple[str, str]] = Counter()
        self._row = 0
        self.notes: list[str] = []
        bold = self._book.add_format({"bold": True})
        for column, name in enumerate(self._names):
            self._sheet.write_string(0, column, name, bold)
        self._sheet.freeze_panes(1, 0)

    def write(self, part: pd.DataFrame) -> int:
        """Write a part."""
        if self._row + len(part) > MOST_ROWS:
            raise ExportError(f"The result has more than {MOST_ROWS:,} rows, which Excel has not", _INSTEAD)
        columns = [_values(part.iloc[:, number]) for number in range(len(self._names))]
        for values in zip(*columns, strict=True):
            self._row += 1
            for column, value in enumerate(values):
                self._cell(column, value)
        return len(part)

    def close(self) -> None:
        """Write the file."""
        self._book.close()
        self._folder.cleanup()
        by_note: dict[str, list[str]] = {}
        for column, note in self._noted:
            by_note.setdefault(note, []).append(column)
        self.notes = [f"{', '.join(columns)}: {note}" for note, columns in by_note.items()]

    def discard(self) -> None:
        """Let go of the file and what was kept for it."""
        self._book.fileclosed = True  # else it would be written when it is collected
        self._sheet.row_data_fh.close()
        self._folder.cleanup()

    def _scale(self, dtype: Any) -> Any:
        """Give the format that shows as many digits after the point as a decimal has."""
        scale = getattr(getattr(dtype, "pyarrow_dtype", None), "scale", 0) or 0
        return self._book.add_format({"num_format": "0." + "0" * scale}) if scale else None

    def _cell(self, column: int, value: Any) -> None:
        if _is_missing(value):
            return
        match value:
            case bool():
                self._sheet.write_boolean(self._row, column, value)
            case int() | Decimal() | float():
                self._number(column, value)
            case dt.datetime():
                self._time(column, value)
            case dt.date():
                self._moment(column, "date", dt.datetime.combine(value, dt.time()), value.isoformat())
            case dt.time() if value.tzinfo is None:
                self._sheet.write_datetime(self._row, column, value, self._formats["time"])
            case str() | UUID():
                self._text(column, str(value))
            case _:
                self._note(column, _OTHER)
                self._text(column, _other(value))

    def _number(self, column: int, value: Any) -> None:
        finite = value.is_finite() if isinstance(value, Decimal) else math.isfinite(value)
        if not finite:
            self._note(column, _NOT_FINITE)
            self._text(column, str(value))
        elif isinstance(value, float) or _fits(value):
            self._sheet.write_number(self._row, column, value, self._scales[column])
        else:
            self._note(column, _LONG_DECIMAL if isinstance(value, Decimal) else _LONG)
            self._text(column, f"{value:f}" if isinstance(value, Decimal) else str(value))

    def _time(self, column: int, value: Any) -> None:
        text = value.isoformat(sep=" ")
        if value.tzinfo is not None:
            self._note(column, _UTC)
            value = value.astimezone(dt.UTC).replace(tzinfo=None)
        if value.microsecond % 1000:
            self._note(column, _FINE)
        self._moment(column, "datetime", value, text)

    def _moment(self, column: int, kind: str, value: dt.datetime, text: str) -> None:
        if value < _FIRST_DAY:
            self._note(column, _EARLY)
            self._text(column, text)
        else:
            self._sheet.write_datetime(self._row, column, value, self._formats[kind])

    def _text(self, column: int, text: str) -> None:
        if len(text) > MOST_CHARACTERS:
            raise ExportError(
                f"Row {self._row:,} has {len(text):,} characters in column {self._names[column]!r}, and a cell of "
                f"Excel holds {MOST_CHARACTERS:,}",
                _INSTEAD,
            )
        self._sheet.write_string(self._row, column, text)

    def _note(self, column: int, note: str) -> None:
        self._noted[self._names[column], note] += 1


@cache
def _missing() -> tuple[type, ...]:
    import pandas as pd

    return type(pd.NA), type(pd.NaT)


def _values(column: Any) -> list[Any]:
    """Give Python values; a time that Python has none for as text."""
    import pyarrow as pa

    type_ = getattr(column.dtype, "pyarrow_dtype", None)
    if type_ == pa.binary(16):
        return [value if _is_missing(value) else UUID(bytes=value) for value in column]
    if type_ is None or not pa.types.is_timestamp(type_):
        return list(column)
    return [_time_or_text(value) for value in pa.array(column)]


def _time_or_text(value: Any) -> Any:
    try:
        return value.as_py()
    except (OverflowError, ValueError):
        return value.cast("string").as_py()


def _is_missing(value: Any) -> bool:
    """Say whether a value is None, or pandas' NA or NaT; NaN is a number of PostgreSQL's."""
    return value is None or type(value) in _missing()


def _fits(number: int | Decimal) -> bool:
    if -_LARGEST < number < _LARGEST and isinstance(number, int):
        return True
    digits = Decimal(number).normalize()
    return len(digits.as_tuple().digits) <= _DIGITS and -300 < digits.adjusted() < 300


def _other(value: Any) -> str:
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    if type(value).__name__ == "DateOffset":  # which a frame has for intervals
        parts = value.kwds
        return iso_interval(parts.get("months", 0), parts.get("days", 0), parts.get("microseconds", 0))
    return json.dumps(readable(value), ensure_ascii=False) if isinstance(value, list | dict) else str(value)
