"""JSON, parsed for pandas and as its text for Arrow."""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import types as sql
from sqlalchemy.dialects import postgresql as pg

from asyncdb_nb.dataframes.families.kind import OBJECTS, BuiltIn, ColumnType, Kind, Loads, Reader, always
from asyncdb_nb.dataframes.families.text import literal

if TYPE_CHECKING:
    import pyarrow as pa

    from asyncdb_nb.dataframes.copy_binary.values import Values


def _text(column: ColumnType, data: bytes) -> str:
    """Read JSON as text: `jsonb` carries a version byte before it."""
    return (data[1:] if column.name == "jsonb" else data).decode()


def _reader(column: ColumnType, loads: Loads) -> Reader:
    return lambda data: loads(_text(column, data))


def _texts(values: Values, column: ColumnType, lossy: Counter[str]) -> pa.Array:
    from asyncdb_nb.dataframes.copy_binary import text

    return (text.jsonb if column.name == "jsonb" else text.texts)(values)


def _to_arrow(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


KINDS = (
    Kind(
        name="json",
        documented="json, jsonb",
        arrow="string",
        dtypes=OBJECTS,
        note="Parsed; Arrow holds the text. JSON null is None, as NULL is.",
        types={"json": BuiltIn(114, 199, literal=literal), "jsonb": BuiltIn(3802, 3807, literal=literal)},
        reader=_reader,
        arrow_reader=lambda column: partial(_text, column),
        vectorized=_texts,
        to_arrow=always(_to_arrow),
        from_arrow=lambda loads: loads,
        keeps_values=True,
        depth=1_000,
        sqlalchemy={sql.JSON: "json", pg.JSONB: "jsonb"},
        python={dict: "jsonb"},
    ),
)
