"""
Commit, and say truthfully what became of it when it was cancelled.

A COMMIT that is on its way cannot be called back, and a client that stops listening does not learn how it ended. So a
cancelled COMMIT is first given a moment to end by itself (most take a millisecond). If it does not, the server is asked
to cancel it, and its answer is waited for: either the transaction is durable or it is not, and the `CancelledError`
carries a note that says which. Only a server that does not answer leaves it open, and the note says that.

When a statement has failed and the error was caught, PostgreSQL answers COMMIT by a rollback, and drivers take that for
a success. Here it is an error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from asyncdb_nb.errors import CommitRolledBackError

BY_ITSELF_SECONDS = 0.2  # how long a cancelled COMMIT may still take before the server is asked to cancel it
ANSWER_SECONDS = 2.0  # how long the server's answer to that is waited for

COMMITTED = "The transaction was committed: the cancellation came too late to prevent it."
NOT_COMMITTED = "The transaction was not committed; nothing of it was kept."
UNKNOWN = (
    "Whether the transaction was committed cannot be known: the server did not answer. "
    "Look for its rows before you repeat it."
)


async def commit(session: AsyncSession, send: Callable[[], Awaitable[None]], *, readonly: bool = False) -> None:
    """Flush, which can be cancelled as usual, then commit.

    Args:
        session: The session.
        send: Commits it: its `commit` method.
        readonly: Whether there is nothing to keep.

    Raises:
        CommitRolledBackError: The server rolled back instead, and `readonly` is false.
        CancelledError: With a note: `COMMITTED`, `NOT_COMMITTED` or `UNKNOWN`. It is raised at most 2.2 seconds after
            the cancellation.
    """
    sending: asyncio.Task[None] | None = None
    try:
        await session.flush()
        await asyncio.sleep(0)  # a cancellation that is waiting arrives here, before there is anything to regret
        transaction = session.sync_session.get_transaction()
        sending = asyncio.ensure_future(_sent(send, [] if readonly else _connections(transaction)))
        await asyncio.wait([sending])
    except asyncio.CancelledError as cancelled:
        if sending is not None:
            await _end(sending, transaction)
        cancelled.add_note(_outcome(sending))
        raise
    sending.result()


def tells(error: BaseException) -> bool:
    """Tell whether an error says already what became of a commit."""
    return any(note.startswith((COMMITTED, NOT_COMMITTED, UNKNOWN)) for note in getattr(error, "__notes__", ()))


async def _sent(send: Callable[[], Awaitable[None]], connections: list[Any]) -> None:
    """Commit; look at the answers before anybody else can use the connections."""
    await send()
    if any(getattr(connection, "answer_to_commit", "") == "ROLLBACK" for connection in connections):
        raise CommitRolledBackError


async def _end(sending: asyncio.Task[None], transaction: Any) -> None:
    """Bring a COMMIT to its end, in a bounded time, however often this is cancelled meanwhile."""
    await _wait(sending, BY_ITSELF_SECONDS)
    if not sending.done():
        asking = asyncio.gather(_ask_to_cancel(transaction), return_exceptions=True)
        await _wait(sending, ANSWER_SECONDS)
        del asking  # held until here; what it ran into shows in how the COMMIT ended
    if not sending.done():
        sending.cancel()
        await _wait(sending, ANSWER_SECONDS)


async def _wait(task: asyncio.Task[None], seconds: float) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while not task.done() and loop.time() < end:
        try:
            await asyncio.wait([task], timeout=end - loop.time())
        except asyncio.CancelledError:
            continue  # the first one is raised at the end


async def _ask_to_cancel(transaction: Any) -> None:
    """Send a CancelRequest for each connection of a transaction, which keeps listening for the answer.

    With another driver's connection nobody is asked, and the COMMIT is cut off in `ANSWER_SECONDS`.
    """
    for connection in _connections(transaction):
        if hasattr(connection, "cancel_statement"):
            await connection.cancel_statement()


def _connections(transaction: Any) -> list[Any]:
    """Give the driver's connections of a transaction; none where SQLAlchemy keeps them elsewhere: they are its own."""
    connections = {entry[0] for entry in getattr(transaction, "_connections", {}).values()}
    return [connection.connection.driver_connection for connection in connections]


def _outcome(sending: asyncio.Task[None] | None) -> str:
    if sending is None:
        return NOT_COMMITTED
    if not sending.done() or sending.cancelled():
        return UNKNOWN
    match sending.exception():
        case None:
            return COMMITTED
        case DBAPIError(connection_invalidated=True):
            return UNKNOWN
        case DBAPIError(orig=BaseException(__cause__=said) as adapted):  # SQLAlchemy 2.0 puts a class before the text
            return f"{NOT_COMMITTED} The server said: {said or adapted}"
        case error:
            return f"{NOT_COMMITTED} The server said: {error}"
