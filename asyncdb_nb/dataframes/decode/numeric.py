"""
Read numeric values from PostgreSQL's base-10000 digits, many together.

A value comes as `digits` groups of four decimal digits, the `weight` of the first (10000 ** weight), a sign, and the
number of digits shown after the point. Without its point it is an integer; where that fits into 64 bits it is computed
for all values together. A longer value, NaN and ±Infinity are read one by one by `wire`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal, localcontext
from operator import mul

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from asyncdb_nb.dataframes import wire
from asyncdb_nb.dataframes.decode.values import Values, array_of
from asyncdb_nb.dataframes.decode.walk import every
from asyncdb_nb.dataframes.types import ColumnType, column_type

_SIGN_BITS, _NEGATIVE, _NAN = 0xC000, 0x4000, 0xC000
_SIGNS = (0, _NEGATIVE, _NAN, 0xD000, 0xF000)
_POWERS = 10 ** np.arange(19, dtype=np.int64)
_GROUP_LIMIT = np.append(np.iinfo(np.int64).max // _POWERS - 1, 0)  # of a first group worth 10 ** index
_WITHOUT_LAST = np.stack([np.arange(10_000) // 10**digits for digits in range(5)])  # [digits, group]; division is slow
_EXACT_IN_DOUBLE = 2**53
_DOUBLE_POWERS = np.array([float(10**power) for power in range(23)])  # all exact
_LARGEST_SCALE = 18
_PLAIN_FROM = np.append(np.zeros(7, np.int64), _POWERS[1 : _LARGEST_SCALE - 5])  # [scale]; below Arrow writes 1E-7
_EXACT = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)
_one = wire.reader(column_type(1700))


def decimals(values: Values, type_: ColumnType, lossy: Counter[str]) -> pa.Array:
    """Read `numeric(p, s)` as decimal128 or decimal256; NaN is NA and counted in `lossy`."""
    head = _heads(values)
    integers, fit = _integers(values, head, np.full(len(values), type_.scale, np.int64))
    limbs = _limbs(integers, 2 if type_.precision <= 38 else 4)
    if type_.precision < 19:
        fit &= np.abs(integers) < _POWERS[type_.precision]
    null = values.null | (head.sign & _SIGN_BITS == _NAN)
    nan = int(np.count_nonzero(null)) - int(np.count_nonzero(values.null))
    if nan:
        lossy["NA for NaN"] += nan
    others = np.flatnonzero(~(fit | null))
    if len(others):
        exact = pa.array([_one(values.one(row)) for row in others.tolist()], type_.arrow())
        limbs[others] = np.frombuffer(exact.buffers()[1], np.int64).reshape(-1, limbs.shape[1])[: len(others)]
    return array_of(type_.arrow(), limbs, null)


def money(values: Values, type_: ColumnType) -> pa.Array:
    """Read money: a 64-bit number of the smallest unit."""
    return array_of(type_.arrow(), _limbs(values.fixed(">i8").astype(np.int64), 2), values.null)


def numbers(values: Values) -> list[Decimal | None]:
    """Read `numeric` of any precision as Python decimals that show as many digits as PostgreSQL does."""
    head = _heads(values)
    integers, fit = _integers(values, head, head.scale)
    found = np.full(len(values), None, object)
    found[fit] = np.fromiter(_scaled(integers[fit], head.scale[fit]), object)
    for row in np.flatnonzero(~(fit | values.null)).tolist():
        found[row] = _one(values.one(row))
    listed: list[Decimal | None] = found.tolist()
    return listed


def texts(values: Values) -> pa.Array:
    """Read `numeric` of any precision as the text that PostgreSQL writes."""
    head = _heads(values)
    integers, fit = _integers(values, head, head.scale)
    fit &= head.scale <= _LARGEST_SCALE
    fit &= np.abs(integers) >= _PLAIN_FROM.take(head.scale, mode="clip")
    rows, parts = [np.flatnonzero(~(fit | values.null))], []
    parts.append(pa.array([f"{_one(values.one(row)):f}" for row in rows[0].tolist()], pa.string()))
    for scale in np.flatnonzero(np.bincount(head.scale[fit])).tolist():
        rows.append(np.flatnonzero(fit & (head.scale == scale)))
        limbs = _limbs(integers[rows[-1]], 2)
        parts.append(array_of(pa.decimal128(38, scale), limbs, np.zeros(len(limbs), np.bool_)).cast(pa.string()))
    places = np.zeros(len(values), np.int64)
    places[np.concatenate(rows)] = np.arange(sum(map(len, rows)))
    return pa.concat_arrays(parts).take(pa.array(places, mask=values.null))


def floats(values: Values) -> pa.Array:
    """Read numeric as the nearest double."""
    head = _heads(values)
    scale = np.clip(4 * (head.digits - 1 - head.weight), 0, None)
    integers, fit = _integers(values, head, scale)
    found = integers / _DOUBLE_POWERS[np.minimum(scale, 22)]
    for row in np.flatnonzero((np.abs(integers) > _EXACT_IN_DOUBLE) | (scale > 22)).tolist():
        found[row] = float(f"{integers[row]}e-{scale[row]}")
    for row in np.flatnonzero(~(fit | values.null)).tolist():
        found[row] = float(_one(values.one(row)))
    return array_of(pa.float64(), found, values.null)


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


@dataclass(frozen=True, slots=True)
class _Heads:
    """What stands before the digits of each value; zeros for NULL."""

    digits: NDArray[np.int64]
    weight: NDArray[np.int64]
    sign: NDArray[np.int64]
    scale: NDArray[np.int64]


def _heads(values: Values) -> _Heads:
    if (short := values.length[~values.null] < 8).any():
        raise ValueError(f"{int(values.length[~values.null][short][0])} bytes cannot hold a numeric")
    words = values.fixed("V8").view(">i2").reshape(-1, 4).astype(np.int64)
    head = _Heads(words[:, 0], words[:, 1], words[:, 2] & 0xFFFF, words[:, 3] & 0x3FFF)
    wrong = (head.digits < 0) | (values.length != 8 + 2 * head.digits) | ~np.isin(head.sign, _SIGNS)
    if (wrong & ~values.null).any():
        raise ValueError("a numeric says that it has another number of digits than it has")
    return head


def _integers(values: Values, head: _Heads, scale: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Compute each value times 10 ** `scale`, and whether that is an integer of 64 bits; else it is not used."""
    total = np.zeros(len(values), np.int64)
    fit = ~(values.null | (head.sign & _SIGN_BITS == _NAN))
    groups = every(values.data, ">i2")
    first = values.start + 8
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
    np.negative(total, out=total, where=head.sign == _NEGATIVE)
    return total, fit
