"""
Run a cleanup on an event loop just before that loop closes, however it closes.

A connection can be closed gracefully only on the loop that opened it, so whoever owns connections (as
`engine/pool_of_one_loop.py`) must be told before the loop goes. asyncio has no such hook; four together reach every way
in which a loop ends:

* `loop.close()`, wrapped on the instance: `asyncio.run`, `Runner`, loops closed by hand, a deleted subshell;
* a suspended asynchronous generator, which `loop.shutdown_asyncgens()` closes while the loop still runs and its
  executor still resolves host names: `asyncio.run`, `Runner`, pytest-asyncio, anyio, uvloop;
* an exit hook, for loops that nobody closes: a kernel's, a daemon thread's, a patched `asyncio.run`;
* a fork hook, because a child must leave its parent's loops alone.

The first way to come runs the cleanup; the others then find nothing left to do.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures.thread  # its exit hook must be registered before ours, so that it runs after ours
import contextlib
import ctypes
import inspect
import itertools
import os
import threading
import time
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from enum import Enum
from typing import Any, Protocol

from asyncdb_nb.aio import fork, sigint
from asyncdb_nb.aio._asyncio import before_executors_end, has_closed_generators, running_loop

EXIT_SECONDS = 2.0  # jupyter_client sends SIGTERM 2.5 s after it has asked a kernel to shut down
STOPPED_SECONDS = 0.1  # after which a loop of another thread will not go on

_registered: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Registration] = weakref.WeakKeyDictionary()
_numbers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, int] = weakref.WeakKeyDictionary()
_counter = itertools.count(1)
_lock = threading.Lock()
_exiting = False


class LoopPhase(Enum):
    """How far the end of a loop has come when a cleanup runs."""

    GENERATORS = "its asynchronous generators are being closed; other code may still run on it"
    CLOSE = "it is about to close; nothing will run on it afterwards"
    INTERRUPT = "the same, because of Ctrl-C, so nobody had a chance to close what is open"
    EXIT = "the interpreter exits; nothing will run on it afterwards, and nobody had a chance to close it"


class Cleanup(Protocol):
    """What `before_close` takes: `await cleanup(phase)` closes what it owns on the running loop.

    It may be called several times, for one phase after the other.
    """

    def __call__(self, phase: LoopPhase) -> Awaitable[None]:
        """Close what is owned."""


def before_close(loop: asyncio.AbstractEventLoop, cleanup: Cleanup) -> None:
    """Have `cleanup` awaited on `loop` just before `loop` closes. Call it on the running loop itself."""
    with _lock:
        registration = _registered.get(loop)
        if registration is None:
            registration = _registered[loop] = _Registration(loop)
    registration.cleanups.append(cleanup)
    registration.install()


def forget(loop: asyncio.AbstractEventLoop, cleanup: Cleanup) -> None:
    """Take back what `before_close` was told. Nothing happens when it is not known (any more)."""
    registration = _registered.get(loop)
    if registration is not None and cleanup in registration.cleanups:
        registration.cleanups.remove(cleanup)


def describe(loop: asyncio.AbstractEventLoop | None) -> str:
    """Name a loop for a person, and say whether it runs."""
    if loop is None:
        return "no running event loop"
    state = "closed" if loop.is_closed() else "running" if loop.is_running() else "stopped"
    return f"{name(loop)} ({state})"


def name(loop: asyncio.AbstractEventLoop) -> str:
    """Name a loop for a person: loops are numbered in the order in which they were first named."""
    with _lock:
        number = _numbers.get(loop)
        if number is None:
            number = _numbers[loop] = next(_counter)
    return f"event loop {number}"


def drive(
    loop: asyncio.AbstractEventLoop, work: Callable[[], Coroutine[Any, Any, None]], seconds: float | None = None
) -> None:
    """Run `work()` to its end on a loop that is not running, from synchronous code.

    Somebody may call `loop.stop()` meanwhile (a kernel that shuts down does), so the loop is started again until the
    work is done. Ctrl-C waits for that; a second one does not. When another loop runs in this thread, a helper thread
    does it.

    Args:
        loop: A loop that is neither running nor closed.
        work: Called once, on the thread that drives.
        seconds: When to give up waiting and cancel the work; `None` waits for as long as it takes.
    """

    def go() -> None:
        async def bounded() -> None:
            async with asyncio.timeout(seconds):
                await work()

        task = loop.create_task(bounded())
        while not task.done():
            try:
                loop.run_until_complete(task)
            except RuntimeError as error:
                if task.done() or "stopped before Future completed" not in str(error):
                    raise

    if running_loop() is None:
        with sigint.waiting():
            go()
        return
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        pool.submit(go).result()


def exiting() -> bool:
    """Tell whether the process has begun to end, and what still runs is being cancelled for that."""
    return _exiting


def closing(loop: asyncio.AbstractEventLoop) -> bool:
    """Tell whether a loop is about to close, and runs only for its cleanups."""
    registration = _registered.get(loop)
    return registration is not None and registration.closing


async def finish_all() -> None:
    """Do now what the exit of the interpreter does for every running loop, from a coroutine on one of them.

    For a process that is about to end without that hook, by a signal. Takes at most `EXIT_SECONDS`.
    """
    global _exiting
    _exiting = True
    here = asyncio.get_running_loop()
    pending: list[Awaitable[None]] = []
    for loop, registration in _all_registered():
        if loop is here:
            pending.append(registration.run(LoopPhase.EXIT))
        elif loop.is_running():
            pending.append(
                asyncio.wrap_future(asyncio.run_coroutine_threadsafe(registration.run(LoopPhase.EXIT), loop))
            )
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(EXIT_SECONDS):
            await asyncio.gather(*pending)


def finish_now(but: asyncio.AbstractEventLoop | None = None) -> None:
    """Do the same from synchronous code: when the interpreter exits, or a signal has come. Takes `EXIT_SECONDS` or so.

    Args:
        but: A loop that is served in another way.
    """
    global _exiting
    _exiting = True
    deadline = time.monotonic() + EXIT_SECONDS
    for loop, registration in _all_registered():
        if loop is not but:
            _finish(loop, registration, deadline)


def never_finalize(inherited: object) -> None:
    """Keep an object alive beyond the end of the interpreter, so that no finalizer ever runs for what it holds.

    A forked child shares the sockets and the selector of its parent's loops. A finalizer there (asyncpg's, a
    transport's) would write to them, or unregister them, behind the parent's back.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(inherited))


class _Registration:
    """The hooks on one loop, and the cleanups that they run."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.cleanups: list[Cleanup] = []
        self.closing = False
        self.pid = os.getpid()
        self.thread = threading.get_ident()
        self._loop = weakref.ref(loop)
        self._wrapped = False
        self._generator: AsyncGenerator[None, None] | None = None

    def install(self) -> None:
        """Put the hooks on the loop, where they are not yet."""
        loop = self._loop()
        if loop is None:
            return
        if not self._wrapped:
            self._wrapped = True
            with contextlib.suppress(AttributeError):  # a loop without a __dict__: the other hooks remain
                self._wrap_close(loop)
        # after shutdown_asyncgens() asyncio warns of every new generator, and this hook would never be called
        if self._generator is None and not has_closed_generators(loop):
            self._generator = self._wait_for_shutdown()
            with contextlib.suppress(StopIteration):
                self._generator.__anext__().send(None)

    async def run(self, phase: LoopPhase) -> None:
        """Await every cleanup; one that fails does not keep the others from running."""
        errors: list[Exception] = []
        for cleanup in reversed(self.cleanups[:]):
            try:
                await cleanup(phase)
            except Exception as error:  # raised below, when every cleanup has had its turn
                errors.append(error)
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise ExceptionGroup("several cleanups failed before the event loop closed", errors)

    def _wrap_close(self, loop: asyncio.AbstractEventLoop) -> None:
        original = loop.close
        function = getattr(original, "__func__", None)  # a bound method would keep the loop alive
        reference = self._loop

        def close() -> None:
            loop = reference()
            if loop is None:
                return
            try:
                if not loop.is_running() and not loop.is_closed() and self.pid == os.getpid() and self.cleanups:
                    self._run_before_close(loop)
            finally:
                if not loop.is_running():
                    with contextlib.suppress(AttributeError):
                        del loop.close
                    _registered.pop(loop, None)
                if function is not None:
                    function(loop)
                else:
                    original()

        loop.close = close  # type: ignore[method-assign]

    def _run_before_close(self, loop: asyncio.AbstractEventLoop) -> None:
        self.closing = True
        if not sigint.came():
            drive(loop, lambda: self.run(LoopPhase.CLOSE))
            return
        with contextlib.suppress(TimeoutError):  # a callback that Ctrl-C tore apart may be waited for in vain
            drive(loop, lambda: self.run(LoopPhase.INTERRUPT), EXIT_SECONDS)

    async def _wait_for_shutdown(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            if self.pid == os.getpid():
                await self.run(LoopPhase.GENERATORS)


def _finish_own() -> None:
    """Run what is left on the stopped loops of this thread; others may still be at work on theirs."""
    global _exiting
    _exiting = True
    deadline = time.monotonic() + EXIT_SECONDS
    for loop, registration in _all_registered():
        if registration.thread == threading.get_ident() and not loop.is_running():
            _finish(loop, registration, deadline)


def _finish(loop: asyncio.AbstractEventLoop, registration: _Registration, deadline: float) -> None:
    if loop.is_closed() or not registration.cleanups:
        return
    seconds = max(deadline - time.monotonic(), 0.1)
    if _stands_still(loop, registration):
        with contextlib.suppress(TimeoutError):
            drive(loop, lambda: registration.run(LoopPhase.EXIT), seconds)
    else:
        _finish_elsewhere(loop, registration, seconds)
    registration.cleanups.clear()


def _stands_still(loop: asyncio.AbstractEventLoop, registration: _Registration) -> bool:
    """Tell whether nobody runs a loop. A daemon thread may still be at work, and stop its loop for moments only."""
    end = time.monotonic() + STOPPED_SECONDS
    while not (loop.is_running() or loop.is_closed()):
        elsewhere = {thread.ident for thread in threading.enumerate()} - {threading.get_ident()}
        if registration.thread not in elsewhere or time.monotonic() > end:
            return True
        time.sleep(0.001)
    return False


def _finish_elsewhere(loop: asyncio.AbstractEventLoop, registration: _Registration, seconds: float) -> None:
    """Have a loop that runs in another thread clean up, and wait for it unless that loop ends first."""
    work = registration.run(LoopPhase.EXIT)
    tasks: list[asyncio.Task[None]] = []
    ended = threading.Event()

    def begin() -> None:
        tasks.append(loop.create_task(work))
        tasks[0].add_done_callback(lambda _: ended.set())

    try:
        loop.call_soon_threadsafe(begin)
    except RuntimeError:  # it has closed just now
        work.close()
        return
    deadline = time.monotonic() + seconds
    while not ended.is_set() and not loop.is_closed() and time.monotonic() < deadline:
        ended.wait(0.05)
    if inspect.getcoroutinestate(work) == inspect.CORO_CREATED and loop.is_closed():  # it has ended before this began
        never_finalize(tasks)  # asyncio complains of a pending task that is destroyed
        work.close()
    elif ended.is_set() and not tasks[0].cancelled():  # `asyncio.run` cancels it when that loop ends by itself
        tasks[0].result()


def _all_registered() -> list[tuple[asyncio.AbstractEventLoop, _Registration]]:
    """List the loops and what is registered with them, while other threads may open and close loops."""
    loops = [reference() for reference in _registered.keyrefs()]
    return [
        (loop, registration)
        for loop in loops
        if loop is not None and (registration := _registered.get(loop)) is not None
    ]


@fork.in_child
def _leave_to_parent() -> None:
    """In a forked child, forget the parent's loops without letting anything of theirs be finalized."""
    global _lock
    _lock = threading.Lock()  # another thread of the parent may have held it
    never_finalize(list(_registered.items()))
    _registered.clear()


before_executors_end(_finish_own)  # so that a CancelRequest to a host *name* still finds its way
atexit.register(finish_now)
