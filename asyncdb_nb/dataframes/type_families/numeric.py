"""
Decimal numbers: numeric of a known and of any precision, and money.

A value comes in groups of four decimal digits (numeric.c). How many are read together is in `copy_binary.numeric`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from decimal import Context, Decimal, InvalidOperation
from struct import Struct, pack
from typing import TYPE_CHECKING, Any

from sqlalchemy import types as sql

from asyncdb_nb.dataframes.type_families.floats import double
from asyncdb_nb.dataframes.type_families.integers import integer
from asyncdb_nb.dataframes.type_families.kind import (
    ARROW,
    OBJECTS,
    BuiltIn,
    ColumnType,
    Dumps,
    Function,
    Kind,
    Loads,
    Reader,
    UnfitError,
    Writer,
    always,
    each,
    need,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from asyncdb_nb.dataframes.copy_binary.values import Values

_HEADER = 4  # which a typmod is larger by than what it says
_HEAD = Struct("!hhHh")  # digits, weight of the first, sign, digits after the point
_GROUP, _INT8 = Struct("!h"), Struct("!q")
_WIDEST = 76  # digits of a decimal256
_EXACT = Context(prec=200_000, traps=[InvalidOperation])  # digits of the largest numeric, and more
_MOST_DIGITS = 500  # of a literal


def _read(data: bytes) -> Decimal:
    count, weight, sign, scale = _HEAD.unpack_from(data)
    if sign & 0xC000 == 0xC000:
        return Decimal({0xC000: "NaN", 0xD000: "Infinity", 0xF000: "-Infinity"}[sign])
    groups = [_GROUP.unpack_from(data, 8 + 2 * n)[0] for n in range(count)]
    if len(data) != _HEAD.size + 2 * count or not all(0 <= group <= 9999 for group in groups):
        raise ValueError("its digits are not those of a numeric")
    digits = "".join(f"{group:04d}" for group in groups) or "0"
    exponent = 4 * (weight - count + 1) if count else 0
    wanted = exponent + scale  # move the digits so that exactly `scale` of them stand after the point
    if wanted < 0 and digits[wanted:].strip("0"):
        raise ValueError(f"a numeric has digits behind the {scale} that it shows")
    digits = digits + "0" * wanted if wanted >= 0 else digits[:wanted] or "0"
    return Decimal((1 if sign else 0, tuple(map(int, digits.lstrip("0") or "0")), -scale))


def _writer(column: ColumnType, dumps: Dumps) -> Writer:
    take = _number if column.kind == "numeric" else _take
    if column.typmod < _HEADER:
        return lambda value: _written(take(value))
    precision, scale = _digits(column.typmod)
    return lambda value: _written(_at_scale(take(value), precision, scale))


def _number(value: Any) -> Any:
    return _take(Decimal(value) if isinstance(value, str) else value)


def _at_scale(value: Decimal, precision: int, scale: int) -> Decimal:
    """Give an equal number with as many digits after the point as a column has; it has no more before it."""
    if value.is_nan():
        return value
    need(value.is_finite(), f"numeric({precision},{scale}) has no infinity")
    scaled = _EXACT.quantize(value, Decimal((0, (1,), -scale)))
    need(scaled == value, f"it would become {scaled:f}")
    need(not scaled or scaled.adjusted() < precision - scale, "it has too many digits")
    return scaled


def _written(value: Decimal) -> bytes:
    sign, digits, exponent = value.as_tuple()
    if isinstance(exponent, str):
        return _HEAD.pack(0, 0, {"F": 0xF000 if sign else 0xD000}.get(exponent, 0xC000), 0)
    scale = max(-exponent, 0)
    text = ("".join(map(str, digits)) + "0" * max(exponent, 0)).rjust(scale, "0")
    left, right = text[: len(text) - scale].lstrip("0"), text[len(text) - scale :]
    left, right = "0" * (-len(left) % 4) + left, right + "0" * (-len(right) % 4)
    groups = [int((left + right)[n : n + 4]) for n in range(0, len(left + right), 4)]
    return _HEAD.pack(len(groups), len(left) // 4 - 1, 0x4000 if sign else 0, scale) + pack(f"!{len(groups)}h", *groups)


def _encode(column: ColumnType, array: Any) -> Any:
    """Leave decimals of up to 38 digits to pgpq, where the Arrow type has just the numbers that the column takes."""
    import pyarrow as pa

    is_same = column.typmod < _HEADER or (column.precision, column.scale) == _digits(column.typmod)
    return array if is_same and pa.types.is_decimal128(array.type) else None


def _money_writer(column: ColumnType, dumps: Dumps) -> Writer:
    return lambda value: _INT8.pack(int(_at_scale(_take(value), column.precision, column.scale).scaleb(column.scale)))


def _modified(column: ColumnType, typmod: int, money_scale: int) -> ColumnType:
    if typmod < _HEADER:
        return column
    precision, scale = _digits(typmod)
    digits = max(precision, scale) if scale >= 0 else precision - scale
    if digits > _WIDEST:
        return column
    return replace(column, kind="decimal", precision=digits, scale=max(scale, 0))


def _digits(typmod: int) -> tuple[int, int]:
    """Read precision and scale out of a typmod: 16 bits of precision, 11 of scale with its sign (numeric.c)."""
    return (typmod - _HEADER) >> 16 & 0xFFFF, ((typmod - _HEADER & 0x7FF) ^ 1024) - 1024


def _decimals(values: Values, column: ColumnType, lossy: Counter[str]) -> pa.Array:
    from asyncdb_nb.dataframes.copy_binary import numeric

    return numeric.decimals(values, column.arrow(), lossy, _read)


def _texts(values: Values, column: ColumnType, lossy: Counter[str]) -> pa.Array:
    from asyncdb_nb.dataframes.copy_binary import numeric

    return numeric.texts(values, _read)


def _objects(values: Values) -> Sequence[Any]:
    from asyncdb_nb.dataframes.copy_binary import numeric

    return numeric.numbers(values, _read)


def _floats(values: Values, column: ColumnType, lossy: Counter[str]) -> pa.Array:
    from asyncdb_nb.dataframes.copy_binary import numeric

    return numeric.floats(values, _read)


def _money(values: Values, column: ColumnType, lossy: Counter[str]) -> pa.Array:
    from asyncdb_nb.dataframes.copy_binary import numeric

    return numeric.money(values, column.arrow())


def _arrow_type(column: ColumnType) -> pa.DataType:
    import pyarrow as pa

    make = pa.decimal128 if column.precision <= 38 else pa.decimal256
    return make(column.precision, column.scale)


def _from_driver(value: Any) -> Decimal:
    number = value if isinstance(value, Decimal) else Decimal(value)
    large = number.is_finite() and number.adjusted() > 28
    return Decimal(f"{number:f}") if large else number  # asyncpg gives 9E+800; PostgreSQL writes all digits


def _take(value: Any) -> Any:
    if isinstance(value, Decimal):
        return value
    if isinstance(value, float):
        return Decimal(repr(float(value)))
    return Decimal(integer(value))


def _finite(value: Decimal) -> Decimal:
    if not value.is_finite():
        raise UnfitError("NaN")
    return value


def _text(value: Any) -> str:
    text = str(value)
    return f"{value:f}" if "E" in text else text


def _literal(value: Any) -> str | None:
    if type(value) is int:
        return str(value)
    fits = type(value) is Decimal and value.is_finite() and -_MOST_DIGITS < value.adjusted() < _MOST_DIGITS
    return f"{value:f}" if fits else None


def _declared(type_: Any) -> tuple[str, int]:
    if type_.precision is None:
        return "numeric", -1
    return "numeric", ((type_.precision or 0) << 16 | (type_.scale or 0) & 0x7FF) + 4


def _money_reader(column: ColumnType, loads: Loads) -> Reader:
    return lambda data: Decimal(_INT8.unpack(data)[0]).scaleb(-column.scale)


def _money_from_driver(column: ColumnType) -> Function:
    def amount(value: Any) -> Decimal:
        """Read it out of text such as `-$1,234.50`, whose last digits stand after the point."""
        if not isinstance(value, str):
            return Decimal(value)
        found = Decimal(re.sub(r"\D", "", value)).scaleb(-column.scale)
        return -found if "-" in value or "(" in value else found

    return amount


def _money_converter(column: ColumnType) -> Function:
    """Take an amount that is written with as many digits after the point as the column has."""
    end = re.compile(rf"[.,]\d{{{column.scale}}}\D*$" if column.scale else r"\d\D*$")
    return lambda value: need(end.search(value) is not None, value) if isinstance(value, str) else _take(value)


KINDS = (
    Kind(
        name="decimal",
        documented="numeric(p, s), p ≤ 76",
        arrow="decimal128(p, s)",
        dtypes=(ARROW, ARROW, ARROW),
        note="Exact; decimal256 above 38 digits. NaN is NA (lossy). `numeric='float'`: float64.",
        arrow_type=_arrow_type,
        reader=each(_read),
        vectorized=_decimals,
        writer=_writer,
        encode=_encode,
        from_driver=always(_from_driver),
        exact_in_asyncpg=True,
        classes=(Decimal,),
        converter=always(_take),
        to_arrow=always(_finite),
    ),
    Kind(
        name="numeric",
        documented="numeric, numeric(p, s) with p > 76",
        dtypes=OBJECTS,
        note="decimal.Decimal, with NaN, ±Infinity and any number of digits. `numeric='float'`: float64.",
        types={"numeric": BuiltIn(1700, 1231, literal=_literal)},
        modified=_modified,
        reader=each(_read),
        vectorized=_texts,
        vectorized_objects=_objects,
        writer=_writer,
        encode=_encode,
        from_driver=always(_from_driver),
        exact_in_asyncpg=True,
        classes=(Decimal,),
        converter=always(_take),
        to_arrow=always(_text),
        from_arrow=lambda loads: Decimal,
        keeps_values=True,
        sqlalchemy={sql.Numeric: _declared},
        python={Decimal: "numeric"},
    ),
    Kind(
        name="money",
        documented="money",
        arrow="decimal128(19, s)",
        dtypes=(ARROW, ARROW, ARROW),
        note="The amount; s is the server's lc_monetary (2 for most).",
        types={"money": BuiltIn(790, 791, width=8)},
        modified=lambda column, typmod, money_scale: replace(column, precision=19, scale=money_scale),
        arrow_type=_arrow_type,
        reader=_money_reader,
        vectorized=_money,
        writer=_money_writer,
        from_driver=_money_from_driver,
        converter=_money_converter,
        to_arrow=always(_finite),
    ),
    Kind(
        name="float",
        documented="numeric with `numeric='float'`",
        arrow="double",
        dtypes=("float64", "Float64", ARROW),
        note="The nearest double (listed as lossy).",
        reader=each(lambda data: float(_read(data))),
        vectorized=_floats,
        from_driver=always(float),
        classes=(float, Decimal),  # the nearest double is asked for, and it is listed as lossy
        converter=always(double),
    ),
)
