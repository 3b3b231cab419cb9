"""
Read once more when a table was altered under a statement that was prepared before.

PostgreSQL refuses a prepared statement whose result has changed its columns, and with that ends the transaction. Where
the transaction held nothing but this one read, nothing is lost: SQLAlchemy has meanwhile dropped everything that it had
prepared, on all connections, and the second attempt prepares the statement anew.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from sqlalchemy.exc import DBAPIError

T = TypeVar("T")


async def read_fresh(read: Callable[[], Awaitable[T]]) -> T:
    """Return `await read()`, which reads in a transaction of its own; call it again if a statement was stale."""
    try:
        return await read()
    except DBAPIError as error:
        if not is_stale(error):
            raise
    return await read()


def is_stale(error: DBAPIError) -> bool:
    """Say whether a statement failed because it was prepared before a table was altered."""
    return type(error.orig).__name__ == "InvalidCachedStatementError"  # SQLAlchemy's, for asyncpg's of the same name
