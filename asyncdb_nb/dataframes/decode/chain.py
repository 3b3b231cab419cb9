"""The proof of rows: of all candidates, those on the chain where each one starts at the end of the one before it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.int64]
Mask = NDArray[np.bool_]


def chain(first: int, starts: Positions, ends: Positions) -> slice | Positions:
    """Choose the candidates that follow from the first.

    Args:
        first: Where the first row starts.
        starts: Where each candidate starts, ascending.
        ends: Where it ends.

    Returns:
        An index for arrays of candidates; it chooses none if the first row is not among them.
    """
    if not len(starts) or starts[0] != first:
        return slice(0)
    breaks = np.flatnonzero(ends[:-1] != starts[1:])
    return _followed(starts, ends, breaks) if len(breaks) else slice(None)


def _followed(starts: Positions, ends: Positions, breaks: Positions) -> Positions:
    """Follow the chain where it jumps: `breaks[k]` is not followed by the next candidate, but perhaps by another."""
    breaks = np.append(breaks, len(starts) - 1)
    goals = starts.searchsorted(ends[breaks])
    lands = goals < len(starts)
    lands[lands] = starts[goals[lands]] == ends[breaks[lands]]
    next_breaks = breaks.searchsorted(goals)
    begun, ended = [0], [0]
    jumps = list(zip(goals.tolist(), next_breaks.tolist(), lands.tolist(), strict=True))
    while jumps[ended[-1]][2]:
        goal, following, _ = jumps[ended[-1]]
        begun.append(goal)
        ended.append(following)
    inside = np.zeros(len(starts) + 1, np.int8)
    inside[begun] += 1
    inside[breaks[ended] + 1] -= 1
    return np.flatnonzero(np.cumsum(inside[:-1], dtype=np.int8))
