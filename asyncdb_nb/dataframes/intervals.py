"""
A column of intervals → one of durations, which can be summed, sorted and compared.

An interval of PostgreSQL has months, days and microseconds apart, since a month has no number of days. pandas and
polars have durations only. So a month is an error, unless it is said how many days it is to count.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any

from asyncdb_nb.dataframes import libraries
from asyncdb_nb.errors import FrameError

_DAY = 24 * 60 * 60 * 1_000_000  # microseconds


def to_timedelta(intervals: Any, *, days_per_month: int | None = None) -> Any:
    """Make durations of a column of intervals; a day is 24 hours.

    Args:
        intervals: A column of a frame, a column of a `pyarrow.Table`, or a list of its values.
        days_per_month: How many days each month counts. Without it, an interval with months is an error.

    Returns:
        For a column of a Table, a pyarrow array of `duration[us]`, which polars takes too. Otherwise a Series of dtype
        `timedelta64[us]` with the same index and name. NULL is NaT.

    Raises:
        FrameError: An interval has months, is infinite, or is longer than 292,000 years; it says which.

    Example:
        >>> to_timedelta(runs["took"]).sum()
        >>> table.set_column(0, "took", to_timedelta(table["took"]))
    """
    libraries.load()
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    is_arrow = isinstance(intervals, pa.Array | pa.ChunkedArray)
    values: Iterable[Any] = intervals.to_pylist() if is_arrow else intervals
    counts = [_microseconds(row, value, days_per_month) for row, value in enumerate(values)]
    if is_arrow:
        return pa.array(counts, pa.duration("us"))
    durations = np.array(["NaT" if count is None else count for count in counts], "timedelta64[us]")
    index, name = getattr(intervals, "index", None), getattr(intervals, "name", None)
    return pd.Series(durations, index=index if isinstance(index, pd.Index) else None, name=name)


def _microseconds(row: int, value: Any, days_per_month: int | None) -> int | None:
    if value is None or value != value:
        return None
    months, days, microseconds = _parts(row, value)
    if months and days_per_month is None:
        raise FrameError(
            f"Row {row} is {value!r}: a month has no number of days. Count from a day in SQL "
            "(`day + took - day`), or say how many days it is to count: `to_timedelta(column, days_per_month=30)`."
        )
    count = (months * (days_per_month or 0) + days) * _DAY + microseconds
    if not -(2**63) < count < 2**63:
        raise FrameError(f"Row {row} is {value!r}: a timedelta64[us] ends at 292,000 years.")
    return count


def _parts(row: int, value: Any) -> tuple[int, int, int]:
    """Give the months, days and microseconds of an interval."""
    if isinstance(value, dt.timedelta) and not getattr(value, "nanoseconds", 0):
        return 0, value.days, value.seconds * 1_000_000 + value.microseconds
    if hasattr(value, "kwds"):  # pandas.DateOffset
        return value.kwds.get("months", 0), value.kwds.get("days", 0), value.kwds.get("microseconds", 0)
    if hasattr(value, "months") and value.nanoseconds % 1000 == 0:  # pyarrow.MonthDayNano
        return value.months, value.days, value.nanoseconds // 1000
    raise FrameError(f"Row {row} is {value!r}: no interval with a length in microseconds.")
