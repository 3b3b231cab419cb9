"""Write dates and times of any year as PostgreSQL does, with the ISO date style; Python's end with the year 9999."""

from __future__ import annotations

import datetime as dt
import re

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


def days_of(text: str) -> int:
    """Read what `date_text` writes: days since 2000.

    Raises:
        ValueError: It is no such text.
    """
    moment = microseconds_of(text)
    if moment % _DAY:
        raise ValueError(text)
    return moment // _DAY


def microseconds_of(text: str) -> int:
    """Read what `timestamp_text` writes: microseconds since 2000.

    Raises:
        ValueError: It is no such text.
    """
    found = _MOMENT.fullmatch(text)
    if found is None:
        raise ValueError(text)
    year = 1 - int(found["year"]) if found["bc"] else int(found["year"])
    cycles, rest = divmod(year - 2000, 400)
    day = dt.date(2000 + rest, int(found["month"]), int(found["day"])) - _EPOCH
    return (cycles * _DAYS_IN_400_YEARS + day.days) * _DAY + _clock(found["clock"])


def timetz_of(text: str) -> tuple[int, int]:
    """Read what `timetz_text` writes: microseconds, and seconds east of Greenwich.

    Raises:
        ValueError: It is no such text.
    """
    found = _TIMETZ.fullmatch(text)
    if found is None:
        raise ValueError(text)
    parts = [int(part) for part in found["offset"].split(":")] + [0, 0]
    east = (parts[0] * 60 + parts[1]) * 60 + parts[2]
    return _clock(found["clock"]), -east if found["sign"] == "-" else east


_CLOCK = r"(?P<clock>(?:24:00:00|(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d)(?:\.\d{1,6})?)"
_MOMENT = re.compile(rf"(?P<year>\d{{4,}})-(?P<month>\d\d)-(?P<day>\d\d)(?:[ T]{_CLOCK}(?:\+00)?)?(?P<bc> BC)?")
_TIMETZ = re.compile(rf"{_CLOCK}(?P<sign>[+-])(?P<offset>\d\d(?::\d\d){{0,2}})")


def _clock(text: str | None) -> int:
    if text is None:
        return 0
    clock, _, fraction = text.partition(".")
    hours, minutes, seconds = map(int, clock.split(":"))
    return ((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + int(fraction.ljust(6, "0"))


def _time_text(microseconds: int) -> str:
    seconds, fraction = divmod(microseconds, 1_000_000)
    text = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    return f"{text}.{fraction:06d}".rstrip("0") if fraction else text
