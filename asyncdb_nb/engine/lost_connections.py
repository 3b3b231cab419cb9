"""
Say what became of a transaction whose connection was lost: a server that stopped, a network, a time limit.

asyncpg refuses what is sent on a connection that it knows to be lost. So a COMMIT that it refused was not sent, and the
transaction was rolled back; one that was sent and never answered may have been committed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError, OperationalError

if TYPE_CHECKING:
    from sqlalchemy.engine import ExceptionContext

LOST = (
    "The connection was lost, and with it the open transaction: nothing of it was kept. Run all of it again. A server "
    "ends a transaction that stands still for longer than its idle_in_transaction_session_timeout, or takes longer "
    "than its transaction_timeout: do other work before the block, or after it."
)
UNKNOWN = (
    "Whether the transaction was committed cannot be known: the server did not answer. "
    "Look for its rows before you repeat it."
)
PREPARED = "The connection was lost when the transaction had been prepared. "
_GONE = "The connection was lost meanwhile, and its transaction was rolled back with it."
_PREPARED = re.compile(r"\s*(?:prepare\s+transaction|(?:commit|rollback)\s+prepared)\s+('(?:[^']|'')*')", re.IGNORECASE)


def explain(context: ExceptionContext) -> BaseException | None:
    """Add to an error what the loss of its connection means; SQLAlchemy's `handle_error` listener.

    A server that stops says so, and hangs up. A statement that is sent between the two finds asyncpg in the middle of
    the first, and fails with an error that no program expects. It is taken for the disconnect that it is.
    """
    error: Any = context.sqlalchemy_exception
    if _is_from(context.original_exception, "InternalClientError"):
        context.is_disconnect = True
        if error is None:  # SQLAlchemy before 2.1 does not know that error
            error = OperationalError(
                context.statement, context.parameters, context.original_exception, connection_invalidated=True
            )
    if error is None or not context.is_disconnect or context.connection is None:
        return None
    driver = context.connection.connection.driver_connection
    if note := outcome(driver, context.original_exception, context.statement):
        error.add_note(note)
    return None if error is context.sqlalchemy_exception else error


def outcome(driver: Any, error: BaseException, statement: str | None) -> str:
    """Say what became of the transaction of a lost connection; "" where none was open, or nothing is known.

    Args:
        driver: The driver's connection; None where the pool has thrown it away.
        error: What was raised on it.
        statement: What was to be sent, as SQLAlchemy knows it.
    """
    if driver is None:
        return ""
    was_not_sent = _is_from(error, "InterfaceError", "InternalClientError")
    commands = getattr(driver, "commands", None)
    was_open = _was_in_transaction(driver)
    if not (was_not_sent and was_open) and (left := _left_prepared(statement)):
        return left
    if commands is not None and commands.unanswered:
        return UNKNOWN
    return LOST if was_open and (commands is not None or was_not_sent) else ""


def after_failed_rollback(failure: Exception) -> str:
    """Say why a rollback failed, as a note on the error that it was for."""
    if isinstance(failure, DBAPIError) and failure.connection_invalidated:
        return _left_prepared(failure.statement) or _GONE
    return f"Rolling back failed too: {type(failure).__name__}: {failure}"


def _was_in_transaction(driver: Any) -> bool:
    if hasattr(driver, "commands"):
        return bool(driver.commands.is_in_transaction())
    try:
        return bool(driver.is_in_transaction())
    except AttributeError:  # asyncpg's own class has let go of its protocol
        return False


def _left_prepared(statement: str | None) -> str:
    """Say that a transaction of two phases may be left on the server; "" where the statement is of none."""
    found = _PREPARED.match(statement or "")
    if found is None:
        return ""
    return (
        f"{PREPARED}Unless pg_prepared_xacts does not list it, it keeps its locks until somebody ends it: "
        f"COMMIT PREPARED {found[1]}, or ROLLBACK PREPARED {found[1]}."
    )


def _is_from(error: BaseException, *names: str) -> bool:
    """Say whether an error is of one of asyncpg's classes, or SQLAlchemy's for one."""
    import asyncpg  # here: it is imported with the first connection

    kinds = tuple(getattr(asyncpg, name) for name in names)
    return isinstance(error, kinds) or isinstance(error.__cause__, kinds)
