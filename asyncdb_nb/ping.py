"""
Give the ping before a checkout (`pool_pre_ping`) an end.

A ping asks whether a connection that was idle still works. When its server is frozen, or the network swallows what is
sent, no answer ever comes, and the checkout would wait for it for ever. After a few seconds that is answer enough: the
connection is given up, and the pool opens another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import wraps
from typing import Any

from sqlalchemy.util import await_only, greenlet_spawn

SECONDS = 5.0  # for one or three round trips, which take milliseconds


def bounded(ping: Callable[[Any], None]) -> Callable[[Any], None]:
    """Make a SQLAlchemy adapter's `ping` fail as on a closed connection when no answer comes within `SECONDS`."""

    async def answered(adapter: Any) -> None:
        async with asyncio.timeout(SECONDS):
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
