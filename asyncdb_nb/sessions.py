"""
A session for the length of a block: committed on success, rolled back otherwise, its connection always given back.

    async with session_scope(engine) as session:
        session.add(workflow)

It is SQLAlchemy's `AsyncSession` with three things added: it ends well also when it is cancelled (and cancelled again
while it ends), it can be read-only or limited in time, and two tasks that use it at once get one clear error.
"""

from __future__ import annotations

import asyncio
import re
import weakref
from collections.abc import Callable, Coroutine
from functools import wraps
from types import TracebackType
from typing import Any, NoReturn, Protocol, TypeVar

from sqlalchemy import Executable, TextClause, event, text
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_connection
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, AsyncSessionTransaction, async_sessionmaker
from sqlalchemy.orm import Session
from sqlalchemy.util import await_only

from asyncdb_nb.committing import commit, tells
from asyncdb_nb.errors import AsyncDBError, ConcurrentUseError, SessionEndedError, WrongLoopError
from asyncdb_nb.loops import describe

T = TypeVar("T")
SessionFactory = async_sessionmaker[Any] | type[AsyncSession] | type[Session]


class HasEngine(Protocol):
    """Anything with an `engine`, such as `Database`."""

    @property
    def engine(self) -> AsyncEngine:
        """The engine that sessions are opened on."""


class session_scope:  # noqa: N801  used like the function that it replaces
    """Open a session for the length of an `async with` block.

    The transaction is committed at the end of the block, and rolled back when the block raises or is cancelled. The
    connection goes back to the pool in any case. An exception of the block is never replaced: a rollback that fails
    becomes a note on it. Entities stay usable after the block (`expire_on_commit=False`).

    A scope inside a scope is a second session with a transaction of its own, on a second connection. For a part that
    may fail alone inside one transaction, use a savepoint: `async with session.begin_nested():`.

    Args:
        bind: An `AsyncEngine`, or an object with an `engine`, such as `Database`.
        readonly: Every transaction of this session is `READ ONLY`, and no statement can undo it. PostgreSQL only.
        timeout: Seconds that each statement may take on the server (`statement_timeout`), in every transaction of this
            session. A statement that takes longer fails with SQLAlchemy's `DBAPIError` for PostgreSQL's 57014 and
            leaves the connection as it was. PostgreSQL only.
        sessionmaker: An `async_sessionmaker`, or a subclass of `AsyncSession` or of `Session`, to be used instead of
            `AsyncSession`.
        **options: More arguments for the session class, such as `autoflush=False`.

    Raises:
        TypeError: `bind` has no engine.
        ValueError: `timeout` is not a positive number.
        ConcurrentUseError: From the session's methods, when another task is using it. The waiting call first lets the
            running statement come to its end, so that an error of that one is seen first.
        SessionEndedError: From the session's methods, after the block.
        CommitRolledBackError: At the end of the block, or from `commit()`: a statement had failed, the block caught its
            error, and PostgreSQL answered COMMIT by a rollback. Not where nothing but reading came before.

    Example:
        >>> async with session_scope(db, readonly=True, timeout=5) as session:
        ...     names = (await session.scalars(select(Workflow.name))).all()
    """

    def __init__(
        self,
        bind: AsyncEngine | HasEngine,
        *,
        readonly: bool = False,
        timeout: float | None = None,
        sessionmaker: SessionFactory | None = None,
        **options: Any,
    ) -> None:
        if timeout is not None and not (isinstance(timeout, int | float) and timeout > 0):
            raise ValueError(f"timeout is a number of seconds above 0; got {timeout!r}.")
        self._engine = _engine_of(bind)
        self._settings = _settings(readonly, timeout)
        if isinstance(sessionmaker, type) and issubclass(sessionmaker, Session):
            options.setdefault("sync_session_class", sessionmaker)
            sessionmaker = None
        self._make: Any = sessionmaker or AsyncSession
        self._options = options
        self._session: Any = None

    async def __aenter__(self) -> AsyncSession:
        if self._session is not None:
            raise AsyncDBError("This scope is open already. Open a second one: `async with session_scope(engine):`.")
        session: Any = self._make(**{"bind": self._engine, "expire_on_commit": False, **self._options})
        session.__class__ = _one_task_at_a_time(type(session))
        session._usage = _Usage(readonly="transaction_read_only" in self._settings)
        if self._settings:
            event.listen(session.sync_session, "after_begin", self._begin)
        self._session = session
        return session  # type: ignore[no-any-return]

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        session, self._session = self._session, None
        try:
            await self._end(session, error)
        finally:
            session._usage.over = True

    async def _end(self, session: Any, error: BaseException | None) -> None:
        await session._usage.end()
        if error is not None:
            had_begun = session.in_transaction()
            await _close_after(session, error)
            if had_begun and isinstance(error, asyncio.CancelledError) and not tells(error):
                error.add_note("The transaction was rolled back.")
            return
        try:
            await session.commit()
        except BaseException as commit_error:
            await _close_after(session, commit_error)
            raise
        await session.close()

    def __enter__(self) -> NoReturn:
        raise TypeError("A session needs `async with`. Type: async with db.session() as session:")

    def __exit__(self, *error: object) -> None:
        """Let `with` get as far as `__enter__`."""

    def __getattr__(self, name: str) -> NoReturn:
        if not name.startswith("_") and hasattr(AsyncSession, name):
            raise AttributeError(f"There is no session to {name} in yet. Type: async with db.session() as session:")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _begin(self, session: Any, transaction: Any, connection: Any) -> None:
        """Set what the scope asked for, in each transaction: a commit in mid-scope would end it otherwise.

        The query also takes the snapshot after which PostgreSQL refuses `SET TRANSACTION READ WRITE`.
        """
        if connection.dialect.name != "postgresql":
            raise AsyncDBError(f"readonly and timeout need PostgreSQL; this engine speaks {connection.dialect.name}.")
        if getattr(connection.connection.dbapi_connection, "autocommit", False):
            _start_transaction(connection)
        calls = ", ".join(f"set_config('{name}', '{value}', true)" for name, value in self._settings.items())
        connection.execute(text(f"SELECT {calls}"))


class reading_scope(session_scope):  # noqa: N801  as above
    """A read-only scope for a single query, begun in one round trip.

    The query takes its transaction's snapshot before it can do anything, so that `BEGIN READ ONLY` is enough for it.
    """

    def _begin(self, session: Any, transaction: Any, connection: Any) -> None:
        if not _is_asyncpgs(connection) or connection.connection.driver_connection.is_in_transaction():
            super()._begin(session, transaction, connection)  # a listener of the user's may have begun
        else:
            _start_transaction(connection, readonly=True)


def do_first(session: AsyncSession, work: Callable[[AsyncSession], Coroutine[Any, Any, None]]) -> None:
    """Start `work(session)` on the running loop; whatever else is asked of the session waits until it is done."""
    held: Any = session
    if not hasattr(held, "_usage"):
        held.__class__ = _one_task_at_a_time(type(session))
        held._usage = _Usage()
    held._usage.first = asyncio.ensure_future(work(session))


def _engine_of(bind: Any) -> AsyncEngine:
    if isinstance(bind, AsyncSession):
        raise TypeError(
            "session_scope() opens a session of its own. For a part of an open session that may fail alone, write "
            "`async with session.begin_nested():`."
        )
    engine = bind if isinstance(bind, AsyncEngine) else getattr(bind, "engine", None)
    if not isinstance(engine, AsyncEngine):
        raise TypeError(
            f"session_scope() takes an AsyncEngine or a Database; got {type(bind).__name__}. "
            "Make one: `db = await connect(url)`, or `create_async_engine(url, poolclass=LoopBoundPool)`."
        )
    return engine


def _settings(readonly: bool, timeout: float | None) -> dict[str, str]:
    settings = {}
    if readonly:
        settings["transaction_read_only"] = "on"
    if timeout is not None:
        settings["statement_timeout"] = str(max(round(timeout * 1000), 1))  # milliseconds; 0 would be no limit
    return settings


def _is_asyncpgs(connection: Any) -> bool:
    return isinstance(connection.connection.dbapi_connection, AsyncAdapt_asyncpg_connection)


def _start_transaction(connection: Any, *, readonly: bool = False) -> None:
    """Send BEGIN now, also where the engine is in AUTOCOMMIT: what a scope asks for holds in a transaction alone."""
    if not _is_asyncpgs(connection):
        raise AsyncDBError(
            "readonly and timeout need a transaction, and this engine is in AUTOCOMMIT. "
            'Make one that is not, or take `engine.execution_options(isolation_level="READ COMMITTED")`.'
        )
    adapter = connection.connection.dbapi_connection
    before = adapter.isolation_level, adapter.readonly
    adapter.isolation_level = "read_committed" if adapter.autocommit else adapter.isolation_level
    adapter.readonly = readonly or adapter.readonly
    try:
        await_only(adapter._start_transaction())
    except Exception as error:
        connection._handle_dbapi_exception(error, "BEGIN", None, None, None)
    finally:
        adapter.isolation_level, adapter.readonly = before


async def _close_after(session: AsyncSession, error: BaseException) -> None:
    """Roll back and give the connection back, whatever happens meanwhile; what fails is told as a note on `error`.

    `rollback()` comes first because, unlike `close()`, it lets go of the connection even when the rollback fails.
    """
    for step in (AsyncSession.rollback, AsyncSession.close):
        try:
            await _to_the_end(step(session))
        except Exception as failure:
            error.add_note(f"Rolling back failed too: {type(failure).__name__}: {failure}")


async def _to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Await `work` in a task of its own; a cancellation is passed on only when it is done."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
        except Exception:
            break  # raised by result(), below
    if cancelled is not None:
        if task.exception() is not None:
            cancelled.add_note(f"Meanwhile: {task.exception()!r}")
        raise cancelled
    return task.result()


class _Usage:
    """Which task is using a scope's session, on which loop.

    Args:
        readonly: Whether its transactions are.
    """

    def __init__(self, *, readonly: bool = False) -> None:
        self.readonly = readonly
        self.over = False  # the block has ended
        self.wrote = False  # the transaction may hold something to keep
        self._loop = asyncio.get_running_loop()
        self._user: asyncio.Task[Any] | None = None
        self._free = asyncio.Event()
        self.first: asyncio.Task[None] | None = None  # what everybody else waits for

    async def exclusively(self, call: Callable[[], Coroutine[Any, Any, T]], *, lets_go: bool = False) -> T:
        """Await `call()` as the only task that does; refuse a second one when the first has come to its end.

        After the block, only what lets go of something is let through.
        """
        me = asyncio.current_task()
        if me is None or me.get_loop() is not self._loop:
            raise WrongLoopError(describe(self._loop), describe(me.get_loop() if me else None))
        if self.over and not lets_go:
            raise SessionEndedError
        if self.first is not None and self.first is not me:
            await asyncio.wait([self.first])
            self.first = None
        if self._user is me:  # one method calls another
            return await call()
        if self._user is not None:
            await self._free.wait()
            raise ConcurrentUseError
        self._user = me
        self._free.clear()
        try:
            return await call()
        finally:
            self._user = None
            self._free.set()

    async def end(self) -> None:
        """Cancel a statement that another task still runs in this session, because the block is over."""
        while self._user is not None:
            self._user.cancel()
            await _to_the_end(self._free.wait())


_METHODS = (
    "connection", "delete", "execute", "flush", "get", "get_one", "merge", "refresh", "run_sync", "scalar", "scalars",
    "stream", "stream_scalars",
)  # fmt: skip
_READS = re.compile(r"\s*(select|show|explain|values|table|lock|set|fetch|declare)\b", re.IGNORECASE)
_LETTING_GO = ("close", "invalidate", "reset", "rollback")


def _one_task_at_a_time(session_class: Any) -> Any:
    """Subclass a session class so that its methods refuse a second task."""
    if session_class not in _subclasses:
        methods: dict[str, Any] = {name: _exclusive(getattr(session_class, name)) for name in _METHODS}
        methods |= {name: _exclusive(getattr(session_class, name), ends=True, lets_go=True) for name in _LETTING_GO}
        methods["commit"] = _exclusive(_telling(session_class.commit), ends=True)
        methods["begin_nested"] = _beginning_alone(session_class.begin_nested)
        body = {"__module__": session_class.__module__, "__doc__": session_class.__doc__, **methods}
        _subclasses[session_class] = type(session_class.__name__, (session_class,), body)
    return _subclasses[session_class]


_subclasses: weakref.WeakKeyDictionary[type, type] = weakref.WeakKeyDictionary()


class _Savepoint(AsyncSessionTransaction):
    """A savepoint that refuses to begin while another task uses the session."""

    __slots__ = ()

    async def start(self, is_ctxmanager: bool = False) -> AsyncSessionTransaction:
        session: Any = self.session
        begin = super().start
        return await session._usage.exclusively(lambda: begin(is_ctxmanager))  # type: ignore[no-any-return]


def _beginning_alone(method: Callable[[Any], AsyncSessionTransaction]) -> Callable[[Any], AsyncSessionTransaction]:
    @wraps(method)
    def begin_nested(self: Any) -> AsyncSessionTransaction:
        savepoint = method(self)
        if type(savepoint) is AsyncSessionTransaction:  # else the session class has its own
            savepoint.__class__ = _Savepoint
        return savepoint

    return begin_nested


def _telling(method: Callable[[Any], Coroutine[Any, Any, None]]) -> Callable[[Any], Coroutine[Any, Any, None]]:
    @wraps(method)
    async def telling(self: Any) -> None:
        try:
            await commit(self, lambda: method(self), readonly=self._usage.readonly or not self._usage.wrote)
        finally:
            self._usage.wrote = False

    return telling


def _exclusive(
    method: Callable[..., Coroutine[Any, Any, Any]], *, ends: bool = False, lets_go: bool = False
) -> Callable[..., Coroutine[Any, Any, Any]]:
    @wraps(method)
    async def exclusive(self: Any, *args: Any, **kw: Any) -> Any:
        writes = not ends and _may_write(self.sync_session, *args)
        result = await self._usage.exclusively(lambda: method(self, *args, **kw), lets_go=lets_go)
        self._usage.wrote = not ends and (self._usage.wrote or writes)
        return result

    return exclusive


def _may_write(session: Session, asked: Any = None, *_: Any) -> bool:
    """Say whether a call may change something: what is pending is flushed with it."""
    if session.new or session.dirty or session.deleted:
        return True
    if isinstance(asked, TextClause):
        return _READS.match(asked.text) is None
    return isinstance(asked, Executable) and not getattr(asked, "is_select", False)
