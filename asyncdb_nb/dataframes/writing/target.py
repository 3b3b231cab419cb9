"""
The table that is written to, as the catalog has it.

The statements name everything with `pg_catalog.`, so that no search path of the user's can lead them astray.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from asyncdb_nb.dataframes.type_families.arrays import VECTORS
from asyncdb_nb.dataframes.type_families.kind import ColumnType
from asyncdb_nb.dataframes.writing.write_connection import Server
from asyncdb_nb.engine.search_path import EQ, GT, MINUS, NE
from asyncdb_nb.errors import WriteError

# ruff: noqa: S608  the statements are put together from constants

_FIND = f"""
SELECT c.oid, n.nspname::pg_catalog.text AS schema, c.relname::pg_catalog.text AS name,
       c.relkind::pg_catalog.text AS kind,
       pg_catalog.row_security_active(c.oid) AS has_policies,
       c.relhasrules AS has_rules, pg_catalog.has_table_privilege(c.oid, 'INSERT') AS may_insert
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid {EQ} c.relnamespace
WHERE c.relname {EQ} $2::pg_catalog.text::pg_catalog.name AND c.relkind {EQ} ANY ('{{r,p,v,f,m}}')
  AND CASE WHEN $1::pg_catalog.text IS NULL THEN pg_catalog.pg_table_is_visible(c.oid)
           WHEN $1 {EQ} 'pg_temp' THEN n.oid {EQ} pg_catalog.pg_my_temp_schema()
           ELSE n.nspname {EQ} $1::pg_catalog.name END
"""
_COLUMNS = f"""
SELECT a.attname::pg_catalog.text AS name, a.atttypid AS oid, a.atttypmod AS typmod,
       pg_catalog.format_type(a.atttypid, a.atttypmod) AS sql,
       a.attnotnull OR t.typnotnull AS not_null,
       a.attidentity {EQ} 'a' AS is_identity, a.attgenerated {NE} '' AS is_generated,
       (a.attnotnull OR t.typnotnull) AND NOT a.atthasdef AND a.attidentity {EQ} ''
         AND t.typdefault IS NULL AS needs_value
FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_type AS t ON t.oid {EQ} a.atttypid
WHERE a.attrelid {EQ} $1::pg_catalog.oid AND a.attnum {GT} 0 AND NOT a.attisdropped
ORDER BY a.attnum
"""
_KEYS = f"""
SELECT (SELECT pg_catalog.json_agg(a.attname ORDER BY a.attnum)::pg_catalog.text
        FROM pg_catalog.pg_attribute AS a
        WHERE a.attrelid {EQ} i.indrelid AND a.attnum {EQ} ANY (i.indkey[0:i.indnkeyatts {MINUS} 1])) AS columns
FROM pg_catalog.pg_index AS i
WHERE i.indrelid {EQ} $1::pg_catalog.oid AND i.indisunique AND i.indimmediate AND i.indisvalid
  AND i.indpred IS NULL AND i.indexprs IS NULL
ORDER BY i.indisprimary DESC
"""
_EQUAL = f"""
WITH RECURSIVE base(name, oid) AS (
    SELECT a.attname::pg_catalog.text, a.atttypid FROM pg_catalog.pg_attribute AS a
    WHERE a.attrelid {EQ} $1::pg_catalog.oid AND a.attnum {GT} 0 AND NOT a.attisdropped
    UNION ALL
    SELECT base.name, d.typbasetype FROM base JOIN pg_catalog.pg_type AS d ON d.oid {EQ} base.oid
    WHERE d.typtype {EQ} 'd'
)
SELECT base.name, pg_catalog.format('OPERATOR(%I.%s)', n.nspname, o.oprname) AS operator
FROM base JOIN pg_catalog.pg_opclass AS c ON c.opcintype {EQ} base.oid AND c.opcdefault
JOIN pg_catalog.pg_am AS m ON m.oid {EQ} c.opcmethod AND m.amname {EQ} 'btree'
JOIN pg_catalog.pg_amop AS p ON p.amopfamily {EQ} c.opcfamily AND p.amopstrategy {EQ} 3
  AND p.amoplefttype {EQ} c.opcintype AND p.amoprighttype {EQ} c.opcintype
JOIN pg_catalog.pg_operator AS o ON o.oid {EQ} p.amopopr
JOIN pg_catalog.pg_namespace AS n ON n.oid {EQ} o.oprnamespace
"""
_QUOTED_NAME = re.compile(r'(?:"(?P<quoted>(?:[^"]|"")+)"|(?P<plain>[^".]+))(?:\.(?=.)|\Z)')


@dataclass(frozen=True, slots=True)
class Target:
    """A column of the table.

    Attributes:
        name: Its name.
        type: What its values are.
        sql: Its type as SQL has it.
        not_null: Whether it takes no NULL.
        is_identity: Whether only the server gives it values: GENERATED ALWAYS AS IDENTITY.
        is_generated: Whether the server computes it.
        needs_value: Whether it takes no NULL, and has no default.
    """

    name: str
    type: ColumnType
    sql: str
    not_null: bool
    is_identity: bool
    is_generated: bool
    needs_value: bool = False

    @property
    def is_text(self) -> bool:
        """Whether its values go as text, which the server casts."""
        as_text = self.type.name in VECTORS or any(part.name == "xml" for part in self.type.parts())
        return as_text or not self.type.is_writable  # received in binary form, xml is decoded as its declaration says


@dataclass(frozen=True, slots=True)
class Table:
    """A table, or what can be written to like one.

    Attributes:
        oid: Its number.
        schema: Its schema.
        name: Its name.
        is_view: Whether it is a view.
        can_lock: Whether LOCK TABLE takes it: not with the privilege for some columns alone.
        takes_copy: Whether COPY does what INSERT would: not with row security or rules, nor into a view.
    """

    oid: int
    schema: str
    name: str
    is_view: bool
    takes_copy: bool
    can_lock: bool

    @property
    def sql(self) -> str:
        """Its name, quoted."""
        return f"{quoted(self.schema)}.{quoted(self.name)}"


def quoted(name: str) -> str:
    """Quote an identifier.

    Raises:
        WriteError: It has a zero byte, or is none at all.
    """
    if "\0" in name or not name:
        raise WriteError(f"{name!r} is no name of a table, schema or column.")
    return '"' + name.replace('"', '""') + '"'


def parts_of_name(name: str) -> list[str]:
    """Give the schema, if there is one, and the table of `schema.table`, as they are or quoted as in SQL.

    Raises:
        WriteError: It is no such name.
    """
    found = list(_QUOTED_NAME.finditer(name))
    if "".join(part[0] for part in found) != name or not 1 <= len(found) <= 2:
        raise WriteError(
            f'{name!r} is no name of a table. Type "table" or "schema.table"; quote a part that has a dot.'
        )
    return [part["plain"] or part["quoted"].replace('""', '"') for part in found]


async def find_table(server: Server, name: str) -> Table | None:
    """Find a table by the name as the catalog has it, else by what SQL makes of it; None where there is none."""
    given = parts_of_name(name)
    folded = given if '"' in name else [part.lower() for part in given]
    for *schema, table in (given, folded):
        for row in await server.rows(_FIND, schema[0] if schema else None, table):
            kind = row["kind"]
            copy = kind in "rpf" and not row["has_policies"] and not row["has_rules"]
            return Table(row["oid"], row["schema"], row["name"], kind == "v", copy, kind in "rp" and row["may_insert"])
    return None


async def columns_of(server: Server, table: Table) -> list[Target]:
    """Read the columns of a table."""
    rows = await server.rows(_COLUMNS, table.oid)
    types = await server.types([(row["oid"], row["typmod"]) for row in rows])
    facts = ("sql", "not_null", "is_identity", "is_generated", "needs_value")
    return [
        Target(row["name"], type_, **{fact: row[fact] for fact in facts})
        for row, type_ in zip(rows, types, strict=True)
    ]


async def unique_keys(server: Server, table: Table) -> list[list[str]]:
    """List the keys that an upsert can go by, the names of the columns of each, the primary key first."""
    return [json.loads(row["columns"]) for row in await server.rows(_KEYS, table.oid)]


async def equal_by(server: Server, table: Table) -> dict[str, str]:
    """Give the operators by which an index finds values equal, by column; those of another type's are left out."""
    return {row["name"]: row["operator"] for row in await server.rows(_EQUAL, table.oid)}
