"""
Open and close asyncpg connections so that no cancellation, however often it comes, cuts off a hello or a goodbye.

PostgreSQL wants to be told: a running statement is ended by a CancelRequest, a connection by Terminate. asyncpg tells
it, on the time of the task that was cancelled; cancel that task again (an anyio scope does so at every await) or let
the loop end, and the server goes on with the statement and finds out later that nobody listens. Here both run in tasks
of their own, which only their own deadline can cancel. Whoever waits for them can be cancelled as usual.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Coroutine
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

import asyncpg
from sqlalchemy.exc import OperationalError

from asyncdb_nb import loops
from asyncdb_nb.commands import Commands
from asyncdb_nb.keepalive import keep_alive
from asyncdb_nb.pooler import is_pooled

if TYPE_CHECKING:
    from sqlalchemy.engine import ExceptionContext

SECONDS = 2.0  # how long a goodbye may take, and a connect that nobody waits for any more

T = TypeVar("T")

_under_way: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, set[asyncio.Task[Any]]] = weakref.WeakKeyDictionary()


async def connect(*args: Any, **options: Any) -> asyncpg.Connection:
    """Connect like `asyncpg.connect`, to be passed as `connect_args={"async_creator_fn": connect}`.

    When the caller is cancelled, the handshake goes on for two seconds at most; the connection then says goodbye.

    Args:
        *args: For `asyncpg.connect`.
        **options: For `asyncpg.connect`. Another `connection_class` keeps its own manners of closing. Without a
            `statement_cache_size`, no statement is kept prepared behind a pooler.
    """
    options.setdefault("connection_class", Connection if "statement_cache_size" in options else _WaryConnection)
    await_before_close(asyncio.get_running_loop())
    opening = _start(asyncpg.connect(*args, **options), "connect")
    try:
        return await _wait_for(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_close_again)
        _limit(opening)
        raise


class Connection(asyncpg.Connection):  # type: ignore[misc]
    """An asyncpg connection whose goodbye cannot be cut off. `close()` takes two seconds at most, by default.

    Attributes:
        commands: What it sent in its transaction, and how the server answered COMMIT.
    """

    __slots__ = ("_goodbye", "_home", "commands")

    def __init__(self, protocol: Any, transport: asyncio.Transport, *args: Any, **options: Any) -> None:
        self._home = asyncio.get_running_loop()
        self._goodbye: asyncio.Task[None] | None = None
        self.commands = Commands(protocol)
        super().__init__(protocol, transport, *args, **options)
        keep_alive(transport)

    async def close(self, *, timeout: float | None = None) -> None:
        """Cancel what is running, say Terminate, and wait for the server to hang up.

        Args:
            timeout: Seconds; two when it is not given, after which the socket is closed.
        """
        if self._goodbye is None and self.is_closed():
            await super().close(timeout=timeout)
        else:
            await _wait_for(self._say_goodbye(timeout or SECONDS))

    def terminate(self) -> None:
        """Close the connection without waiting. While its loop runs, a goodbye goes out first, in the background."""
        if self._goodbye is not None and not self._goodbye.done():
            return
        if self.is_closed() or asyncio._get_running_loop() is not self._home:
            super().terminate()
        else:
            self._say_goodbye(SECONDS)

    def abandon(self) -> None:
        """Close the socket without a word, because the server answers nothing any more."""
        super().terminate()

    async def cancel_statement(self) -> None:
        """Ask the server to cancel the running statement. Whoever awaits that statement gets the server's answer."""
        sent = asyncio.get_running_loop().create_future()
        self._cancel_current_command(sent)
        await sent

    def _say_goodbye(self, seconds: float) -> asyncio.Task[None]:
        if self._goodbye is None:
            self._goodbye = _start(super().close(timeout=seconds), "goodbye")
        return self._goodbye

    def _get_unique_id(self, prefix: str) -> str:
        """Name a statement as no other process does: asyncpg's counters meet on a pooler's server connections."""
        return f"__asyncpg_{prefix}_{uuid4().hex}__"

    def _cancel_current_command(self, *waiters: Any) -> None:
        """Send a CancelRequest in a task that nobody can cancel. Should asyncpg rename this, it sends its own way."""
        loop = asyncio.get_running_loop()
        factory = loop.get_task_factory()
        loop.set_task_factory(lambda _, coroutine, **__: _limit(_start(coroutine, "cancel request")))
        try:
            super()._cancel_current_command(*waiters)
        finally:
            loop.set_task_factory(factory)


class _WaryConnection(Connection):
    """One that keeps no statement prepared where a pooler answered."""

    __slots__ = ()

    def __init__(
        self, protocol: Any, transport: asyncio.Transport, loop: Any, address: Any, config: Any, params: Any
    ) -> None:
        if is_pooled(protocol):
            config = config._replace(statement_cache_size=0)
        super().__init__(protocol, transport, loop, address, config, params)


def await_before_close(loop: asyncio.AbstractEventLoop) -> None:
    """Have all goodbyes awaited before this running loop closes, after the cleanups that are registered later."""
    if loop not in _under_way:
        _under_way[loop] = set()
        loops.before_close(loop, _all_said)


def by_default(dialect: Any, record: Any, arguments: Any, options: dict[str, Any]) -> None:
    """Let an asyncpg engine connect by `connect`, unless it was told otherwise: SQLAlchemy's `do_connect` listener."""
    options.setdefault("async_creator_fn", connect)


def lost_its_place(context: ExceptionContext) -> BaseException | None:
    """Take asyncpg's loss of its place for the disconnect that it is: SQLAlchemy's `handle_error` listener.

    A server that stops says so, and hangs up. A statement that is sent between the two finds asyncpg in the middle of
    the first, and fails with an error that no program expects.
    """
    error: Any = context.original_exception
    if not isinstance(error, asyncpg.InternalClientError):
        return None
    context.is_disconnect = True
    return OperationalError(context.statement, context.parameters, error, connection_invalidated=True)


async def _all_said(ending: loops.Ending) -> None:
    under_way = _under_way.get(asyncio.get_running_loop(), set())
    # one that is done stays there when Ctrl-C came just before its callback
    while tasks := [task for task in under_way if not task.done()]:
        for task in tasks:
            _limit(task)
        await asyncio.wait(tasks)


def _start(coroutine: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
    loop = asyncio.get_running_loop()
    task = _steadfast(asyncio.Task)(coroutine, loop=loop, name=f"asyncdb_nb {name}")
    under_way = _under_way.setdefault(loop, set())
    under_way.add(task)
    task.add_done_callback(under_way.discard)
    task.add_done_callback(_retrieve)
    return task  # type: ignore[no-any-return]


async def _wait_for(task: asyncio.Task[T]) -> T:
    await asyncio.wait([task])  # unlike `await task`, this does not cancel the task when it is cancelled itself
    return task.result()


def _limit(task: Any) -> Any:
    """Let a task have `SECONDS` from now on."""
    timer = task.get_loop().call_later(SECONDS, task.cancel)
    task.add_done_callback(lambda _: timer.cancel())
    return task


def _close_again(opening: asyncio.Task[asyncpg.Connection]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().terminate()


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Ask for the result: whoever waited has it; when nobody does any more, asyncio shall not complain of that."""
    if not task.cancelled():
        task.exception()


@cache
def _steadfast(base: Any) -> Any:
    """Subclass `asyncio.Task` (which nest_asyncio replaces) so that only a timer of the running loop can cancel it.

    `asyncio.timeout` and `_limit` use timers. `asyncio.run` cancels all tasks while the loop is stopped, and then waits
    for them; a task that cancels others is the current one.
    """

    class Steadfast(base):  # type: ignore[misc]
        def cancel(self, msg: Any = None) -> bool:
            loop = asyncio._get_running_loop()
            if loop is None or asyncio.current_task(loop) is not None:
                return False
            return bool(super().cancel(msg))

    return Steadfast
