"""
One value as PostgreSQL sends it in binary → the Python value that loses nothing.

asyncpg's own decoders lose: months become 30 days, `infinity` becomes the year 9999, a year before Christ is an error.
This module reads the same bytes exactly, whether they come in a row or in a COPY stream. A date or time that Python has
no value for (`infinity`, years outside 1 to 9999) is given as PostgreSQL writes it: a str.

The formats are those of the `*_send` functions in PostgreSQL's source (src/backend/utils/adt).
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import uuid
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from functools import partial
from math import prod
from struct import Struct
from typing import Any

from asyncdb_nb.dataframes.types.table import ColumnType, UnknownTypeError, column_type
from asyncdb_nb.engine.exact_dates import DATE_INFINITY, DATE_NEGATIVE_INFINITY, NEGATIVE_INFINITY, POSITIVE_INFINITY
from asyncdb_nb.errors import FrameError

Reader = Callable[[bytes], Any]

EPOCH_DAYS = 10_957  # from 1970-01-01 to 2000-01-01, where PostgreSQL counts from
EPOCH_MICROSECONDS = EPOCH_DAYS * 86_400_000_000

_INT2, _INT4, _INT8 = Struct("!h"), Struct("!i"), Struct("!q")
_UINT4, _UINT8 = Struct("!I"), Struct("!Q")
_FLOAT4, _FLOAT8 = Struct("!f"), Struct("!d")
_INTERVAL = Struct("!qii")  # microseconds, days, months
_TIMETZ = Struct("!qi")  # microseconds, seconds west of Greenwich
_NUMERIC = Struct("!hhHh")  # digits, weight of the first, sign, digits after the point
_PG_EPOCH = dt.datetime(2000, 1, 1)
_PG_EPOCH_UTC = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)


def reader(column: ColumnType, loads: Callable[[str], Any] = json.loads) -> Reader:
    """Give the function that reads the bytes of one value of type `column`.

    Args:
        column: The type; its `binary` is true.
        loads: What parses JSON text.
    """
    match column.kind:
        case "json":
            return lambda data: loads(json_text(column, data))
        case "array":
            return partial(_array, _element_reader(column, loads))
        case "range":
            return partial(_range, _element_reader(column, loads))
        case "multirange":
            return partial(_multirange, _element_reader(column, loads))
        case "composite":
            names = [name for name, _ in column.fields]
            readers = [reader(field, loads) for _, field in column.fields]
            return partial(_composite, names, readers)
        case "record":
            return partial(_record, column, loads)
        case "money":
            return lambda data: Decimal(_INT8.unpack(data)[0]).scaleb(-column.scale)
        case kind:
            return _SCALARS[kind]


def json_text(column: ColumnType, data: bytes) -> str:
    """Read JSON as text: `jsonb` carries a version byte before it."""
    return (data[1:] if column.name == "jsonb" else data).decode()


def interval_parts(data: bytes) -> tuple[int, int, int]:
    """Read an interval's months, days and microseconds."""
    microseconds, days, months = _INTERVAL.unpack(data)
    return months, days, microseconds


def interval_infinity(months: int, days: int, microseconds: int) -> str | None:
    """Say whether an interval is infinite (PostgreSQL 17): all its parts are at their limit."""
    if (months, days, microseconds) == (DATE_INFINITY, DATE_INFINITY, POSITIVE_INFINITY):
        return "infinity"
    if (months, days, microseconds) == (DATE_NEGATIVE_INFINITY, DATE_NEGATIVE_INFINITY, NEGATIVE_INFINITY):
        return "-infinity"
    return None


def offset(months: int, days: int, microseconds: int) -> Any:
    """Make the pandas.DateOffset for an interval, or its text when it is infinite."""
    from pandas import DateOffset

    infinite = interval_infinity(months, days, microseconds)
    return infinite or DateOffset(months=months, days=days, microseconds=microseconds)


def _element_reader(column: ColumnType, loads: Callable[[str], Any]) -> Reader:
    assert column.element is not None, f"a {column.kind} has an element"  # noqa: S101
    return reader(column.element, loads)


def _array(element: Reader, data: bytes) -> list[Any]:
    dimensions = _INT4.unpack_from(data)[0]
    lengths = [_INT4.unpack_from(data, 12 + 8 * d)[0] for d in range(dimensions)]
    values: list[Any] = [None if item is None else element(item) for item in _items(data, 12 + 8 * dimensions)]
    if len(values) != (prod(lengths) if dimensions else 0):
        raise ValueError(f"an array of {lengths} elements has {len(values)}")
    for length in reversed(lengths[1:]):
        values = [values[start : start + length] for start in range(0, len(values), length)]
    return values


def _items(data: bytes, position: int) -> Iterator[bytes | None]:
    """Yield what follows `position` as values with a length before each, -1 for NULL."""
    while position < len(data):
        length = _INT4.unpack_from(data, position)[0]
        position += 4
        yield _item(data, position, length)
        position += max(length, 0)


def _item(data: bytes, position: int, length: int) -> bytes | None:
    if length < -1 or position + length > len(data):
        raise ValueError(f"a value inside another says that it is {length} bytes long")
    return None if length < 0 else data[position : position + length]


def _range(bound: Reader, data: bytes) -> Any:
    from sqlalchemy.dialects.postgresql import Range

    flags = data[0]  # 1 empty, 2 [ , 4 ], 8 no lower bound, 16 no upper bound
    if flags & 1:
        return Range(empty=True)
    bounds = _items(data, 1)
    lower = None if flags & 8 else bound(next(bounds) or b"")
    upper = None if flags & 16 else bound(next(bounds) or b"")
    return Range(lower, upper, bounds=("[" if flags & 2 else "(") + ("]" if flags & 4 else ")"))  # type: ignore[arg-type]


def _multirange(one: Reader, data: bytes) -> list[Any]:
    return [one(item) for item in _items(data, 4) if item is not None]


def _composite(names: list[str], readers: list[Reader], data: bytes) -> dict[str, Any]:
    values = [item for _, item in _fields(data)]
    return {name: None if item is None else read(item) for name, read, item in zip(names, readers, values, strict=True)}


def _record(record: ColumnType, loads: Callable[[str], Any], data: bytes) -> tuple[Any, ...]:
    return tuple(
        None if item is None else reader(_type_inside(record, oid), loads)(item) for oid, item in _fields(data)
    )


def _type_inside(record: ColumnType, oid: int) -> ColumnType:
    """Give the type of a value in an anonymous row, which says its oid and no more."""
    known = dict(record.fields)
    found = known.get(str(oid)) or column_type(oid)
    if not found.binary:
        raise FrameError(
            f"An anonymous row holds a {found.name}, whose binary form is not read here. "
            "Cast it in the statement: `row(value::text)`."
        )
    if str(oid) not in known and any(part.kind == "money" for part in found.parts()):
        raise UnknownTypeError(oid)  # how many digits it has is the server's to say
    for inside, type_ in record.fields:
        found = found.knowing(int(inside), type_)
    return found


def _fields(data: bytes) -> Iterator[tuple[int, bytes | None]]:
    position = 4
    while position < len(data):
        oid, length = _UINT4.unpack_from(data, position)[0], _INT4.unpack_from(data, position + 4)[0]
        position += 8
        yield oid, _item(data, position, length)
        position += max(length, 0)


def _numeric(data: bytes) -> Decimal:
    count, weight, sign, scale = _NUMERIC.unpack_from(data)
    if sign & 0xC000 == 0xC000:
        return Decimal({0xC000: "NaN", 0xD000: "Infinity", 0xF000: "-Infinity"}[sign])
    groups = [_INT2.unpack_from(data, 8 + 2 * n)[0] for n in range(count)]
    if len(data) != _NUMERIC.size + 2 * count or not all(0 <= group <= 9999 for group in groups):
        raise ValueError("its digits are not those of a numeric")
    digits = "".join(f"{group:04d}" for group in groups) or "0"
    exponent = 4 * (weight - count + 1) if count else 0
    wanted = exponent + scale  # move the digits so that exactly `scale` of them stand after the point
    if wanted < 0 and digits[wanted:].strip("0"):
        raise ValueError(f"a numeric has digits behind the {scale} that it shows")
    digits = digits + "0" * wanted if wanted >= 0 else digits[:wanted] or "0"
    return Decimal((1 if sign else 0, tuple(map(int, digits.lstrip("0") or "0")), -scale))


def _date(data: bytes) -> dt.date | str:
    days = _INT4.unpack(data)[0]
    if days == DATE_INFINITY:
        return "infinity"
    if days == DATE_NEGATIVE_INFINITY:
        return "-infinity"
    try:
        return _PG_EPOCH.date() + dt.timedelta(days)
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


def timestamp_text(microseconds: int, offset: str = "") -> str:
    """Write a time stamp of any year as PostgreSQL does, by microseconds since 2000."""
    days, rest = divmod(microseconds, 86_400_000_000)
    day, *era = date_text(days).split(" ")
    return " ".join([day, _time_text(rest) + offset, *era])


def date_text(days: int) -> str:
    """Write a date of any year as PostgreSQL does, by days since 2000; the calendar repeats every 146097 days."""
    cycles, rest = divmod(days, 146_097)
    day = _PG_EPOCH.date() + dt.timedelta(rest)
    year = day.year + 400 * cycles
    return f"{year:04d}-{day:%m-%d}" if year > 0 else f"{1 - year:04d}-{day:%m-%d} BC"


def _time(data: bytes) -> dt.time | str:
    microseconds = _INT8.unpack(data)[0]
    try:
        return (
            (_PG_EPOCH + dt.timedelta(microseconds=microseconds)).time()
            if microseconds < 86_400_000_000
            else "24:00:00"
        )
    except OverflowError as error:
        raise ValueError(f"{microseconds} microseconds are no time of day") from error


def _timetz(data: bytes) -> str:
    microseconds, west = _TIMETZ.unpack(data)
    return timetz_text(microseconds, -west)


def timetz_text(microseconds: int, east: int) -> str:
    """Write a time with its offset as PostgreSQL does: `east` is seconds east of Greenwich."""
    minutes, seconds = divmod(abs(east), 60)
    parts = [f"{minutes // 60:02d}", f"{minutes % 60:02d}", f"{seconds:02d}"]
    while len(parts) > 1 and parts[-1] == "00":
        parts.pop()
    return _time_text(microseconds) + ("-" if east < 0 else "+") + ":".join(parts)


def _time_text(microseconds: int) -> str:
    seconds, fraction = divmod(microseconds, 1_000_000)
    text = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    return f"{text}.{fraction:06d}".rstrip("0") if fraction else text


def _inet(data: bytes) -> str:
    family, bits, is_cidr = data[0], data[1], data[2]
    address = ipaddress.IPv4Address(data[4:]) if family == 2 else ipaddress.IPv6Address(data[4:])
    return f"{address}/{bits}" if is_cidr or bits < address.max_prefixlen else str(address)


def _bits(data: bytes) -> str:
    length = _INT4.unpack_from(data)[0]
    return "".join(f"{byte:08b}" for byte in data[4:])[:length]


def _floats(data: bytes) -> list[float]:
    start = len(data) % 8  # a polygon has its number of points before them
    return [_FLOAT8.unpack_from(data, position)[0] for position in range(start, len(data), 8)]


def _path(data: bytes) -> dict[str, Any]:
    return {"closed": data[0] == 1, "points": _floats(data[5:])}


def _hstore(data: bytes) -> dict[str, str | None]:
    items = [None if item is None else item.decode() for item in _items(data, 4)]
    return {key or "": value for key, value in zip(items[::2], items[1::2], strict=True)}


def _char(data: bytes) -> str:
    """Read "char" as PostgreSQL writes it: nothing for zero, above 127 an octal escape."""
    return "" if data == b"\0" else f"\\{data[0]:03o}" if data[0] > 127 else data.decode("ascii")


def _lsn(data: bytes) -> str:
    value = _UINT8.unpack(data)[0]
    return f"{value >> 32:X}/{value & 0xFFFFFFFF:X}"


def _snapshot(data: bytes) -> str:
    first, last, *between = [_UINT8.unpack_from(data, position)[0] for position in range(4, len(data), 8)]
    return snapshot_text(first, last, between)


def snapshot_text(first: int, last: int, between: Iterable[int]) -> str:
    """Write a snapshot as PostgreSQL does: its oldest transaction, the next one, and those that run between."""
    return f"{first}:{last}:{','.join(map(str, between))}"


def _tid(data: bytes) -> str:
    return f"({_UINT4.unpack_from(data)[0]},{int.from_bytes(data[4:6])})"


def _first(struct: Struct) -> Reader:
    return lambda data: struct.unpack(data)[0]


_SCALARS: dict[str, Reader] = {
    "bool": lambda data: data == b"\1",
    "int2": _first(_INT2),
    "int4": _first(_INT4),
    "int8": _first(_INT8),
    "oid": _first(_UINT4),
    "xid8": _first(_UINT8),
    "float4": _first(_FLOAT4),
    "float8": _first(_FLOAT8),
    "float": lambda data: float(_numeric(data)),
    "numeric": _numeric,
    "decimal": _numeric,
    "text": bytes.decode,
    "void": lambda data: None,
    "char": _char,
    "bytea": bytes,
    "date": _date,
    "time": _time,
    "timetz": _timetz,
    "timestamp": partial(_timestamp, _PG_EPOCH),
    "timestamptz": partial(_timestamp, _PG_EPOCH_UTC),
    "interval": lambda data: offset(*interval_parts(data)),
    "uuid": lambda data: uuid.UUID(bytes=data),
    "inet": _inet,
    "macaddr": lambda data: data.hex(":"),
    "bit": _bits,
    "pg_lsn": _lsn,
    "snapshot": _snapshot,
    "tid": _tid,
    "floats": _floats,
    "path": _path,
    "hstore": _hstore,
}
