"""
Ask the server what the types are that are not built in: enums, domains, ranges, row types, extensions.

One query answers for a type and every type inside it. It runs on the raw connection, with the names of pg_catalog
spelled out, so that no search path of the user's can lead it astray.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from asyncdb_nb.dataframes.type_families.arrays import array_of_text
from asyncdb_nb.dataframes.type_families.built_in import UnknownTypeError, built_in_types
from asyncdb_nb.dataframes.type_families.kind import ColumnType
from asyncdb_nb.dataframes.types.table import CatalogType, column_type
from asyncdb_nb.engine.search_path import EQ, GT
from asyncdb_nb.engine.type_codecs import has_users_codec, text_decoder

# ruff: noqa: S608  the statements are put together from constants

_FIELDS = f"""
    FROM pg_catalog.pg_attribute a
    WHERE t.typtype {EQ} 'c' AND a.attrelid {EQ} t.typrelid AND a.attnum {GT} 0 AND NOT a.attisdropped
    ORDER BY a.attnum
"""
# No array goes to the server or comes back: asyncpg would look its type up by names without a schema.
_TYPES = f"""
WITH RECURSIVE wanted(oid) AS (
    SELECT pg_catalog.unnest(pg_catalog.string_to_array($1::pg_catalog.text, ',')::pg_catalog.oid[])
  UNION
    SELECT inside.oid
    FROM wanted
    JOIN pg_catalog.pg_type t ON t.oid {EQ} wanted.oid
    LEFT JOIN pg_catalog.pg_range r ON t.oid {EQ} ANY (ARRAY[r.rngtypid, r.rngmultitypid])
    CROSS JOIN LATERAL (
        SELECT CASE
            WHEN t.typtype {EQ} 'd' THEN t.typbasetype
            WHEN t.typtype {EQ} 'r' THEN r.rngsubtype
            WHEN t.typtype {EQ} 'm' THEN r.rngtypid
            WHEN t.typtype {EQ} 'b' AND t.typcategory {EQ} 'A' THEN t.typelem
        END
      UNION ALL
        SELECT a.atttypid FROM pg_catalog.pg_attribute a
        WHERE t.typtype {EQ} 'c' AND a.attrelid {EQ} t.typrelid AND a.attnum {GT} 0 AND NOT a.attisdropped
    ) inside(oid)
    WHERE inside.oid IS NOT NULL
)
SELECT
    t.oid,
    t.typname::pg_catalog.text AS name,
    (SELECT n.nspname::pg_catalog.text FROM pg_catalog.pg_namespace n WHERE n.oid {EQ} t.typnamespace) AS schema,
    t.typtype::pg_catalog.text AS kind,
    t.typtypmod AS typmod,
    CASE
        WHEN t.typtype {EQ} 'd' THEN t.typbasetype
        WHEN t.typtype {EQ} 'r'
            THEN (SELECT r.rngsubtype FROM pg_catalog.pg_range r WHERE r.rngtypid {EQ} t.oid)
        WHEN t.typtype {EQ} 'm'
            THEN (SELECT r.rngtypid FROM pg_catalog.pg_range r WHERE r.rngmultitypid {EQ} t.oid)
        WHEN t.typtype {EQ} 'b' AND t.typcategory {EQ} 'A' THEN t.typelem
    END AS inside,
    pg_catalog.array_to_json(ARRAY(SELECT a.attname::pg_catalog.text {_FIELDS}))::pg_catalog.text AS field_names,
    pg_catalog.array_to_json(ARRAY(SELECT a.atttypid::pg_catalog.int8 {_FIELDS}))::pg_catalog.text AS field_oids,
    pg_catalog.array_to_json(ARRAY(SELECT a.atttypmod {_FIELDS}))::pg_catalog.text AS field_typmods
FROM pg_catalog.pg_type t
JOIN wanted ON wanted.oid {EQ} t.oid
"""
# How many digits of money stand after the point is decided by lc_monetary.
_MONEY_SCALE = """
SELECT pg_catalog.scale(('1'::pg_catalog.int8::pg_catalog.money)::pg_catalog.numeric)
"""


_PARTS = ("names", "oids", "typmods")


async def column_types(
    connection: Any, described: Sequence[tuple[int, int]], *, registered: bool = True
) -> list[ColumnType]:
    """Describe columns, asking the server for what is not built in.

    A type that a user registered a codec for, and whatever holds one, is what that codec makes of it.

    Args:
        connection: An asyncpg connection that is free.
        described: Each column's oid and typmod.
        registered: Whether codecs that a user registered count.

    Returns:
        One type for each column.
    """
    try:
        types = [column_type(oid, typmod) for oid, typmod in described]
    except UnknownTypeError:
        catalog = await _catalog(connection, {oid for oid, _ in described})
        types = [column_type(oid, typmod, catalog) for oid, typmod in described]
    if any(part.kind == "money" for type_ in types for part in type_.parts()):
        [[scale]] = await _fetch(connection, _MONEY_SCALE)
        catalog = await _catalog(connection, {oid for oid, _ in described})
        types = [column_type(oid, typmod, catalog, money_scale=scale) for oid, typmod in described]
    return [_as_registered(connection, type_) for type_ in types] if registered else types


def by_codec(connection: Any, type_: ColumnType) -> bool:
    """Say whether a codec that a user registered on a connection makes the values of a type, or some inside them."""
    return any(has_users_codec(connection, part.oid, python_only=part.binary) for part in type_.parts())


def _as_registered(connection: Any, type_: ColumnType) -> ColumnType:
    """Give a type as the codecs of a connection have it; an anonymous row is told which built-in types have one."""
    if by_codec(connection, type_):
        decode = text_decoder(connection, type_.inside.oid) if type_.kind == "array" else None
        return replace(type_, kind="python", decode=None if decode is None else partial(array_of_text, decode))
    if any(part.kind == "record" for part in type_.parts()):
        for inside in built_in_types():
            if has_users_codec(connection, inside.oid, python_only=True):
                type_ = type_.knowing(inside.oid, replace(inside, kind="python"))
    return type_


async def _catalog(connection: Any, oids: Iterable[int]) -> dict[int, CatalogType]:
    return {
        line["oid"]: CatalogType(
            oid=line["oid"],
            name=line["name"],
            schema=line["schema"],
            kind=line["kind"],
            inside=line["inside"] or 0,
            typmod=line["typmod"],
            fields=tuple(zip(*(json.loads(line[f"field_{part}"]) for part in _PARTS), strict=True)),
        )
        for line in await _fetch(connection, _TYPES, ",".join(map(str, oids)))
    }


async def _fetch(connection: Any, query: str, *args: Any) -> Any:
    """Run a query that is sent with its execution, so that nothing has to be on the server from before."""
    from asyncdb_nb.engine._asyncpg import prepare_unnamed  # here: it imports the driver

    statement = await prepare_unnamed(connection, query)
    return await statement.fetch(*args)
