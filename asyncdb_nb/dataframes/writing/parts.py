"""
What is given to be written → parts of rows, each with named columns.

A part is a DataFrame, a `pyarrow.Table` or a record batch; its columns are pandas Series and Arrow arrays. Data that
are here already are one part. Readers and iterators give one after the other, and none is read before it is needed.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, closing, nullcontext
from dataclasses import dataclass
from typing import Any

from asyncdb_nb.aio.awaitables import Pending
from asyncdb_nb.dataframes.writing.in_thread import InThread
from asyncdb_nb.errors import WriteError

_AT_ONCE = 65_536  # rows of a reader's batches that are sent together
_BYTES = 8 * 2**20  # of a slice
_ROWS = 65_536  # of a slice
_OBJECTS = 2_048  # rows of a slice with Python objects, whose size nobody knows


@dataclass(frozen=True, slots=True)
class Part:
    """Some rows.

    Attributes:
        names: The columns' names.
        columns: Their values: pandas Series, or Arrow arrays, chunked or not.
        rows: How many rows there are.
        types: What `frame` and `table` know of the columns they have read: oid, typmod and name of the type, by column.
    """

    names: Sequence[str]
    columns: Sequence[Any]
    rows: int
    types: dict[str, Any]

    def slices(self) -> Iterator[tuple[int, list[Any]]]:
        """Yield the columns of some rows at a time, with the number of the first of these rows."""
        step = self._step()
        for start in range(0, self.rows, step):
            yield start, [_slice(column, start, min(step, self.rows - start)) for column in self.columns]

    def row(self, number: int) -> dict[str, Any]:
        """Give one row, for a message."""
        return {name: _one(column, number) for name, column in zip(self.names, self.columns, strict=True)}

    def _step(self) -> int:
        sizes = [
            column.memory_usage(index=False) if hasattr(column, "iloc") else column.get_total_buffer_size()
            for column in self.columns
        ]
        most = _OBJECTS if any(is_objects(column) for column in self.columns) else _ROWS
        return int(max(1, min(most, _BYTES * self.rows // max(sum(sizes), 1))))


async def parts_of(data: Any, *, index: bool = False) -> AsyncGenerator[Part, None]:
    """Yield what is to be written, part by part.

    Args:
        data: A DataFrame; a `pyarrow.Table`, record batch or reader; anything with `__arrow_c_stream__`; an iterator of
            these, asynchronous or not; one that can be closed is closed at the end.
        index: Whether the index of a DataFrame is written, too.

    Raises:
        WriteError: It is nothing of this.
    """
    if isinstance(data, Pending):
        raise WriteError(f"There are no data yet. {data!r}")
    if is_stream(data):
        async with aclosing(data) if hasattr(data, "aclose") else nullcontext():
            async for part in data:
                yield part_of(part, index=index)
        return
    batches = _batches(data)
    if batches is None:
        yield part_of(data, index=index)
        return
    async with aclosing(InThread(batches)) as source:
        async for part in source:
            yield part_of(part, index=index)


def is_stream(data: Any) -> bool:
    """Say whether data come part by part. A DataFrame has its columns as attributes, whatever they are called."""
    return hasattr(type(data), "__aiter__")


def part_of(data: Any, *, index: bool = False) -> Part:
    """Take data that are here already.

    Raises:
        WriteError: They are no table, or two columns have one name.
    """
    import pandas as pd
    import pyarrow as pa

    if isinstance(data, pd.DataFrame):
        if data.columns.nlevels > 1:
            raise WriteError("The columns have names of several levels. Make one of each: `frame.columns = [...]`.")
        known = data.attrs.get("asyncdb", {})
        data = _with_index(data) if index else data
        columns: list[Any] = [data.iloc[:, position] for position in range(data.shape[1])]
        return checked(Part([str(name) for name in data.columns], columns, len(data), known.get("types", {})))
    if isinstance(data, pa.RecordBatch):
        data = pa.Table.from_batches([data])
    if not isinstance(data, pa.Table) and hasattr(data, "__arrow_c_stream__"):
        data = _reader(data).read_all()
    if not isinstance(data, pa.Table):
        raise WriteError(
            f"A {type(data).__name__} is no table. Give a DataFrame, a pyarrow.Table or reader, what has "
            "`__arrow_c_stream__` (polars, DuckDB), or an iterator of these; of entities, rows or dicts make a "
            "DataFrame: `to_frame(...)`."
        )
    return checked(Part(data.column_names, data.columns, data.num_rows, _known_types(data)))


def is_objects(column: Any) -> bool:
    """Say whether a column is a pandas Series of Python objects."""
    return hasattr(column, "iloc") and column.dtype == object


def checked(part: Part) -> Part:
    """Give a part whose columns can be told apart.

    Raises:
        WriteError: It has none, or two of one name.
    """
    twice = sorted({name for name in part.names if part.names.count(name) > 1})
    if twice:
        raise WriteError(f"Two columns are called {twice[0]!r}. Name the columns apart, as a table does.")
    if not part.names:
        raise WriteError("There are no columns to write.")
    return part


def _known_types(data: Any) -> dict[str, Any]:
    import json

    kept = (data.schema.metadata or {}).get(b"asyncdb")
    return dict(json.loads(kept).get("types", {})) if kept else {}


def _batches(data: Any) -> Iterator[Any] | None:
    """Give the parts of data that are not all here; None for data that are."""
    import pandas as pd
    import pyarrow as pa

    if isinstance(data, pa.RecordBatchReader):
        return _together(data)
    if isinstance(data, pd.DataFrame | pa.Table | pa.RecordBatch):
        return None
    if hasattr(data, "__arrow_c_stream__"):
        return _together(_reader(data))
    return data if isinstance(data, Iterator) else None


def _with_index(frame: Any) -> Any:
    """Give a frame with its index as columns.

    Raises:
        WriteError: A column has the name of one of them.
    """
    try:
        return frame.reset_index()
    except ValueError as error:
        raise WriteError(f"The index is no column: {error}. Rename it: `frame.rename_axis(...)`.") from error


def _reader(data: Any) -> Any:
    """Give what reads an Arrow stream.

    Raises:
        WriteError: It is one of a single column, or of a type that pyarrow does not have.
    """
    import pyarrow as pa

    try:
        return pa.RecordBatchReader.from_stream(data)
    except pa.ArrowException as error:
        raise WriteError(
            f"A {type(data).__name__} is no table that pyarrow reads: {error}. Of a Series make one by `.to_frame()`."
        ) from error


def _together(reader: Any) -> Iterator[Any]:
    """Put small batches together; a reader without any is one empty part."""
    import pyarrow as pa

    def table(batches: list[Any]) -> Any:
        return pa.Table.from_batches(batches, reader.schema)

    waiting: list[Any] = []
    given = False
    with closing(reader):
        for batch in reader:
            waiting.append(batch)
            if sum(each.num_rows for each in waiting) >= _AT_ONCE:
                yield table(waiting)
                waiting, given = [], True
        if waiting or not given:
            yield table(waiting)


def _slice(column: Any, start: int, count: int) -> Any:
    return column.iloc[start : start + count] if hasattr(column, "iloc") else column.slice(start, count)


def _one(column: Any, number: int) -> Any:
    if hasattr(column, "iloc"):
        return column.iloc[number]
    return column[number].as_py()
