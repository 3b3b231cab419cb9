"""Intervals in ISO 8601: `P1Y2M3DT4H5M6.5S`, as PostgreSQL reads them, and writes them with `intervalstyle`."""

from __future__ import annotations


def iso_interval(months: int, days: int, microseconds: int) -> str:
    """Write an interval; each part has its own sign."""
    years, months = _parts(months, 12)
    minutes, microseconds = _parts(microseconds, 60_000_000)
    hours, minutes = _parts(minutes, 60)
    date = "".join(f"{count}{unit}" for count, unit in ((years, "Y"), (months, "M"), (days, "D")) if count)
    sign = "-" if microseconds < 0 else ""
    whole, fraction = divmod(abs(microseconds), 1_000_000)
    seconds = f"{sign}{whole}.{fraction:06d}".rstrip("0").rstrip(".") + "S" if microseconds else ""
    time = "".join(f"{count}{unit}" for count, unit in ((hours, "H"), (minutes, "M")) if count) + seconds
    return f"P{date}T{time}" if time else f"P{date}" if date else "PT0S"


def _parts(count: int, size: int) -> tuple[int, int]:
    """Divide towards zero, so that both parts have the sign of the whole."""
    whole = abs(count) // size * (1 if count >= 0 else -1)
    return whole, count - whole * size
