"""
What stands before the digits of numeric values: how many there are, the place of the point, and the sign.

Most columns have few different heads, so values are read together with those of the same head: what follows is then of
one size, and each of its digits is worth the same in all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Self

import numpy as np
from numpy.typing import NDArray

from asyncdb_nb.dataframes.copy_binary.row_candidates import every
from asyncdb_nb.dataframes.copy_binary.values import Values

Rows = NDArray[np.intp]

HEAD_SIZE = 8  # bytes
_HEAD = Struct("!hhHH")
_GROUP_SIZE = 2
_LARGEST_GROUP = 9_999
_NEGATIVE = 0x4000
_SPECIAL = 0xC000  # NaN; the infinities have more bits besides
_SIGNS = (0, _NEGATIVE, 0xC000, 0xD000, 0xF000)
_FEW = 16  # heads that are looked for one after the other; where there are more, values are sorted


@dataclass(frozen=True, slots=True)
class Head:
    """What a value begins with.

    Attributes:
        digits: Groups of four decimal digits that follow.
        weight: The first of them is worth 10000 ** weight.
        sign: 0, or another for negative values, NaN, Infinity and -Infinity.
        scale: Digits shown after the point.
    """

    digits: int
    weight: int
    sign: int
    scale: int

    @classmethod
    def read(cls, data: bytes) -> Self:
        """Read a head.

        Raises:
            ValueError: It is none.
        """
        digits, weight, sign, scale = _HEAD.unpack(data)
        if digits < 0 or sign not in _SIGNS:
            raise ValueError("a numeric has no such number of digits, or no such sign")
        return cls(digits, weight, sign, scale & 0x3FFF)

    @property
    def negative(self) -> bool:
        """Whether the value is less than zero."""
        return self.sign == _NEGATIVE

    @property
    def finite(self) -> bool:
        """Whether it is neither NaN nor infinite."""
        return self.sign & _SPECIAL != _SPECIAL

    def groups(self, values: Values, rows: Rows) -> NDArray[np.int16]:
        """Read the groups of digits of values that have this head, a row each.

        Raises:
            ValueError: One is not of 0 to 9999.
        """
        if not self.digits:
            return np.empty((len(rows), 0), np.int16)
        behind = every(values.data, f"V{_GROUP_SIZE * self.digits}")[values.start[rows] + HEAD_SIZE]
        groups = behind.view(">i2").astype(np.int16).reshape(len(rows), self.digits)
        if groups.min() < 0 or groups.max() > _LARGEST_GROUP:
            raise ValueError("a group of digits of a numeric is not one of 0 to 9999")
        return groups


def by_head(values: Values) -> Iterator[tuple[Head, Rows]]:
    """Give each head that values have, and which have it; NULL has none.

    Raises:
        ValueError: A value has another length than its head says, or its head is none.
    """
    rows = np.flatnonzero(values.valid) if values.nulls else np.arange(len(values))
    if len(rows) and (shortest := int(values.length[rows].min())) < HEAD_SIZE:
        raise ValueError(f"{shortest} bytes cannot hold a numeric")
    words = values.fixed("u8")[rows] if values.nulls else values.fixed("u8")
    for alike in _alike(words):
        head = Head.read(words[alike[0]].tobytes())
        found = rows[alike]
        if (values.length[found] != HEAD_SIZE + _GROUP_SIZE * head.digits).any():
            raise ValueError("a numeric says that it has another number of digits than it has")
        yield head, found


def _alike(words: NDArray[np.uint64]) -> Iterator[Rows]:
    """Give the places of each value among `words`."""
    rest = np.arange(len(words))
    for _ in range(_FEW):
        if not len(rest):
            return
        same = words[rest] == words[rest[0]]
        yield rest[same]
        rest = rest[~same]
    if len(rest):
        order = rest[np.argsort(words[rest], kind="stable")]
        yield from np.split(order, np.flatnonzero(np.diff(words[order])) + 1)
