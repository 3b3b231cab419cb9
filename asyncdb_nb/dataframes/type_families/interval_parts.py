"""The months, days and microseconds of an interval, whichever library's object it is."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from asyncdb_nb.engine.exact_dates import NANOSECONDS

_DAY = 86_400_000_000  # microseconds
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


def interval_parts(value: Any) -> Sequence[int]:
    """Give months, days and microseconds.

    Raises:
        TypeError: It is no interval.
        ValueError: It has nanoseconds.
    """
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
