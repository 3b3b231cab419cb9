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
from asyncdb_nb.dataframes.prepared import Described, prepare
from asyncdb_nb.dataframes.processing import Processing, declared, processed, processings
from asyncdb_nb.errors import FrameError

if TYPE_CHECKING:
    from sqlalchemy.engine.default import DefaultExecutionContext

OPTION = "asyncdb_nb_capture"
NO_ROWS = (
    "This statement returns no rows, so there is no frame of it; it was not run. "
    "Run it with `await session.execute(...)`, or add RETURNING."
)


class Capture:
    """What is learned of one statement as it runs: its columns and, where SQLAlchemy does not need them, its rows.

    Attributes:
        statement: The SQL as it was sent.
        columns: Its columns, once it ran.
        exact: Whether `records` has the rows; else SQLAlchemy's result has.
        records: The rows as asyncpg gives them.
        executions: How often a statement with this capture ran: a hook may run it several times, or never.
    """

    def __init__(self) -> None:
        self.statement = ""
        self.columns: Sequence[Described] = ()
        self.exact = False
        self.records: Sequence[Any] = ()
        self.executions = 0
        self._context: DefaultExecutionContext | None = None
        self._cursor: Any = None
        self._processing: list[Processing] = []
        self._loads: Callable[[str], Any] = json.loads

    async def fetch(self, count: int) -> Sequence[Any]:
        """Read the next `count` rows of a streamed statement; fewer when they end."""
        return await greenlet_spawn(self._fetch, count)

    def build(
        self, records: Sequence[Any], names: Sequence[str], *, exact: bool, as_float: bool, members: bool
    ) -> list[Column]:
        """Make columns of rows.

        Args:
            records: Rows of this statement.
            names: The columns' names.
            exact: Whether the rows are as asyncpg gives them; else SQLAlchemy has processed them.
            as_float: Read numeric as float64.
            members: Give an Enum's members; else its text.
        """
        by_column = list(zip(*records, strict=True)) if records else [()] * len(self.columns)
        return [
            self._column(name, values, column, step, exact, as_float=as_float, members=members)
            for name, values, column, step in zip(names, by_column, self.columns, self._processing, strict=True)
        ]

    def _column(
        self,
        name: str,
        values: Sequence[Any],
        column: Described,
        step: Processing,
        exact: bool,
        *,
        as_float: bool,
        members: bool,
    ) -> Column:
        type_ = step.type(column.type, members=members)
        if as_float:
            type_ = type_.as_float()
        if exact and column.raw:
            return from_wire(name, type_, values, self._loads)
        if exact and type_.kind == "python" and step.process is not None:
            values = [step.process(value) for value in values]
        return from_native(name, type_, values)

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
        self.executions += 1
        self.statement, self._context, self._cursor = statement, context, cursor
        self.exact = not (context.isinsert or context.isupdate or context.isdelete)
        self._loads = getattr(context.dialect, "_json_deserializer", None) or json.loads
        if self.exact and cursor.server_side:
            context.cursor_fetch_strategy = CursorFetchStrategy()  # the default one reads ahead, and rows are read here
        with _statement_cache(cursor._adapt_connection) as cache:
            key = await_only(self._prepare(cursor, statement, context, cache))
            cursor.execute(key if self.exact else statement, parameters)
        if self.exact and not cursor.server_side:
            self.records = cursor.fetchall()

    async def _prepare(self, cursor: Any, statement: str, context: DefaultExecutionContext, cache: Any) -> str:
        """Prepare a statement, and leave it where the adapter looks for prepared statements.

        Returns:
            The adapter's key for it. The adapter takes it for the statement's text, which it need not send any more.
        """
        types = declared(context)
        kept = processed(types)
        key = f"{statement}\n-- columns that asyncpg decodes: {kept}"
        adapter, as_of = cursor._adapt_connection, cursor._invalidate_schema_cache_asof
        async with adapter._execute_mutex:
            try:
                if not adapter._connection.is_in_transaction():
                    await adapter._start_transaction()
                if key not in cache or cache[key][2] <= as_of:
                    await adapter._check_type_cache_invalidation(as_of)
                    name = adapter._prepared_statement_name_func()
                    cache[key] = (*await prepare(adapter._connection, statement, name, kept), time.time())
            except Exception as error:
                cursor._handle_exception(error)
        columns = cache[key][1]
        if columns is None:
            raise FrameError(NO_ROWS)
        self.columns = columns
        described = [(column.name, column.type.oid) for column in self.columns]
        self._processing = processings(types, described, context.dialect)
        return key


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
