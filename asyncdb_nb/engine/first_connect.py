"""
Let one connect at a time run until one has succeeded, across event loops and threads.

The first connection of an engine initialises its dialect. SQLAlchemy guards that with an `asyncio.Lock`, which belongs
to one loop; two loops that connect for the first time at once need a lock that belongs to none.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from sqlalchemy.util import await_only

from asyncdb_nb.aio.blocked_loops import waits_for_us
from asyncdb_nb.aio.loop_cleanup import describe, name
from asyncdb_nb.errors import AsyncDBError

STOPPED_SECONDS = 1.0  # how long the loop of the first connect may stand still before those who wait are told

T = TypeVar("T")


class FirstConnect:
    """A lock: calling an object of this class calls `connect()` when it is this caller's turn.

    It is called in a greenlet of SQLAlchemy's, so that waiting does not block the loop. A connect that fails, or is
    cancelled, lets the next one try.
    """

    def __init__(self) -> None:
        self._done = False
        self._busy_on: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._waiting: list[Future[None]] = []

    def __call__(self, connect: Callable[[], T]) -> T:
        """Return `connect()`, or raise what it raises, when it is this caller's turn.

        Raises:
            AsyncDBError: The loop whose turn it is has been stopped meanwhile, or stands still in a `run()` that waits
                for this caller, so that turn has no end.
        """
        while not self._done:
            with self._lock:
                if self._busy_on is None:
                    self._busy_on = asyncio.get_running_loop()
                    break
                if waits_for_us(self._busy_on):
                    raise AsyncDBError(
                        f"The first connection of this engine is being opened on {name(self._busy_on)}, which stands "
                        "still until run() returns. Let a first query end there before: `await db.frame(...)`."
                    )
                turn: Future[None] = Future()
                self._waiting.append(turn)
            await_only(self._wait_for(turn))
        else:
            return connect()
        try:
            connected = connect()
            self._done = True
            return connected
        finally:
            with self._lock:
                self._busy_on = None
                waiting, self._waiting = self._waiting, []
            for turn in waiting:
                if turn.set_running_or_notify_cancel():
                    turn.set_result(None)

    async def _wait_for(self, turn: Future[None]) -> None:
        waiting = asyncio.wrap_future(turn)
        stopped = None
        try:
            while not (await asyncio.wait([waiting], timeout=STOPPED_SECONDS))[0]:
                loop = self._busy_on
                if loop is None or loop.is_running():
                    stopped = None
                elif stopped is not loop:
                    stopped = loop
                else:
                    raise AsyncDBError(
                        f"The first connection of this engine is being opened on {describe(loop)}. Run that loop until "
                        "it is open, or close the loop: `loop.close()`. Then try again."
                    )
        finally:
            waiting.cancel()
