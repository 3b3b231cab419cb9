"""
One snapshot of the database for many sessions: on any connection, loop, thread or process they see the same rows.

    async with db.snapshot("shop.orders") as snap:
        async with snap.session() as session:                # and others at once, here and elsewhere
            orders = await frame(session, "select * from shop.orders")

A transaction exports its snapshot and stays open: the *exporting transaction*. As long as it is, other transactions can
begin with that snapshot. TRUNCATE, VACUUM FULL, CLUSTER and those ALTER TABLE that rewrite a table do not respect older
snapshots, so the exporting transaction locks the tables (ACCESS SHARE, as every SELECT does) before it takes its own. A
session locks them once more before it takes over the snapshot, which succeeds only while the exporting transaction is
open: so there was no moment without a lock.

Sources: PostgreSQL manual, "SET TRANSACTION", "Snapshot Synchronization Functions" and "Caveats" of "Concurrency
Control".
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NoReturn

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.util import await_only

from asyncdb_nb.database import block_ranges, key_ranges
from asyncdb_nb.database.block_ranges import find, tree
from asyncdb_nb.database.session import session_scope, start_transaction
from asyncdb_nb.database.without_password import database_of, reference_to
from asyncdb_nb.engine._sqlalchemy.execution import execute_script, raise_wrapped
from asyncdb_nb.engine.history import own
from asyncdb_nb.errors import AsyncDBError, SnapshotGoneError, UnsplittableError

_LASTING = {"idle_in_transaction_session_timeout": (9, 6), "transaction_timeout": (17,)}  # setting → first version
_EXPORT = "SELECT pg_catalog.pg_export_snapshot() AS snapshot, pg_catalog.pg_postmaster_start_time() AS server"
_SERVER = own("SELECT pg_catalog.pg_postmaster_start_time()")
_GONE = {"42704", "22023"}  # there is no such snapshot: since PostgreSQL 17, and before
_UNKNOWN_TABLE = {"42P01", "3F000"}  # of a table that was locked: it can only have been dropped when the lock was gone


@dataclass(frozen=True)
class Snapshot:
    """What `db.snapshot()` gives: a snapshot that lasts as long as that block.

    It can be used on any loop and in any thread, and can be pickled for another process: there it connects by itself,
    as the same user, with a password that this process finds in its own environment, service file or `~/.pgpass`. No
    password is in the pickle.

    Attributes:
        identifier: The name that PostgreSQL gave it: `00000003-0000001B-1`.
        tables: The tables that are locked, as SQL names them.
        database: The `Database`.
    """

    database: Any
    identifier: str
    tables: tuple[str, ...]
    server: dt.datetime
    """When the server was started: it tells servers apart that have a snapshot of the same name."""

    locked: frozenset[int]
    """The oids of the tables, their partitions included."""

    def session(self, timeout: float | None = None, **options: Any) -> session_scope:
        """Open a read-only session that sees what the snapshot has; its transaction begins with the block.

        Args:
            timeout: Seconds that each statement may take on the server.
            **options: More arguments for the session class.

        Raises:
            SnapshotGoneError: On entering the block: the snapshot has ended, or this is another server.
        """
        scope: session_scope = self.database._scope(snapshot_session, snapshot=self, timeout=timeout, **options)
        return scope

    async def blocks(self, table: str, n: int) -> list[str]:
        """Cut a table into about `n` statements that each read a range of its blocks: no row twice, none left out.

        One after the other they give the rows in the order in which they lie on disk, partition by partition in the
        order of their creation. There are fewer where the table has fewer blocks, more where it has more partitions.
        PostgreSQL 14 and later reads the range alone; before, each statement scans the whole table.

        Args:
            table: `table` or `schema.table`, one of those that `db.snapshot()` was given.
            n: How many statements.

        Raises:
            UnsplittableError: It has no blocks of its own (a view, a foreign table), or a part of it may not be read
                by itself; the message has the reason.
            SnapshotGoneError: As for `session`.
        """
        _check_number(n)
        async with self.session() as session:
            oid = (await find(session, table)).oid
            if oid not in self.locked:
                raise UnsplittableError(
                    f"{table} was not locked when this snapshot was taken, and may have been emptied or rewritten "
                    f'since. Name it: `db.snapshot("{table}")`.'
                )
            return await block_ranges.statements(session, oid, n)

    async def ranges(
        self, statement: Any, key: str, n: int, *, how: key_ranges.How = "percentile", params: Any = None
    ) -> list[Any]:
        """Cut a statement into about `n` that each give a range of one of its columns: no row twice, none left out.

        One after the other they give the rows in the order of that column, NULLs last; rows that are equal in it are
        in no particular order. Each runs the whole statement with a condition more, so an index on the column is what
        makes it quick. `now()`, the time of the transaction, differs between them; what else gives other rows each time
        (a LIMIT without ORDER BY, a sample, volatile functions) is refused.

        Args:
            statement: SQL text of a SELECT, or a select of Core or the ORM. Tables that are emptied or rewritten
                meanwhile have to be among those that `db.snapshot()` was given.
            key: The column's name in the result.
            n: How many statements; fewer come where many rows have one key, one more where the key can be NULL.
            how: "percentile": of equally many rows, for one more pass over the key. "width": of equal distance
                between the least and the greatest number, date or timestamp.
            params: Values for the `:name` binds of a text. They are needed for each of the statements as well.

        Raises:
            UnsplittableError: The statement or the column cannot be cut; the message has the reason.
            SnapshotGoneError: As for `session`.
        """
        _check_number(n)
        async with self.session() as session:
            return await key_ranges.statements(session, statement, key, n, how, params)

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrived, (reference_to(self.database), self.identifier, self.tables, self.server, self.locked)


def _arrived(reference: Any, *what: Any) -> Snapshot:
    return Snapshot(database_of(reference), *what)


class snapshot_session(session_scope):  # noqa: N801  as its base
    """A scope whose every transaction sees a snapshot, and is read-only."""

    def __init__(self, bind: Any, *, snapshot: Snapshot, **options: Any) -> None:
        super().__init__(bind, readonly=True, **options)
        self._snapshot = snapshot

    async def __aenter__(self) -> AsyncSession:
        session = await super().__aenter__()
        try:
            await session.connection()
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        return session

    def _begin(self, session: Any, transaction: Any, connection: Any) -> None:
        """Lock first, then take the snapshot over: whatever takes one of its own before makes that impossible."""
        start_transaction(connection, readonly=True, isolation="repeatable_read")
        script = [f"SET TRANSACTION SNAPSHOT '{self._snapshot.identifier}'", "SET LOCAL synchronize_seqscans = off"]
        if self._snapshot.tables:
            script.insert(0, _lock(self._snapshot.tables))
        script += [f"SET LOCAL {name} = '{value}'" for name, value in self._settings.items() if "read_only" not in name]
        try:
            _execute(connection, "; ".join(script))
            server = connection.execute(_SERVER).scalar()
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) in _GONE | _UNKNOWN_TABLE:
                raise SnapshotGoneError(self._snapshot.identifier) from error
            raise
        if server != self._snapshot.server:
            raise SnapshotGoneError(self._snapshot.identifier)


class exporting_scope(session_scope):  # noqa: N801  as its base
    """The scope of the exporting transaction: it locks, and nobody shall end it for being idle."""

    def __init__(self, bind: Any, *, tables: tuple[str, ...], **options: Any) -> None:
        super().__init__(bind, readonly=True, **options)
        self._tables = tables

    def _begin(self, session: Any, transaction: Any, connection: Any) -> None:
        start_transaction(connection, readonly=True, isolation="repeatable_read")
        version = connection.dialect.server_version_info
        script = [f"SET LOCAL {name} = 0" for name, since in _LASTING.items() if version >= since]
        _execute(connection, "; ".join([*script, _lock(self._tables)] if self._tables else script))


class snapshot_scope:  # noqa: N801  used like the function that it replaces
    """Keep one snapshot for the length of an `async with` block; see `Database.snapshot`."""

    def __init__(self, database: Any, tables: tuple[str, ...]) -> None:
        for table in tables:
            if not isinstance(table, str):
                raise TypeError(f'db.snapshot() takes names of tables, such as "schema.table"; got {table!r}.')
        self._database = database
        self._names = tables
        self._exporting: session_scope | None = None
        self._identifier = ""

    async def __aenter__(self) -> Snapshot:
        if self._exporting is not None:
            raise AsyncDBError("This snapshot is open already. Take a second one: `async with db.snapshot(...):`.")
        tables = await self._resolved()
        exporting = self._database._scope(exporting_scope, tables=tables)
        session = await exporting.__aenter__()
        try:
            found = (await session.execute(own(_EXPORT))).one()
            locked = await _locked(session, tables)
        except BaseException as error:
            await exporting.__aexit__(type(error), error, error.__traceback__)
            raise
        self._exporting, self._identifier = exporting, found.snapshot
        return Snapshot(self._database, found.snapshot, tables, found.server, locked)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        exporting, self._exporting = self._exporting, None
        assert exporting is not None, "async with calls these two in turn"  # noqa: S101
        try:
            await exporting.__aexit__(kind, error, traceback)
        except DBAPIError as lost:  # only the connection can be lost here: nothing was written
            raise SnapshotGoneError(self._identifier) from lost

    def __enter__(self) -> NoReturn:
        raise TypeError("A snapshot needs `async with`. Type: async with db.snapshot(...) as snap:")

    def __exit__(self, *error: object) -> None:
        """Let `with` get as far as `__enter__`."""

    async def _resolved(self) -> tuple[str, ...]:
        """Name the tables as SQL does. A transaction of its own: to look into the catalog is to take a snapshot."""
        if not self._names:
            return ()
        async with self._database.session(readonly=True) as session:
            found = [await find(session, name) for name in self._names]
        for table in found:
            table.check_lock()
        return tuple(dict.fromkeys(table.name for table in found))


async def _locked(session: AsyncSession, tables: tuple[str, ...]) -> frozenset[int]:
    """Give the oids of tables and partitions as the snapshot has them, all of which the session has locked."""
    locked = {oid for (oid,) in await session.execute(own(block_ranges.LOCKED))}
    wanted = {part.oid for table in tables for part in await tree(session, table)}
    if wanted - locked:
        raise AsyncDBError(
            "A partition was attached just when its table was locked, so that it is not locked itself. "
            "Take the snapshot again."
        )
    return frozenset(wanted)


def _check_number(n: int) -> None:
    if not isinstance(n, int) or n < 1:
        raise ValueError(f"n={n!r}: it is how many statements to write, 1 or more.")


def _lock(tables: tuple[str, ...]) -> str:
    return f"LOCK TABLE {', '.join(tables)} IN ACCESS SHARE MODE"


def _execute(connection: Any, script: str) -> None:
    """Send a script before any query: SQLAlchemy would prepare each statement of it."""
    try:
        await_only(execute_script(connection.connection.dbapi_connection, script))
    except BaseException as error:
        raise_wrapped(connection, error, script)
