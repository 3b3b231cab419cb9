"""JSON, parsed for pandas and as its text for Arrow; and paths into it, which are text."""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import types as sql
from sqlalchemy.dialects import postgresql as pg

from asyncdb_nb.dataframes.type_families.kind import (
    OBJECTS,
    BuiltIn,
    ColumnType,
    Dumps,
    Kind,
    Loads,
    Reader,
    Writer,
    always,
    need,
    of,
    written,
)
from asyncdb_nb.dataframes.type_families.text import encoded, literal

if TYPE_CHECKING:
    import pyarrow as pa

    from asyncdb_nb.dataframes.copy_binary.values import Values


def _text(column: ColumnType, data: bytes) -> str:
    """Read the text, which a version number precedes except in `json`."""
    return (data if column.name == "json" else data[1:]).decode()


def _reader(column: ColumnType, loads: Loads) -> Reader:
    return lambda data: loads(_text(column, data))


def _texts(values: Values, column: ColumnType, lossy: Counter[str]) -> pa.Array:
    from asyncdb_nb.dataframes.copy_binary import text

    return (text.texts if column.name == "json" else text.versioned)(values)


def _to_arrow(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _writer(column: ColumnType, dumps: Dumps) -> Writer:
    version = b"" if column.name == "json" else _VERSION
    return lambda value: version + encoded(dumps(_with_texts_as_keys(value)))


def _with_texts_as_keys(value: Any) -> Any:
    """Refuse other keys, which `json` makes texts of: of 1 and "1" one would be lost."""
    if isinstance(value, dict):
        need(all(isinstance(key, str) for key in value), "JSON has no other keys than texts")
    if isinstance(value, dict | list | tuple):
        for inside in value.values() if isinstance(value, dict) else value:
            _with_texts_as_keys(inside)
    return value


def _encode(column: ColumnType, array: pa.Array) -> pa.Array:
    if column.name == "json":
        return array
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = pa.large_binary() if pa.types.is_large_string(array.type) else pa.binary()
    return pc.binary_join_element_wise(pa.scalar(_VERSION, kind), array.cast(kind), pa.scalar(b"", kind))


_VERSION = b"\1"

KINDS = (
    Kind(
        name="json",
        documented="json, jsonb",
        dtypes=OBJECTS,
        note="Parsed; Arrow holds the text. JSON null is None, as NULL is.",
        types={"json": BuiltIn(114, 199, literal=literal), "jsonb": BuiltIn(3802, 3807, literal=literal)},
        reader=_reader,
        arrow_reader=lambda column: partial(_text, column),
        vectorized=_texts,
        writer=_writer,
        encode=_encode,
        to_arrow=always(_to_arrow),
        from_arrow=lambda loads: loads,
        keeps_values=True,
        depth=1_000,
        sqlalchemy={sql.JSON: "json", pg.JSONB: "jsonb"},
        python={dict: "jsonb"},
    ),
    Kind(
        name="jsonpath",
        documented="jsonpath",
        note='As PostgreSQL writes it: $."a"[*].',
        types={"jsonpath": BuiltIn(4072, 4073)},
        reader=lambda column, loads: partial(_text, column),
        vectorized=_texts,
        writer=written(lambda value: _VERSION + encoded(value)),
        encode=_encode,
        classes=(str,),
        converter=of(str),
        sqlalchemy={pg.JSONPATH: "jsonpath"},
    ),
)
