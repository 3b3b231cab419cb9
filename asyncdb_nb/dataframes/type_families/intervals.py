"""
Intervals: months, days and microseconds apart, since a month has no number of days.

asyncpg makes a timedelta of them, with 30 days for a month.
"""

from __future__ import annotations

import datetime as dt
from struct import Struct
from typing import Any

from sqlalchemy import types as sql
from sqlalchemy.dialects import postgresql as pg

from asyncdb_nb.dataframes.type_families.dates_and_times import has_nanoseconds, rounding, unrounded
from asyncdb_nb.dataframes.type_families.interval_parts import interval_parts
from asyncdb_nb.dataframes.type_families.kind import (
    OBJECTS,
    BuiltIn,
    ColumnType,
    Dumps,
    Function,
    Kind,
    Loads,
    Reader,
    UnfitError,
    Writer,
    always,
    need,
)
from asyncdb_nb.engine.exact_dates import (
    DATE_INFINITY,
    DATE_NEGATIVE_INFINITY,
    NEGATIVE_INFINITY,
    POSITIVE_INFINITY,
)

_DAY = 86_400_000_000  # microseconds
_PARTS = Struct("!qii")  # microseconds, days, months
_INFINITIES = {  # PostgreSQL 17: all its parts are at their limit
    (POSITIVE_INFINITY, DATE_INFINITY, DATE_INFINITY): "infinity",
    (NEGATIVE_INFINITY, DATE_NEGATIVE_INFINITY, DATE_NEGATIVE_INFINITY): "-infinity",
}


_BY_TEXT = {text: parts for parts, text in _INFINITIES.items()}


def _reader(column: ColumnType, loads: Loads) -> Reader:
    from pandas import DateOffset

    def read(data: bytes) -> Any:
        microseconds, days, months = parts = _PARTS.unpack(data)
        return _INFINITIES.get(parts) or DateOffset(months=months, days=days, microseconds=microseconds)

    return read


def _from_driver(column: ColumnType) -> Function:
    from pandas import DateOffset

    def convert(value: Any) -> Any:
        if not isinstance(value, dt.timedelta):
            return value
        days = int(value / dt.timedelta(days=1))  # towards zero: of a timedelta below it, days alone are negative
        rest = value - dt.timedelta(days=days)
        return DateOffset(months=0, days=days, microseconds=rest // dt.timedelta(microseconds=1))

    return convert


def _take(value: Any) -> Any:
    is_interval = isinstance(value, dt.timedelta | str) or hasattr(value, "kwds")
    return need(is_interval and not has_nanoseconds(value), value)


def _to_arrow(value: Any) -> tuple[int, int, int]:
    if isinstance(value, str):
        raise UnfitError("infinity")
    parts: dict[str, int] = value.kwds
    nanoseconds = parts.get("microseconds", 0) * 1000 + parts.get("nanoseconds", 0)
    if not -(2**63) <= nanoseconds < 2**63:
        raise UnfitError("more than 292 years of hours")
    return parts.get("months", 0), parts.get("days", 0), nanoseconds


def _write(value: Any) -> bytes:
    if isinstance(value, str):
        return _PARTS.pack(*_BY_TEXT[value])
    if isinstance(value, tuple):  # Arrow's
        months, days, nanoseconds = value
        need(nanoseconds % 1000 == 0, value)
        return _PARTS.pack(nanoseconds // 1000, days, months)
    months, days, microseconds = interval_parts(value)
    return _PARTS.pack(microseconds, days, months)


def _writer(column: ColumnType, dumps: Dumps) -> Writer:
    """Refuse what the server would set to zero: all that is smaller than the last field of `interval year to month`."""
    write = unrounded(_write)(column, dumps)
    fields = column.typmod >> 16 & _ALL_FIELDS
    if column.typmod < 0 or fields == _ALL_FIELDS:
        return write
    last = next(steps for bit, steps in _LAST_FIELDS if fields & 1 << bit)

    def write_fields(value: Any) -> bytes:
        data = write(value)
        parts = _PARTS.unpack(data)
        whole = all(part % step == 0 if step else part == 0 for part, step in zip(parts, last, strict=True))
        need(whole or parts in _INFINITIES, "it has smaller parts, which would be lost")
        return data

    return write_fields


_ALL_FIELDS = 0x7FFF  # in a typmod: timestamp.h, INTERVAL_FULL_RANGE
_LAST_FIELDS = (  # the bit of a field (datetime.h), and what microseconds, days and months are multiples of; 0 for none
    (12, (1, 1, 1)),  # second
    (11, (60_000_000, 1, 1)),  # minute
    (10, (3_600_000_000, 1, 1)),  # hour
    (3, (0, 1, 1)),  # day
    (1, (0, 0, 1)),  # month
    (2, (0, 0, 12)),  # year
)


def _encode(column: ColumnType, array: Any) -> Any:
    """Reorder the parts of Arrow's intervals: months, days, nanoseconds."""
    import numpy as np
    import pyarrow as pa

    from asyncdb_nb.dataframes.copy_binary.values import validity

    if column.typmod >= 0:
        return None
    if pa.types.is_duration(array.type):
        days, rest = np.divmod(array.cast(pa.int64()).fill_null(0).to_numpy(), _DAY)
        made = np.zeros(len(array), [("microseconds", ">i8"), ("days", ">i4"), ("months", ">i4")])
        made["microseconds"], made["days"] = rest, days
        null = array.is_null().to_numpy(zero_copy_only=False)
        return pa.Array.from_buffers(pa.binary(16), len(array), [validity(null), pa.py_buffer(made)])
    given = np.dtype([("months", "<i4"), ("days", "<i4"), ("nanoseconds", "<i8")])
    valid = array.is_valid().to_numpy(zero_copy_only=False)
    parts = np.frombuffer(array.buffers()[1], given)[array.offset : array.offset + len(array)]
    made = np.zeros(len(array), [("microseconds", ">i8"), ("days", ">i4"), ("months", ">i4")])
    made["microseconds"], rest = np.divmod(parts["nanoseconds"], 1000)
    made["days"], made["months"] = parts["days"], parts["months"]
    if rest[valid].any():  # nanoseconds
        return None
    return pa.Array.from_buffers(pa.binary(16), len(array), [validity(~valid), pa.py_buffer(made)])


def _arrow_type(column: ColumnType) -> Any:
    import pyarrow as pa

    return pa.month_day_nano_interval()


KINDS = (
    Kind(
        name="interval",
        documented="interval",
        arrow="month_day_nano_interval",
        dtypes=OBJECTS,
        note="pandas.DateOffset with months, days and microseconds apart, as PostgreSQL counts them; ±infinity is "
        "text. `to_timedelta(column)` makes `timedelta64[us]` of it.",
        types={"interval": BuiltIn(1186, 1187, width=16)},
        arrow_type=_arrow_type,
        reader=_reader,
        modified=rounding,
        writer=_writer,
        encode=_encode,
        from_driver=_from_driver,
        lost_by_driver=(dt.timedelta, "a month counted as 30 days, if there was one"),
        converter=always(_take),
        to_arrow=always(_to_arrow),
        keeps_values=True,
        sqlalchemy={sql.Interval: "interval", pg.INTERVAL: "interval"},
        python_bases={dt.timedelta: "interval"},
    ),
)
