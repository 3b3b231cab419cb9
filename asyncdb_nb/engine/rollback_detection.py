"""
Watch what an asyncpg connection sends, and how the server answers COMMIT.

When a statement of a transaction has failed, PostgreSQL answers COMMIT by a rollback, and drivers take that for a
success. Statements and commits come by many ways (a session, a connection, the driver, a stream, COPY), and all of them
pass the connection's protocol. So that is where they are seen: no way leads around it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from asyncpg import ConnectionDoesNotExistError, InterfaceError, InternalClientError, PostgresError

from asyncdb_nb.engine.write_detection import BLANK, may_only_read, question
from asyncdb_nb.errors import CommitRolledBackError

SENDING = ("bind", "bind_execute", "bind_execute_many", "copy_in", "copy_out", "execute", "query")
MOST = 200  # how many different statements of a transaction are kept; one with more may have written
LONGEST = 20_000  # characters; a longer statement is not kept either
_COMMITS = re.compile(rf"{BLANK}(?:commit|end|prepare\s+transaction)\b", re.IGNORECASE)


class Commands:
    """What one connection sent in its present transaction.

    Args:
        protocol: asyncpg's protocol of the connection, whose methods are replaced by ones that tell of their calls.

    Attributes:
        answer: The server's answer to the last COMMIT, or PREPARE TRANSACTION: "ROLLBACK" when a statement had failed.
        unanswered: Whether one was sent that has not been answered.
        is_in_transaction: Says whether a transaction is open, or was when the connection was lost.
        watchers: How many ask for an error when the answer is "ROLLBACK".
        running: How many are sent, and not answered yet: one, or none.
        only_parsed: Whether a statement was prepared, and nothing sent since: asyncpg sends Sync with what follows, and
            until then the server holds the statement's locks.
    """

    def __init__(self, protocol: Any) -> None:
        self.answer = ""
        self.unanswered = False
        self.watchers = 0
        self.running = 0
        self.only_parsed = False
        self._texts: set[str] = set()
        self._wrote = False
        self._failed = False  # the last statement did, and so has its transaction
        self._query = protocol.query
        self.is_in_transaction = protocol.is_in_transaction
        for name in SENDING:
            setattr(protocol, name, self._watched(getattr(protocol, name)))
        protocol.prepare = self._counted(protocol.prepare, parses=True)
        protocol.close_statement = self._counted(protocol.close_statement)

    def forget(self) -> None:
        """Begin anew: nothing was sent yet."""
        self._texts.clear()
        self._wrote = False

    async def check(self, answer: str) -> None:
        """Take the answer to a COMMIT.

        Raises:
            CommitRolledBackError: It was rolled back, somebody asked for an error, and something may be lost.
        """
        self.answer = answer
        if answer == "ROLLBACK" and self.watchers and await self._may_have_written():
            raise CommitRolledBackError

    def _watched(self, method: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Coroutine[Any, Any, Any]]:
        async def watched(*args: Any, **kw: Any) -> Any:
            if not self.is_in_transaction():
                self.forget()
            failed, self._failed = self._failed, False
            sent = args[0] if args else next(iter(kw.values()))
            text = sent if isinstance(sent, str) else sent.query
            commits = _COMMITS.match(text) is not None
            self.unanswered |= commits
            self.running += 1
            try:
                with _closed_under_it():
                    result = await method(*args, **kw)
            except (InterfaceError, InternalClientError):  # asyncpg has refused to send it
                self.unanswered &= not commits
                raise
            except PostgresError as error:
                by_server = error.severity is not None  # not one of asyncpg's own
                self._failed = by_server and self.is_in_transaction()
                self.unanswered &= not (commits and by_server)
                self.only_parsed &= not by_server
                raise
            finally:
                self.running -= 1
            self.only_parsed = False
            if commits:
                self.unanswered = False
                await self.check(_answer(_tag(result), failed))
            else:
                self._note(text)
            return result

        return watched

    def _counted(
        self, method: Callable[..., Coroutine[Any, Any, Any]], *, parses: bool = False
    ) -> Callable[..., Coroutine[Any, Any, Any]]:
        async def counted(*args: Any, **kw: Any) -> Any:
            self.running += 1
            try:
                with _closed_under_it():
                    result = await method(*args, **kw)
            finally:
                self.running -= 1
            self.only_parsed = parses
            return result

        return counted

    def _note(self, text: str) -> None:
        """Keep a text, whose meaning is asked for only when something was rolled back."""
        if text in self._texts or (len(text) <= LONGEST and len(self._texts) < MOST):
            self._texts.add(text)
        else:
            self._wrote = True

    async def _may_have_written(self) -> bool:
        if self._wrote or not all(map(may_only_read, self._texts)):
            return True
        if not self._texts:
            return False
        try:
            answer = await self._query(question(self._texts), None)
        except (PostgresError, InterfaceError, OSError):
            return True  # in doubt
        return bool(answer != "SELECT 0")


@contextmanager
def _closed_under_it() -> Iterator[None]:
    """Say by asyncpg's own error that the connection was closed meanwhile, whose answer asyncpg then does not know."""
    try:
        yield
    except InternalClientError as error:
        if not str(error).startswith("got result for unknown protocol state"):
            raise
        raise ConnectionDoesNotExistError("connection was closed in the middle of operation") from error


def _answer(tag: str, failed: bool) -> str:
    """Say how a COMMIT was answered that other statements follow, whose tag is all that asyncpg gives."""
    return "ROLLBACK" if failed and not tag.startswith(("COMMIT", "PREPARE")) else tag


def _tag(result: Any) -> str:
    """Find the server's tag in what a method of the protocol returns: text, or rows, the tag and whether all came."""
    tag = result[1] if isinstance(result, tuple) else result
    return tag.decode() if isinstance(tag, bytes) else tag if isinstance(tag, str) else ""
