"""
Let a test go on after a statement that fails outside of any transaction of its own, as it would under AUTOCOMMIT.

PostgreSQL undoes such a statement alone. In the test's transaction, a failure would have every later statement refused;
so each has a savepoint there, for itself.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any

import asyncpg

from asyncdb_nb.errors import OneTransactionError

ENDED = "COMMIT or ROLLBACK as a statement, which ended it"
_NAME = "asyncdb_statement"


class SingleStatements:
    """asyncpg's protocol, through which its statements reach the server.

    Args:
        protocol: The protocol of a connection, on which the test's transaction is open.
        opened: What stands for a transaction and is open; while there is one, a failure ends all of it.
    """

    _STATEMENTS = frozenset({"bind_execute", "bind_execute_many", "copy_in", "copy_out", "prepare", "query"})

    def __init__(self, protocol: Any, opened: set[Any]) -> None:
        self._protocol = protocol
        self._opened = opened

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._protocol, name)
        return functools.partial(self._send, found) if name in self._STATEMENTS else found

    async def _send(self, send: Callable[..., Coroutine[Any, Any, Any]], *args: Any, **options: Any) -> Any:
        if self._opened:
            return await send(*args, **options)
        await self._query(f"SAVEPOINT {_NAME}")
        try:
            result = await send(*args, **options)
        except BaseException:
            if self._protocol.is_connected():
                await self._query(f"ROLLBACK TO SAVEPOINT {_NAME}; RELEASE SAVEPOINT {_NAME}")
            raise
        await self._query(f"RELEASE SAVEPOINT {_NAME}")
        return result

    async def _query(self, statements: str) -> None:
        try:
            await self._protocol.query(statements, None)
        except (asyncpg.NoActiveSQLTransactionError, asyncpg.InvalidSavepointSpecificationError):
            raise OneTransactionError(ENDED) from None
