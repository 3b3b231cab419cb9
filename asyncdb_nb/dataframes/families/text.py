"""Text, and whatever has no other form than the text that PostgreSQL writes."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from sqlalchemy import types as sql

from asyncdb_nb.dataframes.families.kind import BuiltIn, ColumnType, Kind, always, as_it_is, each, need, of, written

if TYPE_CHECKING:
    import pyarrow as pa

    from asyncdb_nb.dataframes.copy_binary.values import Values


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


def _write_char(value: Any) -> bytes:
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
        writer=written(encoded),
        encode=as_it_is,
        exact_in_asyncpg=True,
        classes=(str,),
        taker=of(str),
        sqlalchemy={sql.String: "text"},
        python={str: "text"},
    ),
    Kind(
        name="char",
        documented='"char"',
        note="One character.",
        types={"char": BuiltIn(18, 1002, width=1)},
        reader=each(_char),
        vectorized=_chars,
        writer=written(_write_char),
        from_driver=always(lambda value: value if isinstance(value, str) else _char(value)),
    ),
)
