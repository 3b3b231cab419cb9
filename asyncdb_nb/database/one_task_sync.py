"""
Let one task at a time use the synchronous objects inside a session, which SQLAlchemy's asynchronous ones call.

They are reached without them as well: an attribute is loaded (`entity.awaitable_attrs`), a function that was given to
`run_sync()` keeps a session or a connection. What awaits there, awaits in a greenlet.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache, partial, wraps
from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import Session
from sqlalchemy.util.concurrency import in_greenlet

from asyncdb_nb.database.usage import Usage
from asyncdb_nb.engine._sqlalchemy.statements import connections_of, is_given, loads_attribute

_LETTING_GO = ("close", "invalidate", "reset", "rollback")
_OTHERS: dict[Any, tuple[str, ...]] = {
    Session: ("begin", "begin_nested", "prepare", "bulk_save_objects", "bulk_insert_mappings", "bulk_update_mappings"),
    Connection: ("begin", "begin_nested", "begin_twophase", "commit_prepared", "rollback_prepared", "recover_twophase"),
}  # that await, besides those which are coroutine functions of the asynchronous class


def one_task_at_a_time_in(session: Session, usage: Usage) -> None:
    """Have a session, and the connections that it opens from now on, refuse a second task.

    Args:
        session: The session inside an `AsyncSession`.
        usage: Who uses it.
    """
    guarded: Any = session
    guarded.__class__ = _guarded(guarded.__class__, Session, AsyncSession)
    guarded._usage = usage


@event.listens_for(Session, "after_begin")
def _begun(session: Session, transaction: Any, connection: Any) -> None:
    usage = getattr(session, "_usage", None)
    if usage is not None and type(connection) is Connection and not is_given(connection, transaction):
        connection.__class__ = _guarded(Connection, Connection, AsyncConnection)
        connection._usage = usage  # type: ignore[attr-defined]


@cache
def _guarded(kind: Any, base: Any, asynchronous: Any) -> Any:
    """Subclass the class of a session or a connection."""
    awaiting = [name for name, method in inspect.getmembers(asynchronous) if inspect.iscoroutinefunction(method)]
    names = [name for name in (*awaiting, *_OTHERS[base]) if inspect.isfunction(getattr(base, name, None))]
    found = {name: getattr(kind, name) for name in names}
    if base is Session:
        found |= {name: _giving_back(found[name]) for name in ("close", "reset")}
    methods = {name: _exclusive(method, f"{base.__name__}.{name}()") for name, method in found.items()}
    return type(kind.__name__, (kind,), {"__module__": kind.__module__, "__doc__": kind.__doc__, **methods})


def _exclusive(method: Callable[..., Any], name: str) -> Callable[..., Any]:
    lets_go = method.__name__ in _LETTING_GO

    @wraps(method)
    def exclusive(self: Any, *args: Any, **kw: Any) -> Any:
        if not in_greenlet():  # it does not await, or cannot
            return method(self, *args, **kw)
        call = "entity.awaitable_attrs" if loads_attribute(kw.get("execution_options")) else name
        return self._usage.exclusively_in_greenlet(partial(method, self, *args, **kw), call, lets_go=lets_go)

    return exclusive


def _giving_back(close: Callable[..., Any]) -> Callable[..., Any]:
    """Have a session give its connections back also when the transaction on them cannot be ended."""

    @wraps(close)
    def giving_back(self: Any, *args: Any, **kw: Any) -> Any:
        transaction = self.get_transaction()
        opened = [each for each in connections_of(transaction) if not is_given(each, transaction)]
        try:
            return close(self, *args, **kw)
        except BaseException as error:
            for connection in opened:
                if not connection.closed:
                    connection.invalidate(error)
                    connection.close()
            raise

    return giving_back
