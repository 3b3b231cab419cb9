"""
Commit, and say truthfully what became of it when it was cancelled.

A COMMIT that is on its way cannot be called back, and a client that stops listening does not learn how it ended. So a
cancelled COMMIT is first given a moment to end by itself (most take a millisecond). If it does not, the server is asked
to cancel it, and its answer is waited for: either the transaction is durable or it is not, and the `CancelledError`
carries a note that says which. Only a server that does not answer leaves it open, and the note says that.

When a statement has failed and the error was caught, PostgreSQL answers COMMIT by a rollback, and drivers take that for
a success. Here it is an error. `engine/rollback_detection.py` hears the answer, whoever sends the COMMIT. A session
with several connections has to know before it sends the first one, and another driver's answer is not heard: there the
server is asked before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, event
from sqlalchemy.exc import DBAPIError, PendingRollbackError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from asyncdb_nb.engine._sqlalchemy.statements import connections_of
from asyncdb_nb.engine.lost_connections import LOST, PREPARED, UNKNOWN, outcome
from asyncdb_nb.errors import CommitRolledBackError

if TYPE_CHECKING:
    from asyncdb_nb.engine.rollback_detection import Commands

BY_ITSELF_SECONDS = 0.2  # how long a cancelled COMMIT may still take before the server is asked to cancel it
ANSWER_SECONDS = 2.0  # how long the server's answer to that is waited for

COMMITTED = "The transaction was committed: the cancellation came too late to prevent it."
NOT_COMMITTED = "The transaction was not committed; nothing of it was kept."
_INVALIDATED = "8s2b"  # SQLAlchemy's code for a transaction whose connection was given up
_FAILED = "25P02"  # in_failed_sql_transaction
_CAUGHT = (
    "A statement of this transaction was cancelled, or its connection was lost, and the block caught that error. So "
    "nothing of the transaction was kept. Let the error leave the block, or write `await session.rollback()` where you "
    "catch it."
)
IN_PARTS = "The session's transactions did not end alike: "
_TELLING = (COMMITTED, NOT_COMMITTED, UNKNOWN, LOST, PREPARED, IN_PARTS)


_WATCHED = "asyncdb_nb.watched"  # in the `info` of a session: the connections of its transaction that are watched


def refuse_rollbacks(session: Session) -> None:
    """Have each commit of a session fail that the server answers with a rollback, whoever asks for it."""
    session.info[_WATCHED] = []


@event.listens_for(Session, "after_begin")
def _begun(session: Session, transaction: Any, connection: Connection) -> None:
    watched = session.info.get(_WATCHED)
    commands = _commands(connection)
    if watched is not None and commands is not None and commands not in watched:
        commands.watchers += 1
        watched.append(commands)


@event.listens_for(Session, "after_transaction_end")
def _ended(session: Session, transaction: Any) -> None:
    watched = session.info.get(_WATCHED)
    while watched and transaction.parent is None:
        watched.pop().watchers -= 1


@event.listens_for(Session, "before_commit")
def _ask_before(session: Session) -> None:
    """Ask the server whether a transaction has failed, where its answer to COMMIT would come too late or unheard."""
    if _WATCHED not in session.info or session.in_nested_transaction():
        return  # RELEASE SAVEPOINT fails in a failed transaction
    session.flush()
    connections = connections_of(session.get_transaction())
    # of two phases, too: before 2.1, SQLAlchemy cannot roll back when PREPARE TRANSACTION fails
    if len(connections) > 1 or session.twophase or any(_commands(connection) is None for connection in connections):
        for connection in connections:
            if connection.dialect.name == "postgresql":
                _ask(connection)


def _ask(connection: Connection) -> None:
    try:
        connection.exec_driver_sql("SELECT")
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", "") != _FAILED:
            raise
        raise CommitRolledBackError from None


async def commit(session: AsyncSession, send: Callable[[], Awaitable[None]]) -> None:
    """Flush, which can be cancelled as usual, then commit.

    Args:
        session: The session.
        send: Commits it: its `commit` method.

    Raises:
        CommitRolledBackError: The server rolled back instead; so is the session.
        CancelledError: With a note: `COMMITTED`, `NOT_COMMITTED`, `UNKNOWN` or `IN_PARTS`. It is raised at most 2.2
            seconds after the cancellation.
    """
    sending: asyncio.Task[None] | None = None
    answers: list[Answer] = []
    try:
        await session.flush()
        await asyncio.sleep(0)  # a cancellation that is waiting arrives here, before there is anything to regret
        answers = [Answer(connection) for connection in connections_of(session.sync_session.get_transaction())]
        sending = asyncio.ensure_future(_sent(session, send))
        await asyncio.wait([sending])
        sending.result()
    except asyncio.CancelledError as cancelled:
        if sending is not None:
            await _end(sending, answers)
        cancelled.add_note(_parts(answers) or _outcome(sending))
        raise
    except Exception as error:
        _explain(error, answers)
        raise


def tells(error: BaseException) -> bool:
    """Tell whether an error says already what became of a commit."""
    notes = getattr(error, "__notes__", ())
    return any(note.startswith(_TELLING) for note in notes)


class Answer:
    """What the server says to the COMMIT of one connection of a session.

    Args:
        connection: The connection, before its COMMIT is sent.
    """

    def __init__(self, connection: Connection) -> None:
        self.driver: Any = connection.connection.driver_connection
        self._url = connection.engine.url
        self._commands = _commands(connection)
        if self._commands is not None:
            self._commands.answer = ""

    def __str__(self) -> str:
        return f"{self._url.render_as_string()} {self.outcome}"

    @property
    def outcome(self) -> str:
        """In words, what became of the transaction."""
        if self._commands is not None and self._commands.answer.startswith("COMMIT"):
            return "was committed"
        if self._commands is None or self.driver.is_closed():
            return "may have been committed"
        return "was not committed"


def _parts(answers: list[Answer]) -> str:
    """Say what became of each transaction, where that is not the same for all."""
    alike = len({answer.outcome for answer in answers}) < 2
    return "" if alike else f"{IN_PARTS}{'; '.join(map(str, answers))}."


def _explain(error: Exception, answers: list[Answer]) -> None:
    """Say on an error of COMMIT what became of the transaction, where it does not say so."""
    if parts := _parts(answers):
        error.add_note(parts)
    elif isinstance(error, PendingRollbackError) and error.code == _INVALIDATED:
        error.add_note(_CAUGHT)
    elif isinstance(error, DBAPIError) and error.connection_invalidated and not tells(error):
        for note in {
            outcome(answer.driver, error.orig, error.statement) for answer in answers if error.orig is not None
        } - {""}:
            error.add_note(note)


async def _sent(session: AsyncSession, send: Callable[[], Awaitable[None]]) -> None:
    """Commit; the session forgets what was not kept."""
    try:
        await send()
    except CommitRolledBackError:
        await AsyncSession.rollback(session)
        raise


async def _end(sending: asyncio.Task[None], answers: list[Answer]) -> None:
    """Bring a COMMIT to its end, in a bounded time, however often this is cancelled meanwhile."""
    await _wait(sending, BY_ITSELF_SECONDS)
    if not sending.done():
        asking = asyncio.gather(_ask_to_cancel(answers), return_exceptions=True)
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


async def _ask_to_cancel(answers: list[Answer]) -> None:
    """Send a CancelRequest for each connection of a transaction, which keeps listening for the answer.

    With another driver's connection nobody is asked, and the COMMIT is cut off in `ANSWER_SECONDS`.
    """
    for answer in answers:
        if hasattr(answer.driver, "cancel_statement"):
            await answer.driver.cancel_statement()


def _commands(connection: Connection) -> Commands | None:
    """Give what watches a connection; None where another class of connection, or another driver, has it."""
    return getattr(connection.connection.driver_connection, "commands", None)


def _outcome(sending: asyncio.Task[None] | None) -> str:
    if sending is None:
        return NOT_COMMITTED
    if not sending.done() or sending.cancelled():
        return UNKNOWN
    match sending.exception():
        case None:
            return COMMITTED
        case DBAPIError(connection_invalidated=True) as error:
            return next((note for note in getattr(error, "__notes__", ()) if note.startswith(_TELLING)), UNKNOWN)
        case DBAPIError(orig=BaseException(__cause__=said) as adapted):  # SQLAlchemy 2.0 puts a class before the text
            return f"{NOT_COMMITTED} The server said: {said or adapted}"
        case error:
            return f"{NOT_COMMITTED} The server said: {error}"
