"""Strings of bytes and of bits."""

from __future__ import annotations

from collections import Counter
from struct import Struct
from typing import TYPE_CHECKING, Any

from sqlalchemy import types as sql
from sqlalchemy.dialects import postgresql as pg

from asyncdb_nb.dataframes.type_families.kind import (
    ARROW,
    OBJECT,
    BuiltIn,
    ColumnType,
    Dumps,
    Kind,
    Writer,
    always,
    as_it_is,
    each,
    need,
    of,
    written,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from asyncdb_nb.dataframes.copy_binary.values import Values

_LENGTH = Struct("!i")


def _bytes(values: Values, column: ColumnType, lossy: Counter[str]) -> pa.Array:
    from asyncdb_nb.dataframes.copy_binary import text

    return text.binaries(values)


def _literal(value: Any) -> str | None:
    return f"\\x{value.hex()}" if type(value) is bytes else None


def _bits(data: bytes) -> str:
    return "".join(f"{byte:08b}" for byte in data[4:])[: _LENGTH.unpack_from(data)[0]]


def _write_bytes(value: Any) -> bytes:
    return bytes(need(isinstance(value, bytes | bytearray | memoryview), value))


def _bits_writer(column: ColumnType, dumps: Dumps) -> Writer:
    most = column.typmod
    least = most if column.name == "bit" else 0

    def write(value: Any) -> bytes:
        need(isinstance(value, str) and not value.strip("01"), value)
        need(most < 0 or least <= len(value) <= most, f"it has {len(value):,} bits")
        padded = value + "0" * (-len(value) % 8)
        return _LENGTH.pack(len(value)) + bytes(int(padded[n : n + 8], 2) for n in range(0, len(padded), 8))

    return write


KINDS = (
    Kind(
        name="bytea",
        documented="bytea",
        arrow="binary",
        dtypes=(OBJECT, OBJECT, ARROW),
        note="bytes.",
        types={"bytea": BuiltIn(17, 1001, literal=_literal)},
        reader=each(bytes),
        vectorized=_bytes,
        writer=written(_write_bytes),
        encode=as_it_is,
        exact_in_asyncpg=True,
        classes=(bytes,),
        converter=of(bytes, bytearray, memoryview),
        sqlalchemy={sql.LargeBinary: "bytea"},
        python={bytes: "bytea"},
    ),
    Kind(
        name="bit",
        documented="bit, bit varying",
        note="Zeros and ones, as many as there are bits.",
        types={"bit": BuiltIn(1560, 1561), "varbit": BuiltIn(1562, 1563)},
        reader=each(_bits),
        writer=_bits_writer,
        from_driver=always(lambda value: value if isinstance(value, str) else value.as_string().replace(" ", "")),
        sqlalchemy={pg.BIT: "bit"},
        asyncpg={"BitString": "varbit"},
    ),
)
