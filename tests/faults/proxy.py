"""A network between client and server that can be slow, stalled, cut or corrupt, at a word."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from anyio.from_thread import start_blocking_portal

ON_ITS_WAY = 64  # pieces of 64 kB at most, each way


@contextmanager
def slow_link(socket: str, round_trip: float) -> Iterator[int]:
    """A port whose round trips to a server's Unix socket take so many seconds. It runs in a thread of its own."""
    proxy = Proxy(socket)
    proxy.delay = round_trip
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(proxy):
        yield proxy.port


class Proxy:
    """A TCP port that leads to a server's Unix socket. Used as `async with Proxy(path) as proxy:`."""

    def __init__(self, socket: str) -> None:
        self._socket = socket
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.delay = 0.0
        """Seconds of a round trip: half of it to the server, half of it back."""
        self.swallows = False
        """Whether new connections are taken, and what they send is not passed on."""
        self.forgets = 0
        """How many more CancelRequests are taken, and not passed on."""
        self.corrupt_after: int | None = None
        """How many more bytes reach each client whole; what follows is turned upside down."""

    @property
    def port(self) -> int:
        return int(self._server.sockets[0].getsockname()[1])

    def stall(self) -> None:
        """Let nothing through any more, in no direction, and tell nobody: a half-open connection."""
        self._flowing.clear()

    def flow(self) -> None:
        """Let everything through again."""
        self._flowing.set()

    def refuse(self) -> None:
        """Take no new connections any more; those that there are go on."""
        self._server.close()

    def cut(self) -> None:
        """Reset every connection."""
        for writer in self._writers:
            writer.transport.abort()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.flow()
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.current_task())  # type: ignore[arg-type]
        self._writers.add(writer)
        try:
            if self.swallows:
                await reader.read()
                return
            if self.forgets:
                self.forgets -= 1
                await reader.readexactly(8)  # SSLRequest
                writer.write(b"N")
                await reader.readexactly(16)  # CancelRequest
                return
            up_reader, up_writer = await asyncio.open_unix_connection(self._socket)
            self._writers.add(up_writer)
            await asyncio.gather(self._pass(reader, up_writer), self._pass(up_reader, writer, to_client=True))
        except OSError:
            pass  # the server is not there: the client finds out by itself
        finally:
            writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, to_client: bool = False) -> None:
        sent: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(ON_ITS_WAY)
        await asyncio.gather(self._send(reader, sent), self._arrive(sent, writer, to_client))

    async def _send(self, reader: asyncio.StreamReader, sent: asyncio.Queue[tuple[float, bytes]]) -> None:
        data = b"?"
        while data:
            try:
                data = await reader.read(65536)
            except OSError:
                data = b""  # one side is gone; the other is told
            await sent.put((asyncio.get_running_loop().time() + self.delay / 2, data))

    async def _arrive(
        self, sent: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter, to_client: bool
    ) -> None:
        left = self.corrupt_after
        while True:
            due, data = await sent.get()
            await asyncio.sleep(due - asyncio.get_running_loop().time())
            await self._flowing.wait()
            if not data:
                writer.close()
                return
            if to_client:
                left = self.corrupt_after if left is None else left
                if left is not None:
                    data = data[:left] + bytes(byte ^ 255 for byte in data[left:])
                    left = max(left - len(data), 0)
            if writer.is_closing():
                continue  # the reader of this side finds out by itself
            try:
                writer.write(data)
                await writer.drain()
            except OSError:
                pass
