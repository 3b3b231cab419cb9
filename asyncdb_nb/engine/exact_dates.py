"""
Send and receive dates and time stamps as they are: the last day of the year 9999 is not `infinity`.

asyncpg sends 9999-12-31 as `infinity` and 0001-01-01 as `-infinity`, so a row that ends then is neither written nor
found. Its objects for the infinities are single ones, and are told from an equal date by that: what was read as
`infinity` is written as `infinity`.
"""

from __future__ import annotations

import datetime as dt
from functools import cache
from typing import Any

DATE_INFINITY, DATE_NEGATIVE_INFINITY = 2**31 - 1, -(2**31)
POSITIVE_INFINITY, NEGATIVE_INFINITY = 2**63 - 1, -(2**63)
NANOSECONDS = "nanoseconds, which PostgreSQL does not keep"

_EPOCH, _EPOCH_UTC = dt.datetime(2000, 1, 1), dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
_EPOCH_ORDINAL = _EPOCH.toordinal()
_DAYS_FROM_1970 = 10_957
_DAYS_IN_400_YEARS = 146_097
_MICROSECOND = dt.timedelta(microseconds=1)
_DAY = 86_400_000_000  # microseconds


async def use(connection: Any) -> None:
    """Have a new asyncpg connection read and write dates and time stamps exactly; costs no round trip."""
    for name, encode, decode in (
        ("date", days, _date),
        ("timestamp", microseconds, _timestamp),
        ("timestamptz", microseconds_utc, _timestamptz),
    ):
        await connection.set_type_codec(
            name,
            schema="pg_catalog",
            encoder=lambda value, encode=encode: (encode(value),),
            decoder=decode,
            format="tuple",
        )


def asyncpgs_infinity(value: Any) -> str | None:
    """Say which infinity an object of asyncpg's stands for: it always gives the same one, which no other date is."""
    return _infinities().get(id(value))


def days(value: Any) -> int:
    """Count the days since 2000 of a date of Python, numpy or pandas; of a time stamp, its day counts.

    Raises:
        TypeError: It is none.
    """
    if infinity := asyncpgs_infinity(value):
        return DATE_NEGATIVE_INFINITY if infinity[0] == "-" else DATE_INFINITY
    if _is_numpys(value):
        return int(value.astype("datetime64[D]").astype("int64")) - _DAYS_FROM_1970
    if hasattr(value, "asm8"):  # pandas' Timestamp, of any year
        return microseconds(value.tz_localize(None)) // _DAY
    if not isinstance(value, dt.date):
        raise TypeError(f"expected a datetime.date or datetime.datetime instance, got {type(value).__name__!r}")
    return value.toordinal() - _EPOCH_ORDINAL


def microseconds(value: Any) -> int:
    """Count the microseconds since 2000 of a time stamp without time zone; of a date, its midnight counts.

    Raises:
        TypeError: It is none.
        ValueError: It has a time zone, or nanoseconds.
    """
    if infinity := asyncpgs_infinity(value):
        return NEGATIVE_INFINITY if infinity[0] == "-" else POSITIVE_INFINITY
    if getattr(value, "tzinfo", None) is not None:
        raise ValueError("expected a datetime without a time zone, got one with it")
    if _is_numpys(value) or hasattr(value, "asm8"):
        return _of_numpy(value)
    return (_datetime(value) - _EPOCH) // _MICROSECOND


def microseconds_utc(value: Any) -> int:
    """Count the microseconds since 2000, UTC; a date or datetime without time zone is one of this computer's.

    Raises:
        TypeError: It is none.
        ValueError: It is numpy's or pandas' without a time zone, or has nanoseconds.
    """
    if infinity := asyncpgs_infinity(value):
        return NEGATIVE_INFINITY if infinity[0] == "-" else POSITIVE_INFINITY
    if _is_numpys(value) or (hasattr(value, "asm8") and value.tzinfo is None):
        raise ValueError("expected a datetime with a time zone, got one without")
    if hasattr(value, "asm8"):
        return _of_numpy(value)
    value = _datetime(value)
    if value.utcoffset() is None:
        value = value.replace(tzinfo=None).astimezone()
    return int((value - _EPOCH_UTC) // _MICROSECOND)


def _datetime(value: Any) -> dt.datetime:
    if isinstance(value, dt.datetime):
        return value
    if isinstance(value, dt.date):
        return dt.datetime(value.year, value.month, value.day)
    raise TypeError(f"expected a datetime.date or datetime.datetime instance, got {type(value).__name__!r}")


def _is_numpys(value: Any) -> bool:
    return type(value).__name__ == "datetime64"


def _of_numpy(value: Any) -> int:
    """Count those of a datetime64 or a Timestamp, whose `asm8` is in UTC."""
    moment = getattr(value, "asm8", value)
    if moment != moment:  # NaT is not equal to itself
        raise TypeError("expected a datetime.date or datetime.datetime instance, got NaT")
    whole = moment.astype("datetime64[us]")
    if whole != moment:
        raise ValueError(NANOSECONDS)
    return int(whole.astype("int64")) - _DAYS_FROM_1970 * _DAY


def _date(sent: tuple[int]) -> dt.date:
    if sent[0] in (DATE_INFINITY, DATE_NEGATIVE_INFINITY):
        found: dt.date = _objects()["infinity_date" if sent[0] > 0 else "negative_infinity_date"]
        return found
    try:
        return dt.date.fromordinal(sent[0] + _EPOCH_ORDINAL)
    except (ValueError, OverflowError) as error:
        raise _beyond(sent[0]) from error


def _timestamp(sent: tuple[int]) -> dt.datetime:
    return _infinite(sent[0]) or _after(_EPOCH, sent[0])


def _timestamptz(sent: tuple[int]) -> dt.datetime:
    return _infinite(sent[0]) or _after(_EPOCH_UTC, sent[0])


def _after(epoch: dt.datetime, sent: int) -> dt.datetime:
    try:
        return epoch + dt.timedelta(0, 0, sent)
    except OverflowError as error:
        raise _beyond(sent // _DAY) from error


def _beyond(days_: int) -> ValueError:
    """Say which day Python cannot hold, counted since 2000; the calendar repeats every 400 years."""
    cycles, rest = divmod(days_ + _EPOCH_ORDINAL - 1, _DAYS_IN_400_YEARS)
    day = dt.date.fromordinal(rest + 1)
    year = day.year + 400 * cycles
    shown = f"{year:04}-{day:%m-%d}" if year > 0 else f"{1 - year:04}-{day:%m-%d} BC"
    return ValueError(
        f"The server sent the day {shown}, and Python's date and datetime hold the years 1 to 9999. "
        "Select it as text: `column::text`."
    )


def _infinite(sent: int) -> dt.datetime | None:
    if sent not in (POSITIVE_INFINITY, NEGATIVE_INFINITY):
        return None
    found: dt.datetime = _objects()["infinity_datetime" if sent > 0 else "negative_infinity_datetime"]
    return found


@cache
def _objects() -> dict[str, Any]:
    """Give the objects that stand for ±infinity in asyncpg, by its names."""
    from asyncpg.pgproto import pgproto

    names = [f"{sign}infinity_{kind}" for sign in ("", "negative_") for kind in ("date", "datetime")]
    return {name: getattr(pgproto, name) for name in names if hasattr(pgproto, name)}


@cache
def _infinities() -> dict[int, str]:
    return {id(found): "-infinity" if name[0] == "n" else "infinity" for name, found in _objects().items()}
