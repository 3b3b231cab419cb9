"""
Read a statement in a read-only transaction of its own, and once more where what was prepared for it is stale.

PostgreSQL refuses a prepared statement whose table was altered so that its result has other columns, and with that ends
the transaction. Where the transaction held nothing but this one read, nothing is lost: SQLAlchemy has meanwhile dropped
everything that it had prepared, on all connections, and a second attempt prepares the statement anew, for itself alone.
So it is with one that the server does not know any more: after `deallocate all`, or where a pooler went to another
server connection.

The same holds where the rows of a COPY are received by asyncpg (0.32) and the server raises a NOTICE amid them: asyncpg
drops what came just before. The decoder finds that, and the second attempt goes the plain way. A stream cannot be begun
again.

A connection that is lost during a read is replaced once where the rows are those of a snapshot: another one sees the
same.

An error that no attempt can mend gets a note with the tables that may have been meant.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from asyncdb_nb.database import catalog, read_without_session
from asyncdb_nb.database.session import session_scope
from asyncdb_nb.dataframes import libraries
from asyncdb_nb.dataframes.query.stale_statements import schema_may_have_changed
from asyncdb_nb.engine.pooler import UNKNOWN_STATEMENT
from asyncdb_nb.errors import AsyncDBError, CorruptStreamError

if TYPE_CHECKING:
    from asyncdb_nb.database.snapshot import Snapshot

Scope = Callable[[], session_scope]

_LOST = {"08000", "08003", "08006", "57P01", "57P02"}  # the last two: by an administrator's command, by a crash

_UNKNOWN = re.compile(r'relation "(.+)" does not exist')  # as asyncpg passes it on from the server


async def whole(
    scope: Scope,
    reader: Callable[..., Any],
    statement: Any,
    params: Any,
    options: dict[str, Any],
    engine: AsyncEngine | None = None,
) -> Any:
    """Return what `await reader(session, statement, params, **options)` gives.

    Args:
        scope: Makes the scope of a session for each attempt.
        reader: `frame` or `table`.
        statement: As for `reader`.
        params: Likewise.
        options: Likewise.
        engine: Where a session is not needed.
    """

    async def read(*, again: bool = False) -> Any:
        async with scope() as session:
            if again:
                await _keep_nothing_prepared(session)
            if engine is not None and not libraries.are_loaded():
                libraries.begin()
                await session.connection()  # beside the loading, which takes longer
            return await reader(session, statement, params, **options)

    try:
        try:
            made = (
                None if engine is None else await read_without_session.read(engine, reader, statement, params, options)
            )
            return await read() if made is None else made
        except DBAPIError as error:
            if not _is_stale(error):
                raise
        except CorruptStreamError:
            pass  # `Capture` has remembered to do without COPY
        return await read(again=True)
    except DBAPIError as error:
        await _advise(scope, error)
        raise


async def of_snapshot(
    snapshot: Snapshot, reader: Callable[..., Any], statement: Any, params: Any, options: dict[str, Any]
) -> Any:
    """Return what a snapshot has, as `whole`; from another connection if that which reads is lost.

    Raises:
        SnapshotGoneError: The snapshot has ended, too.
    """
    try:
        return await whole(snapshot.session, reader, statement, params, options)
    except DBAPIError as error:
        if not _may_be_lost(error):
            raise
    return await whole(snapshot.session, reader, statement, params, options)


async def parts(
    scope: Scope, reader: Callable[..., Any], statement: Any, params: Any, options: dict[str, Any]
) -> AsyncGenerator[Any, None]:
    """Give the parts of `reader(session, statement, params, **options)`, which is `frames` or `batches`."""
    begun = False
    for attempt in (1, 2):
        try:
            async with (
                scope() as session,
                aclosing(reader(session, statement, params, exclusive=True, **options)) as found,
            ):
                if attempt == 2:
                    await _keep_nothing_prepared(session)
                async for part in found:
                    begun = True
                    yield part
            return
        except DBAPIError as error:
            if begun or attempt == 2 or not _is_stale(error):
                await _advise(scope, error)
                raise


async def _keep_nothing_prepared(session: AsyncSession) -> None:
    """Have this transaction use no statement that was prepared before: another task may have prepared it since."""
    connection = (await session.connection()).sync_connection
    if connection is not None:
        schema_may_have_changed(connection)


def _is_stale(error: DBAPIError) -> bool:
    """Say whether a statement failed because it was prepared before a table was altered, or is gone from the server."""
    if getattr(error.orig, "sqlstate", None) == UNKNOWN_STATEMENT:
        return True
    return type(error.orig).__name__ == "InvalidCachedStatementError"  # SQLAlchemy's, for asyncpg's of the same name


def _may_be_lost(error: DBAPIError) -> bool:
    """Say whether the connection may have been lost; asyncpg has errors without a code for what it finds first."""
    code = getattr(error.orig, "sqlstate", None)
    return error.connection_invalidated or code is None or code in _LOST


async def _advise(scope: Scope, error: DBAPIError) -> None:
    """Ask the catalog in a transaction of its own: that of the statement is over."""
    unknown = _UNKNOWN.match(str(getattr(error.orig, "__cause__", "")))
    if unknown is None:
        return
    near: list[str] = []
    with suppress(SQLAlchemyError, AsyncDBError):  # advice that cannot be had hides no error
        async with scope() as session:
            near = await catalog.nearest_tables(session, unknown[1])
    if near:
        error.add_note(f"Did you mean {' or '.join(near)}? `await db.tables()` lists all of them.")
