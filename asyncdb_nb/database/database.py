"""
A database as an object that stands at module level: one engine, its sessions, its frames.

    db = Database("postgresql://me@db.example.org/shop")      # no connection is made yet

    async with db.session() as session:                       # a transaction of one's own
        session.add(order)

    orders = await db.frame("select * from orders")           # a DataFrame; nothing stays open

`connect()` makes the same object and asks the server at once, so that a wrong URL fails in the cell that has it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from asyncdb_nb.aio.async_for import AsyncFor
from asyncdb_nb.aio.awaitables import Pending
from asyncdb_nb.database import catalog
from asyncdb_nb.database.options import check_options, with_known_options
from asyncdb_nb.database.session import SessionFactory, check_lent, reading_scope, session_scope
from asyncdb_nb.database.summary import summary
from asyncdb_nb.engine.connector import make_engine, without_frames
from asyncdb_nb.engine.conninfo.parameters import EXAMPLE, Target
from asyncdb_nb.engine.conninfo.resolve import resolve
from asyncdb_nb.engine.history import History, own
from asyncdb_nb.errors import DatabaseClosedError, DatabaseURLError, UnknownTableError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from sqlalchemy.ext.asyncio import AsyncSession

    from asyncdb_nb.database.parallel import ParallelRead
    from asyncdb_nb.database.snapshot import snapshot_scope
    from asyncdb_nb.dataframes.types.table import DatesAs, NumericAs
    from asyncdb_nb.dataframes.writing.writing import Written
    from asyncdb_nb.explore.diagram import Diagram
    from asyncdb_nb.explore.export import Export
    from asyncdb_nb.explore.plan import Plan
    from asyncdb_nb.explore.profile import Profile
    from asyncdb_nb.explore.view import View

T = TypeVar("T")

_AS_USUAL = {"numeric": "decimal", "dates": "date"}


class Database:
    """One PostgreSQL database: its engine, its sessions, its frames, on whatever event loop is running.

    Making one does no input or output beyond reading configuration files, so it can stand at module level. Connections
    are opened when they are needed, kept for each loop by itself, and closed when they were idle for `idle_timeout`
    seconds or their loop ends. A `Database` can be pickled, password included, and opens connections of its own
    wherever it is unpickled.

    Args:
        url: A URL (`postgres://`, `postgresql://`, `postgresql+asyncpg://`), an SQLAlchemy `URL`, a libpq connection
            string, or the name of a `pg_service`. What it leaves out comes from the service file, the `PG*` variables
            and `~/.pgpass`, as with psql. None: `$DATABASE_URL` (environment, then `.env`), else the server that
            `PGSERVICE` or `PGHOST` names (environment, then `.env`). A `.env` that others could have written is passed
            over with a warning.
        sessionmaker: Your own `async_sessionmaker`, `AsyncSession` class or `Session` class; sessions and frames use
            it, so a tenant filter on it holds in all of them.
        idle_timeout: Seconds after which an idle connection is closed; None is never.
        numeric: How its frames read `numeric`, unless the call says otherwise: `"decimal"` (exact) or `"float"`.
        dates: Likewise for `date`: `"date"` or `"timestamp"`.
        **engine_options: What `create_async_engine` takes: `pool_size` and `max_overflow` (connections a loop), `echo`,
            `connect_args`, … `pool_pre_ping` is on unless it is given: a kernel stays open for days, in which servers
            restart and laptops sleep, and the ping costs one short round trip a transaction.

    Raises:
        DatabaseURLError: The URL cannot be read, or there is none.
        ValueError: `numeric` or `dates` is none of its two.
    """

    def __init__(
        self,
        url: str | URL | None = None,
        sessionmaker: SessionFactory | None = None,
        *,
        idle_timeout: float | None = 60.0,
        numeric: NumericAs = "decimal",
        dates: DatesAs = "date",
        **engine_options: Any,
    ) -> None:
        reading = {"numeric": numeric, "dates": dates}
        try:
            found = resolve(url)
            if found is None:
                raise DatabaseURLError(
                    f'No database is named: type Database("{EXAMPLE}") or set DATABASE_URL. '
                    "For a server with sample data, type `await connect()`."
                )
            self._open(found, sessionmaker, {"idle_timeout": idle_timeout, **reading, **engine_options})
        except Exception as error:
            raise without_frames(error) from error.__cause__
        finally:
            del url, engine_options  # no traceback shall show them: they may hold a password

    def _open(self, where: Target, sessionmaker: SessionFactory | None, options: dict[str, Any]) -> None:
        self._target = where
        self._sessionmaker = sessionmaker
        self._options = options
        self._closed = False
        self._reads_as = {name: options.get(name, usual) for name, usual in _AS_USUAL.items()}
        if self._reads_as != _AS_USUAL:
            from asyncdb_nb.dataframes.types.table import check_reading

            check_reading(**self._reads_as)
        self._history = History()
        self._engine = make_engine(where, {name: options[name] for name in options if name not in self._reads_as})
        self._history.listen(self._engine)

    @classmethod
    def _of(cls, where: Target, sessionmaker: SessionFactory | None, options: dict[str, Any]) -> Database:
        database = cls.__new__(cls)
        database._open(where, sessionmaker, options)
        return database

    def _is_made_of(self, where: Target, sessionmaker: SessionFactory | None, options: dict[str, Any]) -> bool:
        # A class that a cell defined anew looks like the old one, and may filter otherwise: the object itself counts.
        ours = (self._target.parameters, self._target.origin, self._target.sources, self._options)
        theirs = (where.parameters, where.origin, where.sources, options)
        return self._sessionmaker is sessionmaker and ours == theirs

    def __reduce__(self) -> tuple[Any, ...]:
        return Database._of, (self._target, self._sessionmaker, self._options)

    @property
    def engine(self) -> AsyncEngine:
        """The engine. Its `url` has no password; `db.url` has.

        Raises:
            DatabaseClosedError: After `aclose()`.
        """
        if self._closed:
            raise DatabaseClosedError
        return self._engine

    @property
    def url(self) -> URL:
        """The SQLAlchemy URL, whose repr and `str()` hide the password."""
        return self._target.url

    def session(self, readonly: bool = False, timeout: float | None = None, **options: Any) -> session_scope:
        """Open a session for a block: committed at its end, rolled back on an error; see `session_scope`.

        Args:
            readonly: No statement can change anything.
            timeout: Seconds that each statement may take on the server.
            **options: More arguments for the session class.

        Example:
            >>> async with db.session(readonly=True, timeout=5) as session:
            ...     workflows = (await session.scalars(select(Workflow))).all()
        """
        return self._scope(session_scope, readonly=readonly, timeout=timeout, **options)

    def snapshot(self, *tables: str) -> snapshot_scope:
        """Keep one snapshot for a block, which any number of sessions can read at once, also in other processes.

        It takes a connection, whose transaction is idle, and which timeouts for idle transactions do not end. Vacuum
        keeps what the snapshot sees, in all tables, for as long as it is kept.

        Args:
            *tables: `table` or `schema.table`. They are locked (ACCESS SHARE, partitions included) before the snapshot
                is taken, so that nobody empties or rewrites them meanwhile: those commands wait, reading and writing
                goes on. Every table that `blocks` shall cut has to be among them.

        Returns:
            What `async with` gives a `Snapshot` of: `session()`, `blocks(table, n)`, `ranges(statement, key, n)`.

        Raises:
            UnknownTableError: There is no such table.
            UnsplittableError: It is temporary, foreign, or a materialized view, and cannot be locked for others.
            SnapshotGoneError: At the end of the block, and from whoever wants to read: its connection was lost.

        Example:
            >>> async with db.snapshot("shop.orders") as snap:
            ...     for part in await snap.blocks("shop.orders", 4):
            ...         async with snap.session() as session:
            ...             print(len(await frame(session, part)))
        """
        from asyncdb_nb.database.snapshot import snapshot_scope

        return snapshot_scope(self, tables)

    def frame(
        self, statement: Any, params: Any = None, *, parallel: int | None = None, key: str | None = None, **options: Any
    ) -> Coroutine[Any, Any, pd.DataFrame]:
        """Read a statement into a DataFrame, in a short read-only transaction of its own; nothing stays open.

        Args:
            statement: SQL text, or a select of Core or the ORM.
            params: Values for the `:name` binds of a text; with none, the text runs as typed, colons and all.
            parallel: Read on so many connections at once, which see one snapshot; one more keeps that. The rows of a
                whole table (`"schema.table"`, or `"select * from schema.table"`) come in the order in which they lie on
                disk, as long as nobody writes the same for each number; those of another statement by `key`.
            key: With `parallel`, the column of the result to cut by: rows come in its order, NULLs last, and those that
                are equal in it in no particular order. With an index on it, each connection looks at its range alone.
            **options: As for `asyncdb_nb.frame`, which says what dtypes to expect. `max_rows` holds for the whole, and
                each connection may read as many.

        Returns:
            A coroutine of the DataFrame. Without an `await`, its repr says what to type.

        Raises:
            UnknownOptionError: `frame` has no such option; a value for `:id` goes into `params`.
            UnsplittableError: With `parallel`: the table or the statement cannot be cut; the message has the reason.
            FrameError: With `parallel`: the pool has too few connections.

        Example:
            >>> await db.frame("select * from orders where status = :status", {"status": "open"})
            >>> await db.frame("shop.orders", parallel=4)
        """
        from asyncdb_nb.dataframes import frame

        check_options(frame, options)
        options = self._reads_as | options
        if parallel is not None or key is not None:
            reading = self._parallel(statement, params, parallel, key)
            return self._pending("frame(...)", lambda: reading.frame(**options))
        return self._pending("frame(...)", self._read(frame, statement, params, options))

    def table(
        self, statement: Any, params: Any = None, *, parallel: int | None = None, key: str | None = None, **options: Any
    ) -> Coroutine[Any, Any, pa.Table]:
        """Read a statement into a `pyarrow.Table`, as `frame` does into a DataFrame; see `asyncdb_nb.table`."""
        from asyncdb_nb.dataframes import table

        check_options(table, options)
        options = self._reads_as | options
        if parallel is not None or key is not None:
            reading = self._parallel(statement, params, parallel, key)
            return self._pending("table(...)", lambda: reading.arrow(**options))
        return self._pending("table(...)", self._read(table, statement, params, options))

    def frames(
        self, statement: Any, params: Any = None, *, parallel: int | None = None, key: str | None = None, **options: Any
    ) -> AsyncFor[pd.DataFrame]:
        """Read a statement in parts, in one read-only transaction of its own.

        The transaction and its connection last until the loop has come to its end. After a `break` or an error in the
        body they last a moment longer: Python leaves the end to a task, which runs when your code next awaits
        something. To have it ended there and then, put `contextlib.aclosing(...)` around the call. A stream that is
        kept in a variable and not read to its end stays open as long as the variable.

        Args:
            statement: As for `frame`.
            params: As for `frame`.
            parallel: As for `frame`. Each connection is one piece of about 32 MB ahead, where a table is cut by its
                blocks; a statement is cut into as many as there are connections.
            key: As for `frame`.
            **options: As for `asyncdb_nb.frames`: `rows` is how many rows a part has (100,000; the last has the rest).

        Example:
            >>> async for part in db.frames("select * from tasks", rows=100_000):
            ...     total += part["cost"].sum()
        """
        from asyncdb_nb.database import reads
        from asyncdb_nb.dataframes import frames

        check_options(frames, options)
        options = self._reads_as | options
        if parallel is not None or key is not None:
            return AsyncFor(self._parallel(statement, params, parallel, key).frames(**options), "db.frames(...)")
        return AsyncFor(reads.parts(self._reading, frames, statement, params, options), "db.frames(...)")

    def batches(self, statement: Any, params: Any = None, **options: Any) -> AsyncFor[pa.RecordBatch]:
        """Read a statement as Arrow record batches; otherwise as `frames` does.

        Example:
            >>> async for batch in db.batches("select * from tasks"):
            ...     writer.write_batch(batch)
        """
        from asyncdb_nb.database import reads
        from asyncdb_nb.dataframes import batches

        check_options(batches, options)
        options = self._reads_as | options
        return AsyncFor(reads.parts(self._reading, batches, statement, params, options), "db.batches(...)")

    def execute(
        self, statement: Any, params: Any = None, *, timeout: float | None = None, **options: Any
    ) -> Coroutine[Any, Any, int | pd.DataFrame]:
        """Run a statement, or a script, that changes something, in one transaction of its own.

        It is committed when all of it has run. When a statement fails, or this is cancelled, nothing of it is kept.

        Args:
            statement: SQL text, of one statement or several with `;` between them; or an insert, update or delete of
                Core or the ORM. Of what lasts longer than a transaction (`set`, temporary tables, `listen`), nobody
                knows which later session has it: `set local` and `on commit drop` end with the script.
            params: Values for the `:name` binds of all statements; with none, the text runs as typed.
            timeout: Seconds that each statement may take on the server.
            **options: `numeric` and `dates`, as for `asyncdb_nb.frame`.

        Returns:
            A coroutine: of a DataFrame where the last statement returns rows, else of how many rows were inserted,
            updated, deleted or merged, by all statements together.

        Raises:
            ScriptError: A statement begins or ends a transaction, or is a COPY that waits for a client's data.
            FrameError: As for `frame`.
            sqlalchemy.exc.SQLAlchemyError: The server refused a statement; a note says which one of a script.

        Example:
            >>> await db.execute("create index on orders (placed_at)")
            >>> await db.execute("update orders set status = 'open' where id = :id", {"id": 7})
        """
        from asyncdb_nb.database import script
        from asyncdb_nb.dataframes import execute

        check_options(execute, options)
        options = self._reads_as | options
        statements = script.check(statement, params) if isinstance(statement, str) else [statement]

        async def run() -> int | pd.DataFrame:
            async with self.session(timeout=timeout) as session:
                steps = await script.run(session, statements, params, **options)
            frame = steps[-1].frame
            return sum(step.changed for step in steps) if frame is None else frame

        return Pending(run, "db.execute(...)", "Nothing has run yet.")

    @with_known_options
    def export(
        self,
        statement: Any,
        path: str | os.PathLike[str],
        params: Any = None,
        *,
        session: AsyncSession | None = None,
    ) -> Coroutine[Any, Any, Export]:
        """Write the result of a statement to a file, at the memory of one part of it.

        The file is there when it is complete, in the place of one that was there before; after an error or a Stop
        nothing is left of it. Values are exact, whatever the frames of this `Database` read them as: decimals with all
        their digits, `timestamptz` in UTC. What a format has no type for is written as text, and the result says so.

        Args:
            statement: As for `frame`.
            path: Ends in `.parquet`, `.arrow` (the IPC file format, also known as Feather), `.csv` or `.xlsx` (which
                needs the extra `excel`).
            params: As for `frame`.
            session: One in whose transaction it is read; None is a transaction of its own.

        Returns:
            A coroutine of an `Export`: `path`, `rows`, `size` in bytes, `notes`.

        Raises:
            ExportError: The suffix or the folder is none, or the format cannot hold the result.
            MissingExtraError: The extra `excel` is not installed.

        Example:
            >>> await db.export("select * from orders", "orders.parquet")
        """
        from asyncdb_nb.database import reads
        from asyncdb_nb.dataframes import batches, frames
        from asyncdb_nb.explore import export

        check_lent(session)
        file = export.target(path)
        excel = file.suffix.lower() == export.EXCEL
        options: dict[str, Any] = {"rows": 5_000, "dtype_backend": "pyarrow"} if excel else {}
        reader: Callable[..., AsyncFor[Any]] = frames if excel else batches

        async def write() -> Export:
            if session is not None:
                parts = reader(session, statement, params, **options)
            else:
                parts = AsyncFor(reads.parts(self._reading, reader, statement, params, options), "db.batches(...)")
            return await export.write(parts, file)

        return Pending(write, "db.export(...)", "Nothing was written yet.")

    def history(self) -> pd.DataFrame:
        """List what this process asked this database lately, the newest first; the last thousand statements.

        Statements are told without the values of their binds, of which nothing is kept, and not after 2,000 characters.

        Returns:
            A DataFrame, at once, with one row a statement: `when` (UTC), `where` (`In [5], line 2`, or `file.py:12`;
            nothing where only libraries led to it), `statement`, `rows` (returned or changed; missing for those that
            are read in parts), `ms` (for those, until the last part came), `outcome` (`ok`, `running`, `cancelled`, or
            `failed` with the kind of error).
        """
        return self._history.frame()

    def write(self, data: Any, table: str, **options: Any) -> Coroutine[Any, Any, Written]:
        """Write data into a table, in a transaction of its own: every row exactly, or none.

        Args:
            data: A DataFrame, a `pyarrow.Table` or reader, what has `__arrow_c_stream__`, or an iterator of these.
            table: `"table"` or `"schema.table"`.
            **options: As for `asyncdb_nb.write`: `if_exists`, `key`, `types`, `index`.

        Returns:
            A coroutine of a `Written`: `rows`, `inserted`, `updated`, `unchanged`, `seconds`, `created`.

        Raises:
            UnknownOptionError: `write` has no such option.
            WriteError: A column or a value does not fit; the message says which.

        Example:
            >>> await db.write(prices, "shop.prices", if_exists="upsert", key="id")
            >>> await db.write(other.frames("select * from orders"), "orders")
        """
        from asyncdb_nb.dataframes import write

        check_options(write, options)

        async def write_all() -> Written:
            async with self.session() as session:
                return await write(session, data, table, **options)

        return self._pending("write(...)", write_all)

    def tables(self) -> Coroutine[Any, Any, pd.DataFrame]:
        """List the tables and views that are not PostgreSQL's own.

        Returns:
            A coroutine of a DataFrame with one row each, ordered by name: `schema`, `table`, `kind`, `rows` (the
            planner's estimate; missing before the first ANALYZE), `bytes` (with indexes; missing for views), `rights`
            (of select, insert, update and delete, those that you have; "" for none), `comment`.
        """
        from asyncdb_nb.dataframes import frame

        return self._pending("tables()", self._read(frame, own(catalog.TABLES), None, {}))

    def describe(self, name: str) -> Coroutine[Any, Any, pd.DataFrame]:
        """List the columns of a table or view.

        Args:
            name: `table`, or `schema.table`.

        Returns:
            A coroutine of a DataFrame with one row a column, in the table's order: `column`, `type` (as SQL writes it),
            `nullable`, `default`, `key` (primary key, unique, references …; one of several columns with all of them),
            `referenced_by` (the foreign keys of other tables that refer to it), `indexes` (those that no key stands
            for), `readable` (whether you may read it), `comment`.

        Raises:
            UnknownTableError: There is no such table; the message has the nearest names.
        """

        async def describe() -> pd.DataFrame:
            from asyncdb_nb.dataframes import frame

            async with self.session(readonly=True) as session:
                oid = await catalog.find_table(session, name)
                return await frame(session, own(catalog.COLUMNS), {"oid": oid})

        return self._pending(f"describe({name!r})", describe)

    @with_known_options
    def profile(
        self,
        source: Any,
        params: Any = None,
        *,
        sample: int | None = None,
        timeout: float = 600,
        session: AsyncSession | None = None,
    ) -> Coroutine[Any, Any, Profile]:
        """Look at what a table or a result holds, column by column, in three statements on the server.

        Rows, missing values, the smallest, the largest, the mean and the deviation are exact, in one pass. Distinct and
        frequent values, quantiles, lengths, gaps, keys and histograms are exact up to 100,000 rows; of more, they come
        from a random sample that is the same each time, and are marked. All of it is of one moment (REPEATABLE READ),
        and read-only.

        Args:
            source: `table` or `schema.table`, SQL text, or a select of Core or the ORM.
            params: Values for the `:name` binds of a text.
            sample: Rows to sort and group, of a source that has more; None is 100,000, and a sample of 30,000 beyond.
            timeout: Seconds that each statement may take on the server.
            session: One in whose transaction, in a savepoint, it is read: temporary tables, and what is not committed
                yet. It is of one moment when that transaction is REPEATABLE READ.

        Returns:
            A coroutine of a `Profile`, which shows itself as a table, and has `.frame()`, `.sources()` and `.plot()`.

        Raises:
            UnknownTableError: There is no such table; the message has the nearest names.
            FrameError: The text is neither a name nor a query.

        Example:
            >>> await db.profile("orders")
            >>> await db.profile("select * from orders where day >= :day", {"day": date(2026, 1, 1)})
        """
        check_lent(session)

        async def profile() -> Profile:
            from asyncdb_nb.explore.profile import read_profile

            async def read(session: AsyncSession) -> Profile:
                named: Any = source
                try:
                    return await read_profile(session, named, params, sample=sample, timeout=timeout)
                except UnknownTableError:
                    named = await catalog.name_in_sql(session, named)  # or it says which ones are near
                return await read_profile(session, named, params, sample=sample, timeout=timeout)

            if session is not None:
                async with session.begin_nested() as savepoint:
                    found = await read(session)
                    await savepoint.rollback()  # and with it the limit of time
                return found
            async with self._reading() as reading:
                await reading.connection(execution_options={"isolation_level": "REPEATABLE READ"})
                return await read(reading)

        return self._pending("profile(...)", profile)

    @with_known_options
    def explain(
        self,
        statement: Any,
        params: Any = None,
        *,
        analyze: bool = False,
        timeout: float = 30,
        session: AsyncSession | None = None,
    ) -> Coroutine[Any, Any, Plan]:
        """Ask for the plan of a statement: why it is slow, and what to do about it.

        Args:
            statement: As for `frame`; a text may begin with EXPLAIN, whose ANALYZE then counts as `analyze=True`.
            params: As for `frame`.
            analyze: Run the statement, so that times and rows are measured. It runs in a read-only transaction, which
                is rolled back; what a transaction does not undo (an advisory lock of the session) stays.
            timeout: Seconds that planning and running may take on the server.
            session: One in whose transaction it is planned and run, in a savepoint that is read-only.

        Returns:
            A coroutine of a `Plan`, which shows itself as a tree, and has `.advice`, `.frame()` and `.plot()`.

        Raises:
            AnalyzeWritesError: With `analyze`, the statement changes something. Nothing was changed.
            sqlalchemy.exc.SQLAlchemyError: The server refused the statement, or it took longer than `timeout`.

        Example:
            >>> await db.explain("select * from orders where status = :status", {"status": "open"}, analyze=True)
        """
        check_lent(session)

        async def explain() -> Plan:
            from asyncdb_nb.explore.plan import read_plan

            async with self._reading() if session is None else nullcontext(session) as reading:
                return await read_plan(reading, statement, params, analyze=analyze, timeout=timeout)

        return self._pending("explain(...)", explain)

    def diagram(
        self, schema: str | None = None, *, session: AsyncSession | None = None
    ) -> Coroutine[Any, Any, Diagram]:
        """Draw how tables belong together: their keys, their rows (the planner's estimate) and their foreign keys.

        Args:
            schema: The tables of one schema, and those of others that they refer to; None is every table that is not
                PostgreSQL's own. Partitions are in the table that they are parts of.
            session: One in whose transaction the catalog is read.

        Returns:
            A coroutine of a `Diagram`, which a notebook shows as a picture, and which has `.frame()`, `.svg()`,
            `.mermaid()` and `.plot()`.

        Raises:
            UnknownSchemaError: There is no such schema; the message has those that are there.

        Example:
            >>> await db.diagram("workflows")
        """
        check_lent(session)

        async def diagram() -> Diagram:
            from asyncdb_nb.explore.diagram import read_diagram

            async with self.session(readonly=True, timeout=60) if session is None else nullcontext(session) as reading:
                return await read_diagram(reading, schema)

        return self._pending("diagram(...)", diagram)

    @with_known_options
    def view(self, source: Any, params: Any = None, *, timeout: float = 30) -> Coroutine[Any, Any, View]:
        """Look through a table or a result in a notebook: pages of 100 rows, sorted and filtered by the server.

        The source is asked anew for each page, read-only, in a transaction of its own; between two pages nothing is
        open. The next question cancels one that is still at work. Values are the server's own text of them, exact, in
        the session's time zone; of long ones the first 1,000 characters.

        The controls need the extra `widgets`, in JupyterLab 4. What a notebook stores, and what is shown where nobody
        could use them, are the first ten rows.

        Args:
            source: `table` or `schema.table`, SQL text, or a select of Core or the ORM.
            params: Values for the `:name` binds of a text.
            timeout: Seconds that each question may take on the server.

        Returns:
            A coroutine of a `View`, which shows itself, and has `await page(...)` and `await count(...)`.

        Raises:
            UnknownTableError: There is no such table; the message has the nearest names.
            FrameError: The text is neither a name nor a query.
            sqlalchemy.exc.SQLAlchemyError: The server refused the statement, or it took longer than `timeout`.

        Example:
            >>> await db.view("shop.orders")
            >>> await db.view("select * from orders where day >= :day", {"day": date(2026, 1, 1)})
        """

        async def view() -> View:
            from asyncdb_nb.explore.view import find, read_view

            def opened() -> session_scope:
                return self.session(readonly=True, timeout=timeout)

            async with opened() as session:
                return await read_view(session, opened, await find(session, source, params, catalog.name_in_sql))

        return self._pending("view(...)", view)

    def _scope(self, kind: type[session_scope], **options: Any) -> session_scope:
        return kind(self, sessionmaker=self._sessionmaker, **options)

    def _reading(self) -> session_scope:
        return self._scope(reading_scope, readonly=True)

    def _read(self, reader: Any, statement: Any, params: Any, options: dict[str, Any]) -> Callable[[], Any]:
        from asyncdb_nb.database import reads

        def read() -> Coroutine[Any, Any, Any]:
            engine = self.engine if self._sessionmaker is None else None
            return reads.whole(self._reading, reader, statement, params, options, engine)

        return read

    def _parallel(self, statement: Any, params: Any, n: Any, key: str | None) -> ParallelRead:
        from asyncdb_nb.database.parallel import ParallelRead

        return ParallelRead(self, statement, params, n, key)

    def _pending(self, call: str, start: Callable[[], Coroutine[Any, Any, T]]) -> Coroutine[Any, Any, T]:
        return Pending(start, f"db.{call}")

    async def aclose(self) -> None:
        """Close the idle connections of every loop, and refuse further use. A second call does nothing."""
        if not self._closed:
            self._closed = True
            await self._engine.dispose()

    async def __aenter__(self) -> Database:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        if not hasattr(self, "_engine"):
            return "Database, not made"  # seen in the traceback of its own __init__
        return summary(self._target, self._options, self._engine.pool, self._closed)

    async def _check(self) -> None:
        """Check out a connection, which is one round trip when one is idle: the ping."""
        async with self.engine.connect() as connection:
            if not self._options.get("pool_pre_ping", True):
                await connection.exec_driver_sql("SELECT 1")
