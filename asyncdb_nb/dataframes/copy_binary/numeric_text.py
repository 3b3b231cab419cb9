"""
Write numeric values as PostgreSQL does, from its base-10000 digits, many together.

Values of the same head whose first group has the same number of digits have texts of one width, which differ in their
digits only: their texts are a matrix of characters, four for each group of digits, from a table, put before and behind
the point. Where few values are so alike, that is not worth it, and values that the server would not send are not
written so either: these are read one by one by `one`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from asyncdb_nb.dataframes.copy_binary.numeric_head import Head, Rows, by_head
from asyncdb_nb.dataframes.copy_binary.values import Values

_FEW = 8  # values of one shape that are quicker read one by one
_GROUPS = np.array([f"{group:04d}" for group in range(10_000)], "S4").view("V4")
_LARGEST = 2**28  # characters of one shape: a value of few digits can be 131072 characters long


def texts(values: Values, one: Callable[[bytes], Any]) -> pa.Array:
    """Write values as text, such as '-1234.50'.

    Args:
        values: The values.
        one: Reads one value's bytes; its `format(…, "f")` is the text.
    """
    written: list[Rows] = []
    parts: list[pa.Array] = []
    left = values.valid.copy()
    for shape, groups, alike in _shapes(values):
        characters, right = shape.characters(groups)
        written.append(alike if right is None else alike[right])
        parts.append(_strings(characters if right is None else characters[right]))
        left[written[-1]] = False
    others = np.flatnonzero(left)
    written.append(others)
    parts.append(pa.array([f"{one(values.one(row)):f}" for row in others.tolist()], pa.string()))
    places = np.zeros(len(values), np.int64)
    rows = np.concatenate(written)
    places[rows] = np.arange(len(rows))
    return pa.concat_arrays(parts).take(pa.array(places, mask=values.null if values.nulls else None))


@dataclass(frozen=True, slots=True)
class _Shape:
    """What the text of a value looks like, but for its digits.

    Attributes:
        head: What the value begins with.
        leading: Digits of the first group, without zeros before them.
    """

    head: Head
    leading: int

    @property
    def whole(self) -> int:
        """Digits before the point."""
        return 4 * self.head.weight + self.leading if self.head.weight >= 0 and self.head.digits else 1

    @property
    def width(self) -> int:
        """Characters in all."""
        return self.head.negative + self.whole + (1 + self.head.scale if self.head.scale else 0)

    def characters(self, groups: NDArray[np.int16]) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
        """Write values of this shape, a row each; also say which are right, where not all are."""
        head = self.head
        digits = _GROUPS[groups].view(np.uint8).reshape(len(groups), -1)
        text = np.full((len(groups), self.width), ord("0"), np.uint8)
        if head.negative:
            text[:, 0] = ord("-")
        point = head.negative + self.whole
        before = 4 * (head.weight + 1)  # digits that belong before the point; zeros follow where there are fewer
        if before > 0:
            given = digits[:, 4 - self.leading : before]
            text[:, head.negative : head.negative + given.shape[1]] = given
        if head.scale:
            text[:, point] = ord(".")
        begin = max(-before, 0)  # zeros between the point and the first digit
        behind = digits[:, max(before, 0) :]
        shown = behind[:, : max(head.scale - begin, 0)]
        text[:, point + 1 + begin :][:, : shown.shape[1]] = shown
        hidden = behind[:, shown.shape[1] :]
        return text, (hidden == ord("0")).all(axis=1) if (hidden != ord("0")).any() else None


def _shapes(values: Values) -> Iterator[tuple[_Shape, NDArray[np.int16], Rows]]:
    """Sort values by shape, where many have the same one, and that is one of a value that the server sends.

    Returns:
        Each shape, the groups of digits of its values, a row each, and which values they are.
    """
    for head, rows in by_head(values):
        if not head.finite or len(rows) <= _FEW or len(rows) * _Shape(head, 4).width > _LARGEST:
            continue
        groups = head.groups(values, rows)
        if not head.digits:
            yield _Shape(head, 0), groups, rows
            continue
        first = groups[:, 0]
        for leading in (1, 2, 3, 4):
            some = np.flatnonzero((first >= 10 ** (leading - 1)) & (first < 10**leading))
            if len(some) > _FEW:
                shape = _Shape(head, leading)
                yield (shape, groups, rows) if len(some) == len(rows) else (shape, groups[some], rows[some])


def _strings(characters: NDArray[np.uint8]) -> pa.Array:
    count, width = characters.shape
    offsets = np.arange(0, (count + 1) * width, width, dtype=np.int32)
    return pa.Array.from_buffers(pa.string(), count, [None, pa.py_buffer(offsets), pa.py_buffer(characters)])
