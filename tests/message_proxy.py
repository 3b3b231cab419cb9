"""A port that leads to a server's Unix socket, and may change each message that the server sends on its way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from struct import pack, unpack
from types import TracebackType
from typing import Self

Message = tuple[bytes, bytes]  # kind and content
Change = Callable[[Message], Iterator[bytes]]


def written(message: Message) -> bytes:
    """Write a message as it is sent."""
    return message[0] + pack("!i", len(message[1]) + 4) + message[1]


def unchanged(message: Message) -> Iterator[bytes]:
    """Send a message as it came."""
    yield written(message)


class MessageProxy:
    """Used as `async with MessageProxy(path) as proxy:`; clients connect with `sslmode=disable`.

    Args:
        socket: Of the server.
    """

    def __init__(self, socket: str) -> None:
        self._socket = socket
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.change: Change = unchanged
        """What is sent for each message."""
        self.let_through: int | None = None
        """How many more bytes are sent before the line stands still; None for all."""
        self.stands_still = asyncio.Event()
        self.flows = asyncio.Event()

    @property
    def port(self) -> int:
        return int(self._server.sockets[0].getsockname()[1])

    def flow(self) -> None:
        """Send all from now on."""
        self.let_through = None
        self.flows.set()

    def cut(self) -> None:
        """End every connection."""
        for writer in self._writers:
            writer.transport.abort()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.cut()
        await asyncio.sleep(0)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.current_task())  # type: ignore[arg-type]
        self._writers.add(writer)
        up_reader, up_writer = await asyncio.open_unix_connection(self._socket)
        with suppress(OSError, asyncio.IncompleteReadError):
            await asyncio.gather(self._requests(reader, up_writer), self._answers(up_reader, writer))
        writer.transport.abort()
        up_writer.transport.abort()

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            kind, length = unpack("!ci", await reader.readexactly(5))
            for data in self.change((kind, await reader.readexactly(length - 4))):
                await self._send(data, writer)

    async def _send(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        if self.let_through is not None:
            now, data = data[: self.let_through], data[self.let_through :]
            self.let_through -= len(now)
            writer.write(now)
            if data:
                self.stands_still.set()
                await self.flows.wait()
        writer.write(data)
        await writer.drain()
