"""What stands before the digits of numeric values: how many there are, the place of the point, and the sign."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asyncdb_nb.dataframes.copy_binary.values import Values

HEAD_SIZE = 8  # bytes
NEGATIVE = 0x4000
_SPECIAL = 0xC000  # NaN; the infinities have more bits besides
_SIGNS = (0, NEGATIVE, 0xC000, 0xD000, 0xF000)


@dataclass(frozen=True, slots=True)
class Heads:
    """One number for each value; zeros for NULL.

    Attributes:
        digits: Groups of four decimal digits that follow.
        weight: The first of them is worth 10000 ** weight.
        sign: 0, `NEGATIVE`, or that of NaN, Infinity or -Infinity.
        scale: Digits shown after the point.
    """

    digits: NDArray[np.int64]
    weight: NDArray[np.int64]
    sign: NDArray[np.int64]
    scale: NDArray[np.int64]

    @property
    def finite(self) -> NDArray[np.bool_]:
        """Which are neither NaN nor infinite."""
        finite: NDArray[np.bool_] = self.sign & _SPECIAL != _SPECIAL
        return finite


def heads(values: Values) -> Heads:
    """Read the heads.

    Raises:
        ValueError: A value's length is not that of a numeric with so many digits, or its sign is none.
    """
    if (short := values.length[~values.null] < HEAD_SIZE).any():
        raise ValueError(f"{int(values.length[~values.null][short][0])} bytes cannot hold a numeric")
    words = values.fixed(f"V{HEAD_SIZE}").view(">i2").reshape(-1, 4).astype(np.int64)
    head = Heads(words[:, 0], words[:, 1], words[:, 2] & 0xFFFF, words[:, 3] & 0x3FFF)
    length = HEAD_SIZE + 2 * head.digits
    wrong = (head.digits < 0) | (values.length != length) | ~np.isin(head.sign, _SIGNS)
    if (wrong & ~values.null).any():
        raise ValueError("a numeric says that it has another number of digits than it has")
    return head
