"""Write dates and times of any year as PostgreSQL does, with the ISO date style; Python's end with the year 9999."""

from __future__ import annotations

import datetime as dt

_EPOCH = dt.date(2000, 1, 1)
_DAYS_IN_400_YEARS = 146_097  # after which the calendar repeats
_DAY = 86_400_000_000  # microseconds


def date_text(days: int) -> str:
    """Write a date, by days since 2000."""
    cycles, rest = divmod(days, _DAYS_IN_400_YEARS)
    day = _EPOCH + dt.timedelta(rest)
    year = day.year + 400 * cycles
    return f"{year:04d}-{day:%m-%d}" if year > 0 else f"{1 - year:04d}-{day:%m-%d} BC"


def timestamp_text(microseconds: int, offset: str = "") -> str:
    """Write a time stamp, by microseconds since 2000."""
    days, rest = divmod(microseconds, _DAY)
    day, *era = date_text(days).split(" ")
    return " ".join([day, _time_text(rest) + offset, *era])


def timetz_text(microseconds: int, east: int) -> str:
    """Write a time with its offset: `east` is seconds east of Greenwich."""
    minutes, seconds = divmod(abs(east), 60)
    parts = [f"{minutes // 60:02d}", f"{minutes % 60:02d}", f"{seconds:02d}"]
    while len(parts) > 1 and parts[-1] == "00":
        parts.pop()
    return _time_text(microseconds) + ("-" if east < 0 else "+") + ":".join(parts)


def _time_text(microseconds: int) -> str:
    seconds, fraction = divmod(microseconds, 1_000_000)
    text = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    return f"{text}.{fraction:06d}".rstrip("0") if fraction else text
