"""
Run a statement through a session, and take the rows where SQLAlchemy hands the statement to the driver.

`session.execute` does all that it always does: autoflush, `do_orm_execute` hooks, loader criteria, compilation, events,
its own errors. Only at the last step, SQLAlchemy's `do_execute` event, a statement that carries a `Capture` in its
execution options is prepared by `describe.prepare`, so that its columns are described in full and exact. Every other
statement passes untouched. The event is listened to on engines that frames are read from, from the first one on.

Where SQLAlchemy or asyncpg has renamed what this stands on, SQLAlchemy reads the rows, too.

A statement that gave few rows can be run without a session, by `run_alone`.

Compiled INSERT, UPDATE and DELETE keep their rows, since the ORM reads what they return; their columns are only
described.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import event
from sqlalchemy.engine.cursor import CursorFetchStrategy
from sqlalchemy.ext.asyncio import AsyncConnection, async_scoped_session
from sqlalchemy.util import await_only, greenlet_spawn

from asyncdb_nb.dataframes.query import prepared_statements
from asyncdb_nb.dataframes.query.copy import Part, Receiver, command
from asyncdb_nb.dataframes.query.copy_stream import CopyStream
from asyncdb_nb.dataframes.query.describe import Columns, none
from asyncdb_nb.dataframes.query.row_counts import FEW, gave_few, remember
from asyncdb_nb.dataframes.query.shape import Options, Shape
from asyncdb_nb.dataframes.query.stale_statements import note_schema_change, schema_may_change, schema_may_have_changed
from asyncdb_nb.dataframes.sql.bind_values import Parameter, fitted
from asyncdb_nb.dataframes.sql.statement import as_sent
from asyncdb_nb.dataframes.sql.tokenizer import query_tokens
from asyncdb_nb.dataframes.types.catalog import column_types
from asyncdb_nb.dataframes.types.processing import Processing, declared, processings
from asyncdb_nb.engine._sqlalchemy import execution, statements
from asyncdb_nb.engine.frozen_clock import import_extension
from asyncdb_nb.engine.history import reading_on
from asyncdb_nb.engine.notices import held_back
from asyncdb_nb.engine.pooler import forget_if_unknown
from asyncdb_nb.errors import CorruptStreamError, FrameError

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.engine import Dialect
    from sqlalchemy.engine.default import DefaultExecutionContext
    from sqlalchemy.orm import Session

T = TypeVar("T")

OPTION = "asyncdb_nb_capture"
NO_ROWS = (
    "This statement returns no rows, so there is no frame of it; it was not run. "
    "To run it: `await db.execute(...)`, `%%asql --write` in a cell, or `await session.execute(...)` in a session; "
    "there, with RETURNING, `await frame(session, ...)`."
)
NO_ROWS_CAME = "This statement was run and returned no rows, so there is no frame of it."

TWICE = (
    "A hook of the session runs this statement more than once, so it is not one result. "
    "Execute it, then: `to_frame(await session.execute(statement))`."
)


class Capture:
    """What is learned of one statement as it runs: its columns and, where SQLAlchemy does not need them, its rows.

    Args:
        options: How the columns are wanted.
        limit: The most rows to read; None for all.
        in_parts: Whether the rows are to be taken by `next` or `fetch`, rather than all at once.
        rowless: Whether a statement that returns no rows is run as well.
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
        returns_rows: Whether it does, once it was prepared.
        rowless: Whether a statement that returns none is run as well.
        counted: How many rows it gave, once that is known; a list, which others may keep for longer than the rows.
    """

    def __init__(
        self,
        options: Options,
        *,
        limit: int | None = None,
        in_parts: bool = False,
        rowless: bool = False,
        seen: Callable[[int, int], None] = lambda rows, size: None,
    ) -> None:
        self.statement = ""
        self.shape = Shape((), (), json.loads, options)
        self.exact = False
        self.copied: list[Part] | None = None
        self.stream: CopyStream | None = None
        self.records: Sequence[Any] = ()
        self.fetching = False
        self.executions = 0
        self.parameters: Sequence[Parameter] = ()
        self.returns_rows = True
        self.counted: list[int] = []
        self._limit = limit
        self._in_parts = in_parts
        self.rowless = rowless
        self._prepared: Any = None
        self._seen = seen
        self._connection: Connection | None = None
        self._context: DefaultExecutionContext | None = None
        self._adapter: Any = None
        self._cursor: Any = None

    @property
    def path(self) -> str:
        """Which way the rows came: "copy" or "rows"."""
        return "rows" if self.copied is None and self.stream is None else "copy"

    @property
    def tag(self) -> str:
        """The server's command tag, once it ran: `INSERT 0 5`; nothing for what came by COPY."""
        return "" if self._prepared is None else str(self._prepared.get_statusmsg() or "")

    async def fetch(self, count: int) -> Sequence[Any]:
        """Read the next `count` rows; fewer when they end."""
        with reading_on(self._context):
            return await greenlet_spawn(self._with_sqlalchemys_errors, lambda: self._cursor.fetchmany(count))

    async def next(self) -> Part | None:
        """Wait for the next part of `stream`; None at its end."""
        assert self.stream is not None, "next() is for a stream"  # noqa: S101
        waiting = self.stream.next()
        with reading_on(self._context):
            return await greenlet_spawn(self._with_sqlalchemys_errors, lambda: await_only(waiting))

    async def learn(self, oid: int) -> None:
        """Ask the server what a type is that was found in an anonymous row."""
        async with execution.exclusively(self._adapter) as connection:
            asking = column_types(connection, [(oid, -1)])
            [found] = await greenlet_spawn(self._with_sqlalchemys_errors, lambda: await_only(asking))
        columns = [replace(column, type=column.type.knowing(oid, found)) for column in self.shape.columns]
        self.shape = replace(self.shape, columns=columns)

    async def aclose(self) -> None:
        """Stop the stream, if there is one."""
        if self.stream is not None:
            await self.stream.aclose()

    def remember(self, rows: int) -> None:
        """Keep in mind how many rows the statement gave, for the next time."""
        assert self._connection is not None, "this follows a statement that ran"  # noqa: S101
        self.counted.append(rows)
        remember(self._connection.dialect, self.statement, rows)

    def run(self, cursor: Any, statement: str, parameters: Any, context: DefaultExecutionContext) -> None:
        """Execute in the driver's place; inside SQLAlchemy's greenlet."""
        if self.executions:
            raise FrameError(TWICE)
        self.statement, self._context, self._cursor = statement, context, cursor
        self._connection = context.root_connection
        self._adapter = execution.adapter_of(context)
        self.exact = not (context.isinsert or context.isupdate or context.isdelete)
        if self.exact and cursor.server_side:
            context.cursor_fetch_strategy = CursorFetchStrategy()  # the default one reads ahead, and rows are read here
        try:
            prepared, parameters = await_only(self._prepare(cursor, statement, parameters or (), context))
            if self.path == "rows":
                with execution.executing_prepared(self._adapter, statement, *prepared):
                    self._execute(cursor, statement, parameters, context)
                    self._prepared = prepared[0]
        except Exception as error:
            forget_if_unknown(context.dialect, error)
            raise
        self.executions += 1

    def run_alone(self, connection: Connection, statement: str, parameters: Sequence[Any]) -> None:
        """Read all rows of a statement that nobody listens to; inside SQLAlchemy's greenlet.

        Args:
            connection: The connection, in a transaction.
            statement: SQL with `$1`.
            parameters: Values for them.
        """
        self.statement, self._connection, self.exact = statement, connection, True
        self._adapter = connection.connection.dbapi_connection
        try:
            await_only(self._fetch_alone(parameters, connection.dialect))
        except BaseException as error:
            forget_if_unknown(connection.dialect, error)
            execution.forget_if_stale(self._adapter, connection.dialect, error)
            if isinstance(error, self._adapter.dbapi.Error) or not isinstance(error, Exception):
                execution.raise_wrapped(connection, error, statement, parameters=parameters)
            raise
        self.executions += 1

    async def _fetch_alone(self, parameters: Sequence[Any], dialect: Any) -> None:
        async with execution.exclusively(self._adapter):
            try:
                prepared, columns = await prepared_statements.prepared(
                    self._adapter, dialect, self.statement, "", none, keep=True
                )
                if not columns.returns_rows:
                    raise FrameError(NO_ROWS)
                self._describe(columns, [Processing()] * len(columns), dialect)
                self.records = await prepared.fetch(
                    *fitted(parameters, columns.parameters, execution.json_dumps(dialect))
                )
            except Exception as error:
                execution.raise_translated(self._adapter, error)
                raise
        self.remember(len(self.records))

    def _describe(self, columns: Columns, steps: Sequence[Processing], dialect: Any) -> None:
        self.shape = Shape(columns, steps, execution.json_loads(dialect) or json.loads, self.shape.options)
        self.parameters = columns.parameters

    def _execute(self, cursor: Any, statement: str, parameters: Any, context: DefaultExecutionContext) -> None:
        """Execute the plain way; rows that may be many are left to `fetch`."""
        self.fetching = self.exact and self.returns_rows and (cursor.server_side or self._may_be_many(context))
        if not self.fetching or cursor.server_side:
            cursor.execute(statement, parameters)
        else:
            self._cursor = self._adapter.cursor(server_side=True)
            self._cursor.execute(statement, parameters)
            execution.set_description(cursor, self._cursor.description)
        if self.exact and self.returns_rows and not self.fetching and not self._in_parts:
            self.records = cursor.fetchall()
            self.remember(len(self.records))

    def _may_be_many(self, context: DefaultExecutionContext) -> bool:
        """Say whether to read with a cursor, slice by slice; only a transaction has cursors."""
        wanted = self._in_parts or self._limit is not None or not gave_few(context.dialect, self.statement)
        return wanted and bool(self._adapter.driver_connection.is_in_transaction())

    async def _prepare(
        self, cursor: Any, statement: str, parameters: Any, context: DefaultExecutionContext
    ) -> tuple[tuple[Any, Columns], Sequence[Any]]:
        """Prepare a statement, and read it through COPY if that is exact.

        Returns:
            asyncpg's prepared statement with its columns, and the parameters to execute it with.
        """
        types = declared(context)
        copying = self._may_copy(cursor, statement, context)
        async with execution.exclusively(self._adapter) as connection:
            try:
                if not connection.is_in_transaction():
                    await execution.begin(self._adapter)
                kept = (types.key(), types.processed) if self.exact else ("all", prepared_statements.every)
                keep, anew = not copying, schema_may_change(context)
                prepared, columns = await prepared_statements.prepared(
                    self._adapter, context.dialect, statement, *kept, keep=keep, anew=anew
                )
                self.returns_rows = columns.returns_rows
                if not (self.returns_rows or self.rowless):
                    raise FrameError(NO_ROWS)
                steps = processings(types, [(column.name, column.type.oid) for column in columns], context.dialect)
                self._describe(columns, steps, context.dialect)
                parameters = fitted(parameters, self.parameters, execution.json_dumps(context.dialect))
                if copying and self.shape.is_copyable():
                    await self._copy(cursor, parameters, prepared)
                return (prepared, columns), parameters
            except Exception as error:
                execution.raise_translated(self._adapter, error)
                raise

    def _may_copy(self, cursor: Any, statement: str, context: DefaultExecutionContext) -> bool:
        few = not self._in_parts and (gave_few(context.dialect, statement) or (self._limit or FEW + 1) <= FEW)
        return self.exact and not cursor.server_side and not few and query_tokens(statement) is not None

    async def _copy(self, cursor: Any, parameters: Sequence[Any], prepared: Any) -> None:
        connection, columns = self._adapter.driver_connection, self.shape.columns
        query = await command(connection, self.statement, parameters, prepared, columns, self.parameters, self._limit)
        if query is None:
            return
        execution.set_description(cursor, [(column.name, column.type.oid, *[None] * 5) for column in columns])
        shape = self.shape
        receiver = Receiver(shape.copied(), shape.loads, shape.of_batch, self._seen, arrow=shape.options.arrow)
        if self._in_parts:
            self.stream = CopyStream(receiver, connection, query)
            return
        copied: list[Part] = []

        async def keep(part: Part) -> None:
            copied.append(part)

        try:
            with held_back(connection):
                self.remember(await receiver.run(connection, query, keep))
        except CorruptStreamError:
            self.remember(0)  # asyncpg loses data of COPY around a NOTICE: the plain way, the next time
            raise
        self.copied = copied

    def _with_sqlalchemys_errors(self, step: Callable[[], T]) -> T:
        """Do something that belongs to the execution after SQLAlchemy has ended it."""
        try:
            try:
                return step()
            except Exception as error:
                execution.raise_translated(self._adapter, error)
                raise
        except Exception as error:
            execution.raise_wrapped(self._connection, error, self.statement, self._cursor, self._context)
            raise


def can_capture() -> bool:
    """Say whether SQLAlchemy and asyncpg have all that a capture stands on; a log says once what they have not."""
    import_extension("asyncpg")
    from asyncdb_nb.engine import _asyncpg  # here: it imports the driver

    gone = (*execution.GONE, *statements.GONE, *_asyncpg.GONE)
    if gone:
        _tell(gone)
    return not gone


@cache
def _tell(gone: Sequence[str]) -> None:
    logging.getLogger("asyncdb_nb.dataframes").warning(
        "Frames are read without COPY, by SQLAlchemy, which is slower and loses the months of intervals: this version "
        "of SQLAlchemy or asyncpg has no %s. Look for a later version of asyncdb_nb.",
        ", ".join(gone),
    )


def listen(session: Any) -> None:
    """Have statements with a capture taken over on every engine that they are executed on.

    Args:
        session: An `AsyncSession`, an `async_scoped_session` or an `AsyncConnection`.
    """
    if isinstance(session, AsyncConnection):
        _listen_to_all([session.sync_connection] if session.sync_connection else ())
        return
    session = (session() if isinstance(session, async_scoped_session) else session).sync_session
    _listen_to_all(statements.connections_of(session.get_transaction()))
    bind = statements.only_bind(session)
    if bind is not None:
        _listen_on(bind.dialect)
    elif not event.contains(session, "after_begin", _begun):
        event.listen(session, "after_begin", _begun)


def _listen_to_all(connections: Iterable[Any]) -> None:
    for connection in connections:
        if _listen_on(connection.dialect):
            schema_may_have_changed(connection)


def _begun(session: Session, transaction: Any, connection: Connection) -> None:
    _listen_on(connection.dialect)


def _listen_on(dialect: Dialect) -> bool:
    """Listen to a dialect of asyncpg's; say whether that is new."""
    if dialect.driver != "asyncpg" or event.contains(dialect, "do_execute", _do_execute):
        return False
    event.listen(dialect, "do_execute", _do_execute)
    return True


def _do_execute(cursor: Any, statement: str, parameters: Any, context: DefaultExecutionContext) -> bool:
    """Take over a statement that carries a capture; SQLAlchemy's `do_execute` event."""
    capture = context.execution_options.get(OPTION)
    sent = as_sent(statement)
    if capture is not None:
        if capture.rowless:
            note_schema_change(context, statement)
        capture.run(cursor, sent, parameters, context)
        return True
    note_schema_change(context, statement)
    if sent != statement:
        cursor.execute(sent, parameters)
    return sent != statement
