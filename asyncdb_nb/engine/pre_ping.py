"""
Give the ping before a checkout (`pool_pre_ping`) an end.

A ping asks whether a connection that was idle still works. When its server is frozen, or the network swallows what is
sent, no answer ever comes, and the checkout would wait for it for ever. After a few seconds that is answer enough: the
connection is given up, and the pool opens another.

SQLAlchemy pings asyncpg with a prepared statement, and for the sake of PgBouncer in a transaction: three round trips. A
query in the simple protocol prepares nothing, and so needs no transaction and one round trip.

Who sends BEGIN right after a checkout needs no ping: where BEGIN is not answered, nothing has been asked yet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any

from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_connection
from sqlalchemy.util import await_only, greenlet_spawn

SECONDS = 5.0  # for a round trip, which takes milliseconds


class LeftOut:
    """Whether a ping was due in this task, which leaves it out.

    What a checkout starts (a new connection's transport, say) keeps a copy of the context, and this with it.
    """

    def __init__(self) -> None:
        self._task = asyncio.current_task()
        self.due = False

    def is_here(self) -> bool:
        """Say whether it is this task that leaves it out, now."""
        return self._task is not None and self._task is asyncio.current_task()

    def end(self) -> None:
        """Leave none out any more."""
        self._task = None


_left_out: ContextVar[LeftOut | None] = ContextVar("left_out", default=None)


@contextmanager
def left_out() -> Iterator[LeftOut]:
    """Let a checkout in this block do without its ping."""
    left = LeftOut()
    token = _left_out.set(left)
    try:
        yield left
    finally:
        _left_out.reset(token)
        left.end()


async def answered(adapter: Any, command: Awaitable[Any]) -> None:
    """Await the answer to a first command; when none comes within `SECONDS`, the connection is given up."""
    try:
        async with asyncio.timeout(SECONDS):
            await command
    except adapter.dbapi.Error:
        raise  # the pool knows what that means
    except Exception as error:  # no answer, or the driver has lost its place in what a dying server sent
        connection = adapter.driver_connection
        getattr(connection, "abandon", connection.terminate)()
        raise adapter.dbapi.InterfaceError("connection is closed: it did not answer a ping") from error


def bounded(ping: Callable[[Any], None]) -> Callable[[Any], None]:
    """Make a SQLAlchemy adapter's `ping` fail as on a closed connection when no answer comes within `SECONDS`."""

    @wraps(ping)
    def bounded_ping(adapter: Any) -> None:
        left = _left_out.get()
        if left is not None and left.is_here():
            left.due = True
        elif isinstance(adapter, AsyncAdapt_asyncpg_connection):
            await_only(answered(adapter, adapter.driver_connection.execute("SELECT")))
        else:
            await_only(answered(adapter, greenlet_spawn(ping, adapter)))

    return bounded_ping
