"""
A date, time stamp or interval of Python, numpy or pandas → the text that PostgreSQL reads as exactly that.

asyncpg sends the last day of the year 9999 as `infinity` and the first of the year 1 as `-infinity`, refuses what
Python has no date for, and drops months and nanoseconds. The texts here mean the same under every DateStyle,
IntervalStyle and TimeZone. What frames give where Python has no value (`infinity`, `0044-03-15 BC`) is taken as it is.

A ValueError or TypeError says in a few words why a value has no such text.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from typing import Any

from asyncdb_nb.dataframes.families.calendar_text import date_text, timestamp_text
from asyncdb_nb.engine.exact_dates import (
    DATE_INFINITY,
    DATE_NEGATIVE_INFINITY,
    NANOSECONDS,
    NEGATIVE_INFINITY,
    POSITIVE_INFINITY,
    days,
    microseconds,
    microseconds_utc,
)

_DAY = 86_400_000_000  # microseconds
_FAR = re.compile(r"-?infinity|\d{5,}-\d\d-\d\d([ T].*)?|\d{4,}-\d\d-\d\d([ T].*)? BC")  # as `calendar_text` writes it
_INFINITE = re.compile(r"-?infinity")
_UNITS: tuple[dict[str, int], ...] = (
    {"years": 12, "months": 1},
    {"weeks": 7, "days": 1},
    {"hours": 3_600_000_000, "minutes": 60_000_000, "seconds": 1_000_000, "milliseconds": 1000, "microseconds": 1},
)
_OFFSETS = {  # classes of pandas that are so many of a unit
    "DateOffset": "days",
    "Day": "days",
    "Hour": "hours",
    "Minute": "minutes",
    "Second": "seconds",
    "Milli": "milliseconds",
    "Micro": "microseconds",
}
_NAMES = frozenset(name for unit in _UNITS for name in unit)


def date(value: Any) -> str:
    """Write a date; of a time stamp, its day."""
    if (text := _far(value, _FAR)) is not None:
        return text
    number = days(value)
    if number in (DATE_INFINITY, DATE_NEGATIVE_INFINITY):
        return "infinity" if number > 0 else "-infinity"
    return date_text(number)


def timestamp(value: Any) -> str:
    """Write a time stamp without time zone; of a date, its midnight."""
    return _far(value, _FAR) or _moment(microseconds(value))


def timestamptz(value: Any) -> str:
    """Write a moment; a date or datetime without a time zone counts in that of this computer."""
    return _far(value, _FAR) or _moment(microseconds_utc(value), "+00")


def interval(value: Any) -> str:
    """Write an interval, each part with its sign: `sql_standard` would carry that of the first one over."""
    if (text := _far(value, _INFINITE)) is not None:
        return text
    months, days, microseconds = _parts(value)
    sign, (seconds, rest) = "-" if microseconds < 0 else "+", divmod(abs(microseconds), 1_000_000)
    return f"{months:+d} months {days:+d} days {sign}{seconds}.{rest:06d} seconds"


def _far(value: Any, form: re.Pattern[str]) -> str | None:
    """Take a text that frames give for what Python has no value for; refuse any other."""
    if not isinstance(value, str):
        return None
    if not form.fullmatch(value):
        raise TypeError("expected a datetime.date or datetime.datetime instance, got 'str'")
    return str(value)


def _moment(number: int, offset: str = "") -> str:
    if number in (POSITIVE_INFINITY, NEGATIVE_INFINITY):
        return "infinity" if number > 0 else "-infinity"
    return timestamp_text(number, offset)


def _parts(value: Any) -> Sequence[int]:
    """Give months, days and microseconds."""
    if type(value).__name__ == "timedelta64":
        return _of_timedelta64(value)
    if isinstance(value, dt.timedelta):
        if getattr(value, "nanoseconds", 0):
            raise ValueError(NANOSECONDS)
        return 0, value.days, value.seconds * 1_000_000 + value.microseconds
    given, times = _named(value), getattr(value, "n", 1)
    return [times * sum(given.get(name, 0) * factor for name, factor in unit.items()) for unit in _UNITS]


def _named(value: Any) -> Mapping[str, int]:
    """Give the parts of a pandas DateOffset, of its one unit, or of dateutil's relativedelta, by name."""
    parts = getattr(value, "kwds", None)
    if not parts and type(value).__name__ in _OFFSETS:
        return {_OFFSETS[type(value).__name__]: 1}
    if parts and isinstance(parts, Mapping) and _NAMES.issuperset(parts):
        return parts
    if parts is None and hasattr(value, "months"):
        return {name: getattr(value, name, 0) for name in _NAMES - {"weeks"}}
    raise TypeError(f"expected a timedelta or a DateOffset of plain parts, got {type(value).__name__}")


def _of_timedelta64(value: Any) -> tuple[int, int, int]:
    if value.dtype.str.endswith(("[Y]", "[M]")):
        return int(value.astype("timedelta64[M]").astype("int64")), 0, 0
    whole = value.astype("timedelta64[us]")
    if whole != value:
        raise ValueError(NANOSECONDS)
    days, microseconds = divmod(int(whole.astype("int64")), _DAY)
    return 0, days, microseconds
