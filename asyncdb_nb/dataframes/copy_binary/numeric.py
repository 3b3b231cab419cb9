"""
Read numeric values from PostgreSQL's base-10000 digits, many together.

A value comes as `digits` groups of four decimal digits, the `weight` of the first (10000 ** weight), a sign, and the
number of digits shown after the point. Without its point it is an integer; where that fits into 64 bits it is computed
for all values of a head together. A longer one is written as text, together with others, and read from that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal, localcontext

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from asyncdb_nb.dataframes.copy_binary import numeric_text
from asyncdb_nb.dataframes.copy_binary.numeric_head import Head, Rows, by_head
from asyncdb_nb.dataframes.copy_binary.values import Values, array_of

_POWERS = 10 ** np.arange(19, dtype=np.int64)
_SAFE = 14  # a first group that is worth 10 ** 14 or less fits into 64 bits, whatever it is
_WITHOUT_LAST = np.stack([np.arange(10_000) // 10**digits for digits in range(4)])  # [digits, group]; division is slow
_EXACT_IN_DOUBLE = 2**53
_LARGEST_EXACT_POWER = 22  # of ten, in a double
_EXACT = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)

One = Callable[[bytes], Decimal]  # reads the bytes of one value


def decimals(values: Values, type_: pa.DataType, lossy: Counter[str], one: One) -> pa.Array:
    """Read `numeric(p, s)` as decimal128 or decimal256; NaN is NA and counted in `lossy`."""
    integers = np.zeros(len(values), np.int64)
    null, others = values.null.copy(), values.valid.copy()
    largest = _POWERS[type_.precision] if type_.precision < len(_POWERS) else None
    for head, rows in by_head(values):
        if not head.finite:
            null[rows] = True
            others[rows] = False
            lossy["NA for NaN"] += len(rows)
            continue
        fit, found = _integers(values, head, rows, type_.scale)
        if largest is not None and not (small := np.abs(found) < largest).all():
            fit, found = fit[small], found[small]
        integers[fit] = found
        others[fit] = False
    limbs = _limbs(integers, 2 if type_.precision <= 38 else 4)
    if len(rest := np.flatnonzero(others)):
        exact = pa.array([one(values.one(row)) for row in rest.tolist()], type_)
        limbs[rest] = np.frombuffer(exact.buffers()[1], np.int64).reshape(-1, limbs.shape[1])[: len(rest)]
    return array_of(type_, limbs, null)


def money(values: Values, type_: pa.DataType) -> pa.Array:
    """Read money: a 64-bit number of the smallest unit."""
    return array_of(type_, _limbs(values.fixed(">i8").astype(np.int64), 2), values.null)


def numbers(values: Values, one: One) -> list[Decimal | None]:
    """Read `numeric` of any precision as Python decimals that show as many digits as PostgreSQL does."""
    found = np.full(len(values), None, object)
    others = values.valid.copy()
    with localcontext(_EXACT):
        for head, alike in by_head(values):
            rows, integers = _integers(values, head, alike, head.scale)
            unit = Decimal((0, (1,), -head.scale))  # of all the ways to make a decimal the product is the quickest
            found[rows] = np.fromiter((integer * unit for integer in integers.tolist()), object, len(rows))
            others[rows] = False
    found[others] = np.fromiter(map(Decimal, _written(values, others, one)), object)
    listed: list[Decimal | None] = found.tolist()
    return listed


def texts(values: Values, one: One) -> pa.Array:
    """Read `numeric` of any precision as the text that PostgreSQL writes."""
    return numeric_text.texts(values, one)


def floats(values: Values, one: One) -> pa.Array:
    """Read numeric as the nearest double."""
    found = np.zeros(len(values))
    others = values.valid.copy()
    for head, alike in by_head(values):
        scale = max(4 * (head.digits - 1 - head.weight), 0)
        if scale > _LARGEST_EXACT_POWER:
            continue
        rows, integers = _integers(values, head, alike, scale)
        if not (small := np.abs(integers) <= _EXACT_IN_DOUBLE).all():
            rows, integers = rows[small], integers[small]
        found[rows] = integers / float(10**scale)
        others[rows] = False
    found[others] = list(map(float, _written(values, others, one)))
    return array_of(pa.float64(), found, values.null)


def _written(values: Values, which: NDArray[np.bool_], one: One) -> list[str]:
    if not which.any():
        return []
    written: list[str] = numeric_text.texts(values.only(np.flatnonzero(which)), one).to_pylist()
    return written


def _limbs(integers: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Widen integers to so many limbs of 64 bits, the lowest first, as Arrow's decimals have them."""
    limbs = np.empty((len(integers), count), np.int64)
    limbs[:, 0] = integers
    limbs[:, 1:] = (integers >> 63)[:, None]
    return limbs


def _integers(values: Values, head: Head, rows: Rows, scale: int) -> tuple[Rows, NDArray[np.int64]]:
    """Compute values of a head times 10 ** `scale`; give those that are integers of 64 bits, and which these are."""
    worth = 4 * head.weight + scale  # the power of ten of the first group
    is_short = head.digits == 0 or (worth < len(_POWERS) and worth - 4 * head.digits > -8)
    if not head.finite or not is_short:
        return rows[:0], np.empty(0, np.int64)
    total = np.zeros(len(rows), np.int64)
    fit: NDArray[np.bool_] | None = None  # None: all
    for group in head.groups(values, rows).astype(np.int64).T:
        if worth > _SAFE:
            fit = group <= np.iinfo(np.int64).max // _POWERS[worth] - 1
        if worth >= 0:
            total += group * _POWERS[worth]
        elif worth > -4:  # a part of it is behind the last digit that the scale has: zeros, or it does not fit
            kept = _WITHOUT_LAST[-worth][group]
            total += kept
            exact = kept * _POWERS[-worth] == group
            fit = exact if fit is None else fit & exact
        elif group.any():
            fit = group == 0 if fit is None else fit & (group == 0)
        worth -= 4
    if head.negative:
        np.negative(total, out=total)
    return (rows, total) if fit is None or fit.all() else (rows[fit], total[fit])
