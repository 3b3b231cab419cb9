"""
What a process asked its database lately: the last statements, from where, how long they took, and what became of them.

It is always on, so it has to be cheap: some microseconds a statement. Of the values of binds nothing is kept, nor of an
error's message, which may name some.
"""

from __future__ import annotations

import asyncio
import sys
import time
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import TextClause, event, text
from sqlalchemy.engine import Connection, Dialect, ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine

from asyncdb_nb.aio.call_site import frames, is_users, short

if TYPE_CHECKING:
    import pandas as pd

MOST = 1000  # statements that are kept
LONGEST = 2000  # characters of one

_OWN = "asyncdb_nb_own"
_NO_STATEMENTS = ("SAVEPOINT sa_savepoint_", "RELEASE SAVEPOINT sa_savepoint_", "ROLLBACK TO SAVEPOINT sa_savepoint_")
_CAPTURE = "asyncdb_nb_capture"  # the option of a frame's statement
_ENTRY = "asyncdb_nb_history"  # where SQLAlchemy's context of an execution has the entry


def own(sql: str) -> TextClause:
    """Make a statement of the package's own, such as a question to the catalog, which is in no history."""
    return text(sql).execution_options(**{_OWN: True})


class Entry:
    """A statement that was sent."""

    __slots__ = ("began", "counted", "ms", "outcome", "rows", "statement", "when", "where")

    def __init__(self, statement: str, counted: list[int]) -> None:
        self.when = time.time()
        self.began = time.perf_counter()
        self.where = asked_from()
        self.statement = statement if len(statement) <= LONGEST else f"{statement[:LONGEST]}…"
        self.counted = counted
        self.rows: int | None = None
        self.ms: float | None = None
        self.outcome = "running"

    def end(self, outcome: str) -> None:
        """Say what became of it."""
        self.ms = (time.perf_counter() - self.began) * 1000
        self.outcome = outcome


class History:
    """The last statements of one engine."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=MOST)

    def listen(self, engine: AsyncEngine) -> None:
        """Keep what an engine executes from now on."""
        _histories[engine.dialect] = self  # which an engine shares with those that `execution_options` makes of it
        event.listen(engine.sync_engine, "before_cursor_execute", self._begin, retval=True)  # as it is, not wrapped
        event.listen(engine.sync_engine, "after_cursor_execute", _end)
        event.listen(engine.sync_engine, "handle_error", _fail)

    def frame(self) -> pd.DataFrame:
        """Give the entries, the newest first."""
        import pandas as pd

        entries = list(self._entries)[::-1]
        rows = [each.counted[-1] if each.counted else each.rows for each in entries]
        when = pd.to_datetime([each.when for each in entries], unit="s", utc=True).as_unit("us")
        return pd.DataFrame(
            {
                "when": when,
                "where": pd.array([each.where for each in entries], dtype="str"),
                "statement": pd.array([each.statement for each in entries], dtype="str"),
                "rows": pd.array(rows, dtype="Int64"),
                "ms": pd.array([each.ms for each in entries], dtype="Float64"),
                "outcome": pd.array([each.outcome for each in entries], dtype="str"),
            }
        )

    def _begin(
        self, connection: Connection, cursor: Any, statement: str, parameters: Any, context: Any, many: bool
    ) -> tuple[str, Any]:
        options = context.execution_options if context is not None else {}
        if context is not None and _OWN not in options and not statement.startswith(_NO_STATEMENTS):
            capture = options.get(_CAPTURE)
            setattr(context, _ENTRY, self.add(Entry(statement, [] if capture is None else capture.counted)))
        return statement, parameters

    def add(self, entry: Entry) -> Entry:
        """Keep an entry."""
        self._entries.append(entry)
        return entry


_histories: weakref.WeakKeyDictionary[Dialect, History] = weakref.WeakKeyDictionary()


@contextmanager
def recorded(dialect: Dialect, statement: str) -> Iterator[Entry]:
    """Keep a statement that is executed in the block without SQLAlchemy; its rows are set there."""
    entry = Entry(statement, [])
    if dialect in _histories:
        _histories[dialect].add(entry)
    try:
        yield entry
    except BaseException as error:
        entry.end(_outcome(getattr(error, "orig", None) or error))
        raise
    entry.end("ok")


@contextmanager
def reading_on(context: Any) -> Iterator[None]:
    """Have what a statement's entry says hold for rows, too, that are read in the block, after SQLAlchemy executed it.

    Args:
        context: SQLAlchemy's, of the execution.
    """
    entry: Entry | None = getattr(context, _ENTRY, None)
    if entry is None:
        yield
        return
    entry.outcome = "running"
    try:
        yield
    except BaseException as error:
        entry.end(_outcome(getattr(error, "orig", None) or error))
        raise
    entry.end("ok")


def _end(connection: Connection, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
    entry = getattr(context, _ENTRY, None)
    if entry is not None:
        count = getattr(cursor, "rowcount", -1)
        entry.rows = count if count is not None and count >= 0 else None
        entry.end("ok")


def _fail(context: ExceptionContext) -> None:
    entry = getattr(context.execution_context, _ENTRY, None)
    if entry is not None:
        entry.end(_outcome(context.original_exception))


def _outcome(error: BaseException) -> str:
    if isinstance(error, asyncio.CancelledError):
        return "cancelled"
    state = getattr(error, "sqlstate", None)
    kind = type(error.__cause__ if state and error.__cause__ is not None else error).__name__
    return f"failed: {kind} ({state})" if state else f"failed: {kind}"


def asked_from() -> str:
    """Name the innermost line of the user's own that led to here: of a cell, or of a file."""
    shell: Any = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    variables = None if shell is None else shell.user_ns
    for frame in frames():
        if frame.f_globals is variables:
            return f"In [{_number_of_cell(shell, frame.f_code.co_filename)}], line {frame.f_lineno}"
        if is_users(frame.f_code.co_filename):
            return f"{short(frame.f_code.co_filename)}:{frame.f_lineno}"
    return ""


def _number_of_cell(shell: Any, file: str) -> str:
    """Number the cell whose code a file is, which may be an earlier one's function; as tracebacks do."""
    named = getattr(shell.compile, "format_code_name", lambda file: None)(file)  # ("Cell", "In[5]"); not in IPython 7
    return named[1].removeprefix("In[").removesuffix("]") if named else str(shell.execution_count)
