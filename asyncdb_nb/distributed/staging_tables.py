"""The two tables of a staged write: their names, the table they go into, and dropping those that were left."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from asyncdb_nb.database import block_ranges
from asyncdb_nb.dataframes.writing.target import quoted
from asyncdb_nb.engine.search_path import EQ, MATCHES, NE
from asyncdb_nb.errors import UnknownTableError, WriteError

if TYPE_CHECKING:
    from asyncdb_nb.dataframes.writing.writing import Written

# ruff: noqa: S608  the statements are put together from constants and quoted names

_PREFIX = "asyncdb_nb_staging_"
_STAGING = re.compile(rf"{_PREFIX}([0-9a-f]{{16}})")

LOCK = text("SELECT pg_catalog.pg_advisory_xact_lock(:key)")
"""Waits for the lock of a key."""

_TRY_LOCK = text("SELECT pg_catalog.pg_try_advisory_xact_lock(:key)")

_LEFT = text(f"""
SELECT n.nspname, c.relname FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid {EQ} c.relnamespace
WHERE c.relkind {EQ} 'r' AND c.relname {MATCHES} '^{_PREFIX}[0-9a-f]{{16}}$'
      AND pg_catalog.pg_has_role(c.relowner, 'USAGE')
""")

_NAMED = text(f"""
SELECT c.oid, n.nspname, c.relname FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid {EQ} c.relnamespace
WHERE pg_catalog.concat(n.nspname, '.', c.relname) {EQ} cast(:name AS pg_catalog.text)
      AND c.relkind {EQ} ANY ('{{r,p,v,f,m}}')
""")

_END_WRITERS = text(f"""
SELECT pg_catalog.pg_terminate_backend(l.pid) FROM pg_catalog.pg_locks AS l
WHERE l.locktype {EQ} 'relation' AND l.relation {EQ} pg_catalog.to_regclass(:table)::pg_catalog.oid
      AND l.pid {NE} pg_catalog.pg_backend_pid()
      AND l.database {EQ} (SELECT d.oid FROM pg_catalog.pg_database AS d
                           WHERE d.datname {EQ} pg_catalog.current_database())
""")


class StagingTable(NamedTuple):
    """The names of the two tables, as SQL has them.

    Attributes:
        rows: The one with the rows.
        parts: The one with the numbers of the partitions.
    """

    rows: str
    parts: str


class Place(NamedTuple):
    """The table that the rows go into.

    Attributes:
        oid: Its oid.
        schema: The name of its schema.
        name: Its own name.
    """

    oid: int
    schema: str
    name: str

    @property
    def sql(self) -> str:
        """Its name as SQL has it."""
        return f"{quoted(self.schema)}.{quoted(self.name)}"


async def place_of(session: AsyncSession, written: Written) -> Place:
    """Find the table that `write` has written into."""
    found = [Place(*row) for row in await session.execute(_NAMED, {"name": written.table})]
    if len(found) > 1:
        raise WriteError(f"Two tables are called {written.table}, because of the dots in their names. Rename one.")
    return found[0]


async def found_table(session: AsyncSession, name: str) -> block_ranges.Table | None:
    """Find a table by a name that a user has typed."""
    try:
        return await block_ranges.find(session, name)
    except UnknownTableError:
        return None


async def drop_left(session: AsyncSession) -> None:
    """Drop the staging tables of processes that were killed."""
    for schema, name in (await session.execute(_LEFT)).all():
        found = _STAGING.fullmatch(name)
        if found and await session.scalar(_TRY_LOCK, {"key": lock_number(found[1])}):
            await drop(session, named(schema, found[1]))


async def drop(session: AsyncSession, table: StagingTable) -> None:
    """Drop both tables, and end what still writes into them."""
    await session.execute(_END_WRITERS, {"table": table.parts})
    await session.execute(plain(f"DROP TABLE IF EXISTS {table.parts}, {table.rows}"))


def named(schema: str, key: str) -> StagingTable:
    """Give the names of the two tables of a key."""
    return StagingTable(*(f"{quoted(schema)}.{quoted(_PREFIX + key + end)}" for end in ("", "_parts")))


def lock_number(key: str) -> int:
    """Give the number of a key's advisory lock."""
    return int.from_bytes(bytes.fromhex(key), signed=True)


def plain(statement: str) -> Any:
    """Take SQL as it is: a name may have a colon."""
    return text(statement.replace(":", r"\:"))
