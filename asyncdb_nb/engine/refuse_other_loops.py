"""
Refuse a connection to every event loop but its own.

A connection used on a foreign loop fails deep inside the driver, after its state has been touched: the transaction
stays open on the server and the pooled connection is unusable. So the object that SQLAlchemy's asyncio dialects hand
out (the adapter around the driver's connection) is replaced by one of a subclass that looks at the running loop first.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy.engine.interfaces import AdaptedConnection

from asyncdb_nb.aio import fork
from asyncdb_nb.aio._asyncio import running_loop
from asyncdb_nb.aio.loop_cleanup import describe, never_finalize
from asyncdb_nb.engine._sqlalchemy.execution import closing_by_force_at_last
from asyncdb_nb.engine.pre_ping import bounded
from asyncdb_nb.errors import WrongLoopError

if TYPE_CHECKING:
    from sqlalchemy.engine import ExceptionContext
    from sqlalchemy.engine.interfaces import DBAPIConnection

_TOUCHING = ("cursor", "execute", "commit", "ping", "set_isolation_level", "set_autocommit", "begin")

_instances: weakref.WeakSet[Any] = weakref.WeakSet()


def bind_to_loop(connection: DBAPIConnection, loop: asyncio.AbstractEventLoop) -> DBAPIConnection:
    """Return an equal of `connection` that works on `loop` alone.

    Args:
        connection: What a SQLAlchemy asyncio dialect's `connect` returned, just now and on `loop`.
        loop: The loop that it belongs to.

    Returns:
        An object of a subclass of the connection's class, with the same state around the same driver connection; what
        is not one of SQLAlchemy's adapters comes back as it is.
    """
    if not isinstance(connection, AdaptedConnection):
        return connection  # somebody's own object: its class is not ours to extend
    kind: Any = type(connection)
    bound: Any = object.__new__(_bound_class(kind))
    for base in kind.__mro__:
        for slot in base.__dict__.get("__slots__", ()):
            if slot not in ("__weakref__", "__dict__") and hasattr(connection, slot):
                setattr(bound, slot, getattr(connection, slot))
    bound.__dict__.update(getattr(connection, "__dict__", {}))
    bound._home = loop
    _instances.add(bound)
    return bound  # type: ignore[no-any-return]


def home_of(connection: object) -> asyncio.AbstractEventLoop | None:
    """Return the loop of a bound connection, and `None` for any other object."""
    return getattr(connection, "_home", None)


def reraise_unwrapped(context: ExceptionContext) -> BaseException | None:
    """Keep SQLAlchemy from wrapping a `WrongLoopError` into a `StatementError`; a `handle_error` listener."""
    error = context.original_exception
    return error if isinstance(error, WrongLoopError) else None


@cache
def _bound_class(kind: Any) -> Any:
    """Subclass an adapter so that its methods look at the running loop first."""
    methods = {name: _checked(getattr(kind, name)) for name in _TOUCHING if hasattr(kind, name)}
    methods["rollback"] = _checked_rollback(kind.rollback)
    if "ping" in methods:
        methods["ping"] = _checked(bounded(kind.ping))
    methods |= closing_by_force_at_last(kind)
    return type(kind.__name__, (kind,), {"__module__": kind.__module__, "__doc__": kind.__doc__, **methods})


def _checked(method: Callable[..., Any]) -> Callable[..., Any]:
    def checked(self: Any, *args: Any, **kw: Any) -> Any:
        running = running_loop()
        if running is not self._home:
            raise WrongLoopError(describe(self._home), describe(running))
        return method(self, *args, **kw)

    return checked


def _checked_rollback(method: Callable[[Any], None]) -> Callable[[Any], None]:
    """Let a connection whose loop has closed be rolled back: it ended with its loop, and its transaction with it."""

    def rollback(self: Any) -> None:
        running = running_loop()
        if running is self._home:
            method(self)
        elif not self._home.is_closed():
            raise WrongLoopError(describe(self._home), describe(running))

    return rollback


@fork.in_child
def _leave_to_parent() -> None:
    """In a forked child, keep every inherited connection from being finalized, also one that no pool knows any more."""
    never_finalize(list(_instances))
