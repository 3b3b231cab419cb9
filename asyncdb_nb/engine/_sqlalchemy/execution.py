"""
Do what SQLAlchemy's asyncpg dialect does on a connection: begin, prepare, fail with its errors.

An adapter is the object around asyncpg's connection that SQLAlchemy takes for a DBAPI connection.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import JSON, Connection, Engine
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_connection
from sqlalchemy.util import greenlet_spawn

from asyncdb_nb.engine.private_names import Names, missing

if TYPE_CHECKING:
    from sqlalchemy.engine.default import DefaultExecutionContext

_ASYNCPG = "sqlalchemy.dialects.postgresql.asyncpg"
_UNKNOWN = object()
_TAKING_OVER = "reading a frame by COPY or with exact types, in the place of the cursor's execute()"

TAKING_OVER: Names = {
    f"{_ASYNCPG}:AsyncAdapt_asyncpg_connection": dict.fromkeys(
        (
            "_execute_mutex",
            "_start_transaction",
            "_prepared_statement_cache",
            "_prepared_statement_name_func",
            "_check_type_cache_invalidation",
            "_handle_exception",
        ),
        _TAKING_OVER,
    ),
    f"{_ASYNCPG}:PGDialect_asyncpg": {"_invalidate_schema_cache_asof": _TAKING_OVER},
    "sqlalchemy.engine:Connection": {"_handle_dbapi_exception": "SQLAlchemy's errors for what fails after execute()"},
}

PRIVATE_NAMES: Names = {
    **TAKING_OVER,
    f"{_ASYNCPG}:AsyncAdapt_asyncpg_connection": {
        **TAKING_OVER[f"{_ASYNCPG}:AsyncAdapt_asyncpg_connection"],
        "_default_name_func": "keeping no statements where asyncpg is told to keep none",
        "_terminate_graceful_close": "closing by force what fails to close gracefully, when a task was cancelled",
        "_terminate_force_close": "closing by force what fails to close gracefully, when a task was cancelled",
    },
    f"{_ASYNCPG}:AsyncAdapt_asyncpg_cursor": {"_description": "the columns of a frame that came by COPY"},
    f"{_ASYNCPG}:PGDialect_asyncpg": {
        **TAKING_OVER[f"{_ASYNCPG}:PGDialect_asyncpg"],
        "_invalidate_schema_cache": "preparing anew after `alter table` or `deallocate` as SQL text",
        "_json_deserializer": "reading JSON with create_engine(json_deserializer=...)",
        "_json_serializer": "sending JSON with create_engine(json_serializer=...)",
    },
    "sqlalchemy.engine:Connection": {
        **TAKING_OVER["sqlalchemy.engine:Connection"],
        "_has_events": "reading without a session where nobody listens to the class",
    },
    "sqlalchemy.engine:Engine": {"_has_events": "leaving nothing on the class when a trace ends"},
    "sqlalchemy.engine:Dialect": {"_has_events": "leaving nothing on the class when a trace ends"},
}

GONE = missing(TAKING_OVER)
"""The names that are missing to execute in the place of a cursor's `execute()`, which is then left to SQLAlchemy."""


def is_asyncpgs(adapter: object) -> bool:
    """Say whether a DBAPI connection is SQLAlchemy's adapter for asyncpg."""
    return isinstance(adapter, AsyncAdapt_asyncpg_connection)


def adapter_of(context: DefaultExecutionContext) -> Any:
    """Return the DBAPI connection that a statement is executed on."""
    return context.root_connection.connection.dbapi_connection


@asynccontextmanager
async def exclusively(adapter: Any) -> AsyncIterator[Any]:
    """Be the only one that uses asyncpg's connection, which this gives. Stands on `_execute_mutex`."""
    async with adapter._execute_mutex:
        yield adapter.driver_connection


def is_executing(adapter: Any) -> bool:
    """Say whether an adapter is at a statement; not where it does not say. Stands on `_execute_mutex`."""
    mutex = getattr(adapter, "_execute_mutex", None)
    return mutex is not None and bool(mutex.locked())


async def begin(adapter: Any) -> None:
    """Send BEGIN, unless in AUTOCOMMIT, as before a first statement. Stands on `_start_transaction`, else sends one."""
    if hasattr(adapter, "_start_transaction"):
        await adapter._start_transaction()
    else:
        await greenlet_spawn(_execute_nothing, adapter)


async def execute_script(adapter: Any, script: str) -> None:
    """Send statements in one message, without preparing any; what fails is the DBAPI's error."""
    async with exclusively(adapter) as connection:
        try:
            await connection.execute(script)
        except Exception as error:
            raise_translated(adapter, error)
            raise


def _execute_nothing(adapter: Any) -> None:
    cursor = adapter.cursor()
    cursor.execute("SELECT")
    cursor.close()


def raise_translated(adapter: Any, error: Exception) -> None:
    """Raise asyncpg's error as the DBAPI's; return where SQLAlchemy knows of none. Stands on `_handle_exception`."""
    adapter._handle_exception(error)


def raise_wrapped(
    connection: Any,
    error: BaseException,
    statement: str | None,
    cursor: Any = None,
    context: DefaultExecutionContext | None = None,
    parameters: Any = None,
) -> None:
    """Raise a DBAPI error as a statement's, and invalidate a connection that is lost.

    Stands on `Connection._handle_dbapi_exception`, else raises the error as it is.
    """
    if hasattr(connection, "_handle_dbapi_exception"):
        connection._handle_dbapi_exception(error, statement, parameters, cursor, context)
    raise error


def prepared_statements(adapter: Any) -> Any:
    """Return an adapter's LRU cache of prepared statements; None without one. Stands on `_prepared_statement_cache`."""
    return getattr(adapter, "_prepared_statement_cache", None)


def keep_prepared_in(adapter: Any, cache: Any) -> None:
    """Give an adapter another cache, or none. Stands on `_prepared_statement_cache`."""
    if hasattr(adapter, "_prepared_statement_cache"):
        adapter._prepared_statement_cache = cache


@contextmanager
def executing_prepared(adapter: Any, statement: str, prepared: Any, columns: Any) -> Iterator[None]:
    """Have an adapter execute what is prepared, for it looks into its cache first. Stands on that cache."""
    cache = prepared_statements(adapter)
    keep_prepared_in(adapter, {statement: (prepared, columns, math.inf)})
    try:
        yield
    finally:
        keep_prepared_in(adapter, cache)


def statement_name(adapter: Any) -> Any:
    """Name a statement as the user's function does, else give None. Stands on `_prepared_statement_name_func`."""
    return adapter._prepared_statement_name_func()


def names_are_given(adapter: Any) -> bool:
    """Say whether a function of the user's names statements. Stands on `_default_name_func` and the like."""
    default = getattr(adapter, "_default_name_func", None)
    return bool(getattr(adapter, "_prepared_statement_name_func", default) != default)


def schema_changed_at(dialect: Any) -> float:
    """Return when the schema was last changed, in seconds. Stands on `_invalidate_schema_cache_asof`."""
    return float(dialect._invalidate_schema_cache_asof)


async def forget_old_types(adapter: Any, changed_at: float) -> None:
    """Have asyncpg forget types that it learned before that. Stands on `_check_type_cache_invalidation`."""
    await adapter._check_type_cache_invalidation(changed_at)


def forget_prepared(dialect: Any) -> None:
    """Have all connections of an engine prepare statements anew. Stands on `_invalidate_schema_cache`, else does not.

    SQLAlchemy does so by itself when PostgreSQL refuses a statement.
    """
    if hasattr(dialect, "_invalidate_schema_cache"):
        dialect._invalidate_schema_cache()


def forget_if_stale(adapter: Any, dialect: Any, error: BaseException) -> None:
    """Do so when PostgreSQL refuses a statement, where SQLAlchemy does not by itself: it has not executed it."""
    if isinstance(error, adapter.dbapi.InvalidCachedStatementError | adapter.dbapi.InternalServerError):
        forget_prepared(dialect)


def set_description(cursor: Any, description: Any) -> None:
    """Give a cursor its description. Stands on `_description` in SQLAlchemy 2.1; in 2.0 `description` can be set."""
    setattr(cursor, "_description" if hasattr(cursor, "_description") else "description", description)


def json_loads(dialect: Any) -> Callable[[str], Any] | None:
    """Return what was given to read JSON; None is `json.loads`. Stands on `_json_deserializer`, else asks a type."""
    given: Any = getattr(dialect, "_json_deserializer", _UNKNOWN)
    return JSON().result_processor(dialect, None) if given is _UNKNOWN else given


def json_dumps(dialect: Any) -> Callable[[Any], str] | None:
    """Return what was given to write JSON; None is `json.dumps`. Stands on `_json_serializer`, else asks a type."""
    given: Any = getattr(dialect, "_json_serializer", _UNKNOWN)
    type_: Any = JSON()
    return type_.bind_processor(dialect) if given is _UNKNOWN else given  # type: ignore[no-any-return]


def closing_by_force_at_last(kind: Any) -> dict[str, Any]:
    """Give methods for a subclass of an adapter whose graceful close never raises: it then closes by force.

    SQLAlchemy does not look any more when it was cancelled meanwhile. A connection of ours is closed without
    SQLAlchemy's timeout of two seconds, after which it would cut the close off. Stands on `_terminate_graceful_close`
    and `_terminate_force_close`; an adapter without them (aiosqlite's) keeps its own.
    """
    if not (hasattr(kind, "_terminate_graceful_close") and hasattr(kind, "_terminate_force_close")):
        return {}
    close: Callable[[Any], Coroutine[Any, Any, None]] = kind._terminate_graceful_close

    async def graceful_close(self: Any) -> None:
        driver = self.driver_connection
        try:
            await (driver.close() if hasattr(driver, "close_later") else close(self))
        except (OSError, TimeoutError):
            self._terminate_force_close()

    return {"_terminate_graceful_close": graceful_close}


def is_class_heard() -> bool:
    """Say whether anybody listens to all connections; so where SQLAlchemy does not say. Relies on `_has_events`.

    Before 2.1 the class has it only when somebody has listened, while that of engines always has it.
    """
    return bool(getattr(Connection, "_has_events", not hasattr(Engine, "_has_events")))


def marks_of_listeners(kind: type) -> Callable[[], None]:
    """Return what takes back that `Engine` or `Dialect` has had listeners. Relies on `_has_events`."""
    if "_has_events" not in kind.__dict__:
        return lambda: None
    before = kind.__dict__["_has_events"]
    return lambda: setattr(kind, "_has_events", before)
