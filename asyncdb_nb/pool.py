"""
A SQLAlchemy pool with one sub-pool per running event loop.

    engine = create_async_engine(url, poolclass=LoopBoundPool)     # one engine, for the whole program

A connection lives on the loop that opened it. This pool hands out connections of the loop that is running, never lets
one leave its loop, and closes them on that loop just before it closes (see `loops.py`). Each sub-pool is SQLAlchemy's
own `AsyncAdaptedQueuePool`; what is written here is only what a second loop adds.
"""

from __future__ import annotations

import asyncio
import os
import threading
import warnings
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection, Dialect
from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry, Pool, PoolProxiedConnection
from sqlalchemy.util import await_only, greenlet_spawn
from sqlalchemy.util.concurrency import in_greenlet

from asyncdb_nb import loops
from asyncdb_nb.errors import AsyncDBError, LeakWarning
from asyncdb_nb.guard import guard, reraise_unwrapped
from asyncdb_nb.loops import Ending

OTHER_LOOP_SECONDS = 5.0  # how long dispose() waits for a loop that runs in another thread
OWNER_SECONDS = 1.0  # how long a closing loop waits for the tasks that it cancelled

_pools: weakref.WeakSet[LoopBoundPool] = weakref.WeakSet()
_living: weakref.WeakSet[_SubPool] = weakref.WeakSet()


class LoopBoundPool(Pool):
    """Pool connections separately for every event loop, behind one engine.

    Every argument that `AsyncAdaptedQueuePool` takes means the same here, for each loop by itself: three loops with
    `pool_size=5` keep up to fifteen idle connections. Pool and engine events reach every sub-pool, whenever they are
    registered. `status()`, `checkedin()`, `checkedout()` and `overflow()` speak of all loops together.

    The connections of a loop end with it. A connection that is still checked out then is closed as well, and a
    `LeakWarning` says so. `dispose()` closes the idle connections of every loop, each on its own.

    Args:
        creator: What opens a connection; `create_async_engine` passes it.
        pool_size: Idle connections kept per loop.
        max_overflow: Connections per loop beyond `pool_size`, closed when they are returned.
        timeout: Seconds that a checkout waits for a connection.
        use_lifo: Hand out the connection returned last; by default so when there is an `idle_timeout`, because a
            first-in-first-out queue never lets a connection go idle.
        idle_timeout: Seconds after which an idle connection is closed, by one timer per loop; `None` is never. (A
            SQLite `:memory:` database lives in its connection, hence the default.)
        **kw: What `sqlalchemy.pool.Pool` takes: `recycle`, `pre_ping`, `reset_on_return`, `echo`, `events`, ...
    """

    _is_asyncio = True
    _sqla_logger_namespace = "sqlalchemy.pool.LoopBoundPool"

    def __init__(
        self,
        creator: Callable[..., DBAPIConnection],
        pool_size: int = 5,
        max_overflow: int = 10,
        timeout: float = 30.0,
        use_lifo: bool | None = None,
        idle_timeout: float | None = None,
        **kw: Any,
    ) -> None:
        super().__init__(creator, **kw)
        if idle_timeout is not None and idle_timeout <= 0:
            raise ValueError(f"idle_timeout is a number of seconds above 0, or None for never; got {idle_timeout!r}.")
        self._idle_timeout = idle_timeout
        self._queue_options: dict[str, Any] = {
            "pool_size": pool_size,
            "max_overflow": max_overflow,
            "timeout": timeout,
            "use_lifo": idle_timeout is not None if use_lifo is None else use_lifo,
        }
        self._subpools: dict[asyncio.AbstractEventLoop, _SubPool] = {}
        self._lock = threading.Lock()
        self._first_connect = _FirstConnect()
        _pools.add(self)

    def connect(self) -> PoolProxiedConnection:
        """Check out a connection of the running loop."""
        return self._here().connect()

    def dispose(self) -> None:
        """Close the idle connections of every loop, each on its own loop.

        Loops that run in other threads are waited for, up to five seconds each. Connections that are checked out are
        closed when they are returned, as with SQLAlchemy's own pools.
        """
        with self._lock:
            subpools, self._subpools = self._subpools, {}
        here = asyncio._get_running_loop()
        for loop, subpool in subpools.items():
            subpool.retiring = True
            if loop is here and in_greenlet():
                await_only(subpool.close_idle())
            elif loop is here:
                subpool.spawn(subpool.close_idle())
            elif not loop.is_closed():
                self._dispose_elsewhere(loop, subpool, here)
        self.logger.info("Pool disposed. %s", self.status())

    def recreate(self) -> LoopBoundPool:
        """Return a new, empty pool with the same arguments and listeners."""
        self.logger.info("Pool recreating")
        return self.__class__(
            self._creator,
            idle_timeout=self._idle_timeout,
            _dispatch=self.dispatch,
            dialect=self._dialect,
            **self._queue_options,
            **self._pool_options(),
        )

    def status(self) -> str:
        """Describe each loop's sub-pool in SQLAlchemy's words."""
        parts = [f"{loops.describe(loop)}: {subpool.status()}" for loop, subpool in self._snapshot().items()]
        return "; ".join(parts) or "No event loop has used this pool."

    def size(self) -> int:
        """Return how many idle connections are kept per loop."""
        return int(self._queue_options["pool_size"])

    def timeout(self) -> float:
        """Return how many seconds a checkout waits for a connection."""
        return float(self._queue_options["timeout"])

    def checkedin(self) -> int:
        """Return how many connections are idle, on all loops."""
        return sum(subpool.checkedin() for subpool in self._snapshot().values())

    def checkedout(self) -> int:
        """Return how many connections are in use, on all loops."""
        return sum(subpool.checkedout() for subpool in self._snapshot().values())

    def overflow(self) -> int:
        """Return by how many the open connections exceed `pool_size`, summed over the loops."""
        return sum(subpool.overflow() for subpool in self._snapshot().values())

    def _here(self) -> _SubPool:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise AsyncDBError(
                "A connection needs a running event loop. In synchronous code write `asyncdb_nb.run(coroutine)`."
            ) from None
        subpool = self._subpools.get(loop)
        return subpool if subpool is not None else self._open_subpool(loop)

    def _open_subpool(self, loop: asyncio.AbstractEventLoop) -> _SubPool:
        if isinstance(self._dialect, Dialect) and not event.contains(self._dialect, "handle_error", reraise_unwrapped):
            event.listen(self._dialect, "handle_error", reraise_unwrapped)
        subpool = _SubPool(self, loop)
        with self._lock:
            self._subpools[loop] = subpool
        loops.before_close(loop, subpool.finish)
        return subpool

    def _snapshot(self) -> dict[asyncio.AbstractEventLoop, _SubPool]:
        with self._lock:
            return dict(self._subpools)

    def _drop(self, subpool: _SubPool) -> None:
        """Forget a sub-pool whose loop is about to close."""
        with self._lock:
            if self._subpools.get(subpool.loop) is subpool:
                del self._subpools[subpool.loop]

    def _invalidate(
        self, connection: PoolProxiedConnection, exception: BaseException | None = None, _checkin: bool = True
    ) -> None:
        super()._invalidate(connection, exception, _checkin)
        for subpool in self._snapshot().values():
            subpool._invalidate_time = self._invalidate_time

    def _dispose_elsewhere(
        self, loop: asyncio.AbstractEventLoop, subpool: _SubPool, here: asyncio.AbstractEventLoop | None
    ) -> None:
        if not loop.is_running():
            if here is None:
                loops.drive(loop, subpool.close_idle)
            else:  # it cannot run beside this loop; it will close them when it runs next, or just before it closes
                loop.call_soon_threadsafe(lambda: subpool.spawn(subpool.close_idle()))
            return
        future = asyncio.run_coroutine_threadsafe(subpool.close_idle(), loop)
        if in_greenlet():
            await_only(asyncio.wait([asyncio.wrap_future(future)], timeout=OTHER_LOOP_SECONDS))
        elif here is None:
            future.exception(OTHER_LOOP_SECONDS)

    def _pool_options(self) -> dict[str, Any]:
        return {
            "recycle": self._recycle,
            "echo": self.echo,
            "logging_name": self._orig_logging_name,
            "reset_on_return": self._reset_on_return,
            "pre_ping": self._pre_ping,
        }

    def _do_get(self) -> ConnectionPoolEntry:
        raise NotImplementedError("The sub-pool of the running loop does this.")

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        raise NotImplementedError("The sub-pool that a connection came from does this.")


class _SubPool(AsyncAdaptedQueuePool):
    """The connections of one loop."""

    _sqla_logger_namespace = LoopBoundPool._sqla_logger_namespace

    def __init__(self, parent: LoopBoundPool, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            lambda record: guard(parent._invoke_creator(record), loop),
            dialect=parent._dialect,
            **parent._queue_options,
            **parent._pool_options(),
        )
        self.__dict__["dispatch"] = parent.dispatch  # one for all, so that a listener added late reaches everyone
        self.loop = loop
        self.retiring = False  # a returned connection is closed, not kept
        self._parent = parent
        self._records: weakref.WeakSet[Any] = weakref.WeakSet()
        self._waiting = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._reaper: asyncio.TimerHandle | None = None
        _living.add(self)

    def connect(self) -> PoolProxiedConnection:
        fairy = super().connect()
        record: Any = fairy._connection_record
        record.owner = asyncio.current_task(self.loop)
        return fairy

    async def finish(self, ending: Ending) -> None:
        """Close what there is, because the loop is about to go."""
        self.retiring = True
        if self._reaper is not None:
            self._reaper.cancel()
        if ending is not Ending.GENERATORS:
            self._parent._drop(self)
            loops.forget(self.loop, self.finish)
            await self._cancel_owners()
        await self.close_idle()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=OWNER_SECONDS)
        if ending is not Ending.GENERATORS:
            leaked = await self._close_checked_out()
            if leaked and ending is Ending.CLOSE:  # at exit nobody is left to listen
                self._warn(leaked)

    async def close_idle(self) -> None:
        """Close what is in the queue, all at once: each goodbye to a server that is frozen takes two seconds."""
        await _each(lambda record: record.close(), self._take_idle())

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run `work` as a task of this sub-pool's loop, and keep it alive."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _do_get(self) -> ConnectionPoolEntry:
        self._waiting += 1
        try:
            return super()._do_get()
        finally:
            self._waiting -= 1

    def _create_connection(self) -> ConnectionPoolEntry:
        record = self._parent._first_connect(super()._create_connection)
        self._records.add(record)
        return record

    def _do_return_conn(self, record: Any) -> None:
        record.owner = None
        if asyncio._get_running_loop() is not self.loop:  # a finalizer may run in any thread
            if not self.loop.is_closed():
                self.loop.call_soon_threadsafe(lambda: self.spawn(greenlet_spawn(self._do_return_conn, record)))
            return
        if self.retiring and not self._waiting:
            try:
                record.close()
            finally:
                self._dec_overflow()
            return
        super()._do_return_conn(record)
        if self._parent._idle_timeout is not None:
            record.idle_since = self.loop.time()
            if self._reaper is None:
                self._reap_at(record.idle_since + self._parent._idle_timeout)

    def _close_connection(self, connection: DBAPIConnection, *, terminate: bool = False) -> None:
        if asyncio._get_running_loop() is not self.loop:
            if not self.loop.is_closed():
                self.loop.call_soon_threadsafe(
                    lambda: self.spawn(greenlet_spawn(self._close_connection, connection, terminate=True))
                )
            return
        # terminate() says goodbye as well, but waits two seconds at most
        super()._close_connection(connection, terminate=terminate or (self.retiring and self._dialect.has_terminate))

    def _invalidate(
        self, connection: PoolProxiedConnection, exception: BaseException | None = None, _checkin: bool = True
    ) -> None:
        self._parent._invalidate(connection, exception, _checkin)

    def _reap_at(self, when: float) -> None:
        self._reaper = self.loop.call_at(when, self._reap)

    def _reap(self) -> None:
        """Take the connections that have been idle for too long out of the queue, and close them."""
        self._reaper = None
        limit = self._parent._idle_timeout
        if limit is None or self.retiring:
            return
        records = self._take_idle()
        oldest_allowed = self.loop.time() - limit
        fresh = [record for record in records if record.idle_since > oldest_allowed]
        stale = [record for record in records if record.idle_since <= oldest_allowed]
        for record in fresh:
            self._pool.put(record, False)
            self._inc_overflow()
        if fresh:
            self._reap_at(min(record.idle_since for record in fresh) + limit)
        self.spawn(_each(lambda record: record.close(), stale))

    def _take_idle(self) -> list[Any]:
        """Empty the queue; return what was in it, in an order in which it can be put back."""
        records = [self._pool.get(False) for _ in range(self._pool.qsize())]
        for _ in records:
            self._dec_overflow()
        return records[::-1] if self._pool.use_lifo else records

    async def _cancel_owners(self) -> None:
        """Cancel the tasks that hold a connection, so that their own cleanup gives it back."""
        me = asyncio.current_task()
        owners = {record.owner for record in self._records if getattr(record, "owner", None) is not None}
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


class _FirstConnect:
    """Let one connect at a time run until one has succeeded, across loops and threads.

    The first connection initialises the dialect. SQLAlchemy guards that with an `asyncio.Lock`, which belongs to one
    loop; two loops that connect for the first time at once need a gate that belongs to none.
    """

    def __init__(self) -> None:
        self._done = False
        self._busy = False
        self._lock = threading.Lock()
        self._waiting: list[Future[None]] = []

    def __call__(self, connect: Callable[[], ConnectionPoolEntry]) -> ConnectionPoolEntry:
        while not self._done:
            with self._lock:
                if not self._busy:
                    self._busy = True
                    break
                turn: Future[None] = Future()
                self._waiting.append(turn)
            await_only(asyncio.wrap_future(turn))
        else:
            return connect()
        try:
            record = connect()
            self._done = True
            return record
        finally:
            with self._lock:
                self._busy = False
                waiting, self._waiting = self._waiting, []
            for turn in waiting:
                if turn.set_running_or_notify_cancel():
                    turn.set_result(None)


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
    for pool in list(_pools):
        pool._subpools = {}
        pool._lock = threading.Lock()  # another thread of the parent may have held it
        pool._first_connect = _FirstConnect()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
