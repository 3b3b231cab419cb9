"""
A session for the length of a block: committed on success, rolled back otherwise, its connection always given back.

    async with session_scope(engine) as session:
        session.add(workflow)

It is SQLAlchemy's `AsyncSession` with three things added: it ends well also when it is cancelled (and cancelled again
while it ends), it can be read-only or limited in time, and two tasks that use it at once get one clear error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from types import TracebackType
from typing import Any, NoReturn, Protocol

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_scoped_session, async_sessionmaker
from sqlalchemy.orm import Session
from sqlalchemy.util import await_only

from asyncdb_nb.database.commit import commit, refuse_rollbacks, tells
from asyncdb_nb.database.one_task import guard
from asyncdb_nb.database.usage import to_the_end
from asyncdb_nb.engine._sqlalchemy.execution import begin, is_asyncpgs, raise_wrapped
from asyncdb_nb.engine.history import own
from asyncdb_nb.engine.lost_connections import after_failed_rollback
from asyncdb_nb.engine.pre_ping import answered
from asyncdb_nb.errors import AsyncDBError, ConcurrentUseError

_ROLLED_BACK = "The transaction was rolled back."
_ENDED_BEFORE = "What became of the transaction, the error of that task says."

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
        ConcurrentUseError: From whatever is awaited of the session, of its connection, its transactions or a streamed
            result, a method of your own class too, when another task is using it. The waiting call first lets the
            running statement come to its end, so that an error of that one is seen first.
        SessionEndedError: From the same, and from `add`, after the block.
        CommitRolledBackError: At the end of the block, or from any other commit in it: a statement had failed, the
            block caught its error, and PostgreSQL answered COMMIT by a rollback. With several binds nothing is then
            kept of any. Not where all that came before only read, as far as the server can tell: a function of your
            own, a view, a table with row security may write.

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
        guard(session, commit=_telling)
        if "transaction_read_only" not in self._settings:
            refuse_rollbacks(session.sync_session)
        if self._settings:
            event.listen(session.sync_session, "after_begin", self._begun)
        self._session = session
        return session  # type: ignore[no-any-return]

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        session, self._session = self._session, None
        try:
            await self._end(session, error)
        finally:
            session._usage.ended = True

    async def _end(self, session: Any, error: BaseException | None) -> None:
        cancelled = await session._usage.end()
        if error is None and cancelled:
            had_begun = session.in_transaction()
            refused = ConcurrentUseError.at_the_end(cancelled, _ROLLED_BACK if had_begun else _ENDED_BEFORE)
            await _close_after(session, refused)
            raise refused
        if error is not None:
            had_begun = session.in_transaction()
            await _close_after(session, error)
            if had_begun and isinstance(error, asyncio.CancelledError) and not tells(error):
                error.add_note(_ROLLED_BACK)
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

    def _begun(self, session: Any, transaction: Any, connection: Any) -> None:
        if not transaction.nested:  # a savepoint is in a transaction that has begun already
            self._begin(session, transaction, connection)

    def _begin(self, session: Any, transaction: Any, connection: Any) -> None:
        """Set what the scope asked for, in each transaction: a commit in mid-scope would end it otherwise.

        The query also takes the snapshot after which PostgreSQL refuses `SET TRANSACTION READ WRITE`.
        """
        if connection.dialect.name != "postgresql":
            raise AsyncDBError(f"readonly and timeout need PostgreSQL; this engine speaks {connection.dialect.name}.")
        if getattr(connection.connection.dbapi_connection, "autocommit", False):
            start_transaction(connection)
        calls = ", ".join(f"pg_catalog.set_config('{name}', '{value}', true)" for name, value in self._settings.items())
        connection.execute(own(f"SELECT {calls}"))


class reading_scope(session_scope):  # noqa: N801  as above
    """A read-only scope for a single query, begun in one round trip.

    The query takes its transaction's snapshot before it can do anything, so that `BEGIN READ ONLY` is enough for it.
    """

    def _begin(self, session: Any, transaction: Any, connection: Any) -> None:
        if not _is_asyncpgs(connection) or connection.connection.driver_connection.is_in_transaction():
            super()._begin(session, transaction, connection)  # a listener of the user's may have begun
        else:
            start_transaction(connection, readonly=True)


def do_first(session: AsyncSession, work: Callable[[AsyncSession], Coroutine[Any, Any, None]]) -> None:
    """Start `work(session)` on the running loop; whatever else is asked of the session waits until it is done."""
    held: Any = session
    if not hasattr(held, "_usage"):
        guard(session, commit=_telling)
    held._usage.first = asyncio.ensure_future(work(session))


def check_lent(session: Any) -> None:
    """Refuse what is no session, where one is given in whose transaction something is read; None is given for none.

    Raises:
        TypeError: With what to type.
    """
    if not (session is None or isinstance(session, AsyncSession | async_scoped_session)):
        raise TypeError(
            f"session= takes an open AsyncSession: `async with db.session() as session:`; got {type(session).__name__}."
        )


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
    return is_asyncpgs(connection.connection.dbapi_connection)


def start_transaction(
    connection: Any, *, readonly: bool = False, is_ping: bool = False, isolation: str | None = None
) -> None:
    """Send BEGIN now, also where the engine is in AUTOCOMMIT: what a scope asks for holds in a transaction alone.

    Args:
        connection: SQLAlchemy's connection, which has sent nothing yet.
        readonly: Whether the transaction is READ ONLY.
        is_ping: Whether the connection may have been lost: then BEGIN fails when no answer comes in some seconds.
        isolation: "repeatable_read", say; else that of the engine.
    """
    if not _is_asyncpgs(connection):
        raise AsyncDBError(
            "readonly and timeout need a transaction, and this engine is in AUTOCOMMIT. "
            'Make one that is not, or take `engine.execution_options(isolation_level="READ COMMITTED")`.'
        )
    adapter = connection.connection.dbapi_connection
    before = adapter.isolation_level, adapter.readonly
    adapter.isolation_level = isolation or ("read_committed" if adapter.autocommit else adapter.isolation_level)
    adapter.readonly = readonly or adapter.readonly
    try:
        await_only(answered(adapter, begin(adapter)) if is_ping else begin(adapter))
    except BaseException as error:  # a cancelled BEGIN may have begun: SQLAlchemy then gives the connection up
        raise_wrapped(connection, error, "BEGIN")
    finally:
        adapter.isolation_level, adapter.readonly = before


async def _close_after(session: AsyncSession, error: BaseException) -> None:
    """Roll back and give the connection back, whatever happens meanwhile; what fails is told as a note on `error`.

    `rollback()` comes first because, unlike `close()`, it lets go of the connection even when the rollback fails.
    """
    for step in (AsyncSession.rollback, AsyncSession.close):
        try:
            await to_the_end(step(session))
        except Exception as failure:
            error.add_note(after_failed_rollback(failure))


def _telling(method: Callable[[Any], Coroutine[Any, Any, None]]) -> Callable[[Any], Coroutine[Any, Any, None]]:
    @wraps(method)
    async def telling(self: Any) -> None:
        await commit(self, lambda: method(self))

    return telling
