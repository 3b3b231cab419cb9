"""
Close the idle connections of an engine that nobody holds any more, on their own loop.

Whoever forgets `dispose()` leaves it to the garbage collector, which runs in any thread and cannot await: it would cut
the connections off without a Terminate message. So the idle ones are kept here, where the loop knows of them, and the
sub-pool that they belong to is only referred to weakly.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import weakref
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy.util import greenlet_spawn

from asyncdb_nb.aio import loop_cleanup
from asyncdb_nb.aio.loop_cleanup import LoopPhase

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPIConnection


class Owner(Protocol):
    """A sub-pool."""

    async def finish(self, phase: LoopPhase) -> None:
        """Close what there is, because the loop is about to close."""


class IdleConnections:
    """The idle connections of one sub-pool.

    Args:
        owner: The sub-pool; when it is garbage, what is idle is closed.
        loop: Its loop, which is running.
        dialect: Closes a connection.
    """

    def __init__(self, owner: Owner, loop: asyncio.AbstractEventLoop, dialect: Any) -> None:
        self._owner = weakref.ref(owner)
        self._loop = loop
        self._dialect = dialect
        self._idle: dict[int, DBAPIConnection] = {}
        self._closing: asyncio.Task[None] | None = None
        self._pid = os.getpid()
        weakref.finalize(owner, self._dropped).atexit = False  # at exit the loop is told

    def add(self, connection: DBAPIConnection | None) -> None:
        """Keep a connection that has become idle."""
        if connection is not None:
            self._idle[id(connection)] = connection

    def discard(self, connection: DBAPIConnection | None) -> None:
        """Let go of one that is in use again, or is being closed."""
        self._idle.pop(id(connection), None)

    def __len__(self) -> int:
        return len(self._idle)

    def begin(self) -> None:
        """Have the loop call `finish` before it closes."""
        loop_cleanup.before_close(self._loop, self.finish)

    def end(self) -> None:
        """Have the loop forget that."""
        loop_cleanup.forget(self._loop, self.finish)

    async def finish(self, phase: LoopPhase) -> None:
        """Close what there is, because the loop is about to close."""
        owner = self._owner()
        if owner is not None:
            await owner.finish(phase)
            return
        if self._closing is not None:
            await asyncio.wait([self._closing])  # `asyncio.run` may have cancelled it
        await self._close()

    def _dropped(self) -> None:
        """Called by the garbage collector, in any thread, between any two instructions."""
        if self._pid == os.getpid():  # a forked child shares the sockets
            with contextlib.suppress(RuntimeError):  # the loop has closed, and they with it
                self._loop.call_soon_threadsafe(self._start)

    def _start(self) -> None:
        """Begin to close what is idle, once: the loop and the garbage collector may both ask for it."""
        if self._closing is None and self._idle:
            self._closing = self._loop.create_task(self._close())
        elif self._closing is None:
            self.end()

    async def _close(self) -> None:
        idle, self._idle = self._idle, {}
        close = self._dialect.do_terminate if self._dialect.has_terminate else self._dialect.do_close
        await asyncio.gather(*(greenlet_spawn(close, connection) for connection in idle.values()))
        self.end()
