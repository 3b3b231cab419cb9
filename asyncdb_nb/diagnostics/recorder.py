"""
Keep what event loops and connections did, in the order in which it happened.

A `Recorder` is told by `listeners.py` and numbers loops and connections as they are first seen. It holds them weakly:
being watched must not keep anything alive.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from asyncdb_nb.aio._asyncio import running_loop
from asyncdb_nb.engine._sqlalchemy.pool import place_of
from asyncdb_nb.errors import AsyncDBError

Loop = asyncio.AbstractEventLoop


@dataclass
class Event:
    """One thing that happened.

    Attributes:
        seconds: When, since the recording began.
        kind: `loop opened`, `loop closed`, `connected`, `checked out`, `statement`, `cancelled`, `failed`,
            `checked in`, `invalidated`, `closed` or `disposed`.
        loop: The number of the loop that was running then.
        connection: The number of the connection.
        home: The number of the loop that the connection was opened on.
        astray: Whether the connection's own loop was closed by then, or another one was running.
        detail: A statement's SQL, an error.
        took: Seconds until a statement came to its end, well or not.
    """

    seconds: float
    kind: str
    loop: int | None = None
    connection: int | None = None
    home: int | None = None
    astray: bool = False
    detail: str = ""
    took: float | None = None


@dataclass
class _Known:
    """A connection that was seen."""

    number: int
    home: int | None
    loop: Callable[[], Loop | None]
    statement: Event | None = None


class Recorder:
    """What happened, in `events`; a loop that ran before is taken to have opened when the recording began."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._start = time.perf_counter()
        self._lock = threading.RLock()  # a finalizer may come in the middle of a call of the same thread
        self._ran: weakref.WeakKeyDictionary[Loop, float] = weakref.WeakKeyDictionary()
        self._loops: weakref.WeakKeyDictionary[Loop, int] = weakref.WeakKeyDictionary()
        self._closed: set[int] = set()
        self._records: weakref.WeakKeyDictionary[Any, _Known] = weakref.WeakKeyDictionary()
        self._used_by: weakref.WeakKeyDictionary[Any, _Known] = weakref.WeakKeyDictionary()
        self._numbers = {"loop": 0, "connection": 0}

    @property
    def now(self) -> float:
        """Seconds since the recording began."""
        return time.perf_counter() - self._start

    def loop_runs(self, loop: Loop) -> None:
        """Remember when a loop was first seen running; it counts only when a connection meets it."""
        self._ran.setdefault(loop, self.now)

    def look_at_loops(self) -> None:
        """Note which loops have closed."""
        with self._lock:
            for loop, number in list(self._loops.items()):
                if number not in self._closed and loop.is_closed():
                    self._closed.add(number)
                    self.events.append(Event(self.now, "loop closed", number))

    def connected(self, connection: Any, record: Any) -> None:
        """A pool's record has opened a connection on the running loop."""
        with self._lock:
            self._records.pop(record, None)
            self._add("connected", self._know(record, running_loop()))

    def happened(self, kind: str, connection: Any, record: Any, detail: str = "") -> None:
        """Something was done with a connection that a pool's record holds."""
        with self._lock:
            self._add(kind, self._records.get(record) or self._know(record, _loop_of(connection)), detail)

    def statement_begins(self, connection: Any, statement: str) -> None:
        """A `Connection` hands a statement to the driver."""
        with self._lock:
            known = self._known(connection)
            known.statement = self._add("statement", known, " ".join(statement.split()))

    def statement_ends(self, connection: Any) -> None:
        """It came to its end, well or not."""
        known = self._used_by.get(connection)
        if known is not None and known.statement is not None:  # else it began before the recording
            known.statement.took = self.now - known.statement.seconds
            known.statement = None

    def failed(self, connection: Any, error: BaseException) -> None:
        """A statement or the end of a transaction raised; or a ping or a connect, which have no `Connection`."""
        with self._lock:
            known = None
            if connection is not None:
                self.statement_ends(connection)
                usable = not (connection.closed or connection.invalidated)
                known = self._known(connection) if usable else self._used_by.get(connection)
            if isinstance(error, asyncio.CancelledError):
                self._add("cancelled", known)
            else:
                self._add("failed", known, words(error))

    def disposed(self) -> None:
        """An engine was disposed of."""
        with self._lock:
            self._add("disposed", None)

    def _add(self, kind: str, known: _Known | None, detail: str = "") -> Event:
        self.look_at_loops()
        running = running_loop()
        added = Event(self.now, kind, self._number(running), detail=detail)
        if known is not None:
            home = known.loop()
            added.connection, added.home = known.number, known.home
            added.astray = home is None or home.is_closed() or running not in (None, home)
        self.events.append(added)
        return added

    def _known(self, connection: Any) -> _Known:
        """Find what is known of the connection that a `Connection` uses; a detached one has no record any more."""
        fairy = connection.connection
        record = place_of(fairy)
        known = self._used_by.get(connection) if record is None else self._records.get(record)
        if known is None:
            known = self._know(record or fairy, _loop_of(fairy.dbapi_connection))
        self._used_by[connection] = known
        return known

    def _know(self, record: Any, loop: Loop | None) -> _Known:
        home: Callable[[], Loop | None] = (lambda: None) if loop is None else weakref.ref(loop)
        known = self._records[record] = _Known(self._next("connection"), self._number(loop), home)
        return known

    def _number(self, loop: Loop | None) -> int | None:
        if loop is None:
            return None
        if loop not in self._loops:
            self._loops[loop] = self._next("loop")
            self.events.append(Event(self._ran.get(loop, 0.0), "loop opened", self._loops[loop]))
        return self._loops[loop]

    def _next(self, kind: str) -> int:
        self._numbers[kind] += 1
        return self._numbers[kind]


def words(error: BaseException) -> str:
    """Name an error without what differs from run to run: objects' addresses, numbers of loops."""
    if not isinstance(error, AsyncDBError):
        error = error.__cause__ or error  # the driver's own, which SQLAlchemy's adapter renames
    name = type(error).__name__
    if isinstance(error, AsyncDBError) or not str(error):
        return name
    message = re.sub(r"<.*>(: )?", "", str(error).splitlines()[0])
    return f"{name}: {' '.join(message.split())}"


def _loop_of(connection: Any) -> Loop | None:
    """The loop of a connection that was open before; asyncpg's connections know theirs."""
    driver = getattr(connection, "driver_connection", None)
    return getattr(driver, "_loop", None) or running_loop()
