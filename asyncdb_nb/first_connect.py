"""
Let one connect at a time run until one has succeeded, across event loops and threads.

The first connection of an engine initialises its dialect. SQLAlchemy guards that with an `asyncio.Lock`, which belongs
to one loop; two loops that connect for the first time at once need a gate that belongs to none.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from sqlalchemy.util import await_only

T = TypeVar("T")


class FirstConnect:
    """The gate: `gate(connect)` calls `connect()` when it is this caller's turn.

    It is called in a greenlet of SQLAlchemy's, so that waiting does not block the loop. A connect that fails, or is
    cancelled, lets the next one try.
    """

    def __init__(self) -> None:
        self._done = False
        self._busy = False
        self._lock = threading.Lock()
        self._waiting: list[Future[None]] = []

    def __call__(self, connect: Callable[[], T]) -> T:
        """Return `connect()`, or raise what it raises, when it is this caller's turn."""
        while not self._done:
            with self._lock:
                if not self._busy:
                    self._busy = True
                    break
                turn: Future[None] = Future()
                self._waiting.append(turn)
            await_only(asyncio.wrap_future(turn))
        else:
            return connect()
        try:
            connected = connect()
            self._done = True
            return connected
        finally:
            with self._lock:
                self._busy = False
                waiting, self._waiting = self._waiting, []
            for turn in waiting:
                if turn.set_running_or_notify_cancel():
                    turn.set_result(None)
