"""
A date, time stamp or interval of Python, numpy or pandas → the text that PostgreSQL reads as exactly that.

asyncpg sends the last day of the year 9999 as `infinity` and the first of the year 1 as `-infinity`, refuses what
Python has no date for, and drops months and nanoseconds. The texts here mean the same under every DateStyle,
IntervalStyle and TimeZone. What frames give where Python has no value (`infinity`, `0044-03-15 BC`) is taken as it is.

A ValueError or TypeError says in a few words why a value has no such text.
"""

from __future__ import annotations

import re
from typing import Any

from asyncdb_nb.dataframes.type_families.calendar_text import date_text, timestamp_text
from asyncdb_nb.dataframes.type_families.interval_parts import interval_parts
from asyncdb_nb.engine.exact_dates import (
    DATE_INFINITY,
    DATE_NEGATIVE_INFINITY,
    NEGATIVE_INFINITY,
    POSITIVE_INFINITY,
    days,
    microseconds,
    microseconds_utc,
)

_FAR = re.compile(r"-?infinity|\d{5,}-\d\d-\d\d([ T].*)?|\d{4,}-\d\d-\d\d([ T].*)? BC")  # as `calendar_text` writes it
_INFINITE = re.compile(r"-?infinity")


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
    months, days, microseconds = interval_parts(value)
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
