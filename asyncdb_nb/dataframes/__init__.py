"""
Statement or results → DataFrame, with the dtypes that PostgreSQL's types mean.

`frame`, `table`, `frames` and `batches` run in the caller's open transaction: they see what the session flushed, honour
the session's hooks and loader criteria, and leave the transaction open and usable. Dtypes come from the SQL types alone
(`types`), so they are the same for a full, an all-NULL and an empty result. pandas and pyarrow are imported when they
are first needed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, TypeVar

from asyncdb_nb.aio.async_for import AsyncFor
from asyncdb_nb.aio.awaitables import Pending
from asyncdb_nb.dataframes import libraries
from asyncdb_nb.dataframes.columns import column as assembly
from asyncdb_nb.dataframes.columns.column import Column
from asyncdb_nb.dataframes.query.reading import Reading
from asyncdb_nb.dataframes.results import rows as results_
from asyncdb_nb.dataframes.sql.statement import Params
from asyncdb_nb.dataframes.type_families.kind import DtypeBackend
from asyncdb_nb.dataframes.types.table import DatesAs, NumericAs, check_backend
from asyncdb_nb.errors import FrameError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from sqlalchemy import Executable
    from sqlalchemy.ext.asyncio import AsyncSession

    from asyncdb_nb.dataframes.writing.writing import IfExists, Written

__all__ = ["batches", "frame", "frames", "table", "to_frame", "write"]

T = TypeVar("T")

_AT_ONCE = 10_000  # rows that are put together on the loop


def frame(
    session: AsyncSession,
    statement: str | Executable,
    params: Params = None,
    *,
    dtype_backend: DtypeBackend = None,
    numeric: NumericAs = "decimal",
    dates: DatesAs = "date",
    max_rows: int | None = None,
    truncate: bool = False,
) -> Pending[pd.DataFrame]:
    r"""Read a statement into a DataFrame, inside the session's open transaction.

    Args:
        session: Any AsyncSession on PostgreSQL through asyncpg. Its pending changes are flushed first, its hooks apply.
        statement: SQL text, `text(...)`, or a Core or ORM select. Text without params runs exactly as typed, colons and
            all; with params, `:name` is a bind (and `\:` a colon), but never in a literal, a comment, a quoted name or
            `$$`. `select(Workflow)` gives one column for each mapped column.
        params: Values for the binds, by name. What the server expects decides: a dict or list is JSON for json and
            jsonb, scalars of numpy and pandas are the values that they stand for, their missing values are NULL.
        dtype_backend: As in pandas: None, `"numpy_nullable"` or `"pyarrow"`. The table of types says what each means.
        numeric: `"decimal"` is exact; `"float"` reads numeric columns as float64, listed as lossy: a double gives back
            the first 15 digits of a number.
        dates: `"date"`, or `"timestamp"` for the time stamps of their midnights, which pandas and matplotlib take.
        max_rows: Refuse a result with more rows. Not more than one row beyond it leaves the server.
        truncate: With `max_rows`, give the first rows instead of refusing.

    Returns:
        A DataFrame, once awaited, with the server's column names (which may repeat) and a RangeIndex.
        `frame.attrs["asyncdb"]` has `statement` (as it was sent), `rows`, `seconds`, `path`, `truncated`, and `lossy`:
        by column, which values are NA because the dtype cannot hold them; and `exact`: by column of exact decimals or
        dates, the option that reads it as what can be plotted.

    Raises:
        FrameError: It is no statement, it returns no rows (then it was not run), a `:name` has no value, or a value no
            `:name`.
        TooManyRowsError: There are more than `max_rows` rows.
        sqlalchemy.exc.SQLAlchemyError: The server refused the statement; the transaction is as PostgreSQL leaves it.

    Example:
        >>> slow = await frame(session, "select * from tasks where seconds > :limit", {"limit": 60})
    """
    reading = Reading(
        session,
        statement,
        params,
        numeric=numeric,
        dates=dates,
        max_rows=max_rows,
        truncate=truncate,
        backend=dtype_backend,
    )

    async def read() -> pd.DataFrame:
        started = time.perf_counter()
        columns, count = await reading.columns()
        return await _finish(columns, count, dtype_backend, reading, started)

    return Pending(read, "frame(session, ...)")


def table(
    session: AsyncSession,
    statement: str | Executable,
    params: Params = None,
    *,
    numeric: NumericAs = "decimal",
    dates: DatesAs = "date",
    max_rows: int | None = None,
    truncate: bool = False,
) -> Pending[pa.Table]:
    """Read a statement into a `pyarrow.Table`, inside the session's open transaction.

    polars (`pl.from_arrow`) and DuckDB take it without a copy. Arguments and errors are those of `frame`.

    Returns:
        A Table, once awaited, of the Arrow types that the table of types names. Its schema's metadata has, under
        `b"asyncdb"`, what `frame.attrs` would have, as JSON.
    """
    reading = Reading(
        session, statement, params, numeric=numeric, dates=dates, max_rows=max_rows, truncate=truncate, arrow=True
    )

    async def read() -> pa.Table:
        import json

        started = time.perf_counter()
        columns, _ = await reading.columns()
        made = assembly.to_table(columns)
        report = {**reading.report(started), "lossy": assembly.losses(columns)}
        return made.replace_schema_metadata({"asyncdb": json.dumps(report)})

    return Pending(read, "table(session, ...)")


def frames(
    session: AsyncSession,
    statement: str | Executable,
    params: Params = None,
    *,
    rows: int = 100_000,
    dtype_backend: DtypeBackend = None,
    numeric: NumericAs = "decimal",
    dates: DatesAs = "date",
    exclusive: bool = False,
) -> AsyncFor[pd.DataFrame]:
    """Read a statement as DataFrames of `rows` rows: memory is that of one part.

    The parts have the same dtypes; an empty result is one empty part. Leaving the loop early, by `break` or by an
    error, leaves the connection usable at once. Arguments and errors are those of `frame`.

    Args:
        session: As for `frame`; it may be used in the body of the loop, unless `exclusive`.
        statement: As for `frame`.
        params: As for `frame`.
        rows: How many rows a part has; the last one may have fewer.
        dtype_backend: As for `frame`.
        numeric: As for `frame`.
        dates: As for `frame`.
        exclusive: Read at the speed of COPY. Then nothing else may be done in the session until the loop has come to
            its end, or `aclose()` was awaited, after which its transaction can only be rolled back. (`db.frames` has a
            session of its own, and does this.)

    Example:
        >>> async for part in frames(session, "select * from tasks"):
        ...     total += part["cost"].sum()
    """
    reading = Reading(
        session,
        statement,
        params,
        numeric=numeric,
        dates=dates,
        exclusive=exclusive,
        backend=dtype_backend,
    )

    async def part(started: float, columns: list[Column], count: int) -> pd.DataFrame:
        return await _finish(columns, count, dtype_backend, reading, started)

    return AsyncFor(_Parts(reading, rows, part), "frames(session, ...)")


def batches(
    session: AsyncSession,
    statement: str | Executable,
    params: Params = None,
    *,
    rows: int = 100_000,
    numeric: NumericAs = "decimal",
    dates: DatesAs = "date",
    exclusive: bool = False,
) -> AsyncFor[pa.RecordBatch]:
    """Read a statement as Arrow record batches of `rows` rows, of the types of `table`; otherwise as `frames` does.

    Example:
        >>> async for batch in batches(session, "select * from tasks"):
        ...     writer.write_batch(batch)
    """
    reading = Reading(session, statement, params, numeric=numeric, dates=dates, exclusive=exclusive, arrow=True)

    async def part(started: float, columns: list[Column], count: int) -> pa.RecordBatch:
        return assembly.to_batch(columns)

    return AsyncFor(_Parts(reading, rows, part), "batches(session, ...)")


async def execute(
    session: AsyncSession,
    statement: str | Executable,
    params: Params = None,
    *,
    numeric: NumericAs = "decimal",
    dates: DatesAs = "date",
) -> tuple[pd.DataFrame | None, int, str]:
    """Execute a statement that may change something, inside the session's open transaction.

    Args:
        session: As for `frame`.
        statement: One statement; it need not return rows.
        params: As for `frame`.
        numeric: As for `frame`.
        dates: As for `frame`.

    Returns:
        The rows that it returned, or None where it returns none; how many rows it returned or changed; and the server's
        command tag, such as `INSERT 0 5`, or nothing where that is not known.
    """
    reading = Reading(session, statement, params, rowless=True, numeric=numeric, dates=dates)
    started = time.perf_counter()
    columns, count = await reading.columns()
    if reading.returns_rows:
        return await _finish(columns, count, None, reading, started), count, reading.tag
    return None, count, reading.tag


class _Parts(AsyncIterator[T]):
    """The parts of a result, one after the other; made by `frames` and `batches`.

    It holds no row but those of the part it is reading. One that is not `exclusive` needs no closing: the server's
    cursor ends with the transaction.
    """

    def __init__(
        self, reading: Reading, rows: int, make: Callable[[float, list[Column], int], Coroutine[Any, Any, T]]
    ) -> None:
        if rows < 1:
            raise ValueError(f"rows={rows}: a part has at least one row.")
        self._reading = reading
        self._rows = rows
        self._make = make
        self._begun = self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        if self._ended:
            raise StopAsyncIteration
        started = time.perf_counter()
        columns, count = await self._reading.part(self._rows)
        self._ended = count < self._rows
        if self._ended:
            await self.aclose()
        if count == 0 and self._begun:
            raise StopAsyncIteration
        self._begun = True
        return await self._make(started, columns, count)

    async def aclose(self) -> None:
        """Read no further."""
        self._ended = True
        await self._reading.aclose()


def to_frame(results: Any, *, dtype_backend: DtypeBackend = None) -> pd.DataFrame:
    """Make a DataFrame of results that are here already, whatever returned them.

    A column has the type that the server says (a SQLAlchemy result still knows it), else the one that the model or the
    annotation declares, else the one that its values have in common. No value is changed for it: a column with a value
    that does not fit has the type of its values, or dtype object.

    Args:
        results: Rows, mappings, mapped entities, asyncpg records, dataclasses, pydantic models, attrs objects,
            msgspec structs, NamedTuples, tuples or scalars: a list of one kind, one of them, or a SQLAlchemy result.
            Mapped entities give one column for each mapped column that is loaded, those of their subclasses included,
            and none for relationships; nothing is ever loaded for it.
        dtype_backend: As in `frame`.

    Returns:
        A DataFrame. `frame.attrs["asyncdb"]` has `rows` and `lossy`, as that of `frame`.

    Raises:
        FrameError: The results are of several kinds, an attribute is loaded on some entities only, or those of a
            subclass are not loaded.

    Example:
        >>> to_frame(await repository.list())
    """
    check_backend(dtype_backend)
    if isinstance(results, Pending):
        raise FrameError(f"There are no results yet. {results!r}")
    libraries.load()
    columns, count = results_.columns(results)
    made = assembly.to_frame(columns, count, dtype_backend)
    made.attrs["asyncdb"] = {"rows": count, "lossy": assembly.losses(columns)}
    return made


def write(
    session: AsyncSession,
    data: Any,
    table: str,
    *,
    if_exists: IfExists = "append",
    key: str | Sequence[str] | None = None,
    types: Mapping[str, str] | None = None,
    index: bool = False,
) -> Pending[Written]:
    """Write data into a table by COPY, inside the session's open transaction: every row exactly, or none.

    Columns go by name; those of the table that the data do not have get their defaults. Every value is checked before
    the first row is sent. A write that fails or is cancelled is rolled back to where it began, and the session's
    transaction stays as it was, and usable.

    Args:
        session: Any AsyncSession on PostgreSQL through asyncpg. Its pending changes are flushed first.
        data: A DataFrame; a `pyarrow.Table`, record batch or `RecordBatchReader`; anything with `__arrow_c_stream__`
            (polars, DuckDB); or an iterator of these, asynchronous or not, whose parts are written one after the
            other, so that memory is that of one part.
        table: `"table"` or `"schema.table"`; a part with a dot is quoted as in SQL.
        if_exists: `"append"` adds rows; `"truncate"` empties the table first; `"replace"` drops it and makes it anew;
            `"fail"` refuses a table that is there. `"upsert"` inserts rows, and where the table has one of their key,
            changes that if it differs. A table that is not there is made.
        key: The column or columns of the key, for `"upsert"`; they become the primary key of a table that is made.
        types: SQL types by column, for a table that is made, where the data do not say what is wanted.
        index: Write the index of a DataFrame as well, as columns before the others.

    Returns:
        A `Written`, once awaited: `table`, `rows`, `inserted`, `updated`, `unchanged`, `seconds`, `created`.

    Raises:
        WriteError: Columns or arguments do not fit the table.
        UnfitValueError: A value does not fit its column; the error says which, in which row, and why.
        sqlalchemy.exc.SQLAlchemyError: The server refused it (a key, a check, a foreign key, a privilege); a note says
            which row it was, where the server tells.

    Example:
        >>> await write(session, prices, "shop.prices", if_exists="upsert", key="id")
    """
    from asyncdb_nb.dataframes.writing.writing import Write

    writing = Write(session, table, if_exists, key, types, index=index)
    return Pending(lambda: writing.run(data), "write(session, ...)")


async def _finish(
    columns: list[Column], count: int, backend: DtypeBackend, reading: Reading, started: float
) -> pd.DataFrame:
    if count <= _AT_ONCE:
        made = assembly.to_frame(columns, count, backend)
    else:
        made = await asyncio.to_thread(assembly.to_frame, columns, count, backend)
    lossy, exact = assembly.losses(columns), assembly.ways_to_plot(columns)
    made.attrs["asyncdb"] = {**reading.report(started), "lossy": lossy, "exact": exact}
    return made
