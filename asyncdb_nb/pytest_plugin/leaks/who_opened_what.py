"""
Write down what is checked out on the async engines of the process: by whom, at which line, on which loop.

Who opens something is known only when it is opened: the test that runs, or the fixture that is being set up. So every
engine's pool is listened to, and what is given back is struck out again. `detector.py` reads here what was forgotten.
"""

from __future__ import annotations

import asyncio
import functools
import sys
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
from sqlalchemy.pool import Pool

from asyncdb_nb.aio import call_site
from asyncdb_nb.aio._asyncio import running_loop
from asyncdb_nb.aio.call_site import CallSite
from asyncdb_nb.engine._sqlalchemy.pool import dialect_of as pool_dialect
from asyncdb_nb.engine._sqlalchemy.pool import place_of, pool_of
from asyncdb_nb.engine.pool_of_all_loops import LoopBoundPool
from asyncdb_nb.engine.pool_of_one_loop import SubPool
from asyncdb_nb.pytest_plugin.leaks import where_engines_are_made
from asyncdb_nb.pytest_plugin.leaks.borrowed_session import BORROWED


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
    call_site: CallSite
    session: weakref.ref[Any] | None = None
    statement: str | None = None

    @property
    def dialect(self) -> Any:
        """The dialect, which an engine keeps for as long as it lives."""
        return dialect_of(self.record)

    @property
    def is_borrowed(self) -> bool:
        """Whether it belongs to a session that a fixture of this plugin lends, and closes itself."""
        session = None if self.session is None else self.session()
        return session is not None and BORROWED in session.info


@dataclass
class Home:
    """Where a connection that the default pool of an engine keeps was opened."""

    loop: weakref.ref[asyncio.AbstractEventLoop]
    owner: Owner
    call_site: CallSite


@dataclass
class Checkouts:
    """What is open now. `owner` is set by whoever knows it; while it is None, nothing is written down.

    Args:
        loop_seen: Called on each loop on which something is opened, every time.
    """

    loop_seen: Callable[[asyncio.AbstractEventLoop], None]
    owner: Owner | None = None
    out: dict[Any, Checkout] = field(default_factory=dict)
    homes: weakref.WeakKeyDictionary[Any, Home] = field(default_factory=weakref.WeakKeyDictionary)
    ignored: weakref.WeakSet[Any] = field(default_factory=weakref.WeakSet)  # dialects of engines
    _tasks: weakref.WeakKeyDictionary[Any, CallSite] = field(default_factory=weakref.WeakKeyDictionary)

    def start(self) -> Callable[[], None]:
        """Begin to listen; returns what ends it."""
        listeners = (
            (Pool, "connect", self._connected),
            (Pool, "checkout", self._checked_out),
            (Pool, "checkin", self._given_back),
            (Pool, "detach", self._given_back),
            (Session, "after_begin", self._session_begun),
            (Engine, "before_cursor_execute", self._executed),
        )
        for target, name, listener in listeners:
            event.listen(target, name, listener)
        unwrap = [where_engines_are_made.follow(), after_call(AsyncSession, "__init__", _remember_origin)]
        unwrap += [after_call(kind, "create_task", self._task_made) for kind in _kinds_of_loops()]

        def stop() -> None:
            for target, name, listener in listeners:
                event.remove(target, name, listener)
            for each in unwrap:
                each()

        return stop

    def _connected(self, connection: Any, record: Any) -> None:
        pool = pool_of(record)
        dialect = pool_dialect(pool)
        if self.owner is not None and _is_async(dialect) and not isinstance(pool, (LoopBoundPool, SubPool)):
            loop = running_loop()
            if loop is not None and dialect.name != "sqlite":  # whose connections work on any loop
                opened = where_engines_are_made.call_site_of(dialect) or call_site.here()
                self.homes[record] = Home(weakref.ref(loop), self.owner, opened)

    def _checked_out(self, connection: Any, record: Any, proxy: Any) -> None:
        loop = running_loop()
        dialect = dialect_of(record)
        if loop is None or self.owner is None or not _is_async(dialect) or dialect in self.ignored:
            return
        self.loop_seen(loop)
        task = asyncio.current_task(loop)
        opened = call_site.here() or self._tasks.get(task, ())
        self.out[record] = Checkout(proxy, record, loop, task, self.owner, opened)

    def _given_back(self, connection: Any, record: Any) -> None:
        self.out.pop(record, None)

    def _session_begun(self, session: Any, transaction: Any, connection: Any) -> None:
        checkout = self.out.get(_record_of(connection))
        if checkout is not None:
            checkout.session = weakref.ref(session)
            checkout.call_site = session.info.get(_ORIGIN) or checkout.call_site

    def _executed(self, connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        checkout = self.out.get(_record_of(connection))
        if checkout is not None:
            checkout.statement = statement

    def _task_made(self, loop: Any, task: Any) -> None:
        """Remember who made it: a task that is `db.frame(...)` itself has no line of the user's on its stack."""
        if self.owner is not None:
            self._tasks[task] = call_site.here(depth=1)


def dialect_of(record: Any) -> Any:
    """Return the dialect of the engine whose pool a record is in."""
    return pool_dialect(pool_of(record))


def after_call(kind: Any, name: str, also: Callable[[Any, Any], None]) -> Callable[[], None]:
    """Have a method followed by a function that is given the object and the result; returns what undoes that."""
    original = getattr(kind, name)

    @functools.wraps(original)
    def wrapped(self: Any, *args: Any, **kw: Any) -> Any:
        result = original(self, *args, **kw)
        also(self, result)
        return result

    setattr(kind, name, wrapped)
    return lambda: setattr(kind, name, original)


_ORIGIN = "asyncdb_nb.call_site"


def _remember_origin(made: Any, _: None) -> None:
    made.sync_session.info[_ORIGIN] = call_site.here()


def _kinds_of_loops() -> list[Any]:
    """Return asyncio's, and uvloop's where a suite uses it: that one inherits nothing from asyncio's."""
    uvloop = sys.modules.get("uvloop")
    return [asyncio.BaseEventLoop] if uvloop is None else [asyncio.BaseEventLoop, uvloop.Loop]


def _is_async(dialect: Any) -> bool:
    return bool(getattr(dialect, "is_async", False))


def _record_of(connection: Any) -> Any:
    """Find the record of a connection that is at work, and so has one unless it was detached."""
    return place_of(connection.connection)
