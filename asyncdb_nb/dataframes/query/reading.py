"""One statement, read in one session: executed once, its rows taken whole or in parts."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from asyncdb_nb.dataframes import libraries
from asyncdb_nb.dataframes.columns.column import Column, joined
from asyncdb_nb.dataframes.query.capture import NO_ROWS_CAME, OPTION, Capture, can_capture, listen
from asyncdb_nb.dataframes.query.copy import Part
from asyncdb_nb.dataframes.query.error_notes import advice
from asyncdb_nb.dataframes.query.progress import PartProgress, Progress
from asyncdb_nb.dataframes.query.shape import Options
from asyncdb_nb.dataframes.query.without_session import Direct
from asyncdb_nb.dataframes.results import rows
from asyncdb_nb.dataframes.results.entities import builds_entities
from asyncdb_nb.dataframes.results.result_types import Known, known
from asyncdb_nb.dataframes.sql.statement import Params, executable
from asyncdb_nb.dataframes.type_families.built_in import UnknownTypeError
from asyncdb_nb.dataframes.type_families.kind import DtypeBackend
from asyncdb_nb.dataframes.types.table import DatesAs, NumericAs, check_backend, check_reading
from asyncdb_nb.engine._sqlalchemy.statements import repeats_entities
from asyncdb_nb.errors import FrameError, TooManyRowsError

if TYPE_CHECKING:
    from sqlalchemy import Executable
    from sqlalchemy.ext.asyncio import AsyncSession

_NOT_CAPTURED = (
    "This statement did not reach PostgreSQL through asyncpg: another driver has it, or a hook of the session "
    "answered it. Execute it, then: `to_frame(await session.execute(statement))`."
)

_AT_ONCE = {"stream_results": False, "yield_per": None}  # over what the statement or the engine says

_REPEATED = (
    "joinedload() of a collection repeats each entity, so it cannot be read in parts or with max_rows. "
    "Load the collection with selectinload() instead."
)

_SLICE = 5_000  # rows of the plain way that are built at a time: some ten milliseconds


class Reading:
    """A statement on its way to columns.

    Args:
        session: The session to execute it in, or what stands for one.
        statement: As the user gave it.
        params: Values for its binds.
        numeric: "decimal" or "float".
        dates: "date" or "timestamp".
        max_rows: The most rows to give; None for all.
        truncate: Whether to stop at `max_rows` rather than to refuse.
        arrow: Whether the columns are for Arrow, where an Enum is its text; else for pandas, with its members.
        backend: For pandas: the `dtype_backend`.
        exclusive: Whether nothing else is done in the session until all parts are read or `aclose` was awaited.
        rowless: Whether a statement that returns no rows is run as well; there are no columns then.
        progress: Where to show how far it is, if not on a bar of its own.
    """

    def __init__(
        self,
        session: AsyncSession | Direct,
        statement: str | Executable,
        params: Params,
        *,
        numeric: NumericAs = "decimal",
        dates: DatesAs = "date",
        max_rows: int | None = None,
        truncate: bool = False,
        arrow: bool = False,
        backend: DtypeBackend = None,
        exclusive: bool = False,
        rowless: bool = False,
        progress: PartProgress | None = None,
    ) -> None:
        check_reading(numeric, dates)
        if max_rows is not None and not (isinstance(max_rows, int) and max_rows >= 0):
            raise ValueError(f"max_rows={max_rows!r}: it is a number of rows, or None for all.")
        check_backend(backend)
        if not isinstance(session, Direct) and not hasattr(session, "stream"):
            raise FrameError(
                f"frame() and its like read in a session, not in a {type(session).__name__}: "
                "`await frame(session, ...)`, or `await db.frame(...)` without one."
            )
        self._session: Any = session
        self._statement = statement
        self._params = params
        self._executable = executable(statement, params)
        self._captures = can_capture() and not builds_entities(self._executable)  # else SQLAlchemy reads all of it
        self._max_rows = max_rows
        self._truncate = truncate
        self._progress = progress or Progress(max_rows if truncate else None)
        self._capture = Capture(
            Options(numeric == "float", dates == "timestamp", arrow, backend),
            limit=None if max_rows is None else max_rows + 1,
            in_parts=exclusive,
            rowless=rowless,
            seen=self._progress.seen,
        )
        self._exclusive = exclusive
        self._rowless = rowless
        self._waiting: list[Part] = []
        self._result: Any = None
        self._names: list[str] = []
        self._known: list[Known] = []  # of the columns of a statement that gives entities
        self._rows = 0
        self._truncated = False

    async def columns(self) -> tuple[list[Column], int]:
        """Read all rows, or up to `max_rows` of them."""
        try:
            await libraries.loaded()
            with advice(self._statement, self._params, self._capture):
                columns, count = await self._all()
        finally:
            self._progress.close()
        await self.aclose()
        columns, self._rows = self._limited(columns, count)
        return columns, self._rows

    async def part(self, count: int) -> tuple[list[Column], int]:
        """Read the next `count` rows, fewer at the end."""
        await libraries.loaded()
        with advice(self._statement, self._params, self._capture):
            columns, found = await self._some(count)
        self._rows += found
        return columns, found

    @property
    def returns_rows(self) -> bool:
        """Whether the statement does, once it ran."""
        return self._capture.returns_rows

    @property
    def tag(self) -> str:
        """The server's command tag, such as `INSERT 0 5`, once it ran; nothing where SQLAlchemy executed it alone."""
        return self._capture.tag

    def report(self, started: float) -> dict[str, Any]:
        """Say what was read: for `frame.attrs`."""
        return {
            "statement": self._capture.statement,
            "rows": self._rows,
            "seconds": time.perf_counter() - started,
            "path": self._capture.path,
            "truncated": self._truncated,
            "types": {
                column.name: [*column.line, column.type.name, column.type.schema]
                for column in self._capture.shape.columns
            },
        }

    async def aclose(self) -> None:
        """Let go of the result."""
        self._progress.close()
        await self._capture.aclose()
        result, self._result = self._result, None
        closing = None if result is None else result.close()
        if closing is not None:
            await closing

    async def _all(self) -> tuple[list[Column], int]:
        if self._max_rows is not None and self._needs_sqlalchemy():
            await self._stream()
            return await self._built(await self._next(self._max_rows + 1))
        await self._execute()
        return await self._whole() if self.returns_rows else ([], max(self._result.rowcount, 0))

    async def _some(self, count: int) -> tuple[list[Column], int]:
        if self._result is None:
            await (self._execute() if self._exclusive and not self._needs_sqlalchemy() else self._stream())
        if self._capture.stream is not None:
            return await self._streamed(count)
        return await self._built(await self._next(count))

    def _options(self) -> dict[str, Any]:
        return {OPTION: self._capture} if self._captures else {}

    def _limited(self, columns: list[Column], count: int) -> tuple[list[Column], int]:
        if self._max_rows is None or count <= self._max_rows:
            return columns, count
        if not self._truncate:
            raise TooManyRowsError(self._max_rows)
        self._truncated = True
        return [column.head(self._max_rows) for column in columns], self._max_rows

    def _needs_sqlalchemy(self) -> bool:
        """Say whether the rows are SQLAlchemy's to read, and so come by its own cursor."""
        return not self._captures or bool(getattr(self._executable, "is_dml", False))

    async def _execute(self) -> None:
        if isinstance(self._session, Direct):
            self._names = await self._session.execute(self._capture, str(self._statement), self._params)
            return
        listen(self._session)
        self._result = await self._session.execute(
            self._executable, self._params, execution_options=_AT_ONCE | self._options()
        )
        self._name()

    async def _stream(self) -> None:
        listen(self._session)
        self._result = await self._session.stream(self._executable, self._params, execution_options=self._options())
        if repeats_entities(self._result):
            raise FrameError(_REPEATED)
        self._name()

    async def _next(self, count: int) -> Sequence[Any]:
        if self._exact():
            return await self._capture.fetch(count)
        return await self._result.fetchmany(count)  # type: ignore[no-any-return]

    async def _whole(self) -> tuple[list[Column], int]:
        if self._capture.copied is not None:
            whole = self._joined(self._capture.copied)
            self._capture.copied.clear()  # each column can then be freed when the frame has it
            return whole
        if not self._captures:
            return await self._built(rows.all_rows(self._result))
        if self._capture.fetching:
            return await self._fetched()
        return await self._built(self._capture.records if self._exact() else self._result.all())

    async def _fetched(self) -> tuple[list[Column], int]:
        """Read slice by slice, so that no more rows are held as Python objects: the garbage collector looks at each."""
        most = sys.maxsize if self._max_rows is None else self._max_rows + 1
        slices: list[list[Column]] = []
        count, last = 0, False
        while not last:
            wanted = min(_SLICE, most - count)
            records = await self._capture.fetch(wanted)
            count += len(records)
            self._progress.seen(count)
            last = len(records) < wanted or count == most
            slices.append(await self._made(records, beside=not last or bool(slices)))
        self._capture.remember(count)
        return joined(slices), count

    async def _streamed(self, count: int) -> tuple[list[Column], int]:
        """Take `count` rows from the parts that came, however large they are."""
        while sum(rows for _, rows in self._waiting) < count:
            part = await self._capture.next()
            if part is None:
                break
            self._waiting.append(part)
        columns, found = self._joined(self._waiting)
        taken = min(found, count)
        self._waiting = [([column.tail(taken) for column in columns], found - taken)]
        return [column.head(taken) for column in columns], taken

    def _joined(self, parts: Sequence[Part]) -> tuple[list[Column], int]:
        columns = joined([columns for columns, _ in parts])
        for column, name in zip(columns, self._names, strict=True):
            column.name = name
        return columns, sum(count for _, count in parts)

    async def _built(self, records: Sequence[Any]) -> tuple[list[Column], int]:
        """Make columns of rows: many of them in a thread, in slices, so that the loop is free and a stop is one."""
        if len(records) <= _SLICE:
            return await self._made(records), len(records)
        slices = [records[start : start + _SLICE] for start in range(0, len(records), _SLICE)]
        return joined([await self._made(part, beside=True) for part in slices]), len(records)

    async def _made(self, records: Sequence[Any], *, beside: bool = False) -> list[Column]:
        """Make columns of rows, in a thread if `beside`; types that anonymous rows turn out to hold are asked for."""
        asked: set[int] = set()
        while True:
            try:
                return await asyncio.to_thread(self._build, records) if beside else self._build(records)
            except UnknownTypeError as unknown:
                if unknown.oid in asked:
                    raise
                asked.add(unknown.oid)
                await self._capture.learn(unknown.oid)

    def _exact(self) -> bool:
        """Say whether the capture has the rows: not when the ORM needs them."""
        return self._capture.exact and self._captures

    def _name(self) -> None:
        if not self._captures:
            self._capture.returns_rows = bool(getattr(self._result, "returns_rows", True))
            if not (self._capture.returns_rows or self._rowless):
                raise FrameError(NO_ROWS_CAME)
            if not self._capture.returns_rows:
                return
            self._known = known(self._result)
            return
        if self._capture.executions == 0:
            raise FrameError(_NOT_CAPTURED)
        described = [column.name for column in self._capture.shape.columns]
        keys = list(self._result.keys()) if described else []
        self._names = keys if len(keys) == len(described) else described

    def _build(self, records: Sequence[Any]) -> list[Column]:
        if not self._captures:
            return rows.of_rows(self._known, records)
        return self._capture.shape.of_rows(records, self._names, exact=self._exact())
