"""
Run a statement through a session, and take the rows where SQLAlchemy hands the statement to the driver.

`session.execute` does all that it always does: autoflush, `do_orm_execute` hooks, loader criteria, compilation, events,
its own errors. Only at the last step, SQLAlchemy's `do_execute` event, a statement that carries a `Capture` in its
execution options is prepared by `prepared.prepare`, so that its columns are described in full and exact. Every other
statement passes untouched.

Compiled INSERT, UPDATE and DELETE keep their rows, since the ORM reads what they return; their columns are only
described.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from sqlalchemy import event
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.engine.cursor import CursorFetchStrategy
from sqlalchemy.util import await_only, greenlet_spawn

from asyncdb_nb.dataframes.query.copy import Part, Receiver, command
from asyncdb_nb.dataframes.query.copy_stream import CopyStream
from asyncdb_nb.dataframes.query.describe import Columns, Described, Kept, prepare
from asyncdb_nb.dataframes.query.row_counts import FEW, gave_few, remember
from asyncdb_nb.dataframes.query.schema_changes import note_schema_change, schema_may_change
from asyncdb_nb.dataframes.query.shape import Shape, Wishes
from asyncdb_nb.dataframes.sql.binds import Parameter, fitted
from asyncdb_nb.dataframes.sql.statement import as_sent
from asyncdb_nb.dataframes.sql.tokenizer import query_tokens
from asyncdb_nb.dataframes.types.catalog import column_types
from asyncdb_nb.dataframes.types.processing import declared, processings
from asyncdb_nb.engine.pooler import forget_if_unknown
from asyncdb_nb.engine.statement_cache import cache_of, close_dropped
from asyncdb_nb.errors import CorruptStreamError, FrameError

if TYPE_CHECKING:
    from sqlalchemy.engine.default import DefaultExecutionContext

T = TypeVar("T")

OPTION = "asyncdb_nb_capture"
NO_ROWS = (
    "This statement returns no rows, so there is no frame of it; it was not run. "
    "Run it in `async with db.session() as session:`, by `await session.execute(...)`, or, with RETURNING, by "
    "`await frame(session, ...)`."
)

TWICE = (
    "A hook of the session runs this statement more than once, so it is not one result. "
    "Execute it, then: `to_frame(await session.execute(statement))`."
)


class Capture:
    """What is learned of one statement as it runs: its columns and, where SQLAlchemy does not need them, its rows.

    Args:
        wishes: How the columns are wanted.
        limit: The most rows to read; None for all.
        in_parts: Whether the rows are to be taken by `next` or `fetch`, rather than all at once.
        seen: Called with the rows and bytes that came by COPY so far.

    Attributes:
        statement: The SQL as SQLAlchemy hands it over.
        shape: Its columns, once it ran.
        exact: Whether the rows are here; else SQLAlchemy's result has them.
        copied: The parts that came by COPY; else None.
        stream: The parts that are coming by COPY; else None.
        records: The rows as asyncpg gives them.
        fetching: Whether the rows are to be taken by `fetch`.
        executions: How often a statement with this capture ran: a hook may never run it.
        parameters: What the server says of its parameters, once it was prepared.
    """

    def __init__(
        self,
        wishes: Wishes,
        *,
        limit: int | None = None,
        in_parts: bool = False,
        seen: Callable[[int, int], None] = lambda rows, size: None,
    ) -> None:
        self.statement = ""
        self.shape = Shape((), (), json.loads, wishes)
        self.exact = False
        self.copied: list[Part] | None = None
        self.stream: CopyStream | None = None
        self.records: Sequence[Any] = ()
        self.fetching = False
        self.executions = 0
        self.parameters: Sequence[Parameter] = ()
        self._limit = limit
        self._in_parts = in_parts
        self._seen = seen
        self._context: DefaultExecutionContext | None = None
        self._cursor: Any = None

    @property
    def path(self) -> str:
        """Which way the rows came: "copy" or "rows"."""
        return "rows" if self.copied is None and self.stream is None else "copy"

    async def fetch(self, count: int) -> Sequence[Any]:
        """Read the next `count` rows; fewer when they end."""
        return await greenlet_spawn(self._with_sqlalchemys_errors, lambda: self._cursor.fetchmany(count))

    async def next(self) -> Part | None:
        """Wait for the next part of `stream`; None at its end."""
        assert self.stream is not None, "next() is for a stream"  # noqa: S101
        waiting = self.stream.next()
        return await greenlet_spawn(self._with_sqlalchemys_errors, lambda: await_only(waiting))

    async def learn(self, oid: int) -> None:
        """Ask the server what a type is that was found in an anonymous row."""
        adapter = self._cursor._adapt_connection
        async with adapter._execute_mutex:
            asking = column_types(adapter._connection, [(oid, -1)])
            [found] = await greenlet_spawn(self._with_sqlalchemys_errors, lambda: await_only(asking))
        columns = [replace(column, type=column.type.knowing(oid, found)) for column in self.shape.columns]
        self.shape = replace(self.shape, columns=columns)

    async def aclose(self) -> None:
        """Stop the stream, if there is one."""
        if self.stream is not None:
            await self.stream.aclose()

    def remember(self, rows: int) -> None:
        """Keep in mind how many rows the statement gave, for the next time."""
        assert self._context is not None, "this follows a statement that ran"  # noqa: S101
        remember(self._context.dialect, self.statement, rows)

    def run(self, cursor: Any, statement: str, parameters: Any, context: DefaultExecutionContext) -> None:
        """Execute in the driver's place; inside SQLAlchemy's greenlet."""
        statement = as_sent(statement)
        if self.executions:
            raise FrameError(TWICE)
        self.statement, self._context, self._cursor = statement, context, cursor
        self.exact = not (context.isinsert or context.isupdate or context.isdelete)
        if self.exact and cursor.server_side:
            context.cursor_fetch_strategy = CursorFetchStrategy()  # the default one reads ahead, and rows are read here
        try:
            prepared, parameters = await_only(self._prepare(cursor, statement, parameters or (), context))
            if self.path == "rows":
                with _in_place_of_cache(cursor._adapt_connection, statement, prepared):
                    self._execute(cursor, statement, parameters, context)
        except Exception as error:
            forget_if_unknown(context.dialect, error)
            raise
        self.executions += 1

    def _execute(self, cursor: Any, statement: str, parameters: Any, context: DefaultExecutionContext) -> None:
        """Execute the plain way; rows that may be many are left to `fetch`."""
        self.fetching = self.exact and (cursor.server_side or self._may_be_many(cursor, context))
        if not self.fetching or cursor.server_side:
            cursor.execute(statement, parameters)
        else:
            self._cursor = cursor._adapt_connection.cursor(server_side=True)
            self._cursor.execute(statement, parameters)
            _set_description(cursor, self._cursor.description)
        if self.exact and not self.fetching and not self._in_parts:
            self.records = cursor.fetchall()
            self.remember(len(self.records))

    def _may_be_many(self, cursor: Any, context: DefaultExecutionContext) -> bool:
        """Say whether to read with a cursor, slice by slice; only a transaction has cursors."""
        wanted = self._in_parts or self._limit is not None or not gave_few(context.dialect, self.statement)
        return wanted and bool(cursor._adapt_connection._connection.is_in_transaction())

    async def _prepare(
        self, cursor: Any, statement: str, parameters: Any, context: DefaultExecutionContext
    ) -> tuple[tuple[Any, Columns], Sequence[Any]]:
        """Prepare a statement, and read it through COPY if that is exact.

        Returns:
            asyncpg's prepared statement with its columns, and the parameters to execute it with.
        """
        types = declared(context)
        adapter = cursor._adapt_connection
        copying = self._may_copy(cursor, statement, context)
        async with adapter._execute_mutex:
            try:
                if not adapter._connection.is_in_transaction():
                    await adapter._start_transaction()
                kept = (types.key(), types.processed) if self.exact else ("all", _all)
                prepared, columns = await _prepared(cursor, statement, *kept, context, keep=not copying)
                if columns is None:
                    raise FrameError(NO_ROWS)
                steps = processings(types, [(column.name, column.type.oid) for column in columns], context.dialect)
                loads = getattr(context.dialect, "_json_deserializer", None) or json.loads
                self.shape = Shape(columns, steps, loads, self.shape.wishes)
                self.parameters = columns.parameters
                parameters = fitted(parameters, self.parameters, getattr(context.dialect, "_json_serializer", None))
                if copying and self.shape.is_copyable():
                    await self._copy(cursor, parameters, prepared)
                return (prepared, columns), parameters
            except Exception as error:
                cursor._handle_exception(error)
                raise

    def _may_copy(self, cursor: Any, statement: str, context: DefaultExecutionContext) -> bool:
        few = not self._in_parts and (gave_few(context.dialect, statement) or (self._limit or FEW + 1) <= FEW)
        return self.exact and not cursor.server_side and not few and query_tokens(statement) is not None

    async def _copy(self, cursor: Any, parameters: Sequence[Any], prepared: Any) -> None:
        connection, columns = cursor._adapt_connection._connection, self.shape.columns
        query = await command(connection, self.statement, parameters, prepared, columns, self.parameters, self._limit)
        if query is None:
            return
        _set_description(cursor, [(column.name, column.type.oid, *[None] * 5) for column in columns])
        shape = self.shape
        receiver = Receiver(shape.copied(), shape.loads, shape.of_batch, self._seen, arrow=shape.wishes.arrow)
        if self._in_parts:
            self.stream = CopyStream(receiver, connection, query)
            return
        copied: list[Part] = []

        async def keep(part: Part) -> None:
            copied.append(part)

        try:
            self.remember(await receiver.run(connection, query, keep))
        except CorruptStreamError:
            self.remember(0)  # asyncpg loses data of COPY around a NOTICE: the plain way, the next time
            raise
        self.copied = copied

    def _with_sqlalchemys_errors(self, step: Callable[[], T]) -> T:
        """Do something that belongs to the execution after SQLAlchemy has ended it."""
        assert self._context is not None, "this follows a statement that ran"  # noqa: S101
        try:
            try:
                return step()
            except Exception as error:
                self._cursor._handle_exception(error)
                raise
        except Exception as error:
            connection = self._context.root_connection
            connection._handle_dbapi_exception(error, self.statement, None, self._cursor, self._context)
            raise


async def _prepared(
    cursor: Any, statement: str, decoded: str, kept: Kept, context: DefaultExecutionContext, *, keep: bool
) -> tuple[Any, Columns | None]:
    """Find a statement in the adapter's cache, or prepare it: by a name if it is to be kept there, else without one."""
    adapter, as_of = cursor._adapt_connection, cursor._invalidate_schema_cache_asof
    cache = cache_of(adapter) if keep else None
    key = f"{statement}\n-- columns that asyncpg decodes: {decoded}"  # the adapter has others of the same text
    found = None if cache is None else cache.get(key)
    if cache is None or (found is not None and _may_be_outdated(found[1])) or schema_may_change(context):
        await adapter._check_type_cache_invalidation(as_of)
        return await prepare(adapter._connection, statement, "", kept)
    if found is None or found[2] <= as_of:
        await adapter._check_type_cache_invalidation(as_of)
        name = adapter._prepared_statement_name_func() or f"__asyncdb_{uuid4().hex}__"
        found = (*await prepare(adapter._connection, statement, name, kept), time.time())
        cache[key] = found
        await close_dropped(adapter._connection)
    return found[0], found[1]


def _all(names: Sequence[str]) -> list[bool]:
    return [True] * len(names)


def _may_be_outdated(columns: Sequence[Described] | None) -> bool:
    """Say whether columns can have changed without PostgreSQL refusing the statement: a row type's fields can."""
    return any(part.kind == "composite" for column in columns or () for part in column.type.parts())


@contextmanager
def _in_place_of_cache(adapter: Any, statement: str, prepared: tuple[Any, list[Described]]) -> Iterator[None]:
    """Have the adapter execute what is prepared, for it looks into its cache first."""
    cache = adapter._prepared_statement_cache
    adapter._prepared_statement_cache = {statement: (*prepared, math.inf)}
    try:
        yield
    finally:
        adapter._prepared_statement_cache = cache


def _set_description(cursor: Any, description: Any) -> None:
    """Give an adapter's cursor its description, which SQLAlchemy 2.1 keeps behind a property and 2.0 does not."""
    setattr(cursor, "_description" if hasattr(cursor, "_description") else "description", description)


def _do_execute(cursor: Any, statement: str, parameters: Any, context: DefaultExecutionContext) -> bool:
    """Take over a statement that carries a capture; SQLAlchemy's `do_execute` event."""
    capture = context.execution_options.get(OPTION)
    if capture is None:
        note_schema_change(context, statement)
        return False
    capture.run(cursor, statement, parameters, context)
    return True


event.listen(PGDialect_asyncpg, "do_execute", _do_execute)
