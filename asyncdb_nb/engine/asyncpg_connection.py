"""
Open and close asyncpg connections so that no cancellation, however often it comes, cuts off a connect or a close.

PostgreSQL wants to be told: a running statement is ended by a CancelRequest, a connection by Terminate. asyncpg tells
it, on the time of the task that was cancelled; cancel that task again (an anyio scope does so at every await) or let
the loop end, and the server goes on with the statement and finds out later that nobody listens. Here both run in
shielded tasks. Whoever waits for them can be cancelled as usual.
"""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar
from uuid import uuid4

import asyncpg
from asyncpg.protocol import NO_TIMEOUT

from asyncdb_nb.aio._asyncio import running_loop
from asyncdb_nb.aio.shielded import (
    SECONDS,
    await_before_close,
    in_time,
    limit,
    retrieve,
    start,
    wait_for,
    wait_to_the_end,
)
from asyncdb_nb.engine import exact_dates, notices
from asyncdb_nb.engine._asyncpg import (
    ReceiveCopy,
    StoppableConnection,
    change_type_query,
    command_timeout,
    request_cancel,
    without_statement_cache,
)
from asyncdb_nb.engine.cancellable_transfers import CopyOut, ExecuteMany, Transfer
from asyncdb_nb.engine.pooler import is_pooled
from asyncdb_nb.engine.rollback_detection import Commands
from asyncdb_nb.engine.search_path import qualified
from asyncdb_nb.engine.tcp_keepalive import keep_alive

T = TypeVar("T", bound=Transfer)

_TERMINATE = b"X\0\0\0\4"
_AGAIN_SECONDS = (2.0, 4.0, 8.0)  # after a CancelRequest that the server has taken, until another is sent
_BACKGROUND_SECONDS = 30.0  # for a close or a CancelRequest that nobody waits for: the server is busy, or far away


async def connect(*args: Any, **options: Any) -> asyncpg.Connection:
    """Connect like `asyncpg.connect`, to be passed as `connect_args={"async_creator_fn": connect}`.

    When the caller is cancelled, the handshake goes on, as long as asyncpg's `timeout` lets it, and the connection is
    then closed. Were the socket closed instead, the server might begin a session and find no client.

    Args:
        *args: For `asyncpg.connect`.
        **options: For `asyncpg.connect`. Another `connection_class` keeps its own manners of closing. Without a
            `statement_cache_size`, no statement is kept prepared behind a pooler.
    """
    options.setdefault("connection_class", Connection if "statement_cache_size" in options else _UnpreparedConnection)
    await_before_close(asyncio.get_running_loop())
    opening = start(_connect(*args, **options), "connect")
    try:
        return await wait_for(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_close_again)
        raise


async def _connect(*args: Any, **options: Any) -> asyncpg.Connection:
    connection = await asyncpg.connect(*args, **options)
    await exact_dates.use(connection)
    notices.listen(connection)
    return connection


class Connection(StoppableConnection):
    """An asyncpg connection whose close cannot be cut off. `close()` takes two seconds at most, by default.

    A close that takes longer goes on in the background, for half a minute: closing a socket while the server sends
    resets the connection, and Terminate is lost.

    A BEGIN, COMMIT or ROLLBACK whose answer did not come closes it: nobody can know whether a transaction is open.

    Attributes:
        commands: What it sent in its transaction, and how the server answered COMMIT.
    """

    __slots__ = (
        "_cancel_taken",
        "_cancelled",
        "_cancelling",
        "_graceful_close",
        "_home",
        "_leaving",
        "_transfer",
        "commands",
    )

    def __init__(self, protocol: Any, transport: asyncio.Transport, *args: Any, **options: Any) -> None:
        self._home = asyncio.get_running_loop()
        self._leaving = False  # a graceful close is about to begin
        self._graceful_close: asyncio.Task[None] | None = None
        self._cancelling: asyncio.Task[None] | None = None  # sends the last CancelRequest, and waits for its effect
        self._cancel_taken: asyncio.Future[None] | None = None  # the server has it
        self._cancelled: asyncio.Future[None] | None = None  # the server has answered it
        self._transfer: Transfer | None = None
        self.commands = Commands(protocol)
        # where each `executemany` comes, a prepared statement's too; the protocol does not keep a forgotten connection
        protocol.bind_execute_many = _stoppable_execute_many(protocol.bind_execute_many, weakref.ref(self))
        super().__init__(protocol, transport, *args, **options)
        change_type_query(self, qualified)
        keep_alive(transport)

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
        """Execute; close the connection when it is then unknown what transaction is open."""
        try:
            return str(await super().execute(query, *args, timeout=timeout))
        except BaseException as error:
            if _ends_in_doubt(query, error):
                self.terminate()
            raise

    def is_closed(self) -> bool:
        """Say whether it is closed, or being closed."""
        return self._leaving or bool(super().is_closed())

    async def close(self, *, timeout: float | None = None) -> None:
        """Cancel what is running, say Terminate, and wait for the server to hang up.

        Args:
            timeout: Seconds, after which the socket is closed. When it is not given, this waits for two, or for the
                connection's `command_timeout` if that is less, and the close then goes on in the background.

        Raises:
            TimeoutError: It took longer. The connection is closed for all that.
        """
        if self._graceful_close is None and self.is_closed():
            await super().close(timeout=timeout)
            return
        if timeout is not None and self._graceful_close is None:
            await wait_for(self.close_later(timeout))
            return
        async with in_time(self._patience() if timeout is None else timeout):
            await wait_for(self.close_later())

    def terminate(self) -> None:
        """Close the connection without waiting. While its loop runs, Terminate is sent first, in the background.

        Not when a CancelRequest was refused, or is not answered in its time: asyncpg calls this then.
        """
        if self._cancel_has_failed():
            self.abandon()
        elif self._graceful_close is not None and not self._graceful_close.done():
            return
        elif self.is_closed() or running_loop() is not self._home:
            super().terminate()
        else:
            self.close_later()
            self.leave_pool()

    def close_later(self, seconds: float = _BACKGROUND_SECONDS) -> asyncio.Task[None]:
        """Close the connection in the background, and return the task that does; a second call returns the same.

        After so many seconds the socket is closed, without the server's answer.
        """
        if self._graceful_close is None:
            self._leaving = True
            self._graceful_close = start(
                self._close_gracefully(seconds), "graceful close", partial(_leave_terminate, self.socket)
            )
        return self._graceful_close

    def abandon(self) -> None:
        """Close the socket at once, because the server answers nothing any more; Terminate is there when it does."""
        _leave_terminate(self.socket)
        super().terminate()

    async def cancel_statement(self) -> None:
        """Ask the server to cancel the running statement. Whoever awaits that statement gets the server's answer."""
        sent = asyncio.get_running_loop().create_future()
        request_cancel(self, sent)
        await sent

    def name_for(self, kind: str) -> str:
        """Name a statement as no other process does: asyncpg's counters meet on a pooler's server connections."""
        return f"__asyncpg_{kind}_{uuid4().hex}__"

    async def _close_gracefully(self, seconds: float) -> None:
        if self._transfer is not None:
            await self._transfer.stop()
        self._leaving = False  # from here on asyncpg says that it is closed, and so it does not close twice
        repeating = asyncio.ensure_future(self._cancel_again())
        try:
            async with in_time(seconds):
                await super().close(timeout=NO_TIMEOUT)
        finally:
            repeating.cancel()
            await asyncio.wait([repeating])
            retrieve(repeating)

    async def _cancel_again(self) -> None:
        """Send the CancelRequest of a close anew while the statement goes on.

        A server that is just between two messages takes one for nothing, and then begins with the next message. Only
        in a close, after which nothing else is sent: the next statement could be meant as well.
        """
        ended = asyncio.ensure_future(self.end_of_cancellation()())
        try:
            for seconds in _AGAIN_SECONDS:
                taken = [] if self._cancel_taken is None else [self._cancel_taken]  # so the answer is on its way
                await asyncio.wait([ended, *taken], return_when=asyncio.FIRST_COMPLETED)
                try:
                    async with in_time(seconds):
                        await asyncio.shield(ended)
                    return
                except TimeoutError:
                    await wait_for(limit(start(self.repeat_cancel_request(), "cancel request"), _BACKGROUND_SECONDS))
        finally:
            ended.cancel()

    def _patience(self, seconds: float = SECONDS) -> float:
        """Give so many seconds, or the connection's `command_timeout` if that is less."""
        return min(command_timeout(self) or seconds, seconds)

    def _cancel_has_failed(self) -> bool:
        if self._cancelling is None or self._cancelled is None or self._cancelled.done():
            return False
        return self._cancelling.done() or asyncio.current_task() is self._cancelling

    def send_cancel_request(self, request: Callable[[], Coroutine[Any, Any, None]], taken: Any, answered: Any) -> None:
        """Send it in a shielded task."""
        self._cancel_taken, self._cancelled = taken, answered
        self._cancelling = limit(start(request(), "cancel request"), self._patience(_BACKGROUND_SECONDS))
        self.keep_until_sent(self._cancelling)

    async def receive_copy(self, copy: ReceiveCopy, output: Any, timeout: Any) -> str:
        """Receive a COPY that can be stopped."""
        if isinstance(output, str | bytes | os.PathLike):
            with await self._home.run_in_executor(None, open, output, "wb") as file:
                return await self.receive_copy(copy, file, timeout)
        if hasattr(output, "write"):
            output = partial(self._home.run_in_executor, None, output.write)
        if not callable(output):
            return await copy(output, timeout)  # which says so
        with self.stoppable(CopyOut(self, output)) as transfer:
            return await transfer.run(lambda sink: copy(sink, NO_TIMEOUT), timeout)

    @contextmanager
    def stoppable(self, transfer: T) -> Iterator[T]:
        """Let a graceful close stop a transfer."""
        self._transfer = transfer
        try:
            yield transfer
        finally:
            self._transfer = None

    async def copy_to_table(self, *args: Any, **options: Any) -> str:
        """Copy to the server."""
        return await self._settled(super().copy_to_table(*args, **options))

    async def copy_records_to_table(self, *args: Any, **options: Any) -> str:
        """Copy to the server."""
        return await self._settled(super().copy_records_to_table(*args, **options))

    async def _settled(self, copying: Coroutine[Any, Any, str]) -> str:
        """Await a COPY to the server; after one that failed, wait until its cancellation has come to an end.

        Where the server had refused the data before its source failed, that never comes: asyncpg waits for the end of
        a statement that has ended. The connection is then closed.
        """
        end_of_cancellation = self.end_of_cancellation()
        try:
            return await copying
        except BaseException:
            await wait_to_the_end(start(self._settle(end_of_cancellation()), "end of a transfer"))
            raise

    async def _settle(self, cancellation: Coroutine[Any, Any, None]) -> None:
        try:
            async with in_time(self._patience()):
                await cancellation
        except TimeoutError:
            _leave_terminate(self.socket)
            self.close_later()


class _UnpreparedConnection(Connection):
    """One that keeps no statement prepared where a pooler answered."""

    __slots__ = ()

    def __init__(
        self, protocol: Any, transport: asyncio.Transport, loop: Any, address: Any, config: Any, params: Any
    ) -> None:
        if is_pooled(protocol):
            config = without_statement_cache(config)
        super().__init__(protocol, transport, loop, address, config, params)


def by_default(dialect: Any, record: Any, arguments: Any, options: dict[str, Any]) -> None:
    """Let an asyncpg engine connect by `connect`, unless it was told otherwise: SQLAlchemy's `do_connect` listener."""
    options.setdefault("async_creator_fn", connect)


def _stoppable_execute_many(send: Callable[..., Any], connection: weakref.ref[Connection]) -> Callable[..., Any]:
    async def execute_many(state: Any, args: Any, *more: Any, **options: Any) -> Any:
        held: Any = connection()  # its caller keeps it
        with held.stoppable(ExecuteMany(held, args)) as transfer:
            return await transfer.run(lambda rows: send(state, rows, *more, **options))

    return execute_many


def _ends_in_doubt(query: str, error: BaseException) -> bool:
    """Say whether it is unknown now what transaction is open.

    asyncpg takes a transaction for begun as soon as BEGIN is sent, and for ended as soon as COMMIT or ROLLBACK is:
    later ones would be savepoints in it, or be refused.
    """
    if query.startswith("BEGIN"):
        return True
    unanswered = isinstance(error, TimeoutError) or not isinstance(error, Exception)
    return unanswered and query in ("COMMIT;", "ROLLBACK;")


def _leave_terminate(transport: asyncio.Transport) -> None:
    if not transport.is_closing():
        transport.write(_TERMINATE)


def _close_again(opening: asyncio.Task[asyncpg.Connection]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().terminate()
