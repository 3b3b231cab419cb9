"""COPY BINARY streams made in Python, and the plainest reading of one: what the decoder is held against."""

from __future__ import annotations

from collections.abc import Sequence
from struct import pack, unpack_from

HEADER = b"PGCOPY\n\xff\r\n\0" + pack("!II", 0, 0)
TRAILER = b"\xff\xff"

Row = Sequence[bytes | None]


def stream(rows: Sequence[Row]) -> bytes:
    """Write rows of values that are in binary form already."""
    return HEADER + b"".join(map(row, rows)) + TRAILER


def row(values: Row) -> bytes:
    return pack("!h", len(values)) + b"".join(
        pack("!i", -1) if value is None else pack("!i", len(value)) + value for value in values
    )


def rows(data: bytes) -> list[list[bytes | None]]:
    """Read a stream that is right, one field after the other."""
    found: list[list[bytes | None]] = []
    position = len(HEADER)
    while (count := unpack_from("!h", data, position)[0]) >= 0:
        position += 2
        found.append([])
        for _ in range(count):
            length = unpack_from("!i", data, position)[0]
            position += 4
            found[-1].append(None if length < 0 else data[position : position + length])
            position += max(length, 0)
    return found
