"""Text, and whatever has no other form than the text that PostgreSQL writes."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from sqlalchemy import types as sql
from sqlalchemy.dialects import postgresql as pg

from asyncdb_nb.dataframes.type_families.kind import (
    BuiltIn,
    ColumnType,
    Dumps,
    Kind,
    Writer,
    always,
    each,
    need,
    of,
    written,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from asyncdb_nb.dataframes.copy_binary.values import Values


_LENGTH = 4  # bytes of a length, which the typmod of varchar(n) and char(n) counts beside the characters


def literal(value: Any) -> str | None:
    """Write a text as it is."""
    return value if type(value) is str else None


def _texts(values: Values, column: ColumnType, lossy: Counter[str]) -> pa.Array:
    from asyncdb_nb.dataframes.copy_binary import text

    return text.texts(values)


def _char(data: bytes) -> str:
    """Read "char" as PostgreSQL writes it: nothing for zero, above 127 an octal escape."""
    return "" if data == b"\0" else f"\\{data[0]:03o}" if data[0] > 127 else data.decode("ascii")


def _chars(values: Values, column: ColumnType, lossy: Counter[str]) -> pa.Array | None:
    from asyncdb_nb.dataframes.copy_binary import text

    found = values.fixed("u1")
    return None if found.max(initial=0) > 127 else text.characters(values, found)


def encoded(value: Any) -> bytes:
    """Write a text; PostgreSQL has none with a zero byte."""
    return str(need(isinstance(value, str) and "\0" not in value, value)).encode()


def _writer(column: ColumnType, dumps: Dumps) -> Writer:
    if column.typmod < _LENGTH:
        return encoded

    def write(value: Any) -> bytes:
        data = encoded(value)
        need(len(value) <= column.typmod - _LENGTH, f"it has {len(value):,} characters")
        return data

    return write


def _encode(column: ColumnType, array: pa.Array) -> pa.Array | None:
    """Leave texts to pgpq that are not too long: the server cuts spaces off those, and refuses others."""
    import pyarrow.compute as pc

    if column.typmod < _LENGTH:
        return array
    longest: int | None = pc.max(pc.utf8_length(array)).as_py()
    return array if (longest or 0) <= column.typmod - _LENGTH else None


def char_bytes(value: Any) -> bytes:
    """Give the byte of a "char" as frames show it: a character, an octal number of a byte, or nothing for none."""
    escaped = len(value) == 4 and value[0] == "\\"
    return bytes([int(value[1:], 8)]) if escaped else need(len(value) < 2, value).encode("ascii") or b"\0"


KINDS = (
    Kind(
        name="text",
        documented="text, varchar, char(n), name, xml, citext, enums, tsvector, reg…, any other type",
        note="As PostgreSQL writes it; char(n) keeps its padding.",
        types={
            "name": BuiltIn(19, 1003),
            "text": BuiltIn(25, 1009, literal=literal),
            "xml": BuiltIn(142, 143),
            "unknown": BuiltIn(705),
            "bpchar": BuiltIn(1042, 1014, literal=literal),
            "varchar": BuiltIn(1043, 1015, literal=literal),
            "refcursor": BuiltIn(1790, 2201),
        },
        extensions=("citext",),
        reader=each(bytes.decode),
        vectorized=_texts,
        writer=_writer,
        encode=_encode,
        exact_in_asyncpg=True,
        classes=(str,),
        converter=of(str),
        sqlalchemy=dict.fromkeys((sql.String, pg.TSVECTOR, pg.TSQUERY, pg.REGCLASS, pg.REGCONFIG), "text"),
        python={str: "text"},
    ),
    Kind(
        name="char",
        documented='"char"',
        note="One character.",
        types={"char": BuiltIn(18, 1002, width=1)},
        reader=each(_char),
        vectorized=_chars,
        writer=written(char_bytes),
        from_driver=always(lambda value: value if isinstance(value, str) else _char(value)),
    ),
)
