"""
Watch what is opened on every async engine of the process, and close what its owner forgot.

Who opened it is known when it is opened: the test that runs, or the fixture that is being set up. Whether it was
forgotten is known when its owner has ended, or when the loop it lives on is about to end; both come while the loop can
still close it. `hooks.py` says when; `leak.py` says it in words.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session
from sqlalchemy.pool import Pool
from sqlalchemy.util import greenlet_spawn

from asyncdb_nb import loops
from asyncdb_nb.pool import LoopBoundPool
from asyncdb_nb.pytest_plugin import origin
from asyncdb_nb.pytest_plugin.leak import Leak
from asyncdb_nb.pytest_plugin.lent import LENT
from asyncdb_nb.pytest_plugin.origin import Origin
from asyncdb_nb.subpool import SubPool

GRACE_SECONDS = 0.2  # for a task that outlives the test on purpose and is just about to give its connection back
CANCEL_SECONDS = 2.0  # how long cancelled tasks may take to end
SETTLE_SECONDS = 10.0  # for all of it


@dataclass(eq=False)
class Owner:
    """Who opens things now. `node` is the test, or what the scope of a fixture lasts for."""

    node: Any
    name: str


@dataclass(eq=False)
class Checkout:
    """A connection that is checked out. The proxy is kept, so that the garbage collector cannot blame a later test."""

    proxy: Any
    record: Any
    loop: asyncio.AbstractEventLoop
    task: asyncio.Task[Any] | None
    owner: Owner
    origin: Origin
    session: weakref.ref[Any] | None = None
    statement: str | None = None

    @property
    def dialect(self) -> Any:
        """The dialect, which an engine keeps for as long as it lives."""
        return self.record._ConnectionRecord__pool._dialect


@dataclass
class Home:
    """Where a connection that the default pool keeps was opened."""

    loop: weakref.ref[asyncio.AbstractEventLoop]
    owner: Owner
    origin: Origin


@dataclass
class Watch:
    """The watch over this process. `owner` is set by whoever knows it."""

    owner: Owner | None = None
    leaks: list[Leak] = field(default_factory=list)
    ignored: weakref.WeakSet[Any] = field(default_factory=weakref.WeakSet)  # dialects of engines
    _out: dict[Any, Checkout] = field(default_factory=dict)
    _homes: weakref.WeakKeyDictionary[Any, Home] = field(default_factory=weakref.WeakKeyDictionary)
    _watched: weakref.WeakSet[asyncio.AbstractEventLoop] = field(default_factory=weakref.WeakSet)

    def start(self) -> Callable[[], None]:
        """Begin to watch; returns what ends it."""
        listeners = (
            (Pool, "connect", self._connected),
            (Pool, "checkout", self._checked_out),
            (Pool, "checkin", self._checked_in),
            (Pool, "detach", self._detached),
            (Session, "after_begin", self._session_begun),
            (Engine, "before_cursor_execute", self._executed),
        )
        for target, name, listener in listeners:
            event.listen(target, name, listener)
        undo = [self._wrap(asyncio.Runner, "close", self._runner_ends)]
        undo += [self._wrap(kind, "__init__", _remember_origin, after=True) for kind in (AsyncSession, AsyncEngine)]

        def stop() -> None:
            for target, name, listener in listeners:
                event.remove(target, name, listener)
            for each in undo:
                each()

        return stop

    def settle(self, forgotten: Callable[[Checkout], bool]) -> None:
        """Close what was forgotten, each on its loop; from synchronous code."""
        if not self._out:
            return
        for loop in {checkout.loop for checkout in self._out.values()}:
            if loop.is_closed():
                self._give_up(loop)
                continue
            chosen = [one for one in self._out.values() if one.loop is loop and forgotten(one) and not _is_lent(one)]
            if not chosen:
                continue
            if loop.is_running():
                asyncio.run_coroutine_threadsafe(self._close(chosen), loop).result(SETTLE_SECONDS)
            else:
                loops.drive(loop, lambda chosen=chosen: self._close(chosen), SETTLE_SECONDS)  # type: ignore[misc]

    def _connected(self, connection: Any, record: Any) -> None:
        pool = record._ConnectionRecord__pool
        if self.owner is not None and _is_async(pool._dialect) and not isinstance(pool, (LoopBoundPool, SubPool)):
            loop = asyncio._get_running_loop()
            if loop is not None and pool._dialect.name != "sqlite":  # whose connections work on any loop
                self._homes[record] = Home(weakref.ref(loop), self.owner, origin.here())
                self._watch_loop(loop)

    def _checked_out(self, connection: Any, record: Any, proxy: Any) -> None:
        loop = asyncio._get_running_loop()
        dialect = record._ConnectionRecord__pool._dialect
        if loop is None or self.owner is None or not _is_async(dialect) or dialect in self.ignored:
            return
        self._watch_loop(loop)
        task = asyncio.current_task(loop)
        self._out[record] = Checkout(proxy, record, loop, task, self.owner, origin.here())

    def _checked_in(self, connection: Any, record: Any) -> None:
        self._out.pop(record, None)

    def _detached(self, connection: Any, record: Any) -> None:
        self._out.pop(record, None)

    def _session_begun(self, session: Any, transaction: Any, connection: Any) -> None:
        checkout = self._out.get(_record_of(connection))
        if checkout is not None:
            checkout.session = weakref.ref(session)
            checkout.origin = session.info.get(_ORIGIN, checkout.origin)

    def _executed(self, connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        checkout = self._out.get(_record_of(connection))
        if checkout is not None:
            checkout.statement = statement

    def _watch_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        if loop not in self._watched:
            self._watched.add(loop)
            loops.before_close(loop, self._loop_ends)

    def _runner_ends(self, runner: Any) -> None:
        """Look before the runner cancels the tasks that were forgotten on it."""
        loop = runner._loop
        if loop is not None and loop in self._watched and not loop.is_closed() and not loop.is_running():
            loops.drive(loop, self._settle_loop, SETTLE_SECONDS)

    async def _loop_ends(self, ending: loops.Ending) -> None:
        """Look before a loop is closed by hand."""
        if ending is loops.Ending.CLOSE:
            await self._settle_loop()

    async def _settle_loop(self) -> None:
        loop = asyncio.get_running_loop()
        await self._close([one for one in self._out.values() if one.loop is loop and not _is_lent(one)], grace=0)
        await self._close_homes(loop)

    async def _close(self, checkouts: list[Checkout], grace: float = GRACE_SECONDS) -> None:
        await self._wait_for(checkouts, grace)
        left = [one for one in checkouts if self._out.get(one.record) is one]
        for one in left:
            self.leaks.append(_describe(one))
        await _cancel({one.task for one in left if one.task is not None and _is_busy(one)})
        for one in left:
            if self._out.get(one.record) is one:
                await _take_back(one)
                self._out.pop(one.record, None)

    async def _wait_for(self, checkouts: list[Checkout], seconds: float) -> None:
        """Give tasks that still run the time to end what they do."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if not any(_is_busy(one) and self._out.get(one.record) is one for one in checkouts):
                return
            await asyncio.sleep(0.005)

    async def _close_homes(self, loop: asyncio.AbstractEventLoop) -> None:
        """Close what the default pool of an engine keeps for a loop that ends: on the next one it would fail."""
        left = [(record, home) for record, home in list(self._homes.items()) if home.loop() is loop]
        blamed = set()
        for record, home in left:
            del self._homes[record]
            if record.dbapi_connection is None or record in self._out:
                continue
            dialect = record._ConnectionRecord__pool._dialect
            if dialect not in blamed:
                blamed.add(dialect)
                self.leaks.append(Leak("engine", home.owner.name, getattr(dialect, _ORIGIN, None) or home.origin))
            await greenlet_spawn(record.invalidate)

    def _give_up(self, loop: asyncio.AbstractEventLoop) -> None:
        """Forget what was left on a loop that closed without letting anybody know."""
        for one in [one for one in self._out.values() if one.loop is loop]:
            self.leaks.append(_describe(one))
            self._out.pop(one.record, None)

    def _wrap(self, kind: Any, name: str, also: Callable[..., Any], after: bool = False) -> Callable[[], None]:
        """Have a method call a function as well, before it or after it; returns what undoes that."""
        original = getattr(kind, name)

        def wrapped(self: Any, *args: Any, **kw: Any) -> Any:
            if after:
                original(self, *args, **kw)
                also(self)
                return None
            also(self)
            return original(self, *args, **kw)

        setattr(kind, name, wrapped)
        return lambda: setattr(kind, name, original)


_ORIGIN = "_asyncdb_nb_origin"
_ANYIO_RUNNER = "_run_tests_and_fixtures"


def _remember_origin(made: Any) -> None:
    if isinstance(made, AsyncSession):
        made.sync_session.info[_ORIGIN] = origin.here()
    elif not hasattr(made.sync_engine.dialect, _ORIGIN):  # execution_options() makes a second object for one engine
        setattr(made.sync_engine.dialect, _ORIGIN, origin.here())


def _is_async(dialect: Any) -> bool:
    return bool(getattr(dialect, "is_async", False))


def _is_lent(checkout: Checkout) -> bool:
    session = None if checkout.session is None else checkout.session()
    return session is not None and LENT in session.info


def _is_busy(checkout: Checkout) -> bool:
    """Return whether a task still holds it; anyio's runner, which runs one test after the other, does not count."""
    task = checkout.task
    return task is not None and not task.done() and getattr(task.get_coro(), "__name__", "") != _ANYIO_RUNNER


def _record_of(connection: Any) -> Any:
    return getattr(connection._dbapi_connection, "_connection_record", None)


def _describe(one: Checkout) -> Leak:
    statement = one.statement
    busy = _is_busy(one)
    mutex = getattr(one.record.dbapi_connection, "_execute_mutex", None)
    running = busy and mutex is not None and mutex.locked()
    if busy:
        kind = "query" if running else "task"
    elif one.session is not None:
        kind = "session"
    else:
        kind = "transaction" if _in_transaction(one) else "connection"
    task = one.task.get_name() if busy and one.task is not None else None
    return Leak(kind, one.owner.name, one.origin, task, statement)


def _in_transaction(one: Checkout) -> bool:
    driver = getattr(one.record.dbapi_connection, "driver_connection", None)
    in_transaction = getattr(driver, "is_in_transaction", None)
    return bool(in_transaction and in_transaction())


async def _cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    pending = list(tasks)
    for task in pending:
        task.cancel()
    if pending:
        await asyncio.wait(pending, timeout=CANCEL_SECONDS)
        for task in pending:
            if task.done() and not task.cancelled():
                task.exception()  # it was told as a leak; asyncio shall not tell it again


async def _take_back(one: Checkout) -> None:
    """Close a connection, and give its place in the pool back."""
    session: Session | None = one.session() if one.session is not None else None
    if session is not None:
        await greenlet_spawn(session.invalidate)
    elif one.proxy.dbapi_connection is not None:
        await greenlet_spawn(one.proxy.invalidate)
