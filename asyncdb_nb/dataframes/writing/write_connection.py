"""
The session's connection for a write: nothing stays prepared, errors are SQLAlchemy's, and a statement can be stopped.

SQLAlchemy gives up a connection, and with it the transaction, when it is cancelled during a statement. Here the
server is asked to cancel the statement, and the transaction can be rolled back to its savepoint.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.util import greenlet_spawn

from asyncdb_nb.aio.shielded import start, wait_to_the_end
from asyncdb_nb.dataframes.query.stale_statements import schema_may_have_changed
from asyncdb_nb.dataframes.type_families.kind import ColumnType
from asyncdb_nb.dataframes.types.catalog import column_types
from asyncdb_nb.dataframes.writing.refusals import add_row
from asyncdb_nb.engine._sqlalchemy import execution
from asyncdb_nb.engine.cancellable_transfers import Statement, copy_rows
from asyncdb_nb.engine.pooler import reported
from asyncdb_nb.errors import WriteError

T = TypeVar("T")
_HAS_OLD = 18  # the first PostgreSQL whose RETURNING knows the old row


class Server:
    """A connection that is in a transaction.

    Args:
        connection: SQLAlchemy's.
        adapter: What it takes for a DBAPI connection.

    Attributes:
        has_old: Whether RETURNING knows what a row was before.
        dumps: What writes JSON.

    Raises:
        WriteError: It is not asyncpg's, or does not speak UTF-8.
    """

    def __init__(self, connection: AsyncConnection, adapter: Any) -> None:
        if not execution.is_asyncpgs(adapter):
            raise WriteError("write() needs PostgreSQL through asyncpg: `postgresql+asyncpg://...`.")
        encoding = reported(adapter.driver_connection, "client_encoding")
        if encoding.lower().replace("-", "") != "utf8":
            raise WriteError(f"write() sends text as UTF-8, and client_encoding is {encoding!r}.")
        self._connection = connection
        self._adapter = adapter
        self._part: Any = None
        self._first = 0
        self.has_old = (connection.dialect.server_version_info or ())[:1] >= (_HAS_OLD,)
        given = execution.json_dumps(connection.dialect)
        self.dumps: Callable[[Any], str] = given or partial(json.dumps, allow_nan=False)

    async def begin(self) -> None:
        """Begin the transaction, where nothing has been executed yet.

        Raises:
            WriteError: There is none, in AUTOCOMMIT.
        """
        async with execution.exclusively(self._adapter) as raw:
            if not raw.is_in_transaction():
                await wait_to_the_end(start(execution.begin(self._adapter), "begin"))
            if not raw.is_in_transaction():
                raise WriteError(
                    "write() needs a transaction, and this engine is in AUTOCOMMIT. Take "
                    '`engine.execution_options(isolation_level="READ COMMITTED")`.'
                )

    async def to_the_end(self, statement: str) -> None:
        """Execute a statement that does not wait for anything; a cancellation is raised when it is done."""
        work = self._run(statement, lambda raw: raw.execute(statement), stoppable=False)
        executing = start(work, "savepoint")
        await wait_to_the_end(executing)
        executing.result()

    async def execute(self, statement: str) -> str:
        """Execute a statement, and return its status."""
        return await self._run(statement, lambda raw: raw.execute(statement))

    async def rows(self, query: str, *args: Any) -> list[Any]:
        """Return the rows of a query."""
        from asyncdb_nb.engine._asyncpg import prepare_unnamed  # here: it imports the driver

        async def read(raw: Any) -> list[Any]:
            return list(await (await prepare_unnamed(raw, query)).fetch(*args))

        return await self._run(query, read)

    async def types(self, described: Sequence[tuple[int, int]]) -> list[ColumnType]:
        """Describe types by oid and typmod, whatever codecs are registered."""
        return await self._run("", lambda raw: column_types(raw, described, registered=False))

    async def copy(
        self, schema: str, table: str, names: Sequence[str], rows: Iterator[Any], seen: Callable[[int, int], None]
    ) -> str:
        """Copy rows, and return the status; `seen` is called with rows and bytes."""

        async def copy(raw: Any) -> str:
            return await copy_rows(raw, schema, table, names, rows, seen)

        return await self._run(f'COPY "{schema}"."{table}" FROM STDIN (FORMAT binary)', copy, stoppable=False)

    def note_schema_change(self) -> None:
        """Have statements prepared anew that were prepared for a table that is replaced."""
        assert self._connection.sync_connection is not None, "it has begun"  # noqa: S101
        execution.forget_prepared(self._connection.dialect)
        schema_may_have_changed(self._connection.sync_connection)

    @contextmanager
    def telling(self, part: Any, first: int = 0) -> Iterator[None]:
        """Name the row, if it is one of a part, that the server refuses in this block."""
        self._part, self._first = part, first
        yield
        self._part = None

    async def _run(self, statement: str, work: Callable[[Any], Coroutine[Any, Any, T]], *, stoppable: bool = True) -> T:
        try:
            async with execution.exclusively(self._adapter) as raw:
                return await (Statement(raw).run(work(raw)) if stoppable else work(raw))
        except WriteError:
            raise
        except Exception as error:
            await greenlet_spawn(self._raise, error, statement)
            raise

    def _raise(self, error: Exception, statement: str) -> None:
        try:
            execution.raise_translated(self._adapter, error)
        except Exception as translated:
            try:
                execution.raise_wrapped(self._connection.sync_connection, translated, statement)
            except Exception as wrapped:
                if self._part is not None:
                    add_row(wrapped, error, self._part, self._first)
                raise
