"""
Dates, times of day and time stamps.

asyncpg's own decoders lose: `infinity` becomes the year 9999, a year before Christ is an error. What Python has no
value for (`infinity`, years outside 1 to 9999) is given as PostgreSQL writes it, a str; Arrow has all years, but not
infinity.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from struct import Struct
from typing import TYPE_CHECKING, Any

from sqlalchemy import types as sql

from asyncdb_nb.dataframes.type_families.calendar_text import (
    date_text,
    days_of,
    microseconds_of,
    timestamp_text,
    timetz_of,
    timetz_text,
)
from asyncdb_nb.dataframes.type_families.kind import (
    ARROW,
    BuiltIn,
    ColumnType,
    Kind,
    Reader,
    UnfitError,
    always,
    as_it_is,
    each,
    need,
    written,
)
from asyncdb_nb.engine.exact_dates import (
    DATE_INFINITY,
    DATE_NEGATIVE_INFINITY,
    NEGATIVE_INFINITY,
    POSITIVE_INFINITY,
    asyncpgs_infinity,
    days,
    microseconds,
    microseconds_utc,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from asyncdb_nb.dataframes.copy_binary.values import Values

_INT4, _INT8 = Struct("!i"), Struct("!q")
_TIMETZ = Struct("!qi")  # microseconds, seconds west of Greenwich
_EPOCH = dt.datetime(2000, 1, 1)
_EPOCH_UTC = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
_EPOCH_DAYS = 10_957  # from 1970-01-01 to 2000-01-01, where PostgreSQL counts from
_DAY = 86_400_000_000  # microseconds
_MOST_DAYS = (2**63 - 1) // _DAY  # that a time stamp in microseconds can hold
_YEARS = (
    -719_162,
    2_932_896,
)  # 0001-01-01 and 9999-12-31 as days from 1970: what Python, and so a printed frame, shows


def _date(data: bytes) -> dt.date | str:
    days = _INT4.unpack(data)[0]
    if days in (DATE_INFINITY, DATE_NEGATIVE_INFINITY):
        return "infinity" if days > 0 else "-infinity"
    try:
        return _EPOCH.date() + dt.timedelta(days)
    except OverflowError:
        return date_text(days)


def _timestamp(start: dt.datetime, data: bytes) -> dt.datetime | str:
    microseconds = _INT8.unpack(data)[0]
    if microseconds in (POSITIVE_INFINITY, NEGATIVE_INFINITY):
        return "infinity" if microseconds > 0 else "-infinity"
    try:
        return start + dt.timedelta(microseconds=microseconds)
    except OverflowError:
        return timestamp_text(microseconds, "+00" if start.tzinfo else "")


def _time(data: bytes) -> dt.time | str:
    microseconds = _INT8.unpack(data)[0]
    if microseconds >= _DAY:
        return "24:00:00"
    try:
        return (_EPOCH + dt.timedelta(microseconds=microseconds)).time()
    except OverflowError as error:
        raise ValueError(f"{microseconds} microseconds are no time of day") from error


def _timetz(data: bytes) -> str:
    microseconds, west = _TIMETZ.unpack(data)
    return timetz_text(microseconds, -west)


def _since_1970(size: int, epoch: int) -> Reader:
    """Make what counts from 1970, as Arrow does: days or microseconds, in `size` bytes."""
    limit = 2 ** (8 * size - 1)

    def read(data: bytes) -> int:
        count = int.from_bytes(data, signed=True)
        if count in (limit - 1, -limit):
            raise UnfitError("infinity")
        if count + epoch >= limit:
            raise UnfitError("a year after 294246")
        return count + epoch

    return read


def _all_since_1970(dtype: str, epoch: int, values: Values, column: ColumnType, lossy: Counter[str]) -> pa.Array:
    """Count from 1970 what PostgreSQL counts from 2000; what goes beyond the number is NA."""
    import numpy as np

    from asyncdb_nb.dataframes.copy_binary.values import array_of

    counts = values.native(dtype)
    limits = np.iinfo(counts.dtype)
    null = values.null
    if len(counts) and (counts.max() > limits.max - epoch or counts.min() == limits.min):
        infinite = (counts == limits.max) | (counts == limits.min)
        late = ~infinite & (counts > limits.max - epoch)
        lossy["NA for infinity"] += int(np.count_nonzero(infinite))
        lossy["NA for a year after 294246"] += int(np.count_nonzero(late))
        null = null | infinite | late
        counts[null] = 0
    counts += epoch
    return array_of(column.arrow(), counts, null)


def _times(values: Values, column: ColumnType, lossy: Counter[str]) -> pa.Array:
    from asyncdb_nb.dataframes.copy_binary.values import array_of

    counts = values.native(">i8")
    null = values.null
    if len(counts) and (counts.max() >= _DAY or counts.min() < 0):
        if counts.max() > _DAY or counts.min() < 0:
            raise ValueError("a time is not within a day")
        midnight = counts == _DAY
        lossy["NA for 24:00:00"] += int(midnight.sum())
        null = null | midnight
        counts[midnight] = 0
    return array_of(column.arrow(), counts, null)


def _printable(array: Any, lossy: Counter[str]) -> Any:
    """Make dates NA that Python has no date for: a frame that holds them cannot be printed."""
    import pyarrow as pa
    import pyarrow.compute as pc

    days = array.cast(pa.int32())
    bounds: dict[str, Any] = pc.min_max(days).as_py()
    if bounds["min"] is None or (bounds["min"] >= _YEARS[0] and bounds["max"] <= _YEARS[1]):
        return array
    shown: Any = pc.and_(pc.greater_equal(days, _YEARS[0]), pc.less_equal(days, _YEARS[1]))
    lossy["NA for a year outside 1 to 9999"] += pc.sum(pc.invert(shown)).as_py()
    return pc.if_else(shown, array, pa.scalar(None, array.type))


def _midnight(data: bytes) -> Any:
    return _at_midnight(_date(data))


def _at_midnight(value: Any) -> Any:
    """Make a time stamp of a date; a text stays, which stands for a day that Python has none for."""
    day = _from_driver(value)
    return day if isinstance(day, str) else dt.datetime.combine(day, dt.time())


def _midnight_since_1970(data: bytes) -> int:
    days: int = _since_1970(4, _EPOCH_DAYS)(data)
    if abs(days) > _MOST_DAYS:
        raise UnfitError("a year after 294246")
    return days * _DAY


def _midnights(values: Values, column: ColumnType, lossy: Counter[str]) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    days = _all_since_1970(">i4", _EPOCH_DAYS, values, replace(column, kind="date"), lossy).cast(pa.int32())
    late: Any = pc.greater(days, _MOST_DAYS)  # PostgreSQL has no days so long before 1970
    lossy["NA for a year after 294246"] += pc.sum(late).as_py() or 0
    days = pc.if_else(late, pa.scalar(None, pa.int32()), days)
    return pc.multiply(days.cast(pa.int64()), _DAY).cast(column.arrow())


def _utc(column: ColumnType) -> pa.DataType:
    import pyarrow as pa

    return pa.timestamp("us", "UTC")


def _from_driver(value: Any) -> Any:
    return asyncpgs_infinity(value) or value


def _timetz_from_driver(value: Any) -> str:
    if isinstance(value, str):
        return value
    east = value.utcoffset() or dt.timedelta(0)
    seconds = (value.hour * 60 + value.minute) * 60 + value.second
    return timetz_text(seconds * 1_000_000 + value.microsecond, int(east.total_seconds()))


def _to_arrow(value: Any) -> Any:
    if isinstance(value, str):  # Python has no date or time for it
        raise UnfitError("infinity" if value.endswith("infinity") else value)
    return value


def _take_date(value: Any) -> Any:
    return need(isinstance(value, dt.date) and not isinstance(value, dt.datetime), value)


def _take_midnight(value: Any) -> Any:
    return value if isinstance(value, str) else _take_date(value)


def _take_time(value: Any) -> Any:
    return need(isinstance(value, dt.time) and value.tzinfo is None, value)


def _take_timetz(value: Any) -> Any:
    return need(isinstance(value, str) or (isinstance(value, dt.time) and value.tzinfo is not None), value)


def _take_timestamp(value: Any) -> Any:
    return need(isinstance(value, dt.datetime) and value.tzinfo is None and not has_nanoseconds(value), value)


def _take_timestamptz(value: Any) -> Any:
    if asyncpgs_infinity(value):  # which has no time zone
        return value
    return need(isinstance(value, dt.datetime) and value.tzinfo is not None and not has_nanoseconds(value), value)


def _write_date(value: Any) -> bytes:
    if isinstance(value, str):
        limit = {"infinity": DATE_INFINITY, "-infinity": DATE_NEGATIVE_INFINITY}
        return _INT4.pack(limit[value] if value in limit else days_of(value))
    whole = isinstance(value, dt.datetime) and value.tzinfo is None and microseconds(value) % _DAY == 0
    return _INT4.pack(days(need(whole or not isinstance(value, dt.datetime), value)))


def _write_moment(count: Callable[[Any], int], value: Any) -> bytes:
    if isinstance(value, str):
        has_zone = count is _utc_count
        limit = {"infinity": POSITIVE_INFINITY, "-infinity": NEGATIVE_INFINITY}
        need(value in limit or has_zone == ("+00" in value), value)  # else its zone would be a guess, or be lost
        return _INT8.pack(limit[value] if value in limit else microseconds_of(value))
    return _INT8.pack(count(value))


def _utc_count(value: Any) -> int:
    """Count the microseconds of a moment; one without a time zone is none."""
    known = asyncpgs_infinity(value) is not None or getattr(value, "tzinfo", None) is not None
    return microseconds_utc(need(known, value))


def _write_time(value: Any) -> bytes:
    if value == "24:00:00":
        return _INT8.pack(_DAY)
    _take_time(value)
    seconds = (value.hour * 60 + value.minute) * 60 + value.second
    return _INT8.pack(seconds * 1_000_000 + value.microsecond)


def _write_timetz(value: Any) -> bytes:
    clock, east = timetz_of(_timetz_from_driver(_take_timetz(value)))
    return _TIMETZ.pack(clock, -east)


def rounding(column: ColumnType, typmod: int, money_scale: int) -> ColumnType:
    """Keep as `scale` how many of the six digits of a second the server would round away."""
    return replace(column, scale=6 - (typmod & 0xFFFF)) if typmod >= 0 and typmod & 0xFFFF < 6 else column


def unrounded(write: Callable[[Any], bytes]) -> Callable[[ColumnType, Any], Callable[[Any], bytes]]:
    """Have what writes microseconds first refuse those that the server would round away."""

    def make(column: ColumnType, dumps: Any) -> Callable[[Any], bytes]:
        def write_unrounded(value: Any) -> bytes:
            data = write(value)
            count = _INT8.unpack_from(data)[0]
            if count % 10**column.scale and count not in (POSITIVE_INFINITY, NEGATIVE_INFINITY):
                raise ValueError(f"it would be rounded to {6 - column.scale} digits of a second")
            return data

        return write_unrounded if column.scale else write

    return make


def _encode(column: ColumnType, array: pa.Array) -> pa.Array | None:
    return None if column.scale else array


def has_nanoseconds(value: Any) -> bool:
    """Say whether a value of pandas' own has nanoseconds beside the microseconds."""
    return bool(getattr(value, "nanosecond", 0) or getattr(value, "nanoseconds", 0))


def _literal(value: Any) -> str | None:
    return value.isoformat() if type(value) is dt.time and value.tzinfo is None else None


_EPOCH_MICROSECONDS = _EPOCH_DAYS * _DAY
_ALL_YEARS = "BC and year 294246 included; ±infinity and later years are NaT (lossy)."

KINDS = (
    Kind(
        name="date",
        documented="date",
        arrow="date32[day]",
        dtypes=(ARROW, ARROW, ARROW),
        note="±infinity is NA (lossy), and so are BC and years after 9999, which Arrow has. "
        "`dates='timestamp'`: time stamps.",
        types={"date": BuiltIn(1082, 1182, width=4)},
        reader=each(_date),
        arrow_reader=always(_since_1970(4, _EPOCH_DAYS)),
        vectorized=partial(_all_since_1970, ">i4", _EPOCH_DAYS),
        writer=written(_write_date),
        encode=as_it_is,
        from_driver=always(_from_driver),
        classes=(dt.date,),
        converter=always(_take_date),
        to_arrow=always(_to_arrow),
        for_pandas=_printable,
        sqlalchemy={sql.Date: "date"},
        python={dt.date: "date"},
    ),
    Kind(
        name="midnight",
        documented="date with `dates='timestamp'`",
        arrow="timestamp[us]",
        dtypes=("datetime64[us]", "datetime64[us]", ARROW),
        note="Its midnight. ±infinity and years after 294246 are NaT (lossy).",
        reader=each(_midnight),
        arrow_reader=always(_midnight_since_1970),
        vectorized=_midnights,
        from_driver=always(_at_midnight),
        converter=always(_take_midnight),
        to_arrow=always(_to_arrow),
    ),
    Kind(
        name="time",
        documented="time",
        arrow="time64[us]",
        dtypes=(ARROW, ARROW, ARROW),
        note="24:00:00 is NA (lossy).",
        types={"time": BuiltIn(1083, 1183, width=8, literal=_literal)},
        reader=each(_time),
        vectorized=_times,
        modified=rounding,
        writer=unrounded(_write_time),
        encode=_encode,
        converter=always(_take_time),
        to_arrow=always(_to_arrow),
        sqlalchemy={sql.Time: lambda type_: ("timetz" if type_.timezone else "time", -1)},
    ),
    Kind(
        name="timetz",
        documented="timetz",
        note="As text with its offset, to the second: 12:00:00+02.",
        types={"timetz": BuiltIn(1266, 1270, width=12)},
        reader=each(_timetz),
        modified=rounding,
        writer=unrounded(_write_timetz),
        from_driver=always(_timetz_from_driver),
        converter=always(_take_timetz),
    ),
    Kind(
        name="timestamp",
        documented="timestamp",
        arrow="timestamp[us]",
        dtypes=("datetime64[us]", "datetime64[us]", ARROW),
        note=_ALL_YEARS,
        types={"timestamp": BuiltIn(1114, 1115, width=8)},
        reader=each(partial(_timestamp, _EPOCH)),
        arrow_reader=always(_since_1970(8, _EPOCH_MICROSECONDS)),
        vectorized=partial(_all_since_1970, ">i8", _EPOCH_MICROSECONDS),
        modified=rounding,
        writer=unrounded(partial(_write_moment, microseconds)),
        encode=_encode,
        from_driver=always(_from_driver),
        converter=always(_take_timestamp),
        to_arrow=always(_to_arrow),
        sqlalchemy={sql.DateTime: lambda type_: ("timestamptz" if type_.timezone else "timestamp", -1)},
    ),
    Kind(
        name="timestamptz",
        documented="timestamptz",
        arrow="timestamp[us, tz=UTC]",
        dtypes=("datetime64[us, UTC]", "datetime64[us, UTC]", ARROW),
        note=f"In UTC. {_ALL_YEARS}",
        types={"timestamptz": BuiltIn(1184, 1185, width=8)},
        arrow_type=_utc,
        reader=each(partial(_timestamp, _EPOCH_UTC)),
        arrow_reader=always(_since_1970(8, _EPOCH_MICROSECONDS)),
        vectorized=partial(_all_since_1970, ">i8", _EPOCH_MICROSECONDS),
        modified=rounding,
        writer=unrounded(partial(_write_moment, _utc_count)),
        encode=_encode,
        from_driver=always(_from_driver),
        converter=always(_take_timestamptz),
        to_arrow=always(_to_arrow),
    ),
)
