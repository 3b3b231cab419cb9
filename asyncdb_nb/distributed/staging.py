"""
The tables in which partitions wait until all of them are there, and can go into their table in one transaction.

`asyncdb_nb_staging_<key>` has the rows. `asyncdb_nb_staging_<key>_parts` has the number of each partition whose rows
are there, and both are committed together: a partition that dask runs twice is there once.

The process that asked for the write keeps a transaction open with an advisory lock on the key. Staging tables whose key
nobody has locked are those of a process that was killed; the next write drops them.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from asyncdb_nb.database import block_ranges
from asyncdb_nb.database.database import Database
from asyncdb_nb.database.session import session_scope, start_transaction
from asyncdb_nb.database.snapshot import Snapshot
from asyncdb_nb.dataframes import write
from asyncdb_nb.dataframes.writing.staging import Staging as Rows
from asyncdb_nb.dataframes.writing.target import columns_of, find_table, quoted
from asyncdb_nb.dataframes.writing.upsert import refuse_duplicates, upsert
from asyncdb_nb.dataframes.writing.write_connection import Server
from asyncdb_nb.distributed.staging_tables import (
    LOCK,
    Place,
    StagingTable,
    drop,
    drop_left,
    found_table,
    lock_number,
    named,
    place_of,
    plain,
)
from asyncdb_nb.engine.search_path import EQ, GT
from asyncdb_nb.errors import WriteError

if TYPE_CHECKING:
    import pandas as pd

    from asyncdb_nb.dataframes.writing.writing import Written

# ruff: noqa: S608  the statements are put together from constants and quoted names

_SCHEMA = text(f"""
SELECT n.nspname FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid {EQ} c.relnamespace
WHERE c.oid {EQ} cast(:oid AS pg_catalog.oid)
""")

_NOT_NULL = text(f"""
SELECT a.attname FROM pg_catalog.pg_attribute AS a
WHERE a.attrelid {EQ} cast(:oid AS pg_catalog.oid) AND a.attnum {GT} 0 AND a.attnotnull
""")

_COLUMNS = text(f"""
SELECT a.attname, a.atttypid, a.atttypmod FROM pg_catalog.pg_attribute AS a
WHERE a.attrelid {EQ} cast(:oid AS pg_catalog.oid) AND a.attnum {GT} 0 AND NOT a.attisdropped
""")

_HERE = text("SELECT pg_catalog.pg_postmaster_start_time(), pg_catalog.current_database()::pg_catalog.text")

_REGCLASS = text("SELECT pg_catalog.to_regclass(:name)::pg_catalog.oid")


class writing_scope(session_scope):  # noqa: N801  as its base
    """A scope that sees what others have committed meanwhile, and that nobody shall end for being idle."""

    def __init__(self, bind: Any, **options: Any) -> None:
        super().__init__(bind, **options)
        self._settings = {"idle_in_transaction_session_timeout": "0"}

    def _begin(self, session: Any, transaction: Any, connection: Any) -> None:
        if transaction.nested:
            return
        start_transaction(connection, isolation="read_committed")
        if connection.dialect.server_version_info >= (17,):
            self._settings["transaction_timeout"] = "0"
        super()._begin(session, transaction, connection)


class Write(NamedTuple):
    """What is to be written, as `asyncdb_nb.write` takes it.

    Attributes:
        meta: A frame without rows.
        name: The table's name.
        if_exists: What becomes of a table that is there.
        key: The columns of the primary key of a table that is made, and of the key that an upsert goes by.
        types: SQL types by column.
        has_index: Whether the index is written.
    """

    meta: pd.DataFrame
    name: str
    if_exists: str
    key: Sequence[str]
    types: Mapping[str, str]
    has_index: bool

    @property
    def is_upsert(self) -> bool:
        """Whether rows change those of their key."""
        return self.if_exists == "upsert"

    @property
    def columns(self) -> list[str]:
        """The names of the columns that are written."""
        return [str(name) for name in (self.meta.reset_index() if self.has_index else self.meta).columns]

    async def into(self, session: AsyncSession, name: str, if_exists: str, *, key: Sequence[str] = ()) -> Written:
        """Write no row into a table: it is checked, and made, as for the rows."""
        options: dict[str, Any] = {"key": list(key) or None, "types": self.types or None, "index": self.has_index}
        return await write(session, self.meta, name, if_exists=if_exists, **options)  # type: ignore[arg-type]


class Staging:
    """Makes the staging tables, moves what is in them, and drops them.

    Args:
        database: The `Database`.
        what: What is to be written.
        snapshots: Those that the partitions are read from: nobody can empty their tables meanwhile.
    """

    def __init__(self, database: Database, what: Write, snapshots: Sequence[Snapshot] = ()) -> None:
        self._database = database
        self._what = what
        self._snapshots = snapshots
        self._key = secrets.token_hex(8)
        self._scope: session_scope | None = None
        self._is_new = False
        self._schema = ""
        self.table = StagingTable("", "")

    async def prepare(self) -> StagingTable:
        """Look whether the write could be, and make the tables.

        Raises:
            WriteError: It could not be; the message has the reason.
        """
        scope = self._database._scope(writing_scope)
        session = await scope.__aenter__()
        self._scope = scope
        await session.execute(LOCK, {"key": lock_number(self._key)})
        async with self._database._scope(writing_scope) as session:
            await drop_left(session)
            there = await self._try(session)
            self.table = named(self._schema, self._key)
            await self._make(session, there)
        return self.table

    async def move(self, numbers: int, rows: int) -> Written:
        """Move the rows into their table, and drop what is left, in one transaction.

        Args:
            numbers: How many partitions there are.
            rows: How many rows they have.

        Raises:
            WriteError: They are not all there, or their table has changed meanwhile.
            sqlalchemy.exc.SQLAlchemyError: The server refused the rows.
        """
        what, table = self._what, self.table
        async with self._database._scope(writing_scope) as session:
            counted = f"SELECT pg_catalog.count(*), pg_catalog.sum(p.rows)::pg_catalog.int8 FROM {table.parts} AS p"
            found = tuple((await session.execute(text(counted))).one())
            if found != (numbers, rows):
                raise WriteError(
                    f"Of {numbers:,} partitions with {rows:,} rows the server has {found[0]:,} with {found[1] or 0:,}. "
                    "It was started anew, say, and what is staged does not outlive a crash. Write once more."
                )
            written = await what.into(session, what.name, what.if_exists, key=what.key)
            if written.created != self._is_new:
                raise WriteError(f"{what.name} was made or dropped while its rows were staged. Write once more.")
            there = await place_of(session, written)
            inserted, updated = await self._into(session, there, rows)
            await session.execute(text(f"DROP TABLE IF EXISTS {table.parts}, {table.rows}"))
        return type(written)(
            table=written.table,
            rows=rows,
            inserted=inserted,
            updated=updated,
            unchanged=rows - inserted - updated,
            seconds=written.seconds,
            created=written.created,
        )

    async def drop(self) -> None:
        """Drop the tables, and end what still writes into them."""
        if self.table.rows:
            async with self._database._scope(writing_scope) as session:
                await drop(session, self.table)

    async def close(self) -> None:
        """Let go of the lock."""
        scope, self._scope = self._scope, None
        if scope is not None:
            await scope.__aexit__(None, None, None)

    async def _try(self, session: AsyncSession) -> Place | None:
        """Write no row for a try, so that what would fail at the end fails now; give the table, if it is kept."""
        what = self._what
        replaced = await found_table(session, what.name) if what.if_exists == "replace" else None
        nested = await session.begin_nested()
        if replaced is None:
            tried = what.if_exists if what.if_exists in ("fail", "upsert") else "append"
            written = await what.into(session, what.name, tried, key=what.key)
            there = await place_of(session, written)
            self._is_new, self._schema = written.created, there.schema
        else:
            if replaced.kind not in "rp":
                raise WriteError(f"{replaced.name} is no table, and is not replaced. Drop it, or type another name.")
            self._is_new, self._schema = True, str(await session.scalar(_SCHEMA, {"oid": replaced.oid}))
            await what.into(session, named(self._schema, self._key).rows, "fail", key=what.key)
        await nested.rollback()
        if replaced is not None or not self._is_new:
            await self._check(session, there.oid if replaced is None else replaced.oid)
        return None if self._is_new else there

    async def _check(self, session: AsyncSession, oid: int) -> None:
        table, *parts = await block_ranges.tree(session, oid)
        if table.persistence == "t":
            raise WriteError(f"{table.name} is a temporary table, which no worker can see.")
        server = tuple((await session.execute(_HERE)).one())
        locked = [one.locked for one in self._snapshots if (one.server, one.database.engine.url.database) == server]
        emptied = {part.oid for part in (table, *parts)} if self._what.if_exists in ("replace", "truncate") else set()
        if emptied & frozenset().union(*locked):
            raise WriteError(
                f"The collection is read from {table.name}, and its snapshot keeps the table from being emptied. Write "
                "into another table; or type `collection = collection.persist()`, wait for it, and `release` the one "
                "that was read."
            )

    async def _make(self, session: AsyncSession, there: Place | None) -> None:
        """Make the tables: with columns as the data say, or as the table has that they go into."""
        what, table = self._what, self.table
        if there is None:
            await what.into(session, table.rows, "fail")
            needed = list(what.key)
        else:
            columns = ", ".join(map(quoted, what.columns))
            select = f"SELECT {columns} FROM {there.sql}"
            await session.execute(plain(f"CREATE UNLOGGED TABLE {table.rows} AS {select} WITH NO DATA"))
            found = {name for (name,) in await session.execute(_NOT_NULL, {"oid": there.oid})}
            needed = [name for name in what.columns if name in found or (what.is_upsert and name in what.key)]
        for name in needed:  # then the partition that has a NULL is known
            await session.execute(plain(f"ALTER TABLE {table.rows} ALTER COLUMN {quoted(name)} SET NOT NULL"))
        await session.execute(plain(f"CREATE UNLOGGED TABLE {table.parts} (partition int8 PRIMARY KEY, rows int8)"))

    async def _into(self, session: AsyncSession, there: Place, rows: int) -> tuple[int, int]:
        """Move the rows; give how many were inserted, and how many changed a row that was there."""
        merging = await self._merging(session, there) if self._what.is_upsert else None
        if merging is not None:
            await refuse_duplicates(*merging)
        if self._is_new:
            await self._rename(session, there)
            return rows, 0
        await self._check_columns(session, there)
        return await self._insert(session, there) if merging is None else await upsert(*merging)

    async def _merging(self, session: AsyncSession, there: Place) -> tuple[Server, Rows]:
        """Take the staging table for that of a `write`."""
        connection = await session.connection()
        server = Server(connection, (await connection.get_raw_connection()).dbapi_connection)
        table = await find_table(server, there.sql)
        assert table is not None, "it is locked"  # noqa: S101
        targets = {target.name: target for target in await columns_of(server, table)}
        return server, Rows(table, [targets[name] for name in self._what.columns], self._what.key, sql=self.table.rows)

    async def _check_columns(self, session: AsyncSession, there: Place) -> None:
        ours = await session.scalar(_REGCLASS, {"name": self.table.rows})
        columns_of = [set((await session.execute(_COLUMNS, {"oid": oid})).all()) for oid in (ours, there.oid)]
        if not columns_of[0] <= columns_of[1]:
            raise WriteError(f"Columns of {there.sql} were changed while its rows were staged. Write once more.")

    async def _insert(self, session: AsyncSession, there: Place) -> tuple[int, int]:
        columns = ", ".join(map(quoted, self._what.columns))
        insert = f"INSERT INTO {there.sql} ({columns}) SELECT {columns} FROM {self.table.rows}"
        return int((await session.execute(plain(insert))).rowcount), 0  # type: ignore[attr-defined]

    async def _rename(self, session: AsyncSession, there: Place) -> None:
        """Put the staging table into the place of the table that was just made."""
        await session.execute(plain(f"DROP TABLE {there.sql}"))
        for column in self._what.key:  # the primary key says it once more, by a name of its own
            await session.execute(plain(f"ALTER TABLE {self.table.rows} ALTER COLUMN {quoted(column)} DROP NOT NULL"))
        if there.schema != self._schema:
            await session.execute(plain(f"ALTER TABLE {self.table.rows} SET SCHEMA {quoted(there.schema)}"))
        moved = named(there.schema, self._key).rows
        await session.execute(plain(f"ALTER TABLE {moved} RENAME TO {quoted(there.name)}"))
        if self._what.key:
            columns = ", ".join(map(quoted, self._what.key))
            await session.execute(plain(f"ALTER TABLE {there.sql} ADD PRIMARY KEY ({columns})"))
