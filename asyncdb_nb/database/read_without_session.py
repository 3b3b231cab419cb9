"""
Read a text that gives few rows on a connection of its own, without a session.

BEGIN READ ONLY stands for the ping: where it is not answered, nothing has been asked yet, and a session opens another
connection. The answer to COMMIT is awaited when the frame has been built.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import greenlet_spawn

from asyncdb_nb.database.session import start_transaction
from asyncdb_nb.database.usage import to_the_end
from asyncdb_nb.engine._sqlalchemy.execution import is_asyncpgs
from asyncdb_nb.engine.history import recorded
from asyncdb_nb.engine.lost_connections import after_failed_rollback
from asyncdb_nb.engine.pre_ping import left_out

if TYPE_CHECKING:
    from asyncdb_nb.dataframes.query.without_session import Direct


async def read(
    engine: AsyncEngine, reader: Callable[..., Any], statement: Any, params: Any, options: dict[str, Any]
) -> Any | None:
    """Return what `await reader(session, statement, params, **options)` gives; None where a session has to read it.

    It is None where the statement is not such a text, or anybody listens, or the connection is lost before the
    statement is sent. Errors are those of a session.
    """
    from asyncdb_nb.dataframes.query.without_session import Direct, can_read  # here: it imports the driver

    if not can_read(engine.sync_engine, statement, params, options):
        return None
    connection, ping_is_due = await greenlet_spawn(_check_out, engine.sync_engine)
    direct = Direct(connection)
    begun = False
    try:
        begun = await greenlet_spawn(_begin, connection, ping_is_due)
        made = None
        if begun:
            with recorded(engine.dialect, statement) as entry:
                made = await reader(direct, statement, params, **options)
                entry.rows = len(made)
            await direct.end()
    except BaseException as error:
        await to_the_end(_let_go(direct, error))
        if begun and direct.committing is None and isinstance(error, asyncio.CancelledError):
            error.add_note("The transaction was rolled back.")
        raise
    await greenlet_spawn(connection.close)
    return made


def _check_out(engine: Engine) -> tuple[Connection, bool]:
    """Check out a connection without a ping; say whether one would be due."""
    with left_out() as ping:
        connection = engine.connect()
    return connection, ping.due


def _begin(connection: Connection, ping_is_due: bool) -> bool:
    """Begin a read-only transaction; say whether there is one."""
    adapter: Any = connection.connection.dbapi_connection
    if not is_asyncpgs(adapter) or adapter.driver_connection.is_in_transaction():
        return False
    connection.begin()
    try:
        start_transaction(connection, readonly=True, is_ping=ping_is_due)
    except DBAPIError:
        return False
    return True


async def _let_go(direct: Direct, error: BaseException) -> None:
    """Roll back and give the connection back; what fails is told as a note on `error`."""
    if direct.committing is not None and not direct.committing.done():
        if not isinstance(error, Exception):
            direct.committing.cancel()
        await asyncio.wait([direct.committing])
    for step in (direct.connection.rollback, direct.connection.close):
        try:
            await greenlet_spawn(step)
        except Exception as failure:
            error.add_note(after_failed_rollback(failure))
