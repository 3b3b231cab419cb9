"""
Close what was forgotten on the async engines of the process, and tell whose it was.

Whether something was forgotten is known when its owner has ended, or when the loop it lives on is about to end; both
come while the loop can still close it. `checkouts.py` knows what is open; `hooks.py` says when an owner has ended;
`report.py` says what was left.
"""

from __future__ import annotations

import asyncio
import functools
import time
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.orm import Session
from sqlalchemy.util import greenlet_spawn

from asyncdb_nb.aio import loop_cleanup
from asyncdb_nb.aio._asyncio import loop_of
from asyncdb_nb.engine._sqlalchemy.execution import is_executing
from asyncdb_nb.pytest_plugin._pytest import runs_one_test_after_the_other
from asyncdb_nb.pytest_plugin.leaks.report import Leak
from asyncdb_nb.pytest_plugin.leaks.who_opened_what import Checkout, Checkouts, dialect_of

GRACE_SECONDS = 0.2  # for a task that outlives the test on purpose and is just about to give its connection back
CANCEL_SECONDS = 2.0  # how long cancelled tasks may take to end
SETTLE_SECONDS = 10.0  # for all of it


@dataclass
class LeakDetector:
    """The watch over this process. `leaks` are those that nobody was told of yet."""

    leaks: list[Leak] = field(default_factory=list)
    checkouts: Checkouts = field(init=False)
    _watched: weakref.WeakSet[asyncio.AbstractEventLoop] = field(default_factory=weakref.WeakSet)

    def __post_init__(self) -> None:
        self.checkouts = Checkouts(self._watch_loop)

    def start(self) -> Callable[[], None]:
        """Begin to watch; returns what ends it."""
        stop_writing = self.checkouts.start()
        runner: Any = asyncio.Runner
        close = runner.close

        @functools.wraps(close)
        def look_and_close(phase: Any) -> None:
            self._runner_ends(phase)
            close(phase)

        runner.close = look_and_close

        def stop() -> None:
            runner.close = close
            stop_writing()

        return stop

    def close_forgotten(self, forgotten: Callable[[Checkout], bool]) -> None:
        """Close what was forgotten, each on its loop; from synchronous code."""
        for loop in {checkout.loop for checkout in self.checkouts.out.values()}:
            if loop.is_closed():
                self._give_up(loop)
                continue
            chosen = [one for one in self._out(loop) if forgotten(one) and not one.is_borrowed]
            if not chosen:
                continue
            if loop.is_running():
                asyncio.run_coroutine_threadsafe(self._close(chosen), loop).result(SETTLE_SECONDS)
            else:
                loop_cleanup.drive(loop, lambda chosen=chosen: self._close(chosen), SETTLE_SECONDS)  # type: ignore[misc]

    def _watch_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        if loop not in self._watched:
            self._watched.add(loop)
            loop_cleanup.before_close(loop, self._loop_ends)

    def _runner_ends(self, runner: Any) -> None:
        """Look before the runner cancels the tasks that were forgotten on it."""
        loop = loop_of(runner)
        if loop is not None and loop in self._watched and not loop.is_closed() and not loop.is_running():
            loop_cleanup.drive(loop, self._settle_loop, SETTLE_SECONDS)

    async def _loop_ends(self, phase: loop_cleanup.LoopPhase) -> None:
        """Look before a loop is closed by hand."""
        if phase is loop_cleanup.LoopPhase.CLOSE:
            await self._settle_loop()

    async def _settle_loop(self) -> None:
        loop = asyncio.get_running_loop()
        await self._close([one for one in self._out(loop) if not one.is_borrowed], grace=0)
        await self._close_homes(loop)

    async def _close(self, checkouts: list[Checkout], grace: float = GRACE_SECONDS) -> None:
        await self._wait_for(checkouts, grace)
        left = [one for one in checkouts if self._is_out(one)]
        for one in left:
            self.leaks.append(_describe(one))
        await _cancel({one.task for one in left if one.task is not None and _is_busy(one)})
        for one in left:
            if self._is_out(one):
                await _take_back(one)
                self.checkouts.out.pop(one.record, None)

    async def _wait_for(self, checkouts: list[Checkout], seconds: float) -> None:
        """Give tasks that still run the time to end what they do."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if not any(_is_busy(one) and self._is_out(one) for one in checkouts):
                return
            await asyncio.sleep(0.005)

    async def _close_homes(self, loop: asyncio.AbstractEventLoop) -> None:
        """Close what the default pool of an engine keeps for a loop that ends: on the next one it would fail."""
        left = [(record, home) for record, home in list(self.checkouts.homes.items()) if home.loop() is loop]
        blamed = set()
        for record, home in left:
            del self.checkouts.homes[record]
            if record.dbapi_connection is None or record in self.checkouts.out:
                continue
            if dialect_of(record) not in blamed:
                blamed.add(dialect_of(record))
                self.leaks.append(Leak("engine", home.owner.name, home.call_site))
            await greenlet_spawn(record.invalidate)

    def _give_up(self, loop: asyncio.AbstractEventLoop) -> None:
        """Forget what was left on a loop that closed without letting anybody know."""
        for one in self._out(loop):
            self.leaks.append(_describe(one))
            self.checkouts.out.pop(one.record, None)

    def _out(self, loop: asyncio.AbstractEventLoop) -> list[Checkout]:
        return [one for one in self.checkouts.out.values() if one.loop is loop]

    def _is_out(self, one: Checkout) -> bool:
        return self.checkouts.out.get(one.record) is one


def _is_busy(checkout: Checkout) -> bool:
    """Return whether a task still holds it; anyio's runner, which runs one test after the other, does not count."""
    task = checkout.task
    return task is not None and not task.done() and not runs_one_test_after_the_other(task)


def _describe(one: Checkout) -> Leak:
    busy = _is_busy(one)
    running = busy and is_executing(one.record.dbapi_connection)
    if busy:
        kind = "query" if running else "task"
    elif one.session is not None:
        kind = "session"
    else:
        kind = "transaction" if _in_transaction(one) else "connection"
    task = one.task.get_name() if busy and one.task is not None else None
    return Leak(kind, one.owner.name, one.call_site, task, one.statement)


def _in_transaction(one: Checkout) -> bool:
    driver = getattr(one.record.dbapi_connection, "driver_connection", None)
    in_transaction = getattr(driver, "is_in_transaction", None)
    return bool(in_transaction and in_transaction())


async def _cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    pending = list(tasks)
    for task in pending:
        task.cancel()
    if pending:
        await asyncio.wait(pending, timeout=CANCEL_SECONDS)
        for task in pending:
            if task.done() and not task.cancelled():
                task.exception()  # it was told as a leak; asyncio shall not tell it again


async def _take_back(one: Checkout) -> None:
    """Close a connection, and give its place in the pool back."""
    session: Session | None = one.session() if one.session is not None else None
    if session is not None:
        await greenlet_spawn(session.invalidate)
    elif one.proxy.dbapi_connection is not None:
        await greenlet_spawn(one.proxy.invalidate)
