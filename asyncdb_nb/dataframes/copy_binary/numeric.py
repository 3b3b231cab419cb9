"""
Read numeric values from PostgreSQL's base-10000 digits, many together.

A value comes as `digits` groups of four decimal digits, the `weight` of the first (10000 ** weight), a sign, and the
number of digits shown after the point. Without its point it is an integer; where that fits into 64 bits it is computed
for all values together. A longer one is written as text, together with others, and read from that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal, localcontext
from operator import mul

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from asyncdb_nb.dataframes.copy_binary import numeric_text
from asyncdb_nb.dataframes.copy_binary.numeric_head import HEAD_SIZE, NEGATIVE, Heads, heads
from asyncdb_nb.dataframes.copy_binary.row_candidates import every
from asyncdb_nb.dataframes.copy_binary.values import Values, array_of

_POWERS = 10 ** np.arange(19, dtype=np.int64)
_GROUP_LIMIT = np.append(np.iinfo(np.int64).max // _POWERS - 1, 0)  # of a first group worth 10 ** index
_WITHOUT_LAST = np.stack([np.arange(10_000) // 10**digits for digits in range(5)])  # [digits, group]; division is slow
_EXACT_IN_DOUBLE = 2**53
_DOUBLE_POWERS = np.array([float(10**power) for power in range(23)])  # all exact
_EXACT = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)

One = Callable[[bytes], Decimal]  # reads the bytes of one value


def decimals(values: Values, type_: pa.DataType, lossy: Counter[str], one: One) -> pa.Array:
    """Read `numeric(p, s)` as decimal128 or decimal256; NaN is NA and counted in `lossy`."""
    head = heads(values)
    integers, fit = _integers(values, head, np.full(len(values), type_.scale, np.int64))
    limbs = _limbs(integers, 2 if type_.precision <= 38 else 4)
    if type_.precision < 19:
        fit &= np.abs(integers) < _POWERS[type_.precision]
    null = values.null | ~head.finite
    nan = int(np.count_nonzero(null)) - int(np.count_nonzero(values.null))
    if nan:
        lossy["NA for NaN"] += nan
    others = np.flatnonzero(~(fit | null))
    if len(others):
        exact = pa.array([one(values.one(row)) for row in others.tolist()], type_)
        limbs[others] = np.frombuffer(exact.buffers()[1], np.int64).reshape(-1, limbs.shape[1])[: len(others)]
    return array_of(type_, limbs, null)


def money(values: Values, type_: pa.DataType) -> pa.Array:
    """Read money: a 64-bit number of the smallest unit."""
    return array_of(type_, _limbs(values.fixed(">i8").astype(np.int64), 2), values.null)


def numbers(values: Values, one: One) -> list[Decimal | None]:
    """Read `numeric` of any precision as Python decimals that show as many digits as PostgreSQL does."""
    head = heads(values)
    integers, fit = _integers(values, head, head.scale)
    found = np.full(len(values), None, object)
    found[fit] = np.fromiter(_scaled(integers[fit], head.scale[fit]), object)
    others = ~(fit | values.null)
    found[others] = np.fromiter(map(Decimal, _written(values, head, others, one)), object)
    listed: list[Decimal | None] = found.tolist()
    return listed


def texts(values: Values, one: One) -> pa.Array:
    """Read `numeric` of any precision as the text that PostgreSQL writes."""
    written = numeric_text.texts(values, heads(values), np.flatnonzero(values.valid), one)
    if not values.nulls:
        return written
    return written.take(pa.array(np.cumsum(values.valid) - 1, mask=values.null))


def floats(values: Values, one: One) -> pa.Array:
    """Read numeric as the nearest double."""
    head = heads(values)
    scale = np.clip(4 * (head.digits - 1 - head.weight), 0, None)
    integers, fit = _integers(values, head, scale)
    found = integers / _DOUBLE_POWERS[np.minimum(scale, 22)]
    others = ~fit | (np.abs(integers) > _EXACT_IN_DOUBLE) | (scale > 22)
    others &= values.valid
    found[others] = list(map(float, _written(values, head, others, one)))
    return array_of(pa.float64(), found, values.null)


def _written(values: Values, head: Heads, which: NDArray[np.bool_], one: One) -> list[str]:
    texts: list[str] = numeric_text.texts(values, head, np.flatnonzero(which), one).to_pylist()
    return texts


def _limbs(integers: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Widen integers to so many limbs of 64 bits, the lowest first, as Arrow's decimals have them."""
    limbs = np.empty((len(integers), count), np.int64)
    limbs[:, 0] = integers
    limbs[:, 1:] = (integers >> 63)[:, None]
    return limbs


def _scaled(integers: NDArray[np.int64], scale: NDArray[np.int64]) -> list[Decimal]:
    """Multiply each integer by 10 ** -`scale`; of all the ways to make a decimal the product is the quickest."""
    units = {each: Decimal((0, (1,), -each)) for each in np.flatnonzero(np.bincount(scale)).tolist()}
    with localcontext(_EXACT):
        if len(units) == 1:
            [unit] = units.values()
            return [integer * unit for integer in integers.tolist()]
        return list(map(mul, integers.tolist(), map(units.__getitem__, scale.tolist())))


def _integers(values: Values, head: Heads, scale: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Compute each value times 10 ** `scale`, and whether that is an integer of 64 bits; else it is not used."""
    total = np.zeros(len(values), np.int64)
    fit = head.finite & ~values.null
    groups = every(values.data, ">i2")
    first = values.start + HEAD_SIZE
    power = 4 * head.weight + scale
    place = 0
    while (has := fit & (head.digits > place)).any():
        rows: slice | NDArray[np.intp] = slice(None) if has.all() else np.flatnonzero(has)
        group = groups[first[rows] + 2 * place].astype(np.int64)
        if group.min() < 0 or group.max() > 9999:
            raise ValueError("a group of digits of a numeric is not one of 0 to 9999")
        worth = power[rows] - 4 * place
        fits = group <= _GROUP_LIMIT.take(worth, mode="clip")
        behind = np.flatnonzero(worth < 0)
        group *= _POWERS.take(worth, mode="clip")
        if len(behind):  # these are behind the last digit that the scale has: zeros, or they do not fit
            cut, given = np.minimum(-worth[behind], 4), group[behind]
            kept = _WITHOUT_LAST[cut, given]
            fits[behind] = kept * _POWERS[cut] == given
            group[behind] = kept
        total[rows] += group
        fit[rows] &= fits
        place += 1
    np.negative(total, out=total, where=head.sign == NEGATIVE)
    return total, fit
