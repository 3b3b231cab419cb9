"""
Let the tasks of a test take turns on their one connection, whichever loop or thread they run on.

A task has its turn from its first checkout to its last checkin, and others wait for that. One kind of waiting would
have no end: a task that holds the connection calls synchronous code, which waits for another loop, where somebody waits
for the connection. (A test with an open session that calls a `TestClient` does so.) The inner one then has its turn
within the outer one's, as a function has that is called, and the outer one goes on after it.

Whether a loop waits for something else is only seen from outside: its thread has stood at the same instruction for a
while. Most wait in `threading`; another place may as well be a thread that a busy machine does not run, so that is
watched for longer.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from asyncdb_nb.aio.blocked_loops import waits_for_us
from asyncdb_nb.aio.loop_cleanup import describe
from asyncdb_nb.errors import OneConnectionError

TURN_SECONDS = 5.0  # how long a task waits for the end of another's turn
BLOCKED_SECONDS = 0.05  # a thread that waits in `threading` for so long waits for something else
STUCK_SECONDS = 0.5  # and one that is anywhere else

Place = tuple[asyncio.Task[Any], FrameType, int]  # the task, what its thread executes, and at which instruction


@dataclass(eq=False)
class Turn:
    """The checkouts of one task.

    Attributes:
        connected: Whether the first of them is complete. An engine's very first connection is waited for by all others.
    """

    task: asyncio.Task[Any] | None
    loop: asyncio.AbstractEventLoop
    thread: int = field(default_factory=threading.get_ident)
    checkouts: int = 0
    connected: bool = False

    def is_over(self) -> bool:
        """Return whether nobody is left who could end it."""
        return self.task is None or self.task.done() or self.loop.is_closed()

    def __str__(self) -> str:
        return f"{self.task.get_name() if self.task else 'none'!r} on {describe(self.loop)}"


class Turns:
    """Whose turn it is: the last one's. Each before it stands still until the next one has ended."""

    def __init__(self) -> None:
        self._turns: list[Turn] = []
        self._waiting: list[Future[None]] = []
        self._lock = threading.Lock()

    async def enter(self) -> Turn:
        """Wait for this task's turn; the task may then check out as often as it likes.

        Raises:
            OneConnectionError: Another task has had its turn for five seconds.
        """
        me, blocked = asyncio.current_task(), None
        async with self.in_time() as deadline:
            while (turn := self._take(me, blocked)) is None:
                blocked = await self._look(deadline)
        return turn

    def leave(self, turn: Turn) -> None:
        """Give one checkout back, from any thread."""
        with self._lock:
            turn.checkouts -= 1
            if turn.checkouts > 0 or turn not in self._turns:
                return
            self._turns.remove(turn)
            waiting, self._waiting = self._waiting, []
        for each in waiting:
            if each.set_running_or_notify_cancel():
                each.set_result(None)

    async def resume(self) -> None:
        """Wait until a turn within this loop's, if there is one, has ended.

        Raises:
            OneConnectionError: It has lasted for five seconds.
        """
        here = asyncio.get_running_loop()
        if self.may_go_on(here):
            return
        async with self.in_time() as deadline:
            while not self.may_go_on(here):
                await self._look(deadline)

    def may_go_on(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Say whether no turn is within this loop's."""
        turns = self._turns
        return not turns or turns[-1].loop is loop or loop not in [turn.loop for turn in turns]

    @asynccontextmanager
    async def in_time(self) -> AsyncIterator[asyncio.Timeout]:
        """Give the block five seconds.

        Raises:
            OneConnectionError: It took longer.
        """
        try:
            async with asyncio.timeout(TURN_SECONDS) as deadline:
                yield deadline
        except TimeoutError:
            raise OneConnectionError(self._holder()) from None

    def _take(self, me: asyncio.Task[Any] | None, blocked: Turn | None) -> Turn | None:
        with self._lock:
            self._turns = [turn for turn in self._turns if not turn.is_over()]
            turn = self._turns[-1] if self._turns else None
            if turn is None or (turn is blocked and turn.connected) or waits_for_us(turn.loop):
                turn = Turn(me, asyncio.get_running_loop())
                self._turns.append(turn)
            elif turn.task is not me:
                return None
            turn.checkouts += 1
            return turn

    async def _look(self, deadline: asyncio.Timeout) -> Turn | None:
        """Wait for a turn to end, for a while; return the last one if its loop was blocked all the time.

        Whenever the turn has passed on, the deadline is as far away again: many short turns are no reason to give up.
        """
        left: Future[None] = Future()
        with self._lock:
            turn = self._turns[-1] if self._turns else None
            self._waiting.append(left)
        if turn is None:
            return None
        place = _place_of(turn)
        waiting = asyncio.wrap_future(left)
        try:
            await asyncio.wait([waiting], timeout=BLOCKED_SECONDS if _waits(place) else STUCK_SECONDS)
        finally:
            waiting.cancel()
        if turn not in self._turns[-1:]:
            deadline.reschedule(asyncio.get_running_loop().time() + TURN_SECONDS)
        return turn if place is not None and place == _place_of(turn) else None

    def _holder(self) -> str:
        return str(self._turns[-1]) if self._turns else "none"


def _place_of(turn: Turn) -> Place | None:
    """Return where in a task's step another loop's thread is; None where the loop waits for what comes next."""
    here = turn.loop is asyncio.get_running_loop()
    task = None if here else asyncio.current_task(turn.loop)
    frame = sys._current_frames().get(turn.thread)
    return None if task is None or frame is None else (task, frame, frame.f_lasti)


def _waits(place: Place | None) -> bool:
    return place is None or place[1].f_code.co_filename == threading.__file__
