"""
Pool connections separately for every event loop, behind one engine.

    engine = create_async_engine(url, poolclass=LoopBoundPool)     # one engine, for the whole program

A connection lives on the loop that opened it. This pool hands out connections of the loop that is running, never lets
one leave its loop, and has them closed there just before the loop closes (see `aio/loop_cleanup.py`). What happens on
one loop is in `pool_of_one_loop.py`; here the loops come together.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import weakref
from collections.abc import Callable
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection, Dialect
from sqlalchemy.pool import PoolProxiedConnection
from sqlalchemy.util import await_only
from sqlalchemy.util.concurrency import in_greenlet

from asyncdb_nb.aio import fork, loop_cleanup, shielded
from asyncdb_nb.aio._asyncio import running_loop
from asyncdb_nb.engine import lost_connections, pooler, to_sql_errors
from asyncdb_nb.engine._sqlalchemy.pool import EnginePool
from asyncdb_nb.engine.first_connect import FirstConnect
from asyncdb_nb.engine.pool_of_one_loop import State, SubPool
from asyncdb_nb.engine.refuse_other_loops import home_of, reraise_unwrapped
from asyncdb_nb.errors import AsyncDBError

OTHER_LOOP_SECONDS = 5.0  # how long dispose() waits for a loop that runs in another thread

_pools: weakref.WeakSet[LoopBoundPool] = weakref.WeakSet()


class LoopBoundPool(EnginePool):
    """A SQLAlchemy pool with one sub-pool per running event loop.

    Every argument that `AsyncAdaptedQueuePool` takes means the same here, for each loop by itself: three loops with
    `pool_size=5` keep up to fifteen idle connections. Pool and engine events reach every sub-pool, whenever they are
    registered. `status()`, `checkedin()`, `checkedout()` and `overflow()` speak of all loops together. As in SQLAlchemy
    they count places, also one whose connection was lost (to a Stop, say) and is opened anew when it is next needed;
    `idle()` and `in_use_by_loop()` count connections.

    The connections of a loop end with it. A connection that is still checked out then is closed as well, and a
    `LeakWarning` says so. `dispose()` closes the idle connections of every loop, each on its own.

    Args:
        creator: What opens a connection; `create_async_engine` passes it.
        pool_size: Idle connections kept per loop.
        max_overflow: Connections per loop beyond `pool_size`, closed when they are returned.
        timeout: Seconds that a checkout waits for a connection (`pool_timeout` for `create_async_engine`).
        use_lifo: Hand out the connection returned last; by default so when there is an `idle_timeout`, because a
            first-in-first-out queue never lets a connection go idle.
        idle_timeout: Seconds after which an idle connection is closed, by one timer per loop; `None` is never. (A
            SQLite `:memory:` database lives in its connection, hence the default.)
        **kw: What `sqlalchemy.pool.Pool` takes: `recycle`, `pre_ping`, `reset_on_return`, `echo`, `events`, ...

    Raises:
        WrongLoopError: From a session or connection that is used on a loop other than its own.
    """

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
        self._subpools: dict[asyncio.AbstractEventLoop, SubPool] = {}
        self._lock = threading.Lock()
        self._first_connect = FirstConnect()
        _pools.add(self)

    def connect(self) -> PoolProxiedConnection:
        """Check out a connection of the running loop."""
        loop = running_loop()
        subpool = self._subpools.get(loop) or self._open_subpool(loop)  # type: ignore[arg-type]
        return self.adopt(subpool.connect())  # type: ignore[no-any-return]

    def dispose(self) -> None:
        """Close the idle connections of every loop, each on its own loop.

        Loops that run in other threads are waited for, up to five seconds each; one that is busy for longer closes them
        later. Connections that are checked out are closed when they are returned.
        """
        with self._lock:
            subpools, self._subpools = self._subpools, {}
        for subpool in subpools.values():
            subpool.state = State.DISPOSED
        for subpool in subpools.values():
            if not subpool.loop.is_closed():
                self._dispose_one(subpool, running_loop())
        self.logger.info("Pool disposed.")

    def recreate(self) -> LoopBoundPool:
        """Return a new, empty pool with the same arguments and listeners."""
        self.logger.info("Pool recreating")
        return self.anew(idle_timeout=self._idle_timeout, **self._options())  # type: ignore[no-any-return]

    def status(self) -> str:
        """Describe each loop's sub-pool in SQLAlchemy's words."""
        parts = [f"{loop_cleanup.describe(subpool.loop)}: {subpool.status()}" for subpool in self._snapshot()]
        return "; ".join(parts) or "No event loop uses this pool."

    def size(self) -> int:
        """Return how many idle connections are kept per loop."""
        return int(self._queue_options["pool_size"])

    def capacity(self) -> int | None:
        """Return how many connections a loop can have at once; None is any number."""
        size, overflow = self._queue_options["pool_size"], self._queue_options["max_overflow"]
        return None if size == 0 or overflow < 0 else int(size + overflow)

    def timeout(self) -> float:
        """Return how many seconds a checkout waits for a connection."""
        return float(self._queue_options["timeout"])

    def checkedin(self) -> int:
        """Return how many places are in the queue, on all loops; one that lost its connection counts, too."""
        return sum(subpool.checkedin() for subpool in self._snapshot())

    def checkedout(self) -> int:
        """Return how many places are checked out, on all loops."""
        return sum(subpool.checkedout() for subpool in self._snapshot())

    def idle(self) -> int:
        """Return how many open connections wait for the next query, on all loops."""
        return sum(subpool.idle() for subpool in self._snapshot())

    def in_use_by_loop(self) -> dict[asyncio.AbstractEventLoop, int]:
        """Return how many open connections are in use on each loop that has used this pool and is not closed."""
        return {subpool.loop: subpool.in_use() for subpool in self._snapshot()}

    def overflow(self) -> int:
        """Return by how many the open connections exceed `pool_size`, summed over the loops."""
        return sum(subpool.overflow() for subpool in self._snapshot())

    def _recycle_has_changed(self, seconds: int) -> None:
        """Tell the sub-pools, once there are any."""
        for subpool in getattr(self, "_subpools", {}).values():
            subpool.recycle_after(seconds)

    def _snapshot(self) -> list[SubPool]:
        """Return the sub-pools, without those whose loop has closed."""
        with self._lock:
            for loop in [loop for loop in self._subpools if loop.is_closed()]:
                del self._subpools[loop]
            return list(self._subpools.values())

    def _open_subpool(self, loop: asyncio.AbstractEventLoop | None) -> SubPool:
        if loop is None:
            raise AsyncDBError(
                "A connection needs a running event loop. In synchronous code write `asyncdb_nb.run(coroutine)`."
            )
        if isinstance(self.engine_dialect, Dialect):
            _prepare(self.engine_dialect, loop)
        subpool = SubPool(
            self, loop, first_connect=self._first_connect, idle_timeout=self._idle_timeout, **self._options()
        )
        self._snapshot()  # forgets the loops that have closed meanwhile
        with self._lock:
            self._subpools[loop] = subpool
        return subpool

    def _options(self) -> dict[str, Any]:
        return {**self._queue_options, **self.pool_arguments()}

    def _dispose_one(self, subpool: SubPool, here: asyncio.AbstractEventLoop | None) -> None:
        loop = subpool.loop
        if loop is here:
            if in_greenlet():
                await_only(subpool.close_idle())
            else:
                subpool.spawn(subpool.close_idle)
        elif not loop.is_running():
            if here is None:
                loop_cleanup.drive(loop, subpool.close_idle)
            else:  # it cannot run beside this loop: it closes them when it runs next, or just before it closes
                subpool.spawn(subpool.close_idle)
        else:
            future = asyncio.run_coroutine_threadsafe(subpool.close_idle(), loop)
            future.add_done_callback(self._log_failure)
            if in_greenlet():
                await_only(asyncio.wait([asyncio.wrap_future(future)], timeout=OTHER_LOOP_SECONDS))
            elif here is None:
                concurrent.futures.wait([future], OTHER_LOOP_SECONDS)

    def _log_failure(self, closing: concurrent.futures.Future[None]) -> None:
        if not closing.cancelled() and (error := closing.exception()) is not None:
            self.logger.warning("The connections of another event loop could not be closed: %r", error)

    def _generation_has_ended(self) -> None:
        """Tell the sub-pools."""
        for subpool in self._snapshot():
            subpool.follow_generation()

    def _close(self, connection: DBAPIConnection, *, terminate: bool) -> None:
        """Close a connection that was detached from its sub-pool, on its own loop."""
        subpool = self._subpools.get(home_of(connection))  # type: ignore[arg-type]
        if subpool is not None:
            subpool.close_connection(connection, terminate=terminate)
        else:
            super()._close(connection, terminate=terminate)

    def _take_back(self, record: Any) -> None:
        """Leave it to the sub-pool that it is of."""
        record.subpool.take_back(record)


def _prepare(dialect: Dialect, loop: asyncio.AbstractEventLoop) -> None:
    """Listen to what SQLAlchemy asks a dialect's listeners, once a dialect."""
    if not event.contains(dialect, "handle_error", reraise_unwrapped):
        event.listen(dialect, "handle_error", reraise_unwrapped)
    if dialect.driver == "asyncpg":
        from asyncdb_nb.engine import asyncpg_connection  # here: it imports the driver

        shielded.await_before_close(loop)
        if not event.contains(dialect, "do_connect", asyncpg_connection.by_default):
            event.listen(dialect, "do_connect", asyncpg_connection.by_default)
            event.listen(dialect, "handle_error", lost_connections.explain)
            event.listen(dialect, "handle_error", pooler.explain)
            event.listen(dialect, "handle_error", to_sql_errors.explain)


@fork.in_child
def _leave_to_parent() -> None:
    """In a forked child, begin anew; `pool_of_one_loop.py` takes the inherited connections out of reach."""
    for pool in list(_pools):
        pool._subpools = {}
        pool._lock = threading.Lock()  # another thread of the parent may have held it
        pool._first_connect = FirstConnect()
