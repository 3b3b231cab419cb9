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
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import event
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.engine.cursor import CursorFetchStrategy
from sqlalchemy.util import await_only, greenlet_spawn

from asyncdb_nb.dataframes.columns import Column, from_native, from_wire
from asyncdb_nb.dataframes.copy import Receiver, command
from asyncdb_nb.dataframes.prepared import Described, prepare
from asyncdb_nb.dataframes.processing import Processing, declared, processed, processings
from asyncdb_nb.dataframes.sizes import FEW, gave_few, remember
from asyncdb_nb.dataframes.sql_text import query_tokens
from asyncdb_nb.dataframes.types import ColumnType
from asyncdb_nb.errors import FrameError

if TYPE_CHECKING:
    from sqlalchemy.engine.default import DefaultExecutionContext

    from asyncdb_nb.dataframes.decode import Batch

OPTION = "asyncdb_nb_capture"
NO_ROWS = (
    "This statement returns no rows, so there is no frame of it; it was not run. "
    "Run it with `await session.execute(...)`, or add RETURNING."
)

TWICE = (
    "A hook of the session runs this statement more than once, so it is not one result. "
    "Execute it, then: `to_frame(await session.execute(statement))`."
)
SAME_IN_ASYNCPG = frozenset({"bool", "int2", "int4", "int8", "float4", "float8", "numeric", "decimal", "text", "bytea"})


class Capture:
    """What is learned of one statement as it runs: its columns and, where SQLAlchemy does not need them, its rows.

    Args:
        as_float: Read numeric as float64.
        members: Give an Enum's members; else its text.
        limit: The most rows to read; None for all.
        unpack: What to do with each column that came by COPY, in a thread.
        seen: Called with the rows and bytes that came by COPY so far.

    Attributes:
        statement: The SQL as SQLAlchemy hands it over.
        columns: Its columns, once it ran.
        exact: Whether the rows are here, in `copied` or `records`; else SQLAlchemy's result has them.
        copied: The columns of each part, when the rows came by COPY; else None.
        records: The rows as asyncpg gives them.
        rows: How many rows came by COPY.
        executions: How often a statement with this capture ran: a hook may run it several times, or never.
    """

    def __init__(
        self,
        *,
        as_float: bool = False,
        members: bool = True,
        limit: int | None = None,
        unpack: Callable[[Column], None] = lambda column: None,
        seen: Callable[[int, int], None] = lambda rows, size: None,
    ) -> None:
        self.statement = ""
        self.columns: Sequence[Described] = ()
        self.exact = False
        self.copied: list[list[Column]] | None = None
        self.records: Sequence[Any] = ()
        self.rows = 0
        self.executions = 0
        self._as_float = as_float
        self._members = members
        self._limit = limit
        self._unpack = unpack
        self._seen = seen
        self._context: DefaultExecutionContext | None = None
        self._cursor: Any = None
        self._processing: list[Processing] = []
        self._loads: Callable[[str], Any] = json.loads

    async def fetch(self, count: int) -> Sequence[Any]:
        """Read the next `count` rows of a streamed statement; fewer when they end."""
        return await greenlet_spawn(self._fetch, count)

    def build(self, records: Sequence[Any], names: Sequence[str], *, exact: bool) -> list[Column]:
        """Make columns of rows.

        Args:
            records: Rows of this statement.
            names: The columns' names.
            exact: Whether the rows are as asyncpg gives them; else SQLAlchemy has processed them.
        """
        by_column = list(zip(*records, strict=True)) if records else [()] * len(self.columns)
        return [
            self._column(name, values, column, step, exact)
            for name, values, column, step in zip(names, by_column, self.columns, self._processing, strict=True)
        ]

    def _column(self, name: str, values: Sequence[Any], column: Described, step: Processing, exact: bool) -> Column:
        type_ = self._type(column, step)
        if exact and column.raw:
            return from_wire(name, type_, values, self._loads)
        if exact and type_.kind == "python" and step.process is not None:
            values = [step.process(value) for value in values]
        return from_native(name, type_, values)

    def _type(self, column: Described, step: Processing) -> ColumnType:
        type_ = step.type(column.type, members=self._members)
        return type_.as_float() if self._as_float else type_

    def _fetch(self, count: int) -> Sequence[Any]:
        assert self._context is not None, "fetch() follows a statement that ran"  # noqa: S101
        try:
            try:
                return self._cursor.fetchmany(count)  # type: ignore[no-any-return]
            except Exception as error:
                self._cursor._handle_exception(error)
                raise
        except Exception as error:
            connection = self._context.root_connection
            connection._handle_dbapi_exception(error, self.statement, None, self._cursor, self._context)
            raise

    def run(self, cursor: Any, statement: str, parameters: Any, context: DefaultExecutionContext) -> None:
        """Execute in the driver's place; inside SQLAlchemy's greenlet."""
        if self.executions:
            raise FrameError(TWICE)
        self.statement, self._context, self._cursor = statement, context, cursor
        self.exact = not (context.isinsert or context.isupdate or context.isdelete)
        self._loads = getattr(context.dialect, "_json_deserializer", None) or json.loads
        if self.exact and cursor.server_side:
            context.cursor_fetch_strategy = CursorFetchStrategy()  # the default one reads ahead, and rows are read here
        with _statement_cache(cursor._adapt_connection) as cache:
            key = await_only(self._prepare(cursor, statement, parameters, context, cache))
            if self.copied is None:
                self._execute(cursor, key if self.exact else statement, parameters, context)
        self.executions += 1

    def _execute(self, cursor: Any, key: str, parameters: Any, context: DefaultExecutionContext) -> None:
        """Execute the plain way, and take the rows unless they are to be fetched in parts."""
        if not self.exact or cursor.server_side:
            cursor.execute(key, parameters)
            return
        reading = cursor if self._limit is None else cursor._adapt_connection.cursor(server_side=True)
        reading.execute(key, parameters)
        self.records = reading.fetchall() if self._limit is None else reading.fetchmany(self._limit)
        cursor._description = reading._description
        remember(context.dialect, self.statement, len(self.records))

    async def _prepare(
        self, cursor: Any, statement: str, parameters: Any, context: DefaultExecutionContext, cache: Any
    ) -> str:
        """Prepare a statement, and read it through COPY if that is exact.

        Returns:
            The key of the prepared statement in the adapter's cache. The adapter takes it for the statement's text,
            which it need not send any more.
        """
        types = declared(context)
        kept = processed(types)
        key = f"{statement}\n-- columns that asyncpg decodes: {kept}"
        adapter, as_of = cursor._adapt_connection, cursor._invalidate_schema_cache_asof
        copying = self._may_copy(cursor, statement, context)
        async with adapter._execute_mutex:
            try:
                if not adapter._connection.is_in_transaction():
                    await adapter._start_transaction()
                if copying or key not in cache or cache[key][2] <= as_of:
                    await adapter._check_type_cache_invalidation(as_of)
                    name = adapter._prepared_statement_name_func()
                    cache[key] = (*await prepare(adapter._connection, statement, name, kept), time.time())
                prepared, columns, _ = cache[key]
                if columns is None:
                    raise FrameError(NO_ROWS)
                self.columns = columns
                described = [(column.name, column.type.oid) for column in columns]
                self._processing = processings(types, described, context.dialect)
                if copying and self._can_process():
                    await self._copy(cursor, context, statement, parameters or (), prepared)
            except Exception as error:
                cursor._handle_exception(error)
        return key

    def _may_copy(self, cursor: Any, statement: str, context: DefaultExecutionContext) -> bool:
        few = gave_few(context.dialect, statement) or (self._limit is not None and self._limit <= FEW)
        return self.exact and not cursor.server_side and not few and query_tokens(statement) is not None

    def _can_process(self) -> bool:
        """Say whether values that SQLAlchemy changes in Python are read from bytes as asyncpg reads them."""
        return all(
            step.how != "function" or column.type.kind in SAME_IN_ASYNCPG
            for column, step in zip(self.columns, self._processing, strict=True)
        )

    async def _copy(
        self, cursor: Any, context: DefaultExecutionContext, statement: str, parameters: Sequence[Any], prepared: Any
    ) -> None:
        connection = cursor._adapt_connection._connection
        query = await command(connection, statement, parameters, prepared, self.columns, self._limit)
        if query is None:
            return
        types = [self._type(column, step) for column, step in zip(self.columns, self._processing, strict=True)]
        wire_types = [
            column.type if type_.kind == "python" else type_ for column, type_ in zip(self.columns, types, strict=True)
        ]
        names = [column.name for column in self.columns]
        receiver = Receiver(list(zip(names, wire_types, strict=True)), self._loads, self._finished, self._seen)
        self.rows = await receiver.run(connection, query)
        remember(context.dialect, statement, self.rows)
        self.copied = receiver.batches
        cursor._description = [(column.name, column.type.oid, *[None] * 5) for column in self.columns]

    def _finished(self, batch: Batch) -> list[Column]:
        """Do to columns what is done in Python; in the thread that decodes."""
        columns = []
        for column, described, step in zip(batch.columns, self.columns, self._processing, strict=True):
            type_ = self._type(described, step)
            if type_.kind == "python":
                process = step.process or (lambda value: value)
                column = Column(column.name, type_, values=[process(value) for value in column.objects()])
            self._unpack(column)
            columns.append(column)
        return columns


@contextmanager
def _statement_cache(adapter: Any) -> Iterator[Any]:
    """Give the adapter's cache of prepared statements; one for the time being where the user switched it off."""
    if adapter._prepared_statement_cache is not None:
        yield adapter._prepared_statement_cache
        return
    adapter._prepared_statement_cache = {}
    try:
        yield adapter._prepared_statement_cache
    finally:
        adapter._prepared_statement_cache = None


def _do_execute(cursor: Any, statement: str, parameters: Any, context: DefaultExecutionContext) -> bool:
    """Take over a statement that carries a capture; SQLAlchemy's `do_execute` event."""
    capture = context.execution_options.get(OPTION)
    if capture is None:
        return False
    capture.run(cursor, statement, parameters, context)
    return True


event.listen(PGDialect_asyncpg, "do_execute", _do_execute)
