"""
Write all rows, or none: inside a savepoint of the session's own transaction.

A write that fails or is cancelled is rolled back to where it began, and the transaction is usable as it was.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Literal

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from asyncdb_nb.dataframes import libraries
from asyncdb_nb.dataframes.query.progress import Progress
from asyncdb_nb.dataframes.writing.savepoint import savepoint
from asyncdb_nb.dataframes.writing.staging import Staging, other_class
from asyncdb_nb.dataframes.writing.target import (
    Table,
    Target,
    columns_of,
    equal_by,
    find_table,
    parts_of_name,
    quoted,
    unique_keys,
)
from asyncdb_nb.dataframes.writing.upsert import refuse_duplicates, upsert
from asyncdb_nb.dataframes.writing.write_connection import Server
from asyncdb_nb.engine.history import recorded
from asyncdb_nb.errors import WriteError

IfExists = Literal["append", "fail", "replace", "truncate", "upsert"]
LOCK_SECONDS = 10  # for the table that a stream replaces: what it is read from may be that very table
_LOCKED = "55P03"
_CHOICES = ("append", "fail", "replace", "truncate", "upsert")


@dataclass(frozen=True, slots=True)
class Written:
    """What was written.

    Attributes:
        table: The table, with its schema.
        rows: How many rows the data had.
        inserted: How many of them are new in the table.
        updated: How many changed a row that was there; by `upsert` alone.
        unchanged: How many found a row that was the same already; or were left out by a trigger or a rule.
        seconds: How long it took.
        created: Whether the table was made for them.
    """

    table: str
    rows: int
    inserted: int
    updated: int
    unchanged: int
    seconds: float
    created: bool


class Write:
    """One write.

    Args:
        session: An `AsyncSession`, or an `AsyncConnection`.
        name: The table's name.
        if_exists: What becomes of a table that is there.
        key: The columns of the key.
        types: SQL types of columns of a new table.
        index: Whether the index of a DataFrame is written.
        mapper: Of the class whose table it is: it says which bind, and which schema by `schema_translate_map`.

    Raises:
        WriteError: An argument is not what it should be.
    """

    def __init__(
        self,
        session: Any,
        name: str,
        if_exists: str,
        key: Any,
        types: Mapping[str, str] | None,
        *,
        index: bool,
        mapper: Any = None,
    ) -> None:
        if if_exists not in _CHOICES:
            raise WriteError(f"if_exists={if_exists!r}: it is one of {', '.join(map(repr, _CHOICES))}.")
        if not hasattr(session, "begin_nested"):
            raise WriteError(
                f"write() writes in a session, not in a {type(session).__name__}: `await write(session, data, "
                '"table")`, or `await db.write(data, "table")` without one.'
            )
        self._key = [key] if isinstance(key, str) else [*(key or ())]
        if if_exists == "upsert" and not self._key:
            raise WriteError("An upsert needs to know which rows are the same: key='id', or key=['a', 'b'].")
        parts_of_name(name)
        self._session = session
        self._name = name
        self._if_exists = if_exists
        self._types = types or {}
        self._index = index
        self._mapper = mapper
        self._class: Any = None
        self._progress = Progress()
        self._created = False
        self._is_stream = False
        self._rows = 0

    async def run(self, data: Any) -> Written:
        """Write all of `data`."""
        started = time.perf_counter()
        from asyncdb_nb.dataframes.writing.parts import is_stream

        self._is_stream = is_stream(data)
        await libraries.loaded()
        try:
            connection = await _connection(self._session, self._mapper)
            self._know_class(connection)
            server = Server(connection, (await connection.get_raw_connection()).dbapi_connection)
            with recorded(connection.dialect, self._in_words) as entry:
                table, inserted, updated = await self._write_all(server, data)
                entry.rows = inserted + updated
        finally:
            self._progress.close()
        rest = self._rows - inserted - updated
        seconds = time.perf_counter() - started
        return Written(f"{table.schema}.{table.name}", self._rows, inserted, updated, rest, seconds, self._created)

    async def _write_all(self, server: Server, data: Any) -> tuple[Table, int, int]:
        """Write all of `data`, or nothing; give the table, how many rows were inserted, and how many updated."""
        async with savepoint(server), aclosing(self._parts(data)) as parts:
            first = await anext(parts, None)
            if first is None:
                raise WriteError("There are no parts, not even an empty one, so there are no columns.")
            table, targets = await self._table(server, first)
            return table, *await self._write(server, table, targets, first, parts)

    @property
    def _in_words(self) -> str:
        """What the history of statements shows for all that is sent."""
        how = "" if self._if_exists == "append" else f" -- if_exists={self._if_exists!r}"
        return f"COPY {self._name} FROM STDIN (FORMAT binary){how}"

    def _know_class(self, connection: AsyncConnection) -> None:
        """Take names, defaults and all that from the mapped class."""
        from asyncdb_nb.dataframes.writing.mapped import MappedRows

        if self._mapper is not None:
            self._class = MappedRows(self._mapper, connection.dialect, upsert=self._if_exists == "upsert")
            self._name = _name_in(connection, self._mapper.local_table)
            self._key = [self._class.column(name) for name in self._key]

    async def _parts(self, data: Any) -> AsyncGenerator[Any, None]:
        from asyncdb_nb.dataframes.writing.parts import parts_of

        first = 0
        async with aclosing(parts_of(data, index=self._index)) as parts:
            async for part in parts:
                yield part if self._class is None else await asyncio.to_thread(self._class.part, part, first)
                first += part.rows

    async def _table(self, server: Server, first: Any) -> tuple[Table, list[Target]]:
        """Find the table, or make it, and the columns that are written."""
        from asyncdb_nb.dataframes.writing.new_table import create_table

        name = self._name
        table = await find_table(server, name)
        if table is not None and self._if_exists == "fail":
            raise WriteError(
                f"There is a table {table.sql} already. Type if_exists='append', 'replace', 'truncate' or 'upsert'."
            )
        if table is not None and self._if_exists == "replace":
            await self._alone(server, f"DROP TABLE {table.sql}", table)
            server.note_schema_change()
            name, table = table.sql, None  # in the same schema, by the same name
        unknown = [name for name in (*self._key, *self._types) if name not in first.names]
        if unknown:
            raise WriteError(f"The data have no column {unknown[0]!r}; they have {', '.join(map(repr, first.names))}.")
        if table is None and self._class is not None:
            raise WriteError(f"There is no table {name}. Make it from the classes: `Base.metadata.create_all`.")
        if table is None:
            await create_table(server, name, first, self._types, self._key)
            table = await find_table(server, name)
            self._created = True
        if table is None:
            raise WriteError(f"The table {self._name!r} was made, and is hidden by the search path. Name its schema.")
        if table.can_lock:
            await server.execute(f"LOCK TABLE {table.sql} IN ROW EXCLUSIVE MODE")
        if self._if_exists == "truncate" and not self._created:
            await self._alone(server, f"TRUNCATE TABLE {table.sql}", table)
        targets = self._targets(await columns_of(server, table), table, first)
        if self._if_exists == "upsert" and not table.is_view:
            self._check_key(await unique_keys(server, table), table)
        return table, targets

    async def _alone(self, server: Server, statement: str, table: Table) -> None:
        """Execute what waits until nobody reads the table: not for ever, where the stream to be written may do so.

        Raises:
            WriteError: Somebody still reads it.
        """
        if not self._is_stream:
            await server.execute(statement)
            return
        [[before]] = await server.rows("select pg_catalog.current_setting('lock_timeout')")
        await server.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
        try:
            await server.execute(statement)
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) != _LOCKED:
                raise
            raise WriteError(
                f"Somebody reads or locks {table.sql}, for {LOCK_SECONDS} seconds. If the data come from that table, "
                "read them first (`data = await db.table(...)`), or write them into another one."
            ) from error
        await server.execute(f"SET LOCAL lock_timeout = '{before}'")

    def _targets(self, columns: Sequence[Target], table: Table, first: Any) -> list[Target]:
        """Choose the columns of the data among those of the table, in the data's order."""
        by_name = {column.name: column for column in columns}
        for name in first.names:
            if name not in by_name:
                raise WriteError(
                    f"The table {table.sql} has no column {name!r}. It has {', '.join(map(repr, by_name))}."
                )
            if by_name[name].is_generated or (by_name[name].is_identity and name not in self._upsert_key()):
                raise WriteError(
                    f"Only the server gives column {name!r} its values. Leave it out: `frame.drop(columns={name!r})`."
                )
        for column in columns:
            if column.needs_value and column.name not in first.names:
                raise WriteError(
                    f"The data have no column {column.name!r}, which takes no NULL and has no default in {table.sql}."
                )
        return [by_name[name] for name in first.names]

    def _upsert_key(self) -> list[str]:
        return self._key if self._if_exists == "upsert" else []

    def _check_key(self, keys: Sequence[Sequence[str]], table: Table) -> None:
        if any(set(self._key) == set(key) for key in keys):
            return
        there = "; ".join(f"key={list(key)!r}" for key in keys) or "none"
        raise WriteError(
            f"key={self._key!r} is no primary key and not unique in {table.sql}, which an upsert goes by. "
            f"There is {there}. Or make one: "
            f"`create unique index on {table.sql} ({', '.join(map(quoted, self._key))})`."
        )

    async def _write(
        self, server: Server, table: Table, targets: Sequence[Target], first: Any, parts: AsyncIterator[Any]
    ) -> tuple[int, int]:
        """Write all parts; give how many rows were inserted, and how many updated."""
        is_upsert = self._if_exists == "upsert"
        direct = table.takes_copy and not is_upsert and not any(target.is_text for target in targets)
        if direct:
            return await self._copy_all(server, table, targets, first, parts), 0
        staging = Staging(table, targets, self._upsert_key(), self._class.defaults if self._class else ())
        await server.execute(staging.create())
        temporary = replace(table, schema="pg_temp", name=staging.name)
        await self._copy_all(server, temporary, targets, first, parts)
        with server.telling(first if self._rows == first.rows else None):
            if is_upsert:
                await refuse_duplicates(server, staging)
                await self._check_classes(server, table, staging)
                inserted, updated = await upsert(server, staging)
            else:
                status = await server.execute(staging.insert())
                inserted, updated = int(status.rpartition(" ")[2]), 0
        await server.execute(staging.drop())
        return inserted, updated

    async def _check_classes(self, server: Server, table: Table, staging: Staging) -> None:
        """Refuse to make a row of one class of a row of another."""
        if self._class is None or self._class.discriminator is None:
            return
        equal = await equal_by(server, table)
        if found := await server.rows(staging.changed(self._class.discriminator, equal)):
            raise other_class(self._class.discriminator, self._key, found[0])

    async def _copy_all(
        self, server: Server, table: Table, targets: Sequence[Target], part: Any, parts: AsyncIterator[Any]
    ) -> int:
        inserted = 0
        names = [target.name for target in targets]
        while part is not None:
            if set(part.names) != set(names):
                raise WriteError(f"A later part has other columns than the first: {', '.join(map(repr, part.names))}.")
            inserted += await self._copy(server, table, targets, part)
            self._rows += part.rows
            part = await anext(parts, None)
        return inserted

    async def _copy(self, server: Server, table: Table, targets: Sequence[Target], part: Any) -> int:
        from asyncdb_nb.dataframes.writing.conversion import Conversion
        from asyncdb_nb.dataframes.writing.encode import PartEncoder

        if not part.rows:
            return 0
        by_name = {target.name: target for target in targets}
        conversions = [
            Conversion(by_name[name], server.dumps, self._rows, key=name in self._upsert_key()) for name in part.names
        ]
        encoder = PartEncoder(part, conversions)
        await asyncio.to_thread(encoder.check)
        with server.telling(part, self._rows):
            status = await server.copy(table.schema, table.name, part.names, encoder.stream(), self._seen)
        return int(status.rpartition(" ")[2])

    def _seen(self, rows: int, size: int) -> None:
        self._progress.seen(self._rows + rows, size)


def _name_in(connection: AsyncConnection, table: Any) -> str:
    """Name a table of SQLAlchemy's as its statements on this connection do."""
    assert connection.sync_connection is not None, "it has begun"  # noqa: S101
    schemas = connection.sync_connection.get_execution_options().get("schema_translate_map") or {}
    schema = schemas.get(table.schema, table.schema)
    return ".".join(quoted(part) for part in (schema, table.name) if part)


async def _connection(session: AsyncSession | AsyncConnection, mapper: Any = None) -> AsyncConnection:
    """Flush what is pending, and give the connection."""
    if isinstance(session, AsyncConnection):
        if not session.in_transaction():  # else SQLAlchemy knows of none, and its commit() commits nothing
            await session.begin()
        return session
    await session.flush()
    return await session.connection(bind_arguments={} if mapper is None else {"mapper": mapper})
