"""
Receive the rows of a COPY into one large buffer, and leave everything else that the server sends to asyncpg.

asyncpg makes objects of each piece that the socket gives, and wakes a task for it; that takes twice the time of
receiving. A `CopyProtocol` takes the transport of a connection before COPY is sent, and keeps CopyData for itself.
Every other message goes to asyncpg's own protocol, byte for byte and in order, so that errors, notices, settings, the
end of the statement, its cancellation and the loss of the connection are asyncpg's, as ever. The transport is given
back at ReadyForQuery.

PostgreSQL's manual, "Message Formats": a message is a byte for its kind, its length in 4 bytes, which counts
themselves, and its content.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct
from typing import Any

HEADER = Struct("!ci")
COPY_DATA = b"d"
_COPY_OUT, _READY = b"H", b"Z"
_OTHERS = b"SANEHcCZ"  # the kinds of what comes before, between and after rows
_LARGEST = 2**30 + 3  # bytes in one message, with its length: PostgreSQL makes no larger row
_BLOCK = 2 * 2**20  # bytes that are handed over at a time: what works on them stays near the processor's cache
_ENOUGH = 2**18  # bytes to look at together
_SECONDS = 0.02  # until fewer are looked at
_END_OF_COPY = b"Z\0\0\0\5"  # and the state of the transaction
_READ = 2**20  # bytes to read at a time: other tasks shall have their turn

Places = tuple[Any, Any]  # where messages begin and end: two sequences of integers
Find = Callable[[Any, int, int], Places]


@dataclass(frozen=True, slots=True)
class Messages:
    """Whole CopyData messages, in order.

    Attributes:
        parts: Bytes, some of which may belong to other messages; a few more are behind the last one.
        found: Where the messages begin and end in these, if they are joined; `base` is to be added.
        base: Bytes before position zero.
    """

    parts: list[bytes]
    found: list[Places]
    base: int

    def __len__(self) -> int:
        return sum(map(len, self.parts))


class CopyProtocol(asyncio.BufferedProtocol):
    """Receives one COPY from the server.

    Args:
        transport: An idle connection's, which has asyncpg's protocol; it has this one until ReadyForQuery.
        find: Called with bytes, the position of a complete CopyData message in them and where they end: finds as many
            complete CopyData messages that follow each other as it can, at least the one.
    """

    def __init__(self, transport: Any, find: Find) -> None:
        self._transport = transport
        self._own: asyncio.Protocol = transport.get_protocol()
        self._find = find
        self._block = bytearray(_BLOCK + HEADER.size)  # so much more is handed over
        self._view = memoryview(self._block)[:_BLOCK]
        self._end = 0  # of what was received, in the block
        self._here = 0  # where in the block the first message begins that is not complete; before it, when negative
        self._wanted = 0  # where more is to be seen
        self._to_pass = 0  # bytes of the message that is being passed on
        self._kind = b""  # of it
        self._begun = self._ended = self._discarding = self._paused = False
        self._timer: asyncio.TimerHandle | None = None
        self._parts: list[bytes] = []  # of a message that is larger than a block
        self._found: list[Places] = []
        self._ready: list[Messages] = []
        self._waiter: asyncio.Future[None] | None = None
        self._error: Exception | None = None
        transport.set_protocol(self)

    async def next(self, copying: asyncio.Future[str]) -> Messages | None:
        """Wait for the next messages; None when `copying`, asyncpg's part, is done and all are given out.

        Whatever completes `copying` has to call `wake`.
        """
        if not self._ready:
            self._resume()
        while not self._ready and not copying.done():
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if not self._ready and self._found and copying.exception() is None:
            self._hand_over()
        return self._ready.pop(0) if self._ready else None

    def wake(self, done: Any = None) -> None:
        """Have `next` look whether there is something."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def discard(self) -> None:
        """Keep nothing that comes from now on: nobody wants it."""
        self._discarding = True
        for kept in (self._ready, self._found, self._parts):
            kept.clear()
        self._resume()

    def leave(self) -> None:
        """Give the transport back when COPY has not begun: everything was passed on so far."""
        if not self._begun and not self._ended:
            self._give_back()

    # --- called by the transport ---

    def get_buffer(self, sizehint: int) -> memoryview:
        """Give the memory to read into."""
        return self._view[self._end : self._end + _READ]

    def buffer_updated(self, nbytes: int) -> None:
        """Look at what has come."""
        self._end += nbytes
        if self._is_time():
            self._read()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_SECONDS, self._read)
        if self._end == _BLOCK:
            self._begin_anew()

    def eof_received(self) -> bool | None:
        """Tell asyncpg."""
        self._read()
        return self._own.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell asyncpg."""
        self._read()
        self._own.connection_lost(exc or self._error)

    def pause_writing(self) -> None:
        """Tell asyncpg."""
        self._own.pause_writing()

    def resume_writing(self) -> None:
        """Tell asyncpg."""
        self._own.resume_writing()

    # --- messages ---

    def _is_time(self) -> bool:
        """Say whether to look at what has come: a little of it is left for later, unless COPY seems to end with it."""
        return (
            not self._begun
            or self._end - self._here >= _ENOUGH
            or self._end == _BLOCK
            or self._block.startswith(_END_OF_COPY, self._end - len(_END_OF_COPY) - 1)
        )

    def _read(self) -> None:
        """Find the messages in what has come, and pass on what is not CopyData."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._end < self._wanted:
            return
        if self._here < 0:
            self._add(([self._here], [self._wanted]))
        while not self._ended and self._here < self._end:
            if self._to_pass:
                self._pass_on(min(self._to_pass, self._end - self._here))
            elif not self._is_next_complete():
                return
            elif not self._to_pass and not self._ended:
                self._add(self._find(self._view, self._here, self._end))
        self._wanted = self._here

    def _is_next_complete(self) -> bool:
        """Look at a header; say whether its message is there or is to be passed on."""
        self._wanted = self._here + HEADER.size
        if self._wanted > self._end:
            return False
        self._kind, length = HEADER.unpack_from(self._block, self._here)
        if self._kind != COPY_DATA or not 4 <= length <= _LARGEST or not self._begun:
            self._look_at_other(length)
            return True
        self._wanted = self._here + 1 + length
        return self._wanted <= self._end

    def _look_at_other(self, length: int) -> None:
        if self._kind in _OTHERS and 4 <= length <= _LARGEST:
            self._to_pass = 1 + length
            self._begun |= self._kind == _COPY_OUT
        elif not self._begun:  # the rest of a message that asyncpg has begun to read
            self._give_back()
        else:
            self._error = ConnectionError(f"a message {self._kind!r} of {length} bytes came where rows were expected")
            self._ended = True
            self._transport.abort()

    def _add(self, places: Places) -> None:
        if not self._discarding:
            self._found.append(places)
        self._here = int(places[1][-1])

    def _pass_on(self, size: int) -> None:
        passed = bytes(self._view[self._here : self._here + size])
        self._here += size
        self._to_pass -= size
        self._own.data_received(passed)
        if self._kind == _READY and not self._to_pass:
            self._give_back()

    def _give_back(self) -> None:
        """Let asyncpg's protocol have the transport again, and what has come behind the end of COPY."""
        self._ended = True
        self._transport.set_protocol(self._own)
        self._resume()
        if self._here < self._end:
            self._own.data_received(bytes(self._view[self._here : self._end]))

    # --- blocks ---

    def _begin_anew(self) -> None:
        """Hand over what a full block holds, and begin it again with the message that is not complete."""
        if self._ended:
            return
        if self._found:
            self._hand_over()
            self._pause()
        elif self._here <= 0 and not self._discarding:
            self._parts.append(bytes(self._view[: self._end]))
        rest = bytes(self._view[max(self._here, 0) : self._end]) if self._here > 0 else b""
        moved = self._end - len(rest)
        self._view[: len(rest)] = rest
        self._end = len(rest)
        self._here -= moved
        self._wanted -= moved

    def _hand_over(self) -> None:
        parts, self._parts = self._parts, []
        base = sum(map(len, parts))
        found, self._found = self._found, []
        last = bytes(memoryview(self._block)[: self._here + HEADER.size])
        self._ready.append(Messages([*parts, last], found, base))
        self.wake()

    def _pause(self) -> None:
        self._paused = True
        self._transport.pause_reading()

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
