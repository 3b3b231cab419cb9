"""
Send and receive many messages in one statement so that stopping in the middle does not cost the connection.

asyncpg (0.30 to 0.32) cannot be cancelled there. Whenever it has handed over a part of a COPY it forgets whom it reads
for; cancelled just then, it tells the server nothing, and breaks at the next part: "'NoneType' object has no attribute
'cancelled'". When what takes the parts fails after the last one, it waits for the end of a statement that has ended.
Cancelled while `executemany` waits until it can send more, it never says that no more comes. So asyncpg sees none of
that here: its own part runs in a shielded task. To stop, the server is asked to cancel the statement, what it still
sends is dropped, nothing more is sent, and its answer ends the statement in the ordinary way.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from asyncdb_nb.aio.shielded import SECONDS, in_time, start, wait_to_the_end
from asyncdb_nb.engine.copy_protocol import CopyProtocol, Find, Messages

T = TypeVar("T")
Sink = Callable[[Any], Awaitable[Any]]
Copy = Callable[[Sink], Coroutine[Any, Any, str]]
CopyRows = Callable[[AsyncIterator[Any]], Coroutine[Any, Any, str]]
Send = Callable[[Iterable[Any]], Coroutine[Any, Any, Any]]


@dataclass(frozen=True, slots=True)
class MessageSink:
    """Takes a COPY as whole messages, where they can be had; else as the bytes in them.

    Attributes:
        take: Called with the one or the other.
        find: How to find messages.
    """

    take: Callable[[bytes | Messages], Awaitable[Any]]
    find: Find

    async def __call__(self, data: bytes | Messages) -> None:
        """Take data; asyncpg calls it so."""
        await self.take(data)


class Transfer:
    """A statement that can be stopped.

    Args:
        connection: The asyncpg connection, of any class. After a statement that was stopped it is free, and its
            transaction has failed; when the server did not answer in two seconds, it is closed.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._working: asyncio.Task[Any]
        self._ending: asyncio.Task[None] | None = None

    async def stop(self) -> None:
        """Bring it to its end, in two seconds at most, however often this is cancelled meanwhile."""
        await wait_to_the_end(self._begin_to_end())

    async def _finish(self, work: Coroutine[Any, Any, Any]) -> None:
        """Let asyncpg work until it has finished; a cancellation of this stops it."""
        self._working = start(work, "transfer")
        try:
            await asyncio.wait([self._working])
        except asyncio.CancelledError:
            await self.stop()
            raise

    def _begin_to_end(self) -> asyncio.Task[None]:
        if self._ending is None:
            self._ending = start(self._end(), "end of a transfer")
            asyncio.get_running_loop().call_soon(self._interrupt)
        return self._ending

    def _interrupt(self) -> None:
        """Interrupt what holds asyncpg up, if something of ours does."""

    def _seconds(self, timeout: Any) -> float | None:
        from asyncpg.protocol import NO_TIMEOUT

        from asyncdb_nb.engine._asyncpg import command_timeout

        if timeout is NO_TIMEOUT:
            return None
        return command_timeout(self._connection) if timeout is None else float(timeout)

    async def _end(self) -> None:
        if self._working.done():
            return
        from asyncdb_nb.engine._asyncpg import request_cancel  # here: it imports the driver

        sent = asyncio.get_running_loop().create_future()
        request_cancel(self._connection, sent)
        try:
            async with in_time(SECONDS):
                await asyncio.wait([self._working, sent])
        except TimeoutError:
            getattr(self._connection, "close_later", self._connection.terminate)()


class Statement(Transfer):
    """Any statement, or several.

    Args:
        connection: The asyncpg connection.
    """

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what `work`, asyncpg's part, returns."""
        await self._finish(work)
        return self._working.result()  # type: ignore[no-any-return]


class CopyOut(Transfer):
    """A COPY from the server.

    Args:
        connection: The asyncpg connection.
        sink: Takes the data as it comes. While it waits, the server does. It is cancelled when the COPY is stopped.
    """

    def __init__(self, connection: Any, sink: Sink) -> None:
        super().__init__(connection)
        self._sink = sink
        self._in_sink: asyncio.Task[Any] | None = None  # asyncpg's, where it has the data; else ours
        self._error: BaseException | None = None  # the sink's
        self._protocol: CopyProtocol | None = None

    async def run(self, copy: Copy, timeout: Any = None) -> str:
        """Return the server's status, "COPY 5".

        Args:
            copy: Starts asyncpg's COPY, without a timeout of its own.
            timeout: Seconds for all of it; None is the connection's `command_timeout`, asyncpg's `NO_TIMEOUT` is none.

        Raises:
            asyncpg.PostgresError: The server ended it.
            TimeoutError: It took too long.
            Exception: What the sink raised.
        """
        async with asyncio.timeout(self._seconds(timeout)):
            await self._finish(self._receive(copy))
            if self._error is not None:
                await self.stop()
                raise self._error
            return str(self._working.result())

    async def _receive(self, copy: Copy) -> str:
        """Receive as messages, if the sink takes them and the connection is as expected."""
        from asyncdb_nb.engine._asyncpg import own_transport

        find = self._sink.find if isinstance(self._sink, MessageSink) else None
        if find is None or (transport := own_transport(self._connection)) is None:
            return await copy(self._take)
        self._protocol = protocol = CopyProtocol(transport, find)
        try:
            copying = start(copy(self._take), "copy")
            copying.add_done_callback(protocol.wake)
            while (messages := await protocol.next(copying)) is not None:
                await self._take(messages)
            return copying.result()
        finally:
            protocol.leave()

    async def _take(self, data: bytes | Messages) -> None:
        if self._ending is not None:
            return
        self._in_sink = asyncio.current_task()
        try:
            await self._sink(data)
        except BaseException as error:
            if self._ending is None:
                self._error = error
                self._begin_to_end()
        finally:
            self._in_sink = None

    def _interrupt(self) -> None:
        if self._protocol is not None:
            self._protocol.discard()
        if self._in_sink is not None:
            self._in_sink.cancel()  # which `_take` keeps from asyncpg


class CopyIn(Transfer):
    """A COPY to the server in binary form, of rows that are made in a thread, a part ahead of what is sent.

    One that is stopped, or whose rows cannot be made, ends in a row that no table has. The server refuses it, and with
    it all rows.

    Args:
        connection: The asyncpg connection.
        rows: Yields how many rows, and their bytes; all of it is a COPY stream. It is iterated in a thread.
        seen: Called with the rows and bytes that were sent so far.
    """

    def __init__(
        self,
        connection: Any,
        rows: Iterator[tuple[int, Any]],
        seen: Callable[[int, int], None] = lambda rows, size: None,
    ) -> None:
        super().__init__(connection)
        self._rows = rows
        self._seen = seen
        self._error: Exception | None = None  # of the rows
        self._stopped = asyncio.get_running_loop().create_future()

    async def run(self, copy: CopyRows, timeout: Any = None) -> str:
        """Return the server's status, "COPY 5".

        Args:
            copy: Starts asyncpg's COPY of a source, without a timeout of its own.
            timeout: As for `CopyOut.run`.

        Raises:
            asyncpg.PostgresError: The server ended it.
            TimeoutError: It took too long.
            Exception: What the rows raised.
        """
        async with asyncio.timeout(self._seconds(timeout)):
            await self._finish(copy(self._sent()))
        if self._error is not None:
            raise self._error
        return str(self._working.result())

    async def _sent(self) -> AsyncIterator[Any]:
        """Yield the stream; asyncpg sees no error, and no end that the server takes for one."""
        thread = ThreadPoolExecutor(1, "asyncdb_nb-encode")
        sent_rows = sent_bytes = 0
        try:
            ahead = self._ahead(thread)
            while True:
                await asyncio.wait([ahead, self._stopped], return_when=asyncio.FIRST_COMPLETED)
                if self._ending is not None or not (parts := self._made(ahead)):
                    break
                ahead = self._ahead(thread)
                for rows, data in parts:
                    yield data
                    sent_rows, sent_bytes = sent_rows + rows, sent_bytes + len(data)
                    self._seen(sent_rows, sent_bytes)
                    if self._ending is not None:
                        break
        finally:
            thread.shutdown(wait=False, cancel_futures=True)
        if self._ending is not None or self._error is not None:
            yield _NO_ROW

    def _ahead(self, thread: ThreadPoolExecutor) -> asyncio.Future[Any]:
        return asyncio.get_running_loop().run_in_executor(thread, _several, self._rows)

    def _made(self, parts: asyncio.Future[Any]) -> Any:
        try:
            return parts.result()
        except Exception as error:
            self._error = error
            return None

    def _interrupt(self) -> None:
        if not self._stopped.done():
            self._stopped.set_result(None)


def _several(rows: Iterator[T]) -> list[T]:
    """Make a few parts. Between them the loop has the GIL, if it wants it: what is there shall be sent meanwhile."""
    made: list[T] = []
    for part in islice(rows, _AT_ONCE):
        made.append(part)
        time.sleep(0)
    return made


_AT_ONCE = 4  # parts that are handed over together: each time the thread wakes the loop, and the loop the thread
_NO_ROW = b"\x7f\xff"  # a row of 32,767 columns; a table has 1,600 at most


class ExecuteMany(Transfer):
    """A statement that is executed for each of many rows.

    Args:
        connection: The asyncpg connection.
        rows: What is sent.
    """

    def __init__(self, connection: Any, rows: Iterable[Any]) -> None:
        super().__init__(connection)
        self._rows = rows

    async def run(self, send: Send) -> Any:
        """Return what `send(rows)`, asyncpg's part, returns."""
        await self._finish(send(self._until_stopped()))
        return self._working.result()

    def _until_stopped(self) -> Iterator[Any]:
        for row in self._rows:
            if self._ending is not None:
                raise asyncio.InvalidStateError("It was stopped.")  # asyncpg then ends it; nobody sees this
            yield row


async def copy_query(connection: Any, query: str, sink: Sink, timeout: Any = None) -> str:
    """Copy a query's rows in binary form, as `CopyOut` does; `asyncpg_connection.Connection` does so by itself."""
    from asyncpg.protocol import NO_TIMEOUT

    def copy(output: Sink, timeout: Any = NO_TIMEOUT) -> Coroutine[Any, Any, str]:
        return connection.copy_from_query(query, output=output, format="binary", timeout=timeout)  # type: ignore[no-any-return]

    if hasattr(connection, "abandon"):
        return await copy(sink, timeout)
    return await CopyOut(connection, sink).run(copy, timeout)


async def copy_rows(
    connection: Any,
    schema: str,
    table: str,
    columns: Iterable[str],
    rows: Iterator[tuple[int, Any]],
    seen: Callable[[int, int], None] = lambda rows, size: None,
) -> str:
    """Copy rows to a table, as `CopyIn` does, on a connection of any class; return the server's status.

    Args:
        connection: The asyncpg connection, which is free and in a transaction.
        schema: The table's schema.
        table: The table.
        columns: The columns that the rows have.
        rows: As for `CopyIn`.
        seen: Likewise.
    """
    from asyncpg.protocol import NO_TIMEOUT

    def copy(source: AsyncIterator[Any]) -> Coroutine[Any, Any, str]:
        return connection.copy_to_table(  # type: ignore[no-any-return]
            table, schema_name=schema, columns=list(columns), source=source, format="binary", timeout=NO_TIMEOUT
        )

    transfer = CopyIn(connection, rows, seen)
    with getattr(connection, "stoppable", nullcontext)(transfer):
        return await transfer.run(copy)
