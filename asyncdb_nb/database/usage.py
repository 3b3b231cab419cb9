"""
Say which task uses a session, and have every other one wait for it and then be refused.

A method of a session may start tasks that use the session for it (a commit that is not to be cut off, `wait_for()` in
Python 3.11): they are a part of its turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from sqlalchemy.util import await_only

from asyncdb_nb.aio.loop_cleanup import describe
from asyncdb_nb.aio.shielded import wait_to_the_end
from asyncdb_nb.errors import ConcurrentUseError, SessionEndedError, WrongLoopError

T = TypeVar("T")


class Turn:
    """One call of a session, from its beginning to its end.

    Attributes:
        task: The task that calls.
        call: What it calls, as it is typed.
        before: The turn of the same session that this one is a part of.
        around: The turn, of any session, in which this task was, or the one that it was started by.
    """

    def __init__(self, task: asyncio.Task[Any], call: str, before: Turn | None) -> None:
        self.task, self.call, self.before = task, call, before
        self.around = _within.get()
        self.over = asyncio.Event()

    def is_around_here(self) -> bool:
        """Say whether the running task is in this turn, or was started in it."""
        turn = _within.get()
        while turn is not None and turn is not self:
            turn = turn.around
        return turn is self


_within: ContextVar[Turn | None] = ContextVar("turn", default=None)


class Usage:
    """Which task is using a scope's session, on which loop."""

    def __init__(self) -> None:
        self.ended = False  # the block has
        self._loop = asyncio.get_running_loop()
        self._turn: Turn | None = None
        self.first: asyncio.Task[None] | None = None  # what everybody else waits for

    async def exclusively(self, call: Coroutine[Any, Any, T], name: str, *, lets_go: bool = False) -> T:
        """Await `call` as the only task that does; refuse a second one when the first has come to its end.

        After the block, only what lets go of something is let through.
        """
        try:
            me = await self._admit(name, lets_go)
        except BaseException:
            call.close()
            raise
        if self._is_turn_of(me):  # one method calls another
            return await call
        with self._taken(me, name):
            return await call

    def exclusively_in_greenlet(self, call: Callable[[], T], name: str, *, lets_go: bool = False) -> T:
        """Do the same with a function that awaits by greenlets."""
        if self._is_turn_of(asyncio.current_task()):
            return call()
        me = await_only(self._admit(name, lets_go))
        with self._taken(me, name):
            return call()

    async def end(self) -> str:
        """Cancel what another task still runs in this session, because the block is over; return what that was."""
        cancelled = ""
        while self._turn is not None:
            turn = self._turn
            while turn.before is not None:
                turn = turn.before
            cancelled = turn.call
            turn.task.cancel()
            await to_the_end(turn.over.wait())
        return cancelled

    async def _admit(self, name: str, lets_go: bool) -> asyncio.Task[Any]:
        me = asyncio.current_task()
        if me is None or me.get_loop() is not self._loop:
            raise WrongLoopError(describe(self._loop), describe(me.get_loop() if me else None))
        if self.ended and not lets_go:
            raise SessionEndedError
        turn = self._turn
        if turn is None or not (turn.task is me or turn.is_around_here()):
            await self._wait_for_first(me)
            turn = self._turn
        if turn is None or turn.task is me or turn.is_around_here():
            return me
        while turn.before is not None and not turn.before.is_around_here():
            turn = turn.before
        await turn.over.wait()
        raise ConcurrentUseError(turn.call, name)

    async def _wait_for_first(self, me: asyncio.Task[Any]) -> None:
        if self.first is not None and self.first is not me:
            await asyncio.wait([self.first])
            self.first = None

    def _is_turn_of(self, task: asyncio.Task[Any] | None) -> bool:
        return self._turn is not None and self._turn.task is task

    @contextmanager
    def _taken(self, me: asyncio.Task[Any], name: str) -> Iterator[None]:
        self._turn = turn = Turn(me, name, self._turn)
        _within.set(turn)
        try:
            yield
        finally:
            turn.over.set()
            while self._turn is not None and self._turn.over.is_set():
                self._turn = self._turn.before
            if _within.get() is turn:  # not where a coroutine that was never finished is thrown away
                _within.set(turn.around)


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Await `work` in a task of its own; a cancellation is passed on only when it is done."""
    task = asyncio.ensure_future(work)
    try:
        await wait_to_the_end(task)
    except asyncio.CancelledError as cancelled:
        if not task.cancelled() and task.exception() is not None:
            cancelled.add_note(f"Meanwhile: {task.exception()!r}")
        raise
    return task.result()
