"""
Notice a pooler, such as PgBouncer, between here and the server, and say what it does not take.

A pooler gives each transaction of its clients a server connection that is free, so that a statement which was prepared
in one transaction may be unknown in the next. What has no name and is executed in the transaction that prepared it, or
is sent with each execution, works with every pooler.

PostgreSQL reports encodings by its own names ("UTF8") and the process id of its backend. PgBouncer repeats what the
client sent ("'utf-8'", quotes included); it and others make the process id up.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from asyncdb_nb.engine._sqlalchemy.execution import forget_prepared

if TYPE_CHECKING:
    from sqlalchemy.engine import ExceptionContext

LARGEST_PID = 2**22  # of Linux; elsewhere it is smaller
UNKNOWN_STATEMENT = "26000"  # SQLSTATE: there is no prepared statement of that name
_NAME_TAKEN = "42P05"

NO_CACHES = 'connect_args={"statement_cache_size": 0, "prepared_statement_cache_size": 0}'

MOVED = (
    "A pooler between here and the server gives each transaction another server connection, which does not have the "
    f"prepared statements of the last one. Keep none: `{NO_CACHES}`; or set max_prepared_statements in PgBouncer 1.21 "
    "or later."
)
_NO_TRANSACTIONS = (
    "The pooler has pool_mode = statement, and sessions and frames are transactions. Set pool_mode = transaction or "
    'session for this database; statements that need no transaction: `isolation_level="AUTOCOMMIT"`.'
)


def is_pooled(connection: Any) -> bool:
    """Say whether a pooler answered, rather than PostgreSQL.

    Args:
        connection: An asyncpg connection or protocol that has just connected.
    """
    encoding = connection.get_settings().client_encoding
    return re.fullmatch("[A-Z0-9_]+", encoding) is None or not 0 < connection.get_server_pid() <= LARGEST_PID


def reported(connection: Any, name: str) -> str:
    """Return a setting that the other end reported, without quotes; "" when it was not reported."""
    return getattr(connection.get_settings(), name, "").strip("'\"")


def explain(context: ExceptionContext) -> None:
    """Add to an error what a pooler has to do with it; SQLAlchemy's `handle_error` listener."""
    error: Any = context.original_exception
    sqlstate = getattr(error, "sqlstate", None)
    forget_if_unknown(context.dialect, error)
    if "statement pooling mode" in str(error):
        _note(context, _NO_TRANSACTIONS)
    elif sqlstate in (UNKNOWN_STATEMENT, _NAME_TAKEN) and _was_pooled(context):
        _note(context, MOVED)


def forget_if_unknown(dialect: Any, error: Any) -> None:
    """Have everything prepared anew when the server does not know a statement: another one may be lost as well."""
    if getattr(error, "sqlstate", None) == UNKNOWN_STATEMENT:
        forget_prepared(dialect)


def _was_pooled(context: ExceptionContext) -> bool:
    connection = context.connection
    driver_connection = None if connection is None else connection.connection.driver_connection
    return driver_connection is not None and is_pooled(driver_connection)


def _note(context: ExceptionContext, note: str) -> None:
    for error in (context.sqlalchemy_exception, context.original_exception):
        if error is not None and note not in getattr(error, "__notes__", ()):
            error.add_note(note)
