"""
Pool the connections of one event loop, and close them before it closes.

It is SQLAlchemy's `AsyncAdaptedQueuePool`. What is added: a connection goes back on its own loop, whoever returns it;
idle connections are closed after a while; and just before the loop closes, all of them are.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
import warnings
import weakref
from asyncio import current_task
from collections.abc import Callable, Coroutine
from enum import Enum
from time import monotonic
from typing import Any

from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import PoolProxiedConnection
from sqlalchemy.util import greenlet_spawn

from asyncdb_nb.aio import fork, loop_cleanup
from asyncdb_nb.aio._asyncio import running_loop
from asyncdb_nb.aio.loop_cleanup import LoopPhase
from asyncdb_nb.engine._sqlalchemy.execution import is_asyncpgs
from asyncdb_nb.engine._sqlalchemy.pool import EnginePool, PlacesPool
from asyncdb_nb.engine.abandoned_pools import IdleConnections
from asyncdb_nb.engine.first_connect import FirstConnect
from asyncdb_nb.engine.refuse_other_loops import bind_to_loop, home_of
from asyncdb_nb.engine.statement_cache import limited
from asyncdb_nb.errors import LeakWarning

OWNER_SECONDS = 1.0  # how long a closing loop waits for the tasks that it cancelled

logger = logging.getLogger("asyncdb_nb.pool")
"""Tells at DEBUG what is opened, handed out, returned and closed, on which loop, and why."""

_instances: weakref.WeakSet[SubPool] = weakref.WeakSet()


class State(Enum):
    """What becomes of a connection that is returned."""

    OPEN = "it is kept for the next checkout"
    DISPOSED = "the engine was disposed of"  # it is closed
    LOOP_CLOSING = "the loop is about to close"  # it is closed


class SubPool(PlacesPool):
    """The connections of one loop.

    Args:
        parent: The engine's pool; its creator, listeners and settings hold here.
        loop: The loop, which is running.
        first_connect: The lock that all loops of the engine share.
        idle_timeout: Seconds after which an idle connection is closed (60 for a `Database`); `None` is never.
        **options: What `AsyncAdaptedQueuePool` takes.
    """

    def __init__(
        self,
        parent: EnginePool,
        loop: asyncio.AbstractEventLoop,
        *,
        first_connect: FirstConnect,
        idle_timeout: float | None,
        **options: Any,
    ) -> None:
        super().__init__(parent, lambda record: bind_to_loop(limited(parent.open_for(record)), loop), **options)
        self._can_terminate = parent.engine_dialect.has_terminate
        self.loop = loop
        self.state = State.OPEN
        self._first_connect = first_connect
        self._idle_timeout = idle_timeout
        self._records: weakref.WeakSet[Any] = weakref.WeakSet()
        self._counting = threading.Lock()  # `in_use()` is asked from any thread
        self._waiting: set[asyncio.Task[Any] | None] = set()  # that wait for a connection, or open one
        self._checking_out: dict[asyncio.Task[Any] | None, list[Any]] = {}  # what each checkout took
        self._idle_connections = IdleConnections(self, loop, parent.engine_dialect)
        self._closing: dict[int, asyncio.Task[Any] | None] = {}  # ids of connections that are being closed, and by whom
        self._registered = False  # with the loop, for as long as there is something to close
        self._tasks: set[asyncio.Task[Any]] = set()
        self._reaper: asyncio.TimerHandle | None = None
        _instances.add(self)

    async def finish(self, phase: LoopPhase) -> None:
        """Close what there is, because the loop is about to close."""
        self.state = State.LOOP_CLOSING
        if phase is LoopPhase.GENERATORS:
            await self.close_idle()
            return
        await self._cancel_users()
        await self.close_idle()
        await self._wait_for_closing()
        leaked = await self._close_checked_out()
        if leaked and phase is LoopPhase.CLOSE:  # at exit nobody is left to listen
            self._warn(leaked)

    async def close_idle(self) -> None:
        """Close what is in the queue, all at once: each graceful close to a server that is frozen takes two seconds.

        What tasks are waiting for is left to them; the last of them to check out closes the rest.
        """
        if self._waiting:
            return
        if self._reaper is not None:
            self._reaper.cancel()
            self._reaper = None
        await self._close_all(self._take_idle(), self.state.value)
        self._unregister_if_done()

    @property
    def retiring(self) -> bool:
        """Whether a connection that is returned is closed, not kept."""
        return self.state is not State.OPEN

    def idle(self) -> int:
        """Return how many open connections are in the queue."""
        return len(self._idle_connections)

    def in_use(self) -> int:
        """Return how many open connections are checked out; one that is being closed is neither in use nor idle."""
        with self._counting:
            connections = [record.dbapi_connection for record in self._records]
        opened = {id(connection) for connection in connections if connection is not None}
        return len(opened - self._closing.keys()) - len(self._idle_connections)

    def spawn(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """Run `work()` as a task of this sub-pool's loop, from any thread, and keep it alive."""
        if running_loop() is not self.loop:
            self.loop.call_soon_threadsafe(self.spawn, work)
            return
        task = self.loop.create_task(work())
        self._tasks.add(task)
        task.add_done_callback(self._forget_task)

    def _forget_task(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        self._unregister_if_done()

    def _unregister_if_done(self) -> None:
        """Have the loop forget a pool that is disposed of and empty, which it would keep until it closes."""
        places = self.checkedin() + self.checkedout()
        if self.retiring and not places and not self._tasks:
            self._registered = False
            self._idle_connections.end()

    def connect(self) -> PoolProxiedConnection:
        """Check out a connection, or give its place back at once.

        SQLAlchemy leaves the place to the garbage collector when it is cancelled while it discards a connection that
        failed its ping.
        """
        task = current_task()
        taken: list[Any] = []
        outer = self._checking_out.get(task)  # whose listener checks out another one
        self._checking_out[task] = taken
        try:
            return super().connect()
        except BaseException:
            for record in taken:
                if record.owner is task:
                    record.checkin()
            raise
        finally:
            del self._checking_out[task]
            if outer is not None:
                self._checking_out[task] = outer

    def hand_out(self) -> Any:
        """Take a place of the queue, or wait for one."""
        task = current_task()
        record = self.next_in_queue() if self.checkedin() else self._wait_or_connect(task)
        record.owner = task
        self._checking_out[task].append(record)
        self._idle_connections.discard(record.dbapi_connection)
        self._log("handed out %s", record)
        return record

    def _wait_or_connect(self, task: asyncio.Task[Any] | None) -> Any:
        self._waiting.add(task)
        try:
            return super().hand_out()
        finally:
            self._waiting.discard(task)
            if self.retiring and not self._waiting:
                self.spawn(self.close_idle)

    def open_place(self) -> Any:
        """Open a connection when it is this loop's turn."""
        if not self._registered:
            self._registered = True
            self._idle_connections.begin()
        record = self._new_record()
        try:
            self._first_connect(record.get_connection)
        except BaseException as error:
            logger.debug("%s: could not open a connection: %s", loop_cleanup.name(self.loop), type(error).__name__)
            try:
                record.invalidate(error)  # it is open already when a `connect` listener fails, or is cancelled
            finally:
                self.loop.call_soon(self._offer_slot)
            raise
        self._log("opened %s", record)
        return record

    def _new_record(self) -> Any:
        record = self.new_place()
        record.subpool = self
        record.owner = None  # the task that has it checked out
        with self._counting:
            self._records.add(record)
        return record

    def _offer_slot(self) -> None:
        """Let a waiting task try where a connect failed; SQLAlchemy would let it wait for its timeout."""
        if self._waiting and self.is_limited() and self.add_place():
            self.take_back(self._new_record())

    def take_back(self, record: Any) -> None:
        """Keep a place whose connection is returned, on its own loop."""
        record.owner = None
        if running_loop() is not self.loop:  # a finalizer may run in any thread
            if not self.loop.is_closed():
                self.spawn(functools.partial(greenlet_spawn, self.take_back, record))
        elif self.retiring:
            self._retire(record)
        else:
            try:
                if reason := _still_in_use(record.dbapi_connection):
                    self._log(f"closing %s, which was returned: {reason}", record)
                    record.invalidate()
            finally:
                self._keep(record)

    def _keep(self, record: Any) -> None:
        self._log("returned %s", record)
        self._idle_connections.add(record.dbapi_connection)
        super().take_back(record)
        if self._idle_timeout is not None:
            record.idle_since = monotonic()
            if self._reaper is None:
                self._reap_after(self._idle_timeout)

    def _retire(self, record: Any) -> None:
        if self._waiting:  # somebody may be waiting for it
            super().take_back(record)
            return
        self._log("closing %s, which was returned: %s", record, self.state.value)
        try:
            record.close()
        finally:
            self.drop_place()
            self._unregister_if_done()

    def close_connection(self, connection: DBAPIConnection, *, terminate: bool) -> None:
        """Close a connection on its own loop."""
        if home_of(connection) in (None, running_loop()):
            self._idle_connections.discard(connection)
            self._closing[id(connection)] = current_task()
            try:  # terminate() sends Terminate as well, but waits two seconds at most
                super().close_connection(connection, terminate=terminate or (self.retiring and self._can_terminate))
            finally:
                self._closing.pop(id(connection), None)
        elif not self.loop.is_closed():  # a finalizer may run in any thread
            self.spawn(functools.partial(greenlet_spawn, self.close_connection, connection, terminate=True))

    def _reap_after(self, seconds: float) -> None:
        self._reaper = self.loop.call_later(seconds, _reap, weakref.ref(self))  # a timer shall not keep it alive

    def _reap(self) -> None:
        """Take the connections that have been idle for too long out of the queue, and close them."""
        self._reaper = None
        if self._idle_timeout is None or self.retiring:
            return
        records = self._take_idle()
        now = monotonic()
        for record in records:
            record.idle_since = min(record.idle_since, now)  # a clock that was frozen may have been ahead
        oldest_allowed = now - self._idle_timeout
        fresh = [record for record in records if record.idle_since > oldest_allowed]
        stale = [record for record in records if record.idle_since <= oldest_allowed]
        for record in fresh:
            self.put_in_queue(record)
            self.add_place()
        if fresh:
            oldest = min(record.idle_since for record in fresh)
            self._reap_after(oldest - oldest_allowed)
        if stale:
            self.spawn(functools.partial(self._close_all, stale, f"idle for {self._idle_timeout:g} s"))

    def _take_idle(self) -> list[Any]:
        """Empty the queue; return what was in it, in an order in which it can be put back."""
        records = [self.next_in_queue() for _ in range(self.checkedin())]
        for _ in records:
            self.drop_place()
        return records[::-1] if self.is_last_in_first_out() else records

    async def _cancel_users(self) -> None:
        """Cancel the tasks that hold a connection, open one or wait for one, so that their own cleanup lets go."""
        deadline = self.loop.time() + OWNER_SECONDS
        cancelled: set[asyncio.Task[Any]] = set()
        while (seconds := deadline - self.loop.time()) > 0:
            for task in self._users() - cancelled:
                task.cancel()
                cancelled.add(task)
            pending = {task for task in cancelled if not task.done()}
            if not pending:
                return
            await asyncio.wait(pending, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)

    def _users(self) -> set[asyncio.Task[Any]]:
        users = {record.owner for record in self._records} | self._waiting
        return {task for task in users if task is not None and task is not current_task()}

    async def _wait_for_closing(self) -> None:
        """Give connections that are being closed, by whichever task, the time to end gracefully."""
        closing = self._tasks | {task for task in self._closing.values() if task not in (None, current_task())}
        if closing:
            await asyncio.wait(closing, timeout=OWNER_SECONDS)

    async def _close_checked_out(self) -> int:
        """Close what is still open; return how many of these connections were checked out."""
        opened = [record for record in self._records if record.dbapi_connection is not None]
        leaked = [record for record in opened if record.in_use]
        for record in opened:
            self._log("closing %s, which is not returned: %s", record, self.state.value)
        await _each(lambda record: record.invalidate(), opened)
        return len(leaked)

    async def _close_all(self, records: list[Any], why: str) -> None:
        for record in records:
            self._log("closing %s: %s", record, why)
        await _each(lambda record: record.close(), records)

    def _log(self, message: str, record: Any, *more: str) -> None:
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug(f"%s: {message}", loop_cleanup.name(self.loop), _name(record), *more)

    def _warn(self, leaked: int) -> None:
        warnings.warn(
            f"{leaked} connection(s) were still checked out when {loop_cleanup.describe(self.loop)} closed, and were "
            "closed with it. Close every session: `async with db.session() as session:`.",
            LeakWarning,
            stacklevel=2,
        )


def _still_in_use(connection: Any) -> str:
    """Say why the next one to check a connection out would suffer from the last; nothing where it would not.

    What is committed in a transaction that a statement or the driver began, or that could not be ended, would be lost
    with it. Where a task still awaits an answer, every statement is refused. Under AUTOCOMMIT nothing ends a statement
    that was prepared, and then not executed because a value did not fit, say.
    """
    driver = connection.driver_connection if is_asyncpgs(connection) else None
    if driver is None or driver.is_closed():
        return ""
    if driver.is_in_transaction():
        return "a transaction is open on it"
    commands = getattr(driver, "commands", None)  # of our own class
    if commands is None:
        return ""
    if commands.running:
        return "another task is using it"
    return "the server holds the locks of a statement that was not executed" if commands.only_parsed else ""


def _name(record: Any) -> str:
    driver: Any = getattr(record.dbapi_connection, "driver_connection", None)
    if hasattr(driver, "get_server_pid") and not driver.is_closed():
        return f"backend {driver.get_server_pid()}"
    return "a connection" if record.dbapi_connection is not None else "a place for a connection"


def _reap(reference: weakref.ref[SubPool]) -> None:
    subpool = reference()
    if subpool is not None:
        subpool._reap()


async def _each(action: Callable[[Any], None], records: list[Any]) -> None:
    """Do something with every record at the same time, as synchronous code that awaits by greenlets."""
    await asyncio.gather(*(greenlet_spawn(action, record) for record in records))


@fork.in_child
def _leave_to_parent() -> None:
    """In a forked child, take every inherited connection out of reach: its socket is the parent's."""
    for subpool in list(_instances):
        records = list(subpool._records)
        loop_cleanup.never_finalize([subpool, subpool.loop, [(record, record.dbapi_connection) for record in records]])
        for record in records:
            record.dbapi_connection = None
