"""Go back to where a block of statements began when it fails, and leave the transaction usable."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

from asyncdb_nb.dataframes.writing.write_connection import Server
from asyncdb_nb.engine.lost_connections import after_failed_rollback


@asynccontextmanager
async def savepoint(server: Server) -> AsyncIterator[None]:
    """Roll back to where the block began when it fails.

    The savepoint of a block that succeeds is never released: nothing is waited for after the last row, so that a
    cancellation comes either before that or after the call. It ends with the transaction.
    """
    name = f"asyncdb_nb_{uuid4().hex}"
    await server.begin()
    try:
        await server.to_the_end(f"SAVEPOINT {name}")
        yield
    except BaseException as error:
        try:
            await server.to_the_end(f"ROLLBACK TO SAVEPOINT {name}; RELEASE SAVEPOINT {name}")
        except Exception as failure:
            error.add_note(after_failed_rollback(failure))
        raise
