"""Values inside a value: each with its length before it, -1 for NULL."""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct

INT4 = Struct("!i")
_FIELD = Struct("!Ii")  # oid, length


def items(data: bytes, position: int) -> Iterator[bytes | None]:
    """Yield the values that follow `position`."""
    while position < len(data):
        length = INT4.unpack_from(data, position)[0]
        position += INT4.size
        yield _item(data, position, length)
        position += max(length, 0)


def fields(data: bytes) -> Iterator[tuple[int, bytes | None]]:
    """Yield the values of a row, each with its type's oid."""
    position = INT4.size
    while position < len(data):
        oid, length = _FIELD.unpack_from(data, position)
        position += _FIELD.size
        yield oid, _item(data, position, length)
        position += max(length, 0)


def _item(data: bytes, position: int, length: int) -> bytes | None:
    if length < -1 or position + length > len(data):
        raise ValueError(f"a value inside another says that it is {length} bytes long")
    return None if length < 0 else data[position : position + length]


def prefixed(data: bytes | None) -> bytes:
    """Put a value's length before it."""
    return _NULL if data is None else INT4.pack(len(data)) + data


_NULL = INT4.pack(-1)
