"""
Keep all that a test does inside one transaction, which is rolled back when the test is over.

Every checkout, on whichever loop or thread, shares one connection to the server, on which a transaction is open
already. What the code under test takes for a transaction is a savepoint there: it may commit, roll back and begin
again, through sessions, Core or the driver, and the next test sees nothing of it. The connection lives on a loop of its
own, so that it can be used while the test's loop is blocked; one connection can do one thing at a time, so the tasks of
a test take turns.
"""

from __future__ import annotations

import asyncio
import functools
import threading
import weakref
from typing import Any

import asyncpg
from sqlalchemy import URL, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import PoolProxiedConnection
from sqlalchemy.util import await_only

from asyncdb_nb.aio import fork, loop_cleanup
from asyncdb_nb.aio.loop_cleanup import LoopPhase
from asyncdb_nb.aio.portal import Portal
from asyncdb_nb.database.database import Database
from asyncdb_nb.engine.pool_of_all_loops import LoopBoundPool
from asyncdb_nb.errors import OneTransactionError
from asyncdb_nb.pytest_plugin.isolation.autocommit import SingleStatements
from asyncdb_nb.pytest_plugin.isolation.connection_turns import Turn, Turns
from asyncdb_nb.pytest_plugin.isolation.cross_loop import CarriedProtocol, Carrier
from asyncdb_nb.pytest_plugin.isolation.savepoint import Savepoint, SharedConnection

_OUTERMOST = "asyncdb_test"  # a savepoint: gone when a statement has ended the transaction, whatever began since
_UNLOCK = "SELECT pg_catalog.pg_advisory_unlock_all()"  # of the locks that no transaction ends
_LEAVE = "asyncdb_nb.leave"  # in the `record_info` of a checked-out connection: ends its turn

_instances: weakref.WeakSet[OneTransaction] = weakref.WeakSet()


class OneTransaction:
    """The connection, and the transaction on it. Outlives the tests; `clear()` is called between them."""

    def __init__(self, url: URL) -> None:
        self._url = url
        self._begin_anew()
        _instances.add(self)

    def _begin_anew(self) -> None:
        self.turns = Turns()
        self._carrier = Carrier(self.turns)
        self._portal: Portal | None = None
        self._opening_portal = threading.Lock()
        self._raw: Any = None
        self._begun = False
        self._intact = True  # no test ended the transaction behind our back
        self._opened: set[Any] = set()  # savepoints that stand for transactions, and this one while it begins or ends
        self._shares: weakref.WeakSet[SharedConnection] = weakref.WeakSet()
        self._abandoned: list[Savepoint] = []  # whose shares were closed: undone before the next checkout

    def database(self) -> Database:
        """Make a `Database` whose every checkout is in the transaction."""
        database = Database(
            self._url,
            poolclass=OneConnectionPool,
            transaction=self,
            idle_timeout=None,
            pool_pre_ping=False,
            max_overflow=-1,
            connect_args={"async_creator_fn": self._connect},
        )
        event.listen(database.engine.sync_engine, "checkout", _refuse_dead)
        event.listen(database.engine.sync_engine, "checkin", _leave)
        event.listen(database.engine.sync_engine, "begin_twophase", _refuse_two_phases)
        return database

    async def enter(self) -> Turn:
        """Wait for this task's turn, and have the transaction ready for it."""
        turn = await self.turns.enter()
        try:
            if self._raw is not None and (self._abandoned or not self._begun):
                await self._carrier.call(self._make_ready)
        except BaseException:
            self.turns.leave(turn)
            raise
        return turn

    def clear(self) -> bool:
        """Roll the transaction back, from synchronous code; say whether it was still open.

        No share outlives it: what was prepared on one may be of a table that is another one again.
        """
        self._intact = True
        for share in list(self._shares):
            share.terminate()
        if self._portal is not None:
            self._portal.call(self._clear())
        return self._intact

    def close(self) -> None:
        """Close the connection, from synchronous code."""
        if self._portal is not None:
            self._portal.close()

    def leave_to_parent(self) -> None:
        """In a forked child, begin anew; what the parent has open is out of reach."""
        loop_cleanup.never_finalize([self._portal, self._raw, self._carrier])
        self._begin_anew()

    async def _connect(self, **arguments: Any) -> SharedConnection:
        with self._opening_portal:
            if self._portal is None:
                self._portal = Portal(0)
                self._carrier.home = self._portal.loop
        await self._carrier.call(self._open, arguments)
        share = SharedConnection(self._raw, self._carrier, self._opened, self._abandoned.append)
        self._shares.add(share)
        return share

    async def _open(self, arguments: dict[str, Any]) -> None:
        if self._raw is not None and not self._raw.is_closed():
            return
        from asyncdb_nb.engine import asyncpg_connection  # here: it imports the driver
        from asyncdb_nb.engine._asyncpg import replace_protocol

        if self._raw is None:
            loop_cleanup.before_close(asyncio.get_running_loop(), self._finish)
        self._raw = await asyncpg_connection.connect(**{**arguments, "max_cached_statement_lifetime": 0})  # no timers
        replace_protocol(
            self._raw, lambda protocol: CarriedProtocol(SingleStatements(protocol, self._opened), self._carrier)
        )
        self._begun = False
        await self._make_ready()

    async def _make_ready(self) -> None:
        if not self._begun and not self._raw.is_closed():
            self._opened.add(self)
            try:
                self._outer = self._raw.transaction()
                await self._outer.start()
                await self._raw.execute(f"SAVEPOINT {_OUTERMOST}")
            finally:
                self._opened.discard(self)
            self._begun = True
        while self._abandoned:
            await self._abandoned.pop(0).rollback()

    async def _clear(self) -> None:
        """Roll back. The connection stays for the next test, unless this one has ended the transaction."""
        self._abandoned.clear()
        self._opened.clear()
        begun, self._begun = self._begun, False
        if not begun or self._raw.is_closed():
            return
        self._opened.add(self)
        try:
            await self._raw.execute(f"ROLLBACK TO SAVEPOINT {_OUTERMOST}; {_UNLOCK}")
            await self._outer.rollback()
        except (asyncpg.NoActiveSQLTransactionError, asyncpg.InvalidSavepointSpecificationError):
            self._intact = False
            await self._raw.close()
        except Exception:
            self._raw.terminate()  # the server rolls back then, and the next test gets a new connection
            raise

    async def _finish(self, phase: LoopPhase) -> None:
        """Close the connection with its loop, which rolls back what is open."""
        if phase is not LoopPhase.GENERATORS and self._raw is not None:
            await self._raw.close()


class OneConnectionPool(LoopBoundPool):
    """A pool whose checkouts take turns on one connection."""

    def __init__(self, creator: Any, transaction: Any = None, **options: Any) -> None:
        super().__init__(creator, **options)
        self._transaction = transaction

    def connect(self) -> PoolProxiedConnection:
        """Check out when it is this task's turn."""
        turn = await_only(self._transaction.enter())
        leave = functools.partial(self._transaction.turns.leave, turn)
        try:
            proxy = super().connect()
        except BaseException:
            leave()
            raise
        turn.connected = True
        proxy.record_info[_LEAVE] = leave  # type: ignore[index]  # None for a detached one alone
        return proxy

    def recreate(self) -> OneConnectionPool:
        """Return a new pool in the same transaction."""
        pool: Any = super().recreate()
        pool._transaction = self._transaction
        return pool  # type: ignore[no-any-return]


def _refuse_dead(connection: Any, record: Any, fairy: Any) -> None:
    if connection.driver_connection.is_closed():
        raise DisconnectionError("The test's connection has ended.")


def _refuse_two_phases(connection: Any, xid: Any) -> None:
    raise OneTransactionError("one of two phases, which PREPARE TRANSACTION takes out of it")


def _leave(connection: Any, record: Any) -> None:
    leave = record.record_info.pop(_LEAVE, None)
    if leave is not None:
        leave()


@fork.in_child
def _leave_to_parent() -> None:
    for transaction in list(_instances):
        transaction.leave_to_parent()
