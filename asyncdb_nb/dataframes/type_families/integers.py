"""Whole numbers of fixed width, and those that number objects and transactions."""

from __future__ import annotations

import numbers as abstract
from collections.abc import Mapping
from struct import Struct
from typing import TYPE_CHECKING, Any

from sqlalchemy import types as sql
from sqlalchemy.dialects import postgresql as pg

from asyncdb_nb.dataframes.type_families.kind import (
    ARROW,
    BuiltIn,
    ColumnType,
    Kind,
    always,
    as_it_is,
    each,
    need,
    numbers,
    written,
)

if TYPE_CHECKING:
    import pyarrow as pa


def integer(value: Any) -> Any:
    """Take a whole number, but not Python's booleans."""
    return need(isinstance(value, abstract.Integral) and not isinstance(value, bool), value)


def _literal(value: Any, bits: int) -> str | None:
    limit = 1 << (bits - 1)
    return str(value) if type(value) is int and -limit <= value < limit else None


def _unsigned(column: ColumnType, array: pa.Array) -> pa.Array:
    """See unsigned numbers as signed ones of the same bytes: pgpq writes more bytes for them."""
    return array.view(array.type.to_pandas_dtype().__name__.removeprefix("u"))


def _kind(
    name: str,
    documented: str,
    arrow: str,
    dtype: str,
    formats: tuple[str, str],
    types: Mapping[str, BuiltIn],
    note: str = "",
    **more: Any,
) -> Kind:
    """State a kind of numbers.

    Args:
        name: Its name.
        documented: Its types.
        arrow: Its Arrow type.
        dtype: pandas' dtype that has NA.
        formats: Its bytes, as `struct` and as numpy name them.
        types: Its built-in types.
        note: What the documentation says.
        more: What else is its own.
    """
    struct = Struct(formats[0])
    unpack, pack = struct.unpack, struct.pack
    return Kind(
        name=name,
        documented=documented,
        arrow=arrow,
        dtypes=(dtype, dtype, ARROW),
        note=note,
        types=types,
        reader=each(lambda data: unpack(data)[0]),
        vectorized=numbers(formats[1]),
        writer=written(lambda value: pack(integer(value))),
        encode=_unsigned if arrow[0] == "u" else as_it_is,
        exact_in_asyncpg=True,
        classes=(int,),
        converter=always(integer),
        **more,
    )


_STAY = "NULL is NA; integers stay integers."
_INT2 = BuiltIn(21, 1005, width=2, literal=lambda value: _literal(value, 16))
_INT4 = BuiltIn(23, 1007, width=4, literal=lambda value: _literal(value, 32))
_INT8 = BuiltIn(20, 1016, width=8, literal=lambda value: _literal(value, 64))
_OIDS = {"oid": BuiltIn(26, 1028, width=4), "xid": BuiltIn(28, 1011, width=4), "cid": BuiltIn(29, 1012, width=4)}

KINDS = (
    _kind(
        "int2", "smallint", "int16", "Int16", ("!h", ">i2"), {"int2": _INT2}, _STAY,
        sqlalchemy={sql.SmallInteger: "int2"},
    ),
    _kind(
        "int4", "integer", "int32", "Int32", ("!i", ">i4"), {"int4": _INT4}, _STAY,
        sqlalchemy={sql.Integer: "int4"},
    ),
    _kind(
        "int8", "bigint", "int64", "Int64", ("!q", ">i8"), {"int8": _INT8},
        "NULL is NA; 9007199254740993 stays ...993.", sqlalchemy={sql.BigInteger: "int8"}, python={int: "int8"},
    ),
    _kind("oid", "oid, xid, cid", "uint32", "UInt32", ("!I", ">u4"), _OIDS, sqlalchemy={pg.OID: "oid"}),
    _kind("xid8", "xid8", "uint64", "UInt64", ("!Q", ">u8"), {"xid8": BuiltIn(5069, 271, width=8)}),
)  # fmt: skip
