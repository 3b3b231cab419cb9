"""
Pools of SQLAlchemy's, with names of our own for the steps that a subclass does differently.

SQLAlchemy has documented no way to extend a pool, only to listen to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import engine as asyncio_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry, Pool, PoolProxiedConnection
from sqlalchemy.pool.base import _ConnectionRecord

from asyncdb_nb.engine.private_names import Names

_LOOPS = "LoopBoundPool: a pool for each event loop behind one engine"
_COPIES = "LoopBoundPool: `engine.dispose()`, which makes an equal pool"
_PLACES = "LoopBoundPool: the places of a loop's pool"

PRIVATE_NAMES: Names = {
    "sqlalchemy.pool:Pool": {
        **dict.fromkeys(
            (
                *("_dialect", "_is_asyncio", "_invoke_creator", "_invalidate", "_invalidate_time", "_do_get"),
                *("_do_return_conn", "_close_connection", "_create_connection"),
            ),
            _LOOPS,
        ),
        **dict.fromkeys(("_creator", "_recycle", "_orig_logging_name", "_reset_on_return", "_pre_ping"), _COPIES),
    },
    "sqlalchemy.pool:QueuePool": dict.fromkeys(("_pool", "_max_overflow", "_inc_overflow", "_dec_overflow"), _PLACES),
    "sqlalchemy.pool.base": {
        "_ConnectionRecord": "LoopBoundPool: a place whose connection is opened in turn",
        "_ConnectionFairy": "what is checked out",
    },
    "sqlalchemy.pool.base:_ConnectionRecord": {"_ConnectionRecord__pool": "telling of which engine a leak is"},
    "sqlalchemy.pool.base:_ConnectionFairy": {
        "_pool": "LoopBoundPool: a checked-out connection says that it is of the engine's pool",
        "_connection_record": "telling of which place a traced connection is",
    },
    "sqlalchemy.log": {"_sqla_logger_namespace": "LoopBoundPool: the name of its logger"},
    "sqlalchemy.ext.asyncio.engine": {"_create_engine": "the plugin's `asyncdb_cure`: LoopBoundPool for every engine"},
}


class EnginePool(Pool):
    """The pool of an engine, for a subclass whose connections are in pools behind it."""

    _is_asyncio = True
    _sqla_logger_namespace = "sqlalchemy.pool.LoopBoundPool"

    def _recycle_has_changed(self, seconds: int) -> None:
        """Called when it is set after how many seconds a connection is opened anew; relies on `_recycle`."""

    def _generation_has_ended(self) -> None:
        """Called when all connections opened before now are to be opened anew; relies on `_invalidate`."""

    def _take_back(self, record: Any) -> None:
        """Called with the place of a connection that is returned; relies on `_do_return_conn`."""
        raise NotImplementedError

    def _close(self, connection: DBAPIConnection, *, terminate: bool) -> None:
        """Called to close a connection; relies on `_close_connection`."""
        super()._close_connection(connection, terminate=terminate)

    @property
    def engine_dialect(self) -> Any:
        """The engine's dialect, or what stands for it before there is an engine. Stands on `_dialect`."""
        return self._dialect

    def open_for(self, record: ConnectionPoolEntry) -> DBAPIConnection:
        """Open a connection as the engine does. Stands on `_invoke_creator`."""
        return self._invoke_creator(record)

    def adopt(self, proxy: Any) -> Any:
        """Pass off what another pool checked out as checked out here. Stands on `_pool`."""
        proxy._pool = self
        return proxy

    def pool_arguments(self) -> dict[str, Any]:
        """Return what every pool takes. Stands on `_orig_logging_name`, `_reset_on_return`, `_pre_ping`, `_recycle`."""
        return {
            "recycle": self._recycle,
            "echo": self.echo,
            "logging_name": self._orig_logging_name,
            "reset_on_return": self._reset_on_return,
            "pre_ping": self._pre_ping,
        }

    def anew(self, **arguments: Any) -> Any:
        """Make an empty pool of the same class, with the same listeners. Stands on `_creator` and `_dispatch`."""
        return type(self)(self._creator, _dispatch=self.dispatch, dialect=self._dialect, **arguments)

    def invalidate_generation(self, proxy: Any, exception: BaseException | None, *, check_in: bool) -> None:
        """Have all connections opened anew that are as old as this one. Stands on `_invalidate`."""
        super()._invalidate(proxy, exception, check_in)
        self._generation_has_ended()

    @property
    def _recycle(self) -> int:
        return self._seconds_to_recycle

    @_recycle.setter
    def _recycle(self, seconds: int) -> None:
        self._seconds_to_recycle = seconds
        self._recycle_has_changed(seconds)  # also later: SQLAlchemy's own tests do that

    def _invalidate(
        self, connection: PoolProxiedConnection, exception: BaseException | None = None, _checkin: bool = True
    ) -> None:
        self.invalidate_generation(connection, exception, check_in=_checkin)

    def _close_connection(self, connection: DBAPIConnection, *, terminate: bool = False) -> None:
        self._close(connection, terminate=terminate)

    def _do_return_conn(self, record: Any) -> None:
        self._take_back(record)

    def _do_get(self) -> ConnectionPoolEntry:
        raise NotImplementedError("A pool behind this one does this.")


class PlacesPool(AsyncAdaptedQueuePool):
    """SQLAlchemy's queue of places for connections, behind the pool of an engine, whose listeners it shares.

    A place (a `ConnectionPoolEntry`) is in the queue or checked out, whether its connection is open or not.

    Args:
        outer: The engine's pool.
        creator: Opens the connection of a place.
        **options: What `AsyncAdaptedQueuePool` takes.
    """

    _sqla_logger_namespace = EnginePool._sqla_logger_namespace

    def __init__(self, outer: EnginePool, creator: Any, **options: Any) -> None:
        self._outer = outer
        super().__init__(creator, dialect=outer._dialect, **options)
        self.__dict__["dispatch"] = outer.dispatch  # one for all, so that a listener added late reaches everyone

    def hand_out(self) -> Any:
        """Called for a place to check out; relies on `_do_get`."""
        return super()._do_get()

    def open_place(self) -> Any:
        """Called for a place in addition, with its connection open; relies on `_create_connection`."""
        return super()._create_connection()

    def take_back(self, record: Any) -> None:
        """Called with a place that is returned; relies on `_do_return_conn`."""
        super()._do_return_conn(record)

    def close_connection(self, connection: DBAPIConnection, *, terminate: bool) -> None:
        """Called to close a connection; relies on `_close_connection`."""
        super()._close_connection(connection, terminate=terminate)

    def new_place(self) -> Any:
        """Make a place without a connection, which is not counted. Stands on `_ConnectionRecord`."""
        return _ConnectionRecord(self, connect=False)

    def add_place(self) -> bool:
        """Count one place more; say whether there may be one. Stands on `_inc_overflow`."""
        return self._inc_overflow()

    def drop_place(self) -> None:
        """Count one place less. Stands on `_dec_overflow`."""
        self._dec_overflow()

    def is_limited(self) -> bool:
        """Say whether there is a most of places. Stands on `_max_overflow`."""
        return self._max_overflow > -1

    def is_last_in_first_out(self) -> bool:
        """Say whether the place returned last is handed out next. Stands on `_pool`."""
        return bool(self._pool.use_lifo)

    def next_in_queue(self) -> Any:
        """Take the next place out of a queue that has one. Stands on `_pool`."""
        return self._pool.get(False)

    def put_in_queue(self, place: Any) -> None:
        """Put a place into the queue. Stands on `_pool`."""
        self._pool.put(place, False)

    def recycle_after(self, seconds: int) -> None:
        """Set after how many seconds a connection is opened anew. Stands on `_recycle`."""
        self._recycle = seconds

    def follow_generation(self) -> None:
        """Have the connections opened anew that the engine's pool wants so. Stands on `_invalidate_time`."""
        self._invalidate_time = self._outer._invalidate_time

    def _invalidate(
        self, connection: PoolProxiedConnection, exception: BaseException | None = None, _checkin: bool = True
    ) -> None:
        self._outer.invalidate_generation(connection, exception, check_in=_checkin)

    def _do_get(self) -> ConnectionPoolEntry:
        return self.hand_out()  # type: ignore[no-any-return]

    def _create_connection(self) -> ConnectionPoolEntry:
        return self.open_place()  # type: ignore[no-any-return]

    def _do_return_conn(self, record: Any) -> None:
        self.take_back(record)

    def _close_connection(self, connection: DBAPIConnection, *, terminate: bool = False) -> None:
        self.close_connection(connection, terminate=terminate)


def dialect_of(pool: Pool) -> Any:
    """Return the dialect of a pool's engine. Stands on `_dialect`."""
    return pool._dialect


def pool_of(record: Any) -> Any:
    """Return the pool that a place is in. Stands on `_ConnectionRecord__pool`."""
    return record._ConnectionRecord__pool


def pings_before_use(pool: Any) -> bool:
    """Say whether a pool asks a connection whether it is alive before it hands it out. Stands on `_pre_ping`."""
    return bool(pool._pre_ping)


def place_of(proxy: Any) -> Any:
    """Return the place of a checked-out connection; None for a detached one. Stands on `_connection_record`."""
    return getattr(proxy, "_connection_record", None)


def intercept_engines(create: Callable[..., Any]) -> Callable[[], None]:
    """Have every `create_async_engine()` call `create(original, url, **options)`; returns what ends it.

    It does not matter who has imported `create_async_engine` before. Stands on `_create_engine`, which that calls.
    """
    original = asyncio_engine._create_engine  # type: ignore[attr-defined]

    def create_engine(url: Any, **options: Any) -> Any:
        return create(original, url, **options)

    asyncio_engine._create_engine = create_engine  # type: ignore[attr-defined]
    return lambda: setattr(asyncio_engine, "_create_engine", original)
