"""
Write numeric values as PostgreSQL does, from its base-10000 digits, many together.

Values that have the same number of digits, the same place of the point and the same sign have texts of one width, which
differ in their digits only. So values are sorted by that *shape*, and the texts of a shape are a matrix of characters:
four for each group of digits, from a table, put before and behind the point. Shapes that few values have are not worth
that, nor are values that the server would not send: these are read one by one by `one`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from asyncdb_nb.dataframes.copy_binary.numeric_head import HEAD_SIZE, Heads
from asyncdb_nb.dataframes.copy_binary.row_candidates import every
from asyncdb_nb.dataframes.copy_binary.values import Values

Rows = NDArray[np.intp]

_FEW = 8  # values of one shape that are quicker read one by one
_GROUPS = np.array([f"{group:04d}" for group in range(10_000)], "S4").view("V4")
_LARGEST = 2**28  # characters of one shape: a value of few digits can be 131072 characters long


def texts(values: Values, head: Heads, rows: Rows, one: Callable[[bytes], Any]) -> pa.Array:
    """Write values as text, such as '-1234.50'.

    Args:
        values: The values.
        head: What stands before the digits of each.
        rows: Which of them to write, ascending; none is NULL.
        one: Reads one value's bytes; its `format(…, "f")` is the text.
    """
    written: list[Rows] = []
    parts: list[pa.Array] = []
    left = np.ones(len(values), np.bool_)
    for shape, alike in _shapes(values, head, rows):
        characters, right = shape.characters(values, alike)
        written.append(alike if right is None else alike[right])
        parts.append(_strings(characters if right is None else characters[right]))
        left[written[-1]] = False
    others = rows[left[rows]]
    written.append(others)
    parts.append(pa.array([f"{one(values.one(row)):f}" for row in others.tolist()], pa.string()))
    places = np.empty(len(values), np.int64)
    places[np.concatenate(written)] = np.arange(len(rows))
    return pa.concat_arrays(parts).take(pa.array(places[rows]))


@dataclass(frozen=True, slots=True)
class _Shape:
    """What the text of a value looks like, but for its digits.

    Attributes:
        digits: Groups of four digits.
        weight: The first group is worth 10000 ** weight.
        scale: Digits behind the point.
        negative: Whether a minus sign comes first.
        leading: Digits of the first group, without zeros before them.
    """

    digits: int
    weight: int
    scale: int
    negative: bool
    leading: int

    @property
    def whole(self) -> int:
        """Digits before the point."""
        return 4 * self.weight + self.leading if self.weight >= 0 else 1

    @property
    def width(self) -> int:
        """Characters in all."""
        return self.negative + self.whole + (1 + self.scale if self.scale else 0)

    def characters(self, values: Values, rows: Rows) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
        """Write values of this shape, a row each; also say which are right, where not all are.

        Raises:
            ValueError: A group of digits is not one of 0 to 9999.
        """
        groups = every(values.data, f"V{2 * self.digits}")[values.start[rows] + HEAD_SIZE].view(">i2")
        if groups.min() < 0 or groups.max() > 9999:
            raise ValueError("a group of digits of a numeric is not one of 0 to 9999")
        digits = _GROUPS[groups].view(np.uint8).reshape(len(rows), -1)
        text = np.full((len(rows), self.width), ord("0"), np.uint8)
        if self.negative:
            text[:, 0] = ord("-")
        point = self.negative + self.whole
        before = 4 * (self.weight + 1)  # digits that belong before the point; zeros follow where there are fewer
        if before > 0:
            given = digits[:, 4 - self.leading : before]
            text[:, self.negative : self.negative + given.shape[1]] = given
        if self.scale:
            text[:, point] = ord(".")
        begin = max(-before, 0)  # zeros between the point and the first digit
        behind = digits[:, max(before, 0) :]
        shown = behind[:, : max(self.scale - begin, 0)]
        text[:, point + 1 + begin :][:, : shown.shape[1]] = shown
        hidden = behind[:, shown.shape[1] :]
        return text, (hidden == ord("0")).all(axis=1) if (hidden != ord("0")).any() else None


def _shapes(values: Values, head: Heads, rows: Rows) -> Iterator[tuple[_Shape, Rows]]:
    """Sort rows by shape, where many have the same one, and that is one of a value that the server sends."""
    first = every(values.data, ">i2")[values.start[rows] + HEAD_SIZE * (head.digits[rows] > 0)]
    usual = head.finite[rows] & (head.digits[rows] > 0) & (first > 0)
    rows, first = rows[usual], first[usual]
    if not len(rows):
        return
    leading = 1 + (first > 9) + (first > 99) + (first > 999)
    parts = [head.digits[rows], head.weight[rows], head.scale[rows], head.sign[rows] != 0, leading]
    key = _combined(parts)
    order = np.argsort(key, kind="stable")
    bounds = np.flatnonzero(np.diff(key[order])) + 1
    for alike in np.split(order, bounds):
        digits, weight, scale, negative, lead = (int(part[alike[0]]) for part in parts)
        shape = _Shape(digits, weight, scale, bool(negative), lead)
        if len(alike) > _FEW and shape.width * len(alike) <= _LARGEST:
            yield shape, rows[alike]


def _combined(parts: list[NDArray[Any]]) -> NDArray[Any]:
    """Make one number of several, in the smallest type: numpy sorts 16 bits much faster than 64."""
    key, size = np.zeros(len(parts[0]), np.int64), 1
    for part in parts:
        low, high = int(part.min()), int(part.max())
        key = key * (high - low + 1) + (part - low)
        size *= high - low + 1
    return key.astype(np.uint16) if size <= 2**16 else key


def _strings(characters: NDArray[np.uint8]) -> pa.Array:
    count, width = characters.shape
    offsets = np.arange(0, (count + 1) * width, width, dtype=np.int32)
    return pa.Array.from_buffers(pa.string(), count, [None, pa.py_buffer(offsets), pa.py_buffer(characters)])
