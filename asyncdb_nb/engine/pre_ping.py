"""
Give the ping before a checkout (`pool_pre_ping`) an end.

A ping asks whether a connection that was idle still works. When its server is frozen, or the network swallows what is
sent, no answer ever comes, and the checkout would wait for it for ever. After a few seconds that is answer enough: the
connection is given up, and the pool opens another.

SQLAlchemy pings asyncpg with a prepared statement, and for the sake of PgBouncer in a transaction: three round trips. A
query in the simple protocol prepares nothing, and so needs no transaction and one round trip.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import wraps
from typing import Any

from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_connection
from sqlalchemy.util import await_only, greenlet_spawn

SECONDS = 5.0  # for a round trip, which takes milliseconds


def bounded(ping: Callable[[Any], None]) -> Callable[[Any], None]:
    """Make a SQLAlchemy adapter's `ping` fail as on a closed connection when no answer comes within `SECONDS`."""

    async def answered(adapter: Any) -> None:
        async with asyncio.timeout(SECONDS):
            if isinstance(adapter, AsyncAdapt_asyncpg_connection):
                await adapter.driver_connection.execute("SELECT")
            else:
                await greenlet_spawn(ping, adapter)

    @wraps(ping)
    def bounded_ping(adapter: Any) -> None:
        try:
            await_only(answered(adapter))
        except adapter.dbapi.Error:
            raise  # the pool knows what that means
        except Exception as error:  # no answer, or the driver has lost its place in what a dying server sent
            connection = adapter.driver_connection
            getattr(connection, "abandon", connection.terminate)()
            raise adapter.dbapi.InterfaceError("connection is closed: it did not answer a ping") from error

    return bounded_ping
