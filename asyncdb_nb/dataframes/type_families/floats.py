"""Numbers in binary floating point."""

from __future__ import annotations

import math
import numbers as abstract
from decimal import Decimal
from struct import Struct
from typing import Any

from sqlalchemy import types as sql

from asyncdb_nb.dataframes.type_families.kind import (
    ARROW,
    BuiltIn,
    Kind,
    always,
    as_it_is,
    each,
    need,
    numbers,
    written,
)

_FLOAT4, _FLOAT8 = Struct("!f"), Struct("!d")


def double(value: Any) -> Any:
    """Take a number that a double holds exactly, or a Decimal that is what the double prints."""
    if isinstance(value, float):
        return value
    number = float(value)
    if isinstance(value, Decimal):
        return need(not value.is_finite() or Decimal(repr(number)) == value, number)
    return need(_is_real(value) and (number == value or math.isnan(number)), number)


def _is_real(value: Any) -> bool:
    return isinstance(value, abstract.Real) and not isinstance(value, bool)


def _single(value: Any) -> Any:
    number = double(value)
    [nearest] = _FLOAT4.unpack(_FLOAT4.pack(number))
    return need(number == nearest or math.isnan(number), number)


def _literal(value: Any) -> str | None:
    if type(value) is not float:
        return None
    return repr(value) if math.isfinite(value) else "NaN" if math.isnan(value) else str(value)


KINDS = (
    Kind(
        name="float4",
        documented="real",
        arrow="float",
        dtypes=("float32", "Float32", ARROW),
        note="NULL is NaN; the pyarrow dtype keeps both.",
        types={"float4": BuiltIn(700, 1021, width=4)},
        reader=each(lambda data: _FLOAT4.unpack(data)[0]),
        vectorized=numbers(">f4"),
        writer=written(lambda value: _FLOAT4.pack(_single(value))),
        encode=as_it_is,
        exact_in_asyncpg=True,
        converter=always(_single),
        sqlalchemy={sql.REAL: "float4"},
    ),
    Kind(
        name="float8",
        documented="double precision",
        arrow="double",
        dtypes=("float64", "Float64", ARROW),
        note="NULL is NaN; the pyarrow dtype keeps both.",
        types={"float8": BuiltIn(701, 1022, width=8, literal=_literal)},
        reader=each(lambda data: _FLOAT8.unpack(data)[0]),
        vectorized=numbers(">f8"),
        writer=written(lambda value: _FLOAT8.pack(double(value))),
        encode=as_it_is,
        exact_in_asyncpg=True,
        classes=(float,),
        converter=always(double),
        sqlalchemy={sql.Float: "float8"},
        python={float: "float8"},
    ),
)
