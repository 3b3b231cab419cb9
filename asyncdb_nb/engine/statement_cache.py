"""
How many statements a connection keeps prepared on the server.

SQLAlchemy keeps an LRU cache for each connection, of `prepared_statement_cache_size`; asyncpg keeps another, of
`statement_cache_size`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from asyncdb_nb.engine._sqlalchemy.execution import (
    is_asyncpgs,
    keep_prepared_in,
    names_are_given,
    prepared_statements,
)
from asyncdb_nb.engine.pooler import is_pooled

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPIConnection

T = TypeVar("T")


def cache_of(adapter: Any) -> Any:
    """Return the cache of a SQLAlchemy adapter for asyncpg, which then holds no more than its size; None without one.

    There is none where asyncpg is told to keep nothing, unless statements are named by the user. Without names they are
    sent anew each time, and a cached description would be of a table as it was before it was altered.
    """
    cache = prepared_statements(adapter)
    if cache is None or not _is_named(adapter):
        return None
    cache.threshold = 0  # else it is allowed half as many again
    return cache


def limited(connection: T) -> T:
    """Apply `cache_of` to what SQLAlchemy prepares on a connection that its dialect has just opened."""
    if is_asyncpgs(connection):
        keep_prepared_in(connection, cache_of(connection))
    return connection


def limit(connection: DBAPIConnection, record: Any) -> None:
    """Do so in any pool: SQLAlchemy's `connect` listener."""
    limited(connection)


def _is_named(adapter: Any) -> bool:
    if names_are_given(adapter):
        return True
    from asyncdb_nb.engine._asyncpg import statement_cache_size
    from asyncdb_nb.engine.asyncpg_connection import Connection  # here: it imports the driver

    connection = adapter.driver_connection
    size_is_meant = isinstance(connection, Connection) or not is_pooled(connection)
    return bool(statement_cache_size(connection) and size_is_meant)
