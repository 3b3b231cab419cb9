"""
Look whether a pooler answers instead of the server, and whether it takes what this engine does.

Whether a pooler keeps prepared statements cannot be asked, so it is tried: a statement is prepared, and executed again
while other connections hold the server connections that the pooler would give it first.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

from sqlalchemy import text

from asyncdb_nb.database.database import Database
from asyncdb_nb.diagnostics.finding import Finding, Level
from asyncdb_nb.engine.pooler import MOVED, UNKNOWN_STATEMENT, is_pooled
from asyncdb_nb.engine.statement_cache import cache_of

SECONDS = 5.0  # for server connections to be free
OTHERS = 4  # connections; a pooler in session mode does not mind them

_PID = "SELECT pg_catalog.pg_backend_pid()"

_KEEPS_NONE = Finding(
    "server",
    Level.OK,
    "A pooler stands before the server; no statement is kept prepared, which works in session and transaction mode.",
)
_KEPT = Finding("server", Level.OK, "A pooler stands before the server, and keeps prepared statements.")
_LOST = Finding("server", Level.WRONG, "A pooler stands before the server, and loses prepared statements.", MOVED)
_NOT_TRIED = Finding(
    "server",
    Level.NOTE,
    "A pooler stands before the server, and had no connection free to see whether it keeps prepared statements.",
    MOVED,
)


async def look_at_pooler(database: Database) -> list[Finding]:
    """Ask on two connections of the engine; nothing is found where PostgreSQL itself answers."""
    from asyncdb_nb.engine._asyncpg import statement_cache_size  # here: it imports the driver

    async with database.engine.connect() as connection:
        raw = await connection.get_raw_connection()
        adapter: Any = raw.dbapi_connection
        driver_connection: Any = raw.driver_connection
        pid = (await connection.execute(text(_PID))).scalar_one()
        await connection.rollback()
        if not is_pooled(driver_connection) and pid == driver_connection.get_server_pid():
            return []
        if cache_of(adapter) is None and not statement_cache_size(driver_connection):
            return [_KEEPS_NONE]
        try:
            async with asyncio.timeout(SECONDS):
                return [await _try(driver_connection, database)]
        except TimeoutError:
            return [_NOT_TRIED]


async def _try(connection: Any, database: Database) -> Finding:
    statement = await connection.prepare(_PID, name=f"__asyncdb_{uuid4().hex}__")
    async with AsyncExitStack() as others:
        first = await statement.fetchval()
        for _ in range(OTHERS):
            other = await others.enter_async_context(database.engine.connect())
            await other.execute(text(_PID))  # and its transaction stays open
            try:
                if await statement.fetchval() != first:
                    break
            except Exception as error:
                if getattr(error, "sqlstate", None) != UNKNOWN_STATEMENT:
                    raise
                return _LOST
    return _KEPT
