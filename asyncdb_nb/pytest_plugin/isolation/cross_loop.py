"""
Use a connection from any event loop, on the one that it lives on.

A connection of asyncpg's works on one loop. Where several loops need the same connection, each call is carried to the
connection's own loop, which another thread runs: the caller awaits it as if it ran here, and cancels it as if it did.
Calls run one after the other there. What asyncpg calls in turn (the reader of a COPY, a source of rows) is carried back
to the caller.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from asyncdb_nb.pytest_plugin.isolation.connection_turns import Turns

T = TypeVar("T")


class Carrier:
    """Carries calls to a loop.

    Args:
        turns: Who may call: a call from a loop waits for the turns within that loop's.

    Attributes:
        home: The loop, which another thread runs.
    """

    home: asyncio.AbstractEventLoop

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._one_at_a_time = asyncio.Lock()

    async def call(self, method: Callable[..., Awaitable[T]], *args: Any, **options: Any) -> T:
        """Await `method(*args, **options)` on the home loop.

        Raises:
            OneConnectionError: Another call, or a turn within this loop's, has lasted for five seconds.
        """
        here = asyncio.get_running_loop()
        if here is self.home:
            return await method(*args, **options)
        args = tuple(_carried_back(value, here) for value in args)
        options = {name: _carried_back(value, here) for name, value in options.items()}

        async def in_turn() -> list[T]:
            async with self._turns.in_time():
                await self._one_at_a_time.acquire()
            try:
                return [await method(*args, **options)] if self._turns.may_go_on(here) else []
            finally:
                self._one_at_a_time.release()

        while True:
            await self._turns.resume()
            for result in await run_on(self.home, in_turn):
                return result

    def method(self, method: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
        """Return a method that is carried."""

        def carried(*args: Any, **options: Any) -> Awaitable[T]:
            return self.call(method, *args, **options)

        return carried


class CarriedProtocol:
    """asyncpg's protocol, through which its statements and cursors reach the server.

    Args:
        protocol: The protocol of a connection.
        carrier: Carries what sends and receives; what only looks is answered at once.
    """

    _SENDING = frozenset(
        {
            "bind", "bind_execute", "bind_execute_many", "close", "close_portal", "close_statement", "copy_in",
            "copy_out", "execute", "prepare", "query",
        }
    )  # fmt: skip

    def __init__(self, protocol: Any, carrier: Carrier) -> None:
        self._protocol = protocol
        self._carrier = carrier

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._protocol, name)
        return self._carrier.method(found) if name in self._SENDING else found


async def run_on(loop: asyncio.AbstractEventLoop, work: Callable[[], Awaitable[T]]) -> T:
    """Await `work()` on another loop that is running. A cancellation ends it there, before it is raised here."""
    tasks: list[asyncio.Task[Any]] = []
    is_cancelled = threading.Event()

    async def run() -> T:
        if is_cancelled.is_set():  # before it began
            raise asyncio.CancelledError
        tasks.extend(filter(None, [asyncio.current_task()]))
        return await work()

    done = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(run(), loop))
    try:
        return await asyncio.shield(done)
    except asyncio.CancelledError:
        is_cancelled.set()
        loop.call_soon_threadsafe(lambda: [task.cancel() for task in tasks])
        await asyncio.wait([done])
        raise


def _carried_back(value: Any, loop: asyncio.AbstractEventLoop) -> Any:
    """Have what a call awaits of its caller awaited on the caller's loop."""
    if inspect.iscoroutinefunction(value) or inspect.iscoroutinefunction(getattr(type(value), "__call__", None)):  # noqa: B004  whether it awaits
        return lambda *args: run_on(loop, lambda: value(*args))
    if isinstance(value, AsyncIterable):
        return _iterated_on(loop, value)
    return value


async def _iterated_on(loop: asyncio.AbstractEventLoop, values: AsyncIterable[T]) -> AsyncIterator[T]:
    iterator = aiter(values)
    while True:
        try:
            value = await run_on(loop, lambda: anext(iterator))
        except StopAsyncIteration:
            return
        yield value
