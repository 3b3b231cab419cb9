"""
Values of any length → Arrow strings and binaries, copied once.

The values already lie in the stream, in order, with other columns between them. An Arrow array whose offsets point into
the stream has each value and each gap as elements; taking every other one gives the column.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from asyncdb_nb.dataframes.copy_binary.values import Values, validity

_VERSION = 1


def binaries(values: Values) -> pa.Array:
    """Read bytes."""
    return _taken(values, pa.binary())


def texts(values: Values) -> pa.Array:
    """Read text.

    Raises:
        ValueError: It is not UTF-8, or holds a zero byte, which PostgreSQL's text cannot.
    """
    array = _taken(values, pa.string())
    offsets, content = array.buffers()[1:]
    if not len(array) or content is None:
        return array
    octets = np.frombuffer(content, np.int8)[: np.frombuffer(offsets, np.int32)[len(array)]]
    if octets.min(initial=1) > 0:  # ASCII
        return array
    if not octets.all():
        raise ValueError("a text holds a zero byte")
    array.validate(full=True)
    return array


def versioned(values: Values) -> pa.Array:
    """Read text which a version number precedes: jsonb, jsonpath."""
    if (values.length[values.valid] < 1).any() or (values.fixed("u1")[values.valid] != _VERSION).any():
        raise ValueError(f"a text in JSON is not of version {_VERSION}")
    return texts(values.after(1))


def characters(values: Values, found: NDArray[np.uint8]) -> pa.Array:
    """Make texts of one ASCII character for each value; zero is no character."""
    there = found != 0
    offsets = np.zeros(len(values) + 1, np.int32)
    np.cumsum(there, out=offsets[1:])
    content = pa.py_buffer(found[there].tobytes())
    return pa.Array.from_buffers(pa.string(), len(values), [validity(values.null), pa.py_buffer(offsets), content])


def _taken(values: Values, type_: pa.DataType) -> pa.Array:
    count = len(values)
    if not count:
        return pa.array([], type_)
    offsets = np.empty(2 * count + 1, np.int32)
    offsets[:-1:2] = values.start
    offsets[1::2] = values.start + values.length
    offsets[-1] = offsets[-2]
    everything = pa.Array.from_buffers(type_, 2 * count, [None, pa.py_buffer(offsets), pa.py_buffer(values.data)])
    places = np.arange(0, 2 * count, 2, dtype=np.int32)
    return everything.take(pa.array(places, mask=values.null if values.nulls else None))
