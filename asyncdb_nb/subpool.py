"""
Pool the connections of one event loop, and close them before it closes.

It is SQLAlchemy's `AsyncAdaptedQueuePool`. What is added: a connection goes back on its own loop, whoever returns it;
idle connections are closed after a while; and just before the loop closes, all of them are.
"""

from __future__ import annotations

import asyncio
import functools
import os
import warnings
import weakref
from asyncio import _get_running_loop
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any

from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry, Pool, PoolProxiedConnection
from sqlalchemy.util import greenlet_spawn

from asyncdb_nb import loops
from asyncdb_nb.errors import LeakWarning
from asyncdb_nb.first_connect import FirstConnect
from asyncdb_nb.guard import guard, home_of
from asyncdb_nb.loops import Ending

OWNER_SECONDS = 1.0  # how long a closing loop waits for the tasks that it cancelled

_living: weakref.WeakSet[SubPool] = weakref.WeakSet()


class SubPool(AsyncAdaptedQueuePool):
    """The connections of one loop.

    Args:
        parent: The engine's pool; its creator, listeners and settings hold here.
        loop: The loop, which is running.
        first_connect: The gate that all loops of the engine share.
        idle_timeout: Seconds after which an idle connection is closed; `None` is never.
        **options: What `AsyncAdaptedQueuePool` takes.
    """

    _sqla_logger_namespace = "sqlalchemy.pool.LoopBoundPool"

    def __init__(
        self,
        parent: Pool,
        loop: asyncio.AbstractEventLoop,
        *,
        first_connect: FirstConnect,
        idle_timeout: float | None,
        **options: Any,
    ) -> None:
        self._parent = parent
        super().__init__(lambda record: guard(parent._invoke_creator(record), loop), dialect=parent._dialect, **options)
        self.__dict__["dispatch"] = parent.dispatch  # one for all, so that a listener added late reaches everyone
        self.loop = loop
        self.retiring = False  # a returned connection is closed, not kept
        self._first_connect = first_connect
        self._idle_timeout = idle_timeout
        self._records: weakref.WeakSet[Any] = weakref.WeakSet()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._reaper: asyncio.TimerHandle | None = None
        _living.add(self)

    async def finish(self, ending: Ending) -> None:
        """Close what there is, because the loop is about to go."""
        self.retiring = True
        if self._reaper is not None:
            self._reaper.cancel()
        if ending is Ending.GENERATORS:
            await self.close_idle()
            return
        loops.forget(self.loop, self.finish)
        await self._cancel_owners()
        await self.close_idle()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=OWNER_SECONDS)
        leaked = await self._close_checked_out()
        if leaked and ending is Ending.CLOSE:  # at exit nobody is left to listen
            self._warn(leaked)

    async def close_idle(self) -> None:
        """Close what is in the queue, all at once: each goodbye to a server that is frozen takes two seconds."""
        await _each(lambda record: record.close(), self._take_idle())

    def spawn(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """Run `work()` as a task of this sub-pool's loop, from any thread, and keep it alive."""
        if _get_running_loop() is not self.loop:
            self.loop.call_soon_threadsafe(self.spawn, work)
            return
        task = self.loop.create_task(work())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _create_connection(self) -> ConnectionPoolEntry:
        record: Any = self._first_connect(super()._create_connection)
        record.subpool = self
        record.owner = None  # the task that has it checked out
        self._records.add(record)
        return record  # type: ignore[no-any-return]

    def _do_return_conn(self, record: Any) -> None:
        record.owner = None
        if _get_running_loop() is not self.loop:  # a finalizer may run in any thread
            if not self.loop.is_closed():
                self.spawn(functools.partial(greenlet_spawn, self._do_return_conn, record))
        elif self.retiring:
            self._retire(record)
        else:
            AsyncAdaptedQueuePool._do_return_conn(self, record)
            if self._idle_timeout is not None:
                record.idle_since = monotonic()
                if self._reaper is None:
                    self._reaper = self.loop.call_later(self._idle_timeout, self._reap)

    def _retire(self, record: Any) -> None:
        if -1 < self._max_overflow <= self._overflow:  # somebody may be waiting for it
            super()._do_return_conn(record)
            self.spawn(self.close_idle)
            return
        try:
            record.close()
        finally:
            self._dec_overflow()

    def _close_connection(self, connection: DBAPIConnection, *, terminate: bool = False) -> None:
        if home_of(connection) in (None, _get_running_loop()):
            # terminate() says goodbye as well, but waits two seconds at most
            super()._close_connection(
                connection, terminate=terminate or (self.retiring and self._dialect.has_terminate)
            )
        elif not self.loop.is_closed():  # a finalizer may run in any thread
            self.spawn(functools.partial(greenlet_spawn, self._close_connection, connection, terminate=True))

    def _invalidate(
        self, connection: PoolProxiedConnection, exception: BaseException | None = None, _checkin: bool = True
    ) -> None:
        self._parent._invalidate(connection, exception, _checkin)

    def _reap(self) -> None:
        """Take the connections that have been idle for too long out of the queue, and close them."""
        self._reaper = None
        if self._idle_timeout is None or self.retiring:
            return
        records = self._take_idle()
        oldest_allowed = monotonic() - self._idle_timeout
        fresh = [record for record in records if record.idle_since > oldest_allowed]
        stale = [record for record in records if record.idle_since <= oldest_allowed]
        for record in fresh:
            self._pool.put(record, False)
            self._inc_overflow()
        if fresh:
            oldest = min(record.idle_since for record in fresh)
            self._reaper = self.loop.call_later(oldest - oldest_allowed, self._reap)
        if stale:
            self.spawn(functools.partial(_each, lambda record: record.close(), stale))

    def _take_idle(self) -> list[Any]:
        """Empty the queue; return what was in it, in an order in which it can be put back."""
        records = [self._pool.get(False) for _ in range(self._pool.qsize())]
        for _ in records:
            self._dec_overflow()
        return records[::-1] if self._pool.use_lifo else records

    async def _cancel_owners(self) -> None:
        """Cancel the tasks that hold a connection, so that their own cleanup gives it back."""
        me = asyncio.current_task()
        owners = {record.owner for record in self._records if record.owner is not None}
        pending = {task for task in owners if task is not me and not task.done()}
        for task in pending:
            task.cancel()
        if pending:
            await asyncio.wait(pending, timeout=OWNER_SECONDS)

    async def _close_checked_out(self) -> int:
        leaked = [record for record in self._records if record.dbapi_connection is not None]
        await _each(lambda record: record.invalidate(), leaked)
        return len(leaked)

    def _warn(self, leaked: int) -> None:
        warnings.warn(
            f"{leaked} connection(s) were still checked out when {loops.describe(self.loop)} closed, and were closed "
            "with it. Close every session: `async with db.session() as session:`.",
            LeakWarning,
            stacklevel=2,
        )


async def _each(action: Callable[[Any], None], records: list[Any]) -> None:
    """Do something with every record at the same time, as synchronous code that awaits by greenlets."""
    await asyncio.gather(*(greenlet_spawn(action, record) for record in records))


def _leave_to_parent() -> None:
    """In a forked child, take every inherited connection out of reach: its socket is the parent's."""
    for subpool in list(_living):
        records = list(subpool._records)
        loops.never_finalize([subpool, subpool.loop, [(record, record.dbapi_connection) for record in records]])
        for record in records:
            record.dbapi_connection = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
