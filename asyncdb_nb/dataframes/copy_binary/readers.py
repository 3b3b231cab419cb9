"""
The values of one column → one `Column` of a frame.

Most kinds of types (`types.RULES`) are read for all values together. The others, and values that such a reader cannot
take, are read one by one by `wire`, which reads every kind; both ways give the same column.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from asyncdb_nb.dataframes.columns.column import Column, from_wire
from asyncdb_nb.dataframes.copy_binary import numeric, text
from asyncdb_nb.dataframes.copy_binary.values import Values, array_of, validity
from asyncdb_nb.dataframes.types.binary import EPOCH_DAYS, EPOCH_MICROSECONDS
from asyncdb_nb.dataframes.types.table import ColumnType

_WIDTHS = {
    **dict.fromkeys(("bool", "char"), 1),
    "int2": 2,
    **dict.fromkeys(("int4", "oid", "float4", "date"), 4),
    **dict.fromkeys(("int8", "xid8", "float8", "money", "time", "timestamp", "timestamptz", "pg_lsn"), 8),
    "tid": 6,
    "timetz": 12,
    **dict.fromkeys(("uuid", "interval"), 16),
}
_POINTS_WIDTHS = {"point": 16, "line": 24, "circle": 24, "lseg": 32, "box": 32}
_DAY = 86_400_000_000  # microseconds

Reader = Callable[[Values, ColumnType, Counter[str]], pa.Array]


def width(type_: ColumnType) -> int | None:
    """Give the number of bytes that every value of a type has; None when they differ."""
    return _POINTS_WIDTHS.get(type_.name) if type_.kind == "floats" else _WIDTHS.get(type_.kind)


def is_readable(type_: ColumnType) -> bool:
    """Say whether columns of a type can be read from the bytes that PostgreSQL sends."""
    return type_.binary and all(part.kind != "python" for part in type_.parts())


def read(
    name: str, type_: ColumnType, values: Values, loads: Callable[[str], Any] = json.loads, *, arrow: bool = False
) -> Column:
    """Read a column.

    Args:
        name: The column's name.
        type_: Its type.
        values: Its values.
        loads: What parses JSON text.
        arrow: Whether Arrow arrays are wanted where there is a choice; else Python objects.

    Raises:
        ValueError: Bytes are not what a value of this type can be.
        UnknownTypeError: An anonymous row holds a type that is not built in.
        FrameError: A value is beyond what the type's line in the table of types says.
    """
    if type_.kind == "numeric":
        return (
            Column(name, type_, array=numeric.texts(values))
            if arrow
            else Column(name, type_, values=numeric.numbers(values))
        )
    lossy: Counter[str] = Counter()
    try:
        array = _READERS[type_.kind](values, type_, lossy) if type_.kind in _READERS else None
    except _OneByOneError:
        array = None
    if array is None:
        return from_wire(name, type_, values.each(), loads)
    return Column(name, type_, array=array, lossy=lossy, loads=loads)


class _OneByOneError(Exception):
    """A value is of a kind that is read one by one."""


def _plain(wire_dtype: str, values: Values, type_: ColumnType, lossy: Counter[str]) -> pa.Array:
    return array_of(type_.arrow(), _native(values.fixed(wire_dtype)), values.null)


def _bool(values: Values, type_: ColumnType, lossy: Counter[str]) -> pa.Array:
    found = values.fixed("u1")
    if found.max(initial=0) > 1:
        raise ValueError(f"a boolean is {found.max()}")
    bits = pa.py_buffer(np.packbits(found, bitorder="little"))
    return pa.Array.from_buffers(pa.bool_(), len(values), [validity(values.null), bits])


def _char(values: Values, type_: ColumnType, lossy: Counter[str]) -> pa.Array:
    found = values.fixed("u1")
    if found.max(initial=0) > 127:
        raise _OneByOneError  # shown as an escape
    there = found != 0
    offsets = np.zeros(len(values) + 1, np.int32)
    np.cumsum(there, out=offsets[1:])
    content = pa.py_buffer(found[there].tobytes())
    return pa.Array.from_buffers(pa.string(), len(values), [validity(values.null), pa.py_buffer(offsets), content])


def _date(values: Values, type_: ColumnType, lossy: Counter[str]) -> pa.Array:
    return _since_1970(values, type_, lossy, _native(values.fixed(">i4")), EPOCH_DAYS)


def _timestamp(values: Values, type_: ColumnType, lossy: Counter[str]) -> pa.Array:
    return _since_1970(values, type_, lossy, _native(values.fixed(">i8")), EPOCH_MICROSECONDS)


def _since_1970(values: Values, type_: ColumnType, lossy: Counter[str], counts: NDArray[Any], epoch: int) -> pa.Array:
    """Count from 1970 what PostgreSQL counts from 2000; what goes beyond the number is NA."""
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
    return array_of(type_.arrow(), counts, null)


def _time(values: Values, type_: ColumnType, lossy: Counter[str]) -> pa.Array:
    counts = _native(values.fixed(">i8"))
    null = values.null
    if len(counts) and (counts.max() >= _DAY or counts.min() < 0):
        if counts.max() > _DAY or counts.min() < 0:
            raise ValueError("a time is not within a day")
        midnight = counts == _DAY
        lossy["NA for 24:00:00"] += int(np.count_nonzero(midnight))
        null = null | midnight
        counts[midnight] = 0
    return array_of(type_.arrow(), counts, null)


def _native(numbers: NDArray[Any]) -> NDArray[Any]:
    """Put the bytes of numbers in this machine's order."""
    return numbers.astype(numbers.dtype.newbyteorder("="))


_READERS: dict[str, Reader] = {
    "bool": _bool,
    "int2": partial(_plain, ">i2"),
    "int4": partial(_plain, ">i4"),
    "int8": partial(_plain, ">i8"),
    "oid": partial(_plain, ">u4"),
    "xid8": partial(_plain, ">u8"),
    "float4": partial(_plain, ">f4"),
    "float8": partial(_plain, ">f8"),
    "date": _date,
    "time": _time,
    "timestamp": _timestamp,
    "timestamptz": _timestamp,
    "uuid": partial(_plain, "V16"),
    "char": _char,
    "money": lambda values, type_, lossy: numeric.money(values, type_),
    "decimal": numeric.decimals,
    "float": lambda values, type_, lossy: numeric.floats(values),
    "text": lambda values, type_, lossy: text.texts(values),
    "bytea": lambda values, type_, lossy: text.binaries(values),
    "json": lambda values, type_, lossy: (text.jsonb if type_.name == "jsonb" else text.texts)(values),
}
