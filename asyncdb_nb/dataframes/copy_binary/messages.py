"""
Find CopyData messages in what was received, many of them together.

Each message has its length before it, so that reading one after the other is a chain, and slow in Python. So every
place that looks like the start of a message is a candidate, and `chain` tells messages from look-alikes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from asyncdb_nb.dataframes.copy_binary.row_chain import Mask, Positions, chain
from asyncdb_nb.engine.copy_protocol import Messages

HEADER_SIZE = 5
_HEADER = Struct("!Bi")
_COPY_DATA = 0x64
_LENGTH_SIZE = 4
_BEHIND = 2  # bytes behind a row that may be looked at: in a stream, another row or the trailer is there
_FEW = 16  # messages that are read one after the other, in any case
_WINDOW = 2**17  # bytes that are searched at a time: they stay in the processor's cache
_LARGE = 160  # bytes in a message, from where on that is quicker than a search


@dataclass(frozen=True, slots=True)
class Contents:
    """What is in consecutive messages, one or more.

    Attributes:
        data: Bytes, with other bytes between the contents and behind them.
        starts: Where in them the content of each message begins.
        ends: Where it ends.
    """

    data: bytes
    starts: Positions
    ends: Positions

    @classmethod
    def of(cls, all_messages: Sequence[Messages]) -> Self:
        """Join the bytes of messages."""
        parts: list[bytes] = []
        starts, ends = [], []
        for messages in all_messages:
            base = sum(map(len, parts)) + messages.base
            parts += messages.parts
            starts += [np.asarray(found, np.int64) + (base + HEADER_SIZE) for found, _ in messages.found]
            ends += [np.asarray(found, np.int64) + base for _, found in messages.found]
        if ends[-1][-1] + _BEHIND > sum(map(len, parts)):
            parts.append(bytes(_BEHIND))
        return cls(b"".join(parts), np.concatenate(starts), np.concatenate(ends))

    @property
    def size(self) -> int:
        """Bytes in all contents."""
        return int((self.ends - self.starts).sum())

    def joined(self) -> bytes:
        """Give the contents without the bytes between them."""
        edges = np.zeros(len(self.data) + 1, np.int8)
        np.add.at(edges, self.starts, 1)
        np.subtract.at(edges, self.ends, 1)
        inside = np.cumsum(edges[:-1], dtype=np.int8).view(np.bool_)
        return np.frombuffer(self.data, np.uint8)[inside].tobytes()


def find(data: Any, first: int, end: int) -> tuple[Positions, Positions]:
    """Find CopyData messages that follow each other: the first one, and as many more as can be found together.

    Args:
        data: Bytes.
        first: Where the first message begins, all of which is there.
        end: Where the bytes end.

    Returns:
        Where each message begins, and where it ends.
    """
    ends, all_of_them = _one_by_one(data, first, end)
    starts, stops = np.array(ends[:-1], np.int64), np.array(ends[1:], np.int64)
    if all_of_them:
        return starts, stops
    end = min(end, int(stops[-1]) + _WINDOW)
    for search in (_alike, _any):
        position = int(stops[-1])
        if _end_of_message(data, position, end) is None:
            break
        octets = np.frombuffer(data, np.uint8, end - position, position)
        more_starts, more_stops = _complete(octets, search(octets))
        starts = np.concatenate([starts, more_starts + position])
        stops = np.concatenate([stops, more_stops + position])
    return starts, stops


def _one_by_one(data: Any, first: int, end: int) -> tuple[list[int], bool]:
    """Read one header after the other, while messages are large.

    Returns:
        Where the first message begins, and where each ends; and whether these are all that are there.
    """
    ends, position, unpack = [first], first, _HEADER.unpack_from
    while True:
        for _ in range(_FEW):
            if position + HEADER_SIZE > end:
                return ends, True
            kind, length = unpack(data, position)
            stop = position + 1 + length
            if kind != _COPY_DATA or length < _LENGTH_SIZE or stop > end:
                return ends, True
            ends.append(stop)
            position = stop
        if position - first < _LARGE * len(ends):
            return ends, False


def _end_of_message(data: Any, position: int, end: int) -> int | None:
    """Say where a message ends, if it is CopyData and all of it is there."""
    if position + HEADER_SIZE > end:
        return None
    kind, length = _HEADER.unpack_from(data, position)
    stop: int = position + 1 + length
    return stop if kind == _COPY_DATA and length >= _LENGTH_SIZE and stop <= end else None


def _alike(octets: NDArray[np.uint8]) -> Positions:
    """Search for what may be messages that begin like the first one: rows have the same number of fields."""
    last = max(len(octets) - HEADER_SIZE - 1, 0)
    hit = octets[:last] == _COPY_DATA
    hit &= octets[1 : 1 + last] == 0  # the first byte of a length that is less than a block's
    hit &= octets[HEADER_SIZE + 1 : HEADER_SIZE + 1 + last] == octets[HEADER_SIZE + 1 : HEADER_SIZE + 2]
    starts = np.flatnonzero(hit)
    similar: Mask = octets[starts + HEADER_SIZE] == octets[HEADER_SIZE : HEADER_SIZE + 1]
    return starts[similar]


def _any(octets: NDArray[np.uint8]) -> Positions:
    """Search for what may be messages."""
    last = len(octets) - HEADER_SIZE + 1
    hit = octets[:last] == _COPY_DATA
    hit &= octets[1 : 1 + last] == 0
    return np.flatnonzero(hit)


def _complete(octets: NDArray[np.uint8], starts: Positions) -> tuple[Positions, Positions]:
    """Choose the messages that follow each other from the first byte on, and are complete."""
    stops = starts + 1 + np.ndarray((len(octets) - _LENGTH_SIZE + 1,), ">i4", octets, strides=(1,))[starts + 1]
    possible = (stops > starts + _LENGTH_SIZE) & (stops <= len(octets))
    if not possible.all():
        starts, stops = starts[possible], stops[possible]
    rows = chain(0, starts, stops)
    return starts[rows], stops[rows]
