"""
Every error and warning that this package raises on purpose.

Each class words its own message: what is wrong, with the value, and what to type instead. No message holds a password.

    AsyncDBError
    ├── WrongLoopError          a session or connection used on a loop other than its own
    ├── ConcurrentUseError      one session used by two tasks at once
    ├── SessionEndedError       a session used after its block
    ├── CommitRolledBackError   a COMMIT that PostgreSQL answered with a rollback
    ├── DatabaseURLError        a URL or setting that cannot be read        (also a ValueError)
    ├── ConnectError            the server cannot be reached or says no     (also a ConnectionError)
    ├── DatabaseClosedError     a Database used after `aclose()`
    ├── UnknownTableError       a table that is not there                   (also a LookupError)
    ├── UnknownSchemaError      a schema that is not there                  (also a LookupError)
    ├── AnalyzeWritesError      `db.explain(..., analyze=True)` of a statement that writes (also a ValueError)
    ├── SnapshotGoneError       a snapshot that is no longer kept, or not on this server
    ├── ServerError             the embedded PostgreSQL cannot start or stop
    ├── FrameError              a statement or result that cannot become a frame   (also a ValueError)
    │   ├── TooManyRowsError    more rows than `max_rows`
    │   ├── UnknownOptionError  an option that `db.frame()` does not have   (also a TypeError)
    │   ├── UnsplittableError   a table or statement that cannot be read in ranges
    │   └── CorruptStreamError  bytes that are not the COPY stream they should be
    ├── WriteError              data that cannot be written as they are     (also a ValueError)
    │   ├── UnfitValueError     a value that its column in the table cannot hold
    │   └── PartitionNotWrittenError  a partition of a dask DataFrame that could not be written
    ├── SchemaTakenError        a schema for workflows is someone else's
    ├── SampleError             the sample workflows cannot be put back as they were
    ├── EventLogError           an event log that cannot be loaded          (also a ValueError)
    │   └── MalformedRowError   a row of it that cannot be read
    ├── NotACoroutineError      `run()` was given something else            (also a TypeError)
    ├── NestedLoopError         `run(nested=True)` on a loop it cannot patch (also a RuntimeError)
    ├── NoSuchLessonError       a notebook that the tour does not have      (also a LookupError)
    ├── ExerciseError           `check()` was asked for no exercise, or without its answer (also a ValueError)
    ├── LessonsFolderError      a folder that cannot hold the lessons       (also an OSError)
    ├── ExportError             a file that cannot hold the result          (also a ValueError)
    ├── ScriptError             a script that `db.execute()` does not run   (also a ValueError)
    ├── MagicError              `%asql` cannot do what its line says        (also a ValueError)
    ├── MissingExtraError       an optional dependency is not installed     (also an ImportError)
    ├── NoRightToCreateError    tests on a server where the user may not create databases
    ├── OneConnectionError      a test's one connection wanted by two tasks at once
    ├── OneTransactionError     a test's one transaction cannot do what was asked
    ├── NotIsolatedError        a test that wants a clean database commits to another one
    ├── SeededTemplateError     isolation 'truncate' with rows in the template
    ├── SchemaFileError         `asyncdb_schema` names a file that is not there (also a FileNotFoundError)
    └── SchemaSourceError       `asyncdb_schema` returned what is no schema (also a TypeError)
    LeakWarning                 something was left open                     (a ResourceWarning)
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any


class AsyncDBError(Exception):
    """The base of every error of this package."""


class WrongLoopError(AsyncDBError):
    """A session or connection was used on an event loop other than the one it was opened on."""

    def __init__(self, opened_on: str, used_on: str) -> None:
        super().__init__(
            f"This connection was opened on {opened_on} and is used on {used_on}. "
            "A session belongs to the loop that opened it: open one here, with `async with db.session() as session:`. "
            "The engine itself works on both loops."
        )


class ConcurrentUseError(AsyncDBError):
    """One session was used by two tasks at the same time."""

    def __init__(self, running: str, refused: str) -> None:
        super().__init__(
            f"This session was already running `{running}` for another task when `{refused}` was called, and one "
            "session serves one task at a time. Open a session in each task: `async with db.session() as session:` "
            "inside the function that you gather."
        )

    @classmethod
    def at_the_end(cls, running: str, outcome: str) -> ConcurrentUseError:
        """A session's block ended while another task was using the session."""
        error = cls(running, "")
        error.args = (
            f"The block of this session ended while another task was still at `{running}`, which was cancelled. "
            f"{outcome} Await that task inside the block, or open a session in the task.",
        )
        return error


class SessionEndedError(AsyncDBError):
    """A session was used after the block that it was opened for."""

    def __init__(self) -> None:
        super().__init__(
            "The block that this session was opened for has ended, and its transaction with it. "
            "Put this inside the block, or open another one: `async with db.session() as session:`."
        )


class CommitRolledBackError(AsyncDBError):
    """PostgreSQL rolled a transaction back instead of committing it, because a statement in it had failed."""

    def __init__(self) -> None:
        super().__init__(
            "Nothing of this transaction was kept: a statement in it had failed, and PostgreSQL then answers COMMIT by "
            "a rollback. Let the error leave the block, write `await session.rollback()` where you catch it, or put "
            "what may fail in a savepoint: `async with session.begin_nested():`."
        )


class DatabaseURLError(AsyncDBError, ValueError):
    """A database URL, or a setting that stands for one, cannot be read."""


class ConnectError(AsyncDBError, ConnectionError):
    """The server cannot be reached, or refuses the user, the password or the database name."""


class DatabaseClosedError(AsyncDBError):
    """A `Database` was used after it was closed."""

    def __init__(self) -> None:
        super().__init__("This Database is closed. Open it again: `db = await connect(...)`.")


class UnknownTableError(AsyncDBError, LookupError):
    """A table or view that the database does not have, or not in a schema of the search path."""

    def __init__(self, name: str, near: list[str]) -> None:
        meant = f" Did you mean {' or '.join(near)}?" if near else ""
        words = name.lower().split()
        query = "" if len(words) == 1 else " Nor is that a query: SELECT, VALUES, TABLE or WITH begins one."
        if words[:1] in (["select"], ["values"], ["with"]) and query:
            query = " That is a query, and a name is wanted here; `await db.profile(...)` takes queries as well."
        super().__init__(f"There is no table or view {name!r}.{meant}{query} `await db.tables()` lists all of them.")


class UnknownSchemaError(AsyncDBError, LookupError):
    """A schema that the database does not have."""

    def __init__(self, name: str, known: list[str]) -> None:
        there = ", ".join(known) or "none"
        super().__init__(f"There is no schema {name!r}. Those that are there: {there}.")


class AnalyzeWritesError(AsyncDBError, ValueError):
    """A statement that changes something was to be run so that its plan could be measured."""

    def __init__(self) -> None:
        super().__init__(
            "analyze=True runs the statement, and this one changes something. Nothing was changed. For its plan "
            "without times: `await db.explain(statement)`."
        )


class SnapshotGoneError(AsyncDBError):
    """A snapshot was not there to be read from.

    Attributes:
        identifier: PostgreSQL's name for it.
    """

    def __init__(self, identifier: str) -> None:
        self.identifier = identifier
        super().__init__(
            f"Snapshot {identifier} is gone: the transaction that keeps it has ended (its block is over, or its "
            "process or connection is lost), or this connection went to another server, such as a replica, which has "
            "snapshots of its own. Take another one: `async with db.snapshot(...) as snap:`."
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.identifier,)  # it may come from another process


class ServerError(AsyncDBError):
    """The embedded PostgreSQL cannot be started, found or stopped."""


class FrameError(AsyncDBError, ValueError):
    """A statement or a result cannot become a DataFrame."""


class UnknownOptionError(FrameError, TypeError):
    """`db.frame()` and its like were given an option that they do not have."""

    def __init__(self, reader: str, name: str, known: list[str], before_params: list[str] | None) -> None:
        call = ", ".join([*(before_params or ()), f'{{"{name}": ...}}'])
        bind = f" A value for :{name} goes into a mapping after the statement: `db.{reader}({call})`."
        super().__init__(
            f"db.{reader}() has no option {name!r}.{'' if before_params is None else bind} "
            f"Its options are {', '.join(known)}."
        )


class TooManyRowsError(FrameError):
    """A result has more rows than `max_rows` allows."""

    def __init__(self, max_rows: int) -> None:
        super().__init__(
            f"The result has more than max_rows={max_rows:,} rows. Raise max_rows, add a LIMIT, "
            "or read it in parts: `async for part in db.frames(statement):`."
        )


class UnsplittableError(FrameError):
    """A table or a statement cannot be read in ranges without changing what it gives."""


class CorruptStreamError(FrameError):
    """What came as a COPY BINARY stream is not one of the columns that the server described."""

    def __init__(self, what: str, position: int) -> None:
        super().__init__(
            f"The server's COPY stream cannot be read: {what} (byte {position:,} of the stream). Run the statement "
            "again; if that says the same, look at what is between here and the server, such as a proxy or a pooler."
        )


class WriteError(AsyncDBError, ValueError):
    """Data cannot be written into a table as they are."""


class UnfitValueError(WriteError):
    """A value does not fit its column in the table.

    Attributes:
        column: The column's name.
        row: The number of its row in the data, from 0, as `frame.iloc` counts.
        value: The value; None is NULL.
    """

    def __init__(self, column: str, type_: str, row: int, value: Any, why: str = "") -> None:
        self.column, self.row, self.value = column, row, value
        shown = repr(value)
        shown = shown if len(shown) <= 100 else f"{shown[:100]}…"
        if value is None:
            problem = f"Column {column!r} takes no NULL, and in row {row:,} it is missing"
        else:
            reason = f": {why}" if why else ", which does not fit"
            problem = f"Column {column!r} is {type_}, and in row {row:,} it is {shown} ({type(value).__name__}){reason}"
        super().__init__(f"{problem}. Nothing was written.")


class PartitionNotWrittenError(WriteError):
    """A partition of a dask DataFrame could not be written, and so none was.

    Attributes:
        table: The name of the table.
        partition: The number of the partition, from 0.
        reason: What went wrong, in words.
    """

    def __init__(self, table: str, partition: int, reason: str) -> None:
        self.table, self.partition, self.reason = table, partition, reason
        super().__init__(f"Partition {partition} cannot be written into {table}. {reason}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.table, self.partition, self.reason)  # it may come from another process


class SchemaTakenError(AsyncDBError):
    """The database already has a schema of the name that the sample workflows, or an event log, would use.

    Attributes:
        problem: What is wrong, without what to type.
        options: The arguments of `load_event_log` to change, for an event log.
    """

    def __init__(self, schema: str) -> None:
        taken = f"This database has a schema {schema!r} that asyncdb_nb did not make, so"
        if schema == "workflows":
            self.options: dict[str, Any] = {}
            self.problem = f"{taken} the sample workflows keep out of it."
            remedy = "Put them into a database of their own: `create database samples`."
        else:
            self.options = {"schema": f"{schema}_log"}
            self.problem = f"{taken} no event log goes there."
            remedy = f"Name another: schema='{schema}_log' (on the command line, --schema)."
        super().__init__(f"{self.problem} {remedy}")


class SampleError(AsyncDBError):
    """The sample workflows cannot be put back as they were; nothing was changed."""

    def __init__(self, why: str, instead: str) -> None:
        super().__init__(f"{why}. Nothing was changed. {instead}")

    @classmethod
    def in_use(cls, by: list[dict[str, Any]]) -> SampleError:
        """Somebody holds a lock on its tables."""
        one = next(iter(by), None)
        who = "somebody" if one is None else f"process {one['pid']} of {one['usename']!r}, {one['application_name']!r}"
        more = f", and {len(by) - 1} more" if len(by) > 1 else ""
        return cls(
            f"The sample workflows are held by {who}{more}, in a transaction that is open",
            "Have it closed (`asyncdb-nb doctor --url ...` lists them all), and try again.",
        )

    @classmethod
    def depended_upon(cls, names: list[str]) -> SampleError:
        """A table has to be made anew, and others stand in the way."""
        return cls(
            f"The tables of the sample workflows are not built as they were, and {', '.join(names)} would be lost with "
            "them",
            f"Drop them first: {names[0]}.",
        )

    @classmethod
    def not_allowed(cls, message: str) -> SampleError:
        """The user has no right to it."""
        return cls(f"The server says: {message}", "Name a user in --url who owns the schema `workflows`.")


class EventLogError(AsyncDBError, ValueError):
    """An event log cannot be loaded.

    Attributes:
        problem: What is wrong, without what to type.
        options: The arguments of `load_event_log` to add or to change, if that helps.
    """

    def __init__(self, problem: str, options: Mapping[str, Any] | None = None) -> None:
        self.problem, self.options = problem, dict(options or {})
        super().__init__()
        self._tell()

    def add(self, problem: str, options: Mapping[str, Any] | None) -> None:
        """Tell what would be wrong next, with more options that help; None where there are none that do."""
        self.problem += f" {problem}"
        self.options = {} if options is None else {**self.options, **options}
        self._tell()

    def _tell(self) -> None:
        self.args = (" ".join([self.problem, *self._advice()]),)

    def _advice(self) -> Iterator[str]:
        if self.options:
            arguments = ", ".join(f"{name}={value!r}" for name, value in self.options.items())
            yield f"Type: load_event_log(..., {arguments})."


class NotACoroutineError(AsyncDBError, TypeError):
    """`run()` was given something that is not a coroutine."""

    def __init__(self, given: object) -> None:
        name = getattr(given, "__qualname__", type(given).__name__)
        if callable(given):
            advice = f"It was given {name} itself. Call it: `run({name}(...))`."
        elif isinstance(given, Awaitable):
            advice = f"It was given a {name}, which belongs to a loop already. Await it there: `await ...`."
        else:
            advice = f"It was given a {name}. Give it what an `async def` function returns: `run(function())`."
        super().__init__(f"run() takes a coroutine. {advice}")


class NestedLoopError(AsyncDBError, RuntimeError):
    """`run(nested=True)` was called on a loop that nest_asyncio cannot patch."""

    def __init__(self, loop: object) -> None:
        kind = f"{type(loop).__module__}.{type(loop).__qualname__}"
        super().__init__(
            f"run(..., nested=True) cannot re-enter the running loop, a {kind}: nest_asyncio patches only "
            "asyncio's own loops. Leave `nested` out, and the coroutine runs on a loop of its own."
        )


class MalformedRowError(EventLogError):
    """A row of an event log cannot be read, so nothing of the file was loaded.

    Attributes:
        line: The line on which the row begins, from 1; the header is a line.
        reason: What is wrong with it.
        bad_rows: A name for a file to write such rows to; None where nobody knows where the next row begins.
    """

    def __init__(
        self,
        file: str,
        line: int,
        reason: str,
        options: Mapping[str, Any] | None = None,
        bad_rows: str | None = None,
    ) -> None:
        self.line, self.reason, self.bad_rows = line, reason, bad_rows
        super().__init__(f"{file}, line {line:,}: {reason}", options)

    def blame_all(self) -> None:
        """Propose no file of bad rows any more: all rows would be in it."""
        self.bad_rows = None
        self._tell()

    def _advice(self) -> Iterator[str]:
        yield from super()._advice()
        yield "Nothing of this file was loaded."
        if self.bad_rows:
            yield f"To set such rows aside: bad_rows={self.bad_rows!r}."


class NoSuchLessonError(AsyncDBError, LookupError):
    """The tour has no notebook of this name."""

    def __init__(self, name: str | None, known: list[str]) -> None:
        asked = "There are no notebooks" if name is None else f"No notebook has {name!r} in its name"
        super().__init__(f"{asked}. There are: {', '.join(known) or 'none'}.")


class LessonsFolderError(AsyncDBError, OSError):
    """The lessons cannot be copied into a folder."""

    def __init__(self, directory: object, why: str) -> None:
        super().__init__(
            f"The lessons cannot be copied into {str(directory)!r}: {why}. "
            "Name another folder: `asyncdb-nb lab --directory DIR`."
        )


class ExerciseError(AsyncDBError, ValueError):
    """`check()` was asked for an exercise that there is not, or not given what the exercise asks for."""


class ExportError(AsyncDBError, ValueError):
    """A result cannot be exported into the file that was named; nothing is left of it."""

    def __init__(self, what: str, instead: str) -> None:
        super().__init__(f"{what}. Name {instead}.")


class ScriptError(AsyncDBError, ValueError):
    """`db.execute()` or `%%asql --write` was given a statement that it does not run; nothing of the script was run."""

    def __init__(self, line: int, what: str, instead: str) -> None:
        super().__init__(f"Line {line}: {what} {instead} Nothing was run.")


class MagicError(AsyncDBError, ValueError):
    """`%asql`, `%%asql` or `%asyncdb` was told something that it cannot do."""

    def __init__(self, what: str, instead: str) -> None:
        super().__init__(f"{what}. Type {instead}.")


class MissingExtraError(AsyncDBError, ImportError):
    """An optional dependency is not installed."""

    def __init__(self, purpose: str, extra: str, module: str | None) -> None:
        super().__init__(f"For {purpose}, {module} is missing. Install it: `pip install 'asyncdb_nb[{extra}]'`.")

    @classmethod
    @contextmanager
    def instead(cls, purpose: str, extra: str) -> Iterator[None]:
        """Raise this error instead of the block's ModuleNotFoundError."""
        try:
            yield
        except ModuleNotFoundError as error:
            raise cls(purpose, extra, (error.name or "").partition(".")[0]) from error


class NoRightToCreateError(AsyncDBError):
    """The user that tests run as may not create databases, and each run needs some of its own."""

    def __init__(self, user: str) -> None:
        super().__init__(
            f"The user {user!r} may not create databases, and tests run in databases of their own. As an administrator "
            f'type `alter role "{user}" createdb`; or name another user: '
            "`pytest --asyncdb-url postgresql://USER:PASSWORD@HOST/DATABASE`."
        )


class OneConnectionError(AsyncDBError):
    """A task of a test waited in vain for the connection that all of the test's tasks share."""

    def __init__(self, holder: str) -> None:
        super().__init__(
            "With isolation 'rollback' all tasks of a test share one connection, and another one has held it for five "
            f"seconds: task {holder}; it may be waiting for this one. End its session or transaction before, or give "
            'the test a database of its own: `@pytest.mark.asyncdb(isolation="clone")`.'
        )


class OneTransactionError(AsyncDBError):
    """A test did what the one transaction around it does not allow."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"With isolation 'rollback' a test runs inside one transaction, which does not allow {what}. Give the test "
            'a database of its own: `@pytest.mark.asyncdb(isolation="clone")`.'
        )


class NotIsolatedError(AsyncDBError):
    """A test that asks for a clean database commits through an engine that is not part of it."""

    def __init__(self, engine: str) -> None:
        super().__init__(
            f"This test asks for asyncdb, and commits through an engine that is not isolated: {engine}. Nothing was "
            "committed. Have that code use `asyncdb.engine` in tests, by an override or monkeypatch; where it makes an "
            'engine of its own from `asyncdb.url`, type `@pytest.mark.asyncdb(isolation="clone")`; where it means '
            'another database, `@pytest.mark.asyncdb(other_engines="allow")`.'
        )


class SeededTemplateError(AsyncDBError):
    """The schema of a suite that truncates has rows in it."""

    def __init__(self, tables: list[str]) -> None:
        super().__init__(
            f"asyncdb_schema puts rows into {', '.join(tables)}, and isolation 'truncate' would remove them after the "
            "first test. Insert them in a fixture, or type asyncdb_isolation = rollback (or clone), which keep them."
        )


class SchemaSourceError(AsyncDBError, TypeError):
    """`asyncdb_schema` returned something that no schema can be made from."""

    def __init__(self, given: object) -> None:
        super().__init__(
            f"asyncdb_schema returned {given!r}. It takes a MetaData or a declarative base, the path of an .sql file "
            "or of alembic.ini, an Alembic Config, a function that is given a Database, a list of these, or None."
        )


class SchemaFileError(AsyncDBError, FileNotFoundError):
    """`asyncdb_schema` returned the path of a file that is not there."""

    def __init__(self, given: object, tried: str, near: list[str]) -> None:
        meant = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        super().__init__(
            f"asyncdb_schema names {str(given)!r}, and there is no file {tried}.{meant} A relative path counts from "
            "pytest's rootdir, which the header shows."
        )


class LeakWarning(ResourceWarning):
    """Something was left open when the loop or the process that owned it ended."""
