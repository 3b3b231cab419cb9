"""
Pass a connection with an open transaction off as a fresh one, in which a transaction is a savepoint.

SQLAlchemy's asyncpg dialect calls `connection.transaction()` and then `start`, `commit` and `rollback` of what that
returns. Here these are statements about a savepoint, so whoever has such a connection may commit, roll back and begin
again, and the transaction around it stays open.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from itertools import count
from typing import Any

import asyncpg

from asyncdb_nb.errors import OneTransactionError
from asyncdb_nb.pytest_plugin.isolation.autocommit import ENDED
from asyncdb_nb.pytest_plugin.isolation.cross_loop import Carrier


class SharedConnection:
    """One of several that use one connection of asyncpg's.

    Args:
        raw: The connection, on which a transaction is open.
        carrier: Carries calls to the loop of the connection.
        opened: What stands for a transaction and is open, of all that share the connection.
        abandon: Called with the savepoint that is open when the share is closed: it has to be undone before the
            connection is used again. Closing cannot do it, because `terminate` does not wait.
    """

    def __init__(self, raw: Any, carrier: Carrier, opened: set[Any], abandon: Callable[[Savepoint], None]) -> None:
        self._raw = raw
        self._carrier = carrier
        self._opened = opened
        self._abandon = abandon
        self._savepoint: Savepoint | None = None
        self._closed = False

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._raw, name)
        return self._carrier.method(found) if inspect.iscoroutinefunction(found) else found

    def transaction(self, *, isolation: str | None = None, readonly: bool = False, deferrable: bool = False) -> Any:
        """Return a savepoint in the place of a transaction."""
        if isolation not in (None, "read_committed"):
            raise OneTransactionError(f"{isolation.replace('_', ' ').upper()} isolation")
        self._savepoint = Savepoint(self._raw, self._carrier, self._opened, readonly)
        return self._savepoint

    def is_in_transaction(self) -> bool:
        """Return whether a savepoint that stands for a transaction is open."""
        return self._savepoint is not None and self._savepoint.open

    def is_closed(self) -> bool:
        """Return whether this share, or the connection behind it, is closed."""
        return self._closed or bool(self._raw.is_closed())

    async def close(self, *, timeout: float | None = None) -> None:
        """Close this share; the connection stays open."""
        self.terminate()

    def terminate(self) -> None:
        """Close this share; the connection stays open. SQLAlchemy may close twice where it is cancelled again."""
        savepoint, self._savepoint, self._closed = self._savepoint, None, True
        if savepoint is not None and savepoint.open:
            self._abandon(savepoint)


class Savepoint:
    """A savepoint that is used like `asyncpg.transaction.Transaction`: by SQLAlchemy, and with `async with`."""

    _numbers = count(1)

    def __init__(self, raw: Any, carrier: Carrier, opened: set[Any], readonly: bool) -> None:
        self._raw = raw
        self._carrier = carrier
        self._opened = opened
        self._readonly = readonly
        self._name = f"asyncdb_{next(self._numbers)}"

    @property
    def open(self) -> bool:
        """Whether it has begun, and not ended."""
        return self in self._opened

    async def __aenter__(self) -> None:
        await self.start()

    async def __aexit__(self, kind: type[BaseException] | None, *error: object) -> None:
        await (self.commit() if kind is None else self.rollback())

    async def start(self) -> None:
        """Begin."""
        read_only = "; SET TRANSACTION READ ONLY" if self._readonly else ""
        self._opened.add(self)
        try:
            await self._send(f"SAVEPOINT {self._name}{read_only}")
        except BaseException:
            self._opened.discard(self)
            raise
        if self._raw.commands.watchers <= 1:
            self._raw.commands.forget()

    async def commit(self) -> None:
        """Keep what was done, until the test is over. A limit in time set by `session_scope` ends here as well.

        When a statement has failed, it is undone without an error, as PostgreSQL answers COMMIT; a `session_scope`
        hears of it, as it does there.
        """
        try:
            await self._execute(f"RELEASE SAVEPOINT {self._name}; RESET statement_timeout")
            answer = "COMMIT"
        except asyncpg.InFailedSQLTransactionError:
            await self.rollback()
            answer = "ROLLBACK"
        finally:
            self._opened.discard(self)
        await self._carrier.call(self._raw.commands.check, answer)

    async def rollback(self) -> None:
        """Undo what was done since the start."""
        try:
            if not self._raw.is_closed() and self._raw.is_in_transaction():
                await self._execute(f"ROLLBACK TO SAVEPOINT {self._name}; RELEASE SAVEPOINT {self._name}")
        finally:
            self._opened.discard(self)

    async def _send(self, statements: str) -> None:
        try:
            await self._carrier.call(self._raw.execute, statements)
        except asyncpg.NoActiveSQLTransactionError:
            raise OneTransactionError(ENDED) from None

    async def _execute(self, statements: str) -> None:
        try:
            await self._send(statements)
        except asyncpg.InvalidSavepointSpecificationError:  # it was within another one, which has ended
            raise OneTransactionError(
                "two transactions that overlap (one began within the other and outlived it), or " + ENDED
            ) from None
