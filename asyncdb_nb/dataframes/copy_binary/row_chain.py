"""The proof of rows: of all candidates, those on the chain where each one starts at the end of the one before it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.int64]
Mask = NDArray[np.bool_]

_FEW = 16  # candidates for each that does not follow the one before it: so many jumps are quick to follow


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
    if len(breaks) * _FEW < len(starts):
        return _followed(starts, ends, breaks) if len(breaks) else slice(None)
    return _between(starts, ends)


def _between(starts: Positions, ends: Positions) -> Positions:
    """Follow the chain between many look-alikes: of these, most end where nothing starts, and so does its last row."""
    is_start = np.zeros(int(ends.max()) + 1 - int(starts[0]), np.bool_)
    is_start[starts[starts <= ends.max()] - starts[0]] = True
    going_on = np.flatnonzero(is_start[ends - starts[0]])
    if not len(going_on) or going_on[0]:
        return np.zeros(1, np.int64)
    starts_on, ends_on = starts[going_on], ends[going_on]
    if 4 * len(going_on) < 3 * len(starts):
        rows = going_on[chain(int(starts[0]), starts_on, ends_on)]
    else:  # look-alikes that follow each other, perhaps on purpose
        rows = going_on[_followed(starts_on, ends_on, np.flatnonzero(ends_on[:-1] != starts_on[1:]))]
    return np.append(rows, starts.searchsorted(ends[rows[-1]]))


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
