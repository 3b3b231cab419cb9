"""
A COPY stream that is read part by part: it goes on in a task of its own, and waits when nobody takes its parts.

Only for a connection that does nothing else until the stream has ended or is closed. To stop COPY before its end is to
cancel it, after which the transaction can only be rolled back.
"""

from __future__ import annotations

import asyncio
from typing import Any

from asyncdb_nb.aio.shielded import retrieve, wait_to_the_end
from asyncdb_nb.dataframes.query.copy import Part, Receiver


class CopyStream:
    """The parts of one query; begins at once.

    Args:
        receiver: Decodes the stream.
        connection: The asyncpg connection.
        query: What to copy.
    """

    def __init__(self, receiver: Receiver, connection: Any, query: str) -> None:
        from asyncpg.protocol import NO_TIMEOUT

        from asyncdb_nb.engine._asyncpg import command_timeout  # here: it imports the driver

        self._parts: asyncio.Queue[Part] = asyncio.Queue(1)
        self._patience: float | None = command_timeout(connection)  # for a part, not for what is done with them
        self._copying = asyncio.create_task(receiver.run(connection, query, self._parts.put, NO_TIMEOUT))
        self._copying.add_done_callback(retrieve)  # whoever stops before the end does not

    async def next(self) -> Part | None:
        """Wait for the next part; None at the end. Raises what ended the stream before it."""
        getting = asyncio.create_task(self._parts.get())
        try:
            done, _ = await asyncio.wait(
                {getting, self._copying}, timeout=self._patience, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                raise TimeoutError(f"No rows came for {self._patience} seconds, the connection's command_timeout.")
            if self._copying.done():
                await asyncio.sleep(0)  # the last part may be on its way
            if getting.done():
                return getting.result()
        finally:
            getting.cancel()
        self._copying.result()
        return None

    async def aclose(self) -> None:
        """Stop the server and the thread, if they have not come to the end."""
        if not self._copying.done():
            self._copying.cancel()
        await wait_to_the_end(self._copying)
