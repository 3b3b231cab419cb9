"""
Run work in tasks that only their own deadline can cancel, and that a closing loop waits for.

Whoever waits for such a task can be cancelled as usual; the work goes on. `asyncio.run` cancels all tasks while the
loop is stopped, an anyio scope cancels at every await: neither reaches these.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Coroutine
from functools import cache, partial
from types import TracebackType
from typing import Any, TypeVar

from asyncdb_nb.aio import loop_cleanup
from asyncdb_nb.aio._asyncio import running_loop

SECONDS = 2.0  # how long a task may take when nobody waits for it any more
STEPS = 20  # in which they are counted

T = TypeVar("T")

_under_way: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, set[asyncio.Task[Any]]] = weakref.WeakKeyDictionary()


def await_before_close(loop: asyncio.AbstractEventLoop) -> None:
    """Have all shielded tasks awaited before this running loop closes, after the cleanups that are registered later."""
    if loop not in _under_way:
        _under_way[loop] = set()
        loop_cleanup.before_close(loop, _all_ended)


def start(work: Coroutine[Any, Any, T], name: str, give_up: Callable[[], object] = lambda: None) -> asyncio.Task[T]:
    """Run a coroutine in a shielded task on the running loop. `give_up` is called before a deadline cancels it."""
    loop = asyncio.get_running_loop()
    task = _shielded(asyncio.Task)(work, loop=loop, name=f"asyncdb_nb {name}")
    task.give_up = give_up
    under_way = _under_way.setdefault(loop, set())
    under_way.add(task)
    task.add_done_callback(under_way.discard)
    task.add_done_callback(retrieve)
    return task  # type: ignore[no-any-return]


async def wait_for(task: asyncio.Task[T]) -> T:
    """Return a task's result. When this is cancelled, the task goes on."""
    await asyncio.wait([task])
    return task.result()


async def wait_to_the_end(task: asyncio.Future[Any]) -> None:
    """Wait until a task is done, however often this is cancelled meanwhile; a cancellation is raised then."""
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = cancelled or error
    if cancelled is not None:
        raise cancelled


class Countdown:
    """Call a function after so many seconds in which the running loop runs.

    A loop that is blocked, for a long computation or on a busy machine, takes no answer; its timers come due all the
    same. So the seconds are counted in steps: between any two the loop takes what has come.
    """

    def __init__(self, seconds: float, call: Callable[[], object]) -> None:
        self._loop = asyncio.get_running_loop()
        self._call = call
        self._step = seconds / STEPS
        self._left = STEPS
        self._timer = self._loop.call_later(self._step, self._count)

    def cancel(self) -> None:
        """Do not call it any more."""
        self._timer.cancel()

    def _count(self) -> None:
        self._left -= 1
        if self._left:
            self._timer = self._loop.call_later(self._step, self._count)
        else:
            self._call()


class in_time:  # noqa: N801  used like the function that it replaces
    """Cancel the block after so many seconds in which the loop runs; then raise `TimeoutError`.

    A class: a generator that begins after `loop.shutdown_asyncgens()` makes asyncio warn.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timeout = asyncio.timeout(None)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()
        self._countdown = Countdown(self._seconds, partial(self._timeout.reschedule, 0))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._countdown.cancel()
        await self._timeout.__aexit__(kind, error, traceback)


def limit(task: asyncio.Task[T], seconds: float = SECONDS) -> asyncio.Task[T]:
    """Cancel a task when it is not done in so many seconds from now, in which the loop runs."""
    countdown = Countdown(seconds, task.cancel)
    task.add_done_callback(lambda _: countdown.cancel())
    return task


async def _all_ended(phase: loop_cleanup.LoopPhase) -> None:
    under_way = _under_way.get(asyncio.get_running_loop(), set())
    # one that is done stays there when Ctrl-C came just before its callback
    while tasks := [task for task in under_way if not task.done()]:
        for task in tasks:
            limit(task)
        await asyncio.wait(tasks)


def retrieve(task: asyncio.Future[Any]) -> None:
    """Ask for the result: whoever waited has it; when nobody does any more, asyncio shall not complain of that."""
    if not task.cancelled():
        task.exception()


@cache
def _shielded(base: Any) -> Any:
    """Subclass `asyncio.Task` (which nest_asyncio replaces) so that only a timer of the running loop can cancel it.

    `asyncio.timeout` and `limit` use timers. `asyncio.run` cancels all tasks while the loop is stopped, and then waits
    for them; a task that cancels others is the current one.
    """

    class Shielded(base):  # type: ignore[misc]
        def cancel(self, msg: Any = None) -> bool:
            loop = running_loop()
            if loop is None or asyncio.current_task(loop) is not None:
                return False
            self.give_up()
            return bool(super().cancel(msg))

    return Shielded
