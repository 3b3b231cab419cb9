"""
Lend a test a session, and close it on the loop that used it.

The fixture that lends it is synchronous, because pytest-asyncio and anyio each want async fixtures marked in a way of
their own. So the session opens its connection on the loop of whoever uses it first; it is closed when the fixture
ends, or just before that loop does, whichever comes first.
"""

from __future__ import annotations

import asyncio
from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession

from asyncdb_nb.aio import loop_cleanup
from asyncdb_nb.database.database import Database

CLOSE_SECONDS = 5.0
BORROWED = "asyncdb_nb lends it"  # a key of `session.info`: no test is to be blamed for this session


class BorrowedSession:
    """A session of `asyncdb`; `close()` is for synchronous code."""

    def __init__(self, database: Database) -> None:
        self.session = AsyncSession(database.engine, expire_on_commit=False, info={BORROWED: True})
        self._loop: asyncio.AbstractEventLoop | None = None
        event.listen(self.session.sync_session, "after_begin", self._begun)

    def close(self) -> None:
        """Roll back what was not committed, and give the connection back."""
        self.session.info.pop(BORROWED, None)
        loop = self._loop
        if loop is None or loop.is_closed():
            return
        loop_cleanup.forget(loop, self._finish)
        if loop.is_running():
            asyncio.run_coroutine_threadsafe(self.session.close(), loop).result(CLOSE_SECONDS)
        else:
            loop_cleanup.drive(loop, self.session.close, CLOSE_SECONDS)

    def _begun(self, session: Any, transaction: Any, connection: Any) -> None:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop = loop
            loop_cleanup.before_close(loop, self._finish)

    async def _finish(self, phase: loop_cleanup.LoopPhase) -> None:
        await self.session.close()
