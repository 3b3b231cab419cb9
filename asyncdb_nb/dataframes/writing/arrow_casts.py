"""
How Arrow brings an array to the type of a column in the table: each value an equal one, or an error.

What is not here (a text into a uuid, a float into a numeric) goes value by value.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kinds

from asyncdb_nb.dataframes.type_families.kind import ColumnType

Cast = Callable[[pa.Array], pa.Array]

_INTEGERS = ("int2", "int4", "int8", "oid", "xid8")
_WIDEST = pa.decimal128(20, 0)  # which holds every integer of 64 bits
_LIMITS = {  # of PostgreSQL, as Arrow counts: from 4714-11-24 BC to the end of 5874897, or of 294276
    "date": (-2_440_588, 2_145_031_948),
    "timestamp": (-210_866_803_200_000_000, 2**63 - 1),
    "timestamptz": (-210_866_803_200_000_000, 2**63 - 1),
    "time": (0, 86_400_000_000),
}


def plain(array: pa.Array) -> pa.Array:
    """Give the values themselves: not encoded by a dictionary or by runs, not as views, not as an extension's type."""
    given = array.type
    if isinstance(given, pa.BaseExtensionType):
        if given.extension_name.startswith("pandas."):
            raise pa.ArrowTypeError(f"there is no SQL type for {given}")
        return plain(array.cast(pa.bool_()) if given.extension_name == "arrow.bool8" else array.storage)
    if kinds.is_dictionary(given):
        values = plain(array.dictionary)  # polars has views there, which are not decoded
        return plain(pa.DictionaryArray.from_arrays(array.indices, values).dictionary_decode())
    if kinds.is_run_end_encoded(given):
        return plain(pc.run_end_decode(array))
    if kinds.is_string_view(given):
        return _without_view(array, pa.large_string())
    if kinds.is_binary_view(given):
        return _without_view(array, pa.large_binary())
    return array


def _without_view(array: pa.Array, wanted: pa.DataType) -> pa.Array:
    try:
        return array.cast(wanted)
    except pa.ArrowNotImplementedError:  # before pyarrow 18
        return pa.array(array.to_pylist(), wanted)


def arrow_cast(type_: ColumnType, given: pa.DataType) -> Cast | None:
    """Give what brings an array to the Arrow type of a column, or raises; None where each value goes by itself."""
    wanted = pa.null() if type_.kind == "python" else type_.arrow()
    if kinds.is_null(given):
        return partial(pc.cast, target_type=wanted)
    kind, is_text = type_.kind, kinds.is_string(given) or kinds.is_large_string(given)
    is_decimal, is_number = kinds.is_decimal(given), kinds.is_integer(given) or kinds.is_floating(given)
    if kind in ("text", "json", "jsonpath"):
        return _texts if is_text else None
    if kind in _INTEGERS or kind == "float8":
        return partial(pc.cast, target_type=wanted) if is_number or (is_decimal and kind != "float8") else None
    if kind == "float4":
        return partial(_exactly, wanted) if is_number else None
    if kind in ("decimal", "numeric"):
        return (
            partial(_decimals, wanted if kind == "decimal" else None) if is_decimal or kinds.is_integer(given) else None
        )
    if kind == "bytea":
        is_bytes = kinds.is_binary(given) or kinds.is_large_binary(given) or kinds.is_fixed_size_binary(given)
        return (lambda array: array) if is_bytes else None
    if kind in ("date", "timestamp", "timestamptz", "time", "interval"):
        return _temporal(kind, wanted, given)
    if kind == "array" and kinds.is_list(given) and type_.inside.arrow() == given.value_type:
        return _lists if kinds.is_string(given.value_type) else lambda array: array
    return (lambda array: array) if given == wanted and not kinds.is_nested(given) else None


def limits(type_: ColumnType, array: pa.Array) -> pa.Array:
    """Refuse dates and times that PostgreSQL does not have; give the others.

    Raises:
        pa.ArrowInvalid: There is one.
    """
    if type_.kind == "array" and kinds.is_list(array.type):
        limits(type_.inside, array.flatten())
        return array
    bounds = _LIMITS.get(type_.kind)
    if bounds is None or not len(array):
        return array
    counts = array.cast(pa.int32() if type_.kind == "date" else pa.int64())
    found: dict[str, Any] = pc.min_max(counts).as_py()
    if found["min"] is not None and not bounds[0] <= found["min"] <= found["max"] <= bounds[1]:
        raise pa.ArrowInvalid("PostgreSQL has no such date or time")
    return array


def _texts(array: pa.Array) -> pa.Array:
    """Refuse texts with a zero byte; give the others."""
    offsets = np.frombuffer(array.buffers()[1], np.int64 if kinds.is_large_string(array.type) else np.int32)
    content = array.buffers()[2]
    if content is not None and len(array):
        octets = np.frombuffer(content, np.uint8)[offsets[array.offset] : offsets[array.offset + len(array)]]
        if not octets.all():
            raise pa.ArrowInvalid("a text has no zero byte in PostgreSQL")
    return array


def _lists(array: pa.Array) -> pa.Array:
    _texts(array.flatten())
    return array


def _exactly(wanted: pa.DataType, array: pa.Array) -> pa.Array:
    """Convert numbers to a narrower type of float; one that would be rounded is an error."""
    made = array.cast(wanted)
    if kinds.is_float64(array.type):
        same = pc.or_kleene(pc.equal(made.cast(array.type), array), pc.is_nan(array))
        if not pc.all(same, min_count=0).as_py():
            raise pa.ArrowInvalid("it would be rounded: round it yourself, `.astype('float32')`")
    return made


def _decimals(wanted: pa.DataType | None, array: pa.Array) -> pa.Array:
    if kinds.is_integer(array.type):
        array = array.cast(_WIDEST)
    if wanted is not None:
        return array.cast(wanted)
    narrow = not kinds.is_decimal128(array.type) and array.type.precision <= 18
    return array.cast(pa.decimal128(38, array.type.scale)) if narrow else array


def _temporal(kind: str, wanted: pa.DataType, given: pa.DataType) -> Cast | None:
    if kind == "interval":
        is_interval = given == wanted or kinds.is_duration(given)
        return (
            (lambda array: array.cast(pa.duration("us")) if kinds.is_duration(given) else array)
            if is_interval
            else None
        )
    zone = getattr(given, "tz", None)
    is_moment, is_date = kinds.is_timestamp(given), kinds.is_date(given)
    if kind == "timestamptz":
        return (
            partial(pc.cast, target_type=wanted) if is_moment and zone is not None else _refused(given, "no time zone")
        )
    if is_moment and zone is not None:
        return _refused(given, "a time zone")
    if kind == "time":
        return partial(pc.cast, target_type=wanted) if kinds.is_time(given) else None
    if kind == "timestamp" and (is_moment or is_date):
        return partial(pc.cast, target_type=wanted)
    if kind == "date" and (is_moment or is_date):
        return partial(pc.cast, target_type=wanted) if is_date else _days
    return None


def _refused(given: pa.DataType, what: str) -> Cast | None:
    """Refuse every value of a type of moments: what they stand for would be a guess."""
    if not kinds.is_timestamp(given):
        return None
    advice = (
        "it has no time zone: give it one, `.dt.tz_localize('UTC')`"
        if what.startswith("no")
        else "it has a time zone, which would be lost: `.dt.tz_convert('UTC').dt.tz_localize(None)`"
    )

    def refuse(array: pa.Array) -> pa.Array:
        if array.null_count < len(array):
            raise pa.ArrowInvalid(advice)
        return pa.nulls(len(array), pa.timestamp("us"))

    return refuse


def _days(array: pa.Array) -> pa.Array:
    """Make dates of midnights."""
    made = array.cast(pa.date32(), safe=False)
    if not pc.all(pc.equal(made.cast(array.type), array), min_count=0).as_py():
        raise pa.ArrowInvalid("it has a time of day, which would be lost: `.dt.normalize()`")
    return made
