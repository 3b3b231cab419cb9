"""
Run a coroutine from synchronous code, whether or not a loop is running in this thread.

A cell's ordinary function, a widget's callback or a property cannot `await`, and `asyncio.run` refuses to work where a
loop is running already. So the coroutine runs on a *portal*: one daemon thread with a loop of its own, started by the
first call and closed at exit like `asyncio.run` closes its loop. An engine with `LoopBoundPool` needs nothing more:
the portal is one loop among others, with a sub-pool of its own.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import threading
import warnings
from collections.abc import Coroutine
from concurrent.futures import Future, wait
from typing import Any, Generic, TypeVar

from asyncdb_nb.aio import fork
from asyncdb_nb.aio.blocked_loops import until_done
from asyncdb_nb.aio.loop_cleanup import never_finalize
from asyncdb_nb.errors import NestedLoopError, NotACoroutineError

T = TypeVar("T")

CANCEL_SECONDS = 5.0  # how long an interrupted call waits until its cancellation is through
EXIT_SECONDS = 2.0  # how long the exit waits for a portal; a kernel that shuts down has 2.5 s in all

_portals: list[Portal] = []  # the second serves code that runs on the first, and so on
_lock = threading.Lock()
_here = threading.local()


def run(coroutine: Coroutine[Any, Any, T], *, nested: bool = False) -> T:
    """Run a coroutine to its end from synchronous code, and return its result.

    Works from any thread, with or without a running loop. A loop that runs in *this* thread stands still meanwhile, as
    in any synchronous call, so the coroutine must not wait for something that only this loop can do (a task of the
    cell, an `asyncio.Lock` held there, a session opened there). In a cell, `await` is the better choice.

    Context variables are copied in; what the coroutine sets stays inside. `KeyboardInterrupt` (Ctrl-C, a kernel's
    Stop) cancels the coroutine, and with it a statement that the server is executing, before it is raised here.

    Args:
        coroutine: A coroutine that was not awaited yet: `run(db.frame("select 1"))`.
        nested: Run it on the loop that is running in this thread, by means of nest_asyncio, for code that must re-enter
            that loop. From then on, and for the whole process, `asyncio.run` no longer closes loops, tasks are pure
            Python, a timeout around a nested call fires only after it, nested calls end last in first out, and under
            ipykernel 7 the next queued cell can get lost. Without a running loop this is `asyncio.run`.

    Returns:
        What the coroutine returns. A session or connection in it belongs to the portal's loop.

    Raises:
        NotACoroutineError: `coroutine` is something else, most often the function itself, without its call.
        NestedLoopError: `nested=True` on a loop that nest_asyncio cannot patch, such as uvloop's.
        BaseException: Whatever the coroutine raises, with its own traceback.
    """
    if not isinstance(coroutine, Coroutine):
        raise NotACoroutineError(coroutine)
    if nested:
        return _run_nested(coroutine)
    with until_done():
        return _portal().call(coroutine)


class Portal:
    """A daemon thread that runs one loop, until `close`."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name=f"asyncdb_nb portal {depth}", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # the interpreter is exiting and starts no more threads
            self.loop.close()
            raise

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run `coroutine` on the portal's loop and wait for its end."""
        call = _Call(coroutine)
        try:
            self.loop.call_soon_threadsafe(call.start)  # in a copy of this thread's context
            wait([call.outcome])
        except BaseException as error:  # KeyboardInterrupt: nothing of this call may go on behind the caller's back
            self.loop.call_soon_threadsafe(call.cancel)
            wait([call.outcome], CANCEL_SECONDS)
            call.tell(error)
            raise
        try:
            return call.outcome.result()
        finally:
            del call  # an exception holds this frame by its traceback, and would be held by it

    def close(self) -> None:
        """Cancel what still runs, let every connection close gracefully, close the loop, and wait for the thread."""
        with contextlib.suppress(RuntimeError):  # closed already
            self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(EXIT_SECONDS)

    def _serve(self) -> None:
        _here.depth = self.depth + 1
        try:
            self.loop.run_forever()
            self.loop.run_until_complete(_cancel_other_tasks())
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        finally:
            # not shutdown_default_executor(): it starts a thread, which an exiting interpreter refuses; close() tells
            # the executor as well
            self.loop.close()


class _Call(Generic[T]):
    """One coroutine on a portal: `start` and `cancel` run on its loop, the caller waits for `outcome`."""

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self.outcome: Future[T] = Future()
        self._coroutine = coroutine
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())
        self._task.add_done_callback(self._finish)

    def cancel(self) -> None:
        if self._task is None:  # interrupted even before it was scheduled
            self._give_up()
        else:
            self._task.cancel()

    async def _run(self) -> None:
        try:
            self.outcome.set_result(await self._coroutine)
        except BaseException as error:  # even SystemExit, which would end the portal's loop if a task raised it
            self.outcome.set_exception(error)
        finally:
            del self  # as in `Portal.call`

    def tell(self, error: BaseException) -> None:
        """Pass on what the cancelled coroutine noted: whether a transaction was rolled back."""
        cancelled = self.outcome.exception() if self.outcome.done() else None
        for note in getattr(cancelled, "__notes__", ()):
            error.add_note(note)

    def _finish(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():  # before its first step, so that `_run` did not run
            self._give_up()

    def _give_up(self) -> None:
        self._coroutine.close()
        self.outcome.set_exception(asyncio.CancelledError())


async def _cancel_other_tasks() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _portal() -> Portal:
    """Return the portal for this thread's code: the first, or for code that runs on a portal the one behind it."""
    depth: int = getattr(_here, "depth", 0)
    with _lock:
        if depth == len(_portals):
            _portals.append(Portal(depth))
        elif _portals[depth].loop.is_closed():
            _portals[depth] = Portal(depth)
        return _portals[depth]


def _run_nested(coroutine: Coroutine[Any, Any, T]) -> T:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        with asyncio.Runner() as runner:  # not asyncio.run, which nest_asyncio may have replaced
            return runner.run(coroutine)
    if not isinstance(loop, asyncio.BaseEventLoop):
        coroutine.close()
        raise NestedLoopError(loop)
    import nest_asyncio  # here: the module must stay out of programs that never ask for it

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it patches event loop policies, deprecated in 3.14
        nest_asyncio.apply(loop)
    task = loop.create_task(coroutine)
    try:
        return loop.run_until_complete(task)
    finally:
        if not task.done():  # KeyboardInterrupt
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                loop.run_until_complete(task)


def _close_portals() -> None:
    for portal in reversed(_portals):
        portal.close()


@fork.in_child
def _leave_to_parent() -> None:
    """In a forked child, where the portals' threads do not exist, forget them without touching their loops."""
    global _lock
    _lock = threading.Lock()  # another thread of the parent may have held it
    _here.depth = 0
    never_finalize(_portals[:])
    _portals.clear()


atexit.register(_close_portals)  # after all ordinary threads have ended, which may still call run()
