"""
Let one task at a time use a session, and what it hands out: its connection, its transactions, its streamed results.

A driver's connection does one thing at a time, and SQLAlchemy lets a second task get as far as the driver. So whatever
of a session is awaited passes here first, SQLAlchemy's methods and the user's alike. Objects are given a subclass of
their class, so that they stay what they are.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import wraps
from typing import Any

from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncMappingResult,
    AsyncResult,
    AsyncScalarResult,
    AsyncSession,
    AsyncSessionTransaction,
    AsyncTransaction,
)
from sqlalchemy.ext.asyncio.base import GeneratorStartableContext

from asyncdb_nb.database.one_task_sync import one_task_at_a_time_in
from asyncdb_nb.database.usage import Usage
from asyncdb_nb.engine._sqlalchemy.statements import is_given
from asyncdb_nb.errors import SessionEndedError

_LETTING_GO = ("close", "aclose", "invalidate", "reset", "rollback", "__aexit__")
_ADDING = ("add", "add_all")  # what is given to a session after its block would never be written
_SPECIAL = ("__anext__", "__aexit__")  # those of sessions and connections close in a task of their own
_HANDED_OUT: dict[type, str] = {
    AsyncConnection: "connection",
    AsyncTransaction: "transaction",
    AsyncSessionTransaction: "transaction",
    AsyncResult: "result",
    AsyncScalarResult: "result",
    AsyncMappingResult: "result",
}
_END = object()
_Transactions = AsyncTransaction | AsyncSessionTransaction


def guard(session: Any, commit: Callable[..., Any] = lambda method: method) -> None:
    """Have a session refuse a second task, on the running loop, from now on.

    Args:
        session: An `AsyncSession`; `_usage` says from then on who uses it.
        commit: What to make of its method `commit` before.
    """
    session.__class__ = one_task_at_a_time(type(session), commit)
    session._usage = Usage()
    one_task_at_a_time_in(session.sync_session, session._usage)


def one_task_at_a_time(kind: Any, commit: Callable[..., Any] = lambda method: method) -> Any:
    """Subclass a session's class, or that of what it hands out, so that whatever is awaited refuses a second task.

    Args:
        kind: The class. What is of the subclass has a `Usage`.
        commit: What to make of the class's method `commit` before.
    """
    if kind not in _subclasses:
        body = {"__module__": kind.__module__, "__doc__": kind.__doc__, "__slots__": (), **_methods(kind)}
        if issubclass(kind, AsyncSession):
            body["commit"] = _exclusive(commit(kind.commit))
        _subclasses[kind] = type(kind.__name__, (kind,), body)
    return _subclasses[kind]


_subclasses: weakref.WeakKeyDictionary[type, type] = weakref.WeakKeyDictionary()


def _usage(of: Any) -> Usage:
    """Find what tells who is using an object: most of those that are handed out can hold no attribute of ours."""
    match of:
        case AsyncConnection():
            return of.sync_connection._usage  # type: ignore[no-any-return,union-attr]
        case AsyncTransaction():
            return _usage(of.connection)
        case AsyncSessionTransaction():
            return _usage(of.session)
    return of._usage  # type: ignore[no-any-return]


def _methods(kind: Any) -> dict[str, Any]:
    """Give an exclusive version of each method, SQLAlchemy's and the user's; which are awaited shows when called."""
    names = [
        name for name in dir(kind) if name[:2] != "__" or (name in _SPECIAL and not issubclass(kind, AsyncSession))
    ]
    found = {name: inspect.getattr_static(kind, name) for name in names}
    properties = {"connections": property(_connections)} if "connections" in found else {}
    return properties | {
        name: _exclusive(method, lets_go=name in _LETTING_GO)
        for name, method in found.items()
        if inspect.isfunction(method)
    }


def _connections(transaction: Any) -> frozenset[Any]:
    """Give the connections of a session's transaction, as SQLAlchemy 2.1 does."""
    return frozenset(_held(each, transaction.session) for each in AsyncSessionTransaction.connections.fget(transaction))  # type: ignore[attr-defined]


def _exclusive(method: Callable[..., Any], *, lets_go: bool = False) -> Callable[..., Any]:
    if inspect.isasyncgenfunction(method):

        @wraps(method)
        def exclusive_parts(self: Any, *args: Any, **kw: Any) -> AsyncGenerator[Any, None]:
            return _exclusive_parts(method(self, *args, **kw), self, _name(self, method))

        return exclusive_parts

    @wraps(method)
    async def exclusive(self: Any, *args: Any, **kw: Any) -> Any:
        call = method(self, *args, **kw)
        return _held(await _usage(self).exclusively(call, _name(self, method), lets_go=lets_go), self)

    @wraps(method)
    def perhaps_exclusive(self: Any, *args: Any, **kw: Any) -> Any:
        if method.__name__ in _ADDING and _usage(self).ended:
            raise SessionEndedError
        result = method(self, *args, **kw)
        if inspect.iscoroutine(result):
            return _usage(self).exclusively(result, _name(self, method), lets_go=lets_go)
        if isinstance(result, GeneratorStartableContext):
            result.gen = _exclusive_start(result.gen, self, _name(self, method))
        return _held(result, self)

    return exclusive if inspect.iscoroutinefunction(method) else perhaps_exclusive


async def _exclusive_parts(parts: AsyncGenerator[Any, Any], of: Any, name: str) -> AsyncGenerator[Any, None]:
    """Have each step of an asynchronous generator run as the only one; between them the session is free."""
    async with aclosing(parts):
        while (part := await _usage(of).exclusively(anext(parts, _END), name)) is not _END:
            yield _held(part, of)


async def _exclusive_start(parts: AsyncGenerator[Any, Any], of: Any, name: str) -> AsyncGenerator[Any, None]:
    """Have a generator begin as the only one; SQLAlchemy's closes its result in a task of its own."""
    async with aclosing(parts):
        yield _held(await _usage(of).exclusively(anext(parts), name), of)
        async for part in parts:
            yield part


def _held(result: Any, by: Any) -> Any:
    """Have what a session, or something of it, hands out refuse a second task as well."""
    if type(result) in _HANDED_OUT and not _is_users_own(result, by):  # not of a class of the user's
        result.__class__ = one_task_at_a_time(type(result))
        if isinstance(result, AsyncConnection):
            result.sync_connection._usage = _usage(by)  # type: ignore[union-attr]
        elif not isinstance(result, _Transactions):
            result._usage = _usage(by)
    return result


def _is_users_own(result: Any, session: Any) -> bool:
    """Say whether a session was given a connection, which others may use after it."""
    if type(result) is not AsyncConnection or not isinstance(session, AsyncSession):
        return False
    return is_given(result.sync_connection, session.sync_session.get_transaction())


def _name(of: Any, method: Callable[..., Any]) -> str:
    """Name a call as it is typed."""
    what = next((word for kind, word in _HANDED_OUT.items() if isinstance(of, kind)), "session")
    called = {"__anext__": f"async for ... in {what}", "__aexit__": f"async with {what}", "start": f"await {what}"}
    return called.get(method.__name__, f"{what}.{method.__name__}()")
