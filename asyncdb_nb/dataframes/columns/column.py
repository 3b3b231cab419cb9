"""
One column of a result on its way to Arrow and to pandas.

A column holds either an Arrow array of its type, or Python values where no Arrow type holds them all (arrays of any
number of dimensions, numeric of any precision, intervals). Whichever way a result came, its columns end here, so a
frame looks the same whatever path was taken. What the target cannot hold becomes NA, and `lossy` counts it by reason.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from asyncdb_nb.dataframes.columns.memory import give_back
from asyncdb_nb.dataframes.columns.to_arrow import arrow
from asyncdb_nb.dataframes.type_families.kind import ColumnType, DtypeBackend, Loads
from asyncdb_nb.dataframes.types.exact import CHANGES, exact, unfit

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

FEW = 500  # values that stay Python objects until it is known what is made of them
_SOME = 16  # values, from which on it is quicker to read them together


PLOTTED = {"decimal": 'numeric="float"', "numeric": 'numeric="float"', "date": 'dates="timestamp"'}
"""By kind, the option that reads it as what pandas and matplotlib calculate with."""

_DIGITS = 15  # of a decimal, that every double gives back


@dataclass(slots=True)
class Column:
    """One column: its name, its type and its values.

    Attributes:
        name: As the server, or SQLAlchemy, names it.
        type: What PostgreSQL says it is.
        array: An Arrow array, chunked or not, of `type.arrow()`; or None.
        values: Python values as the type's `reader` gives them, when `array` is None.
        lossy: How many values are not what they were, by what became of them.
        loads: What parses JSON text.
    """

    name: str
    type: ColumnType
    array: pa.Array | pa.ChunkedArray | None = None
    values: Sequence[Any] | None = None
    lossy: Counter[str] = field(default_factory=Counter)
    loads: Loads = json.loads

    def __len__(self) -> int:
        return len(self.array if self.array is not None else self.values or ())

    def head(self, rows: int) -> Column:
        """Give a column of the first `rows` values; what was lossy is counted there."""
        array = None if self.array is None else self.array.slice(0, rows)
        values = None if self.values is None else self.values[:rows]
        return Column(self.name, self.type, array, values, self.lossy, self.loads)

    def tail(self, start: int) -> Column:
        """Give a column of the values from `start` on."""
        array = None if self.array is None else self.array.slice(start)
        values = None if self.values is None else self.values[start:]
        return Column(self.name, self.type, array, values, loads=self.loads)

    def to_arrow(self) -> pa.Array | pa.ChunkedArray:
        """Give the values as an Arrow array of `type.arrow()`."""
        if self.array is None:
            assert self.values is not None, "a column has an array or values"  # noqa: S101
            self.array = arrow(self.name, self.type, self.values, self.type.to_arrow(), self.lossy)
        return self.array

    def unpack(self, backend: DtypeBackend = None) -> None:
        """Make Python objects now, where a frame holds Python objects."""
        import numpy as np

        if self.array is not None and self.type.dtype(backend) == np.dtype(object):
            self.values, self.array = self.objects(), None

    def pack(self) -> None:
        """Make the Arrow array now, where its type is known, and let go of the Python objects it is made of."""
        if self.type.kind != "python":
            self.to_arrow()
            self.values = None

    def to_pandas(self, backend: DtypeBackend = None) -> Any:
        """Give the values as an array or series of `type.dtype(backend)`, for one column of a frame."""
        import numpy as np

        from asyncdb_nb.dataframes.columns import to_pandas  # here: it imports pandas

        dtype: Any = self.type.dtype(backend)
        if dtype == np.dtype(object):
            return to_pandas.of_objects(self.objects())
        if self.array is None and self.type.traits.to_arrow is None:
            made = to_pandas.of_python(self.objects(), dtype)
            if made is not None:
                return made
        array = self.to_arrow()
        if self.type.traits.for_pandas is not None:
            array = self.type.traits.for_pandas(array, self.lossy)
        return to_pandas.of_arrow(array, dtype)

    def objects(self) -> Sequence[Any]:
        """Give Python values, None for NULL."""
        if self.values is not None:
            return self.values
        assert self.array is not None, "a column has an array or values"  # noqa: S101
        make = self.type.traits.from_arrow
        values: list[Any] = self.array.to_pylist()
        if make is None:
            return values
        read = make(self.loads)
        return [None if value is None else read(value) for value in values]


def from_wire(name: str, type_: ColumnType, values: Sequence[bytes | None], loads: Loads = json.loads) -> Column:
    """Make a column of values in PostgreSQL's binary form."""
    if type_.traits.arrow_reader is not None:
        lossy: Counter[str] = Counter()
        array = _together(type_, values, lossy) if len(values) >= _SOME else None
        if array is None:
            array = arrow(name, type_, values, type_.traits.arrow_reader(type_), lossy)
        return Column(name, type_, array, lossy=lossy, loads=loads)
    read = type_.reader(loads)
    return from_values(name, type_, [None if value is None else read(value) for value in values], fit=True)


def _together(type_: ColumnType, values: Sequence[bytes | None], lossy: Counter[str]) -> pa.Array | None:
    """Read values of one width as those of a COPY stream, all at once."""
    import numpy as np

    from asyncdb_nb.dataframes.copy_binary.cells import Cells
    from asyncdb_nb.dataframes.copy_binary.values import Values

    read = type_.traits.vectorized
    data = b"".join(value or b"" for value in values)
    if read is None or type_.width is None or not data:
        return None
    lengths = np.array([-1 if value is None else len(value) for value in values])
    starts = np.cumsum(np.maximum(lengths, 0)) - np.maximum(lengths, 0)
    return read(Values(data, Cells(starts, lengths=lengths)), type_, lossy)


def from_native(name: str, type_: ColumnType, values: Sequence[Any], *, fit: bool = False) -> Column:
    """Make a column of values as asyncpg, SQLAlchemy or a user gives them.

    Args:
        name: Its name.
        type_: Its type.
        values: Its values.
        fit: Whether they are of that type for sure, because the server says so.

    Raises:
        FrameError: A value does not fit the type.
    """
    values = exact(name, type_, values)
    convert = type_.from_driver()
    if convert is None:
        return from_values(name, type_, values, fit=fit)
    column = from_values(name, type_, _converted(name, type_, convert, values), fit=fit)
    if type_.traits.lost_by_driver is not None:
        kind, what = type_.traits.lost_by_driver
        column.lossy[what] += sum(isinstance(value, kind) for value in values)
    return column


def _converted(name: str, type_: ColumnType, convert: Callable[[Any], Any], values: Sequence[Any]) -> list[Any]:
    converted: list[Any] = []
    for value in values:
        try:
            converted.append(None if value is None else convert(value))
        except CHANGES as error:
            raise unfit(name, type_, value) from error
    return converted


def from_values(name: str, type_: ColumnType, values: Sequence[Any], *, fit: bool = False) -> Column:
    """Make a column of values as the type's `reader` gives them; a few that fit become Arrow when that is asked for."""
    if type_.traits.keeps_values or (fit and len(values) <= FEW):
        return Column(name, type_, values=values)
    lossy: Counter[str] = Counter()
    return Column(name, type_, arrow(name, type_, values, type_.to_arrow(), lossy), lossy=lossy)


def joined(parts: Sequence[Sequence[Column]]) -> list[Column]:
    """Put the columns of consecutive parts of a result one after the other."""
    return list(parts[0]) if len(parts) == 1 else [_joined(parts_) for parts_ in zip(*parts, strict=True)]


def to_frame(columns: Sequence[Column], rows: int, backend: DtypeBackend = None) -> pd.DataFrame:
    """Put columns of `rows` values each together to a DataFrame, which takes the values over; names may repeat."""
    import pandas as pd

    arrays = {}
    for position, column in enumerate(columns):
        arrays[position] = column.to_pandas(backend)
        size = 0 if column.array is None else column.array.nbytes
        column.array = column.values = None
        give_back(size)
    frame = pd.DataFrame(arrays, index=pd.RangeIndex(rows), copy=False)
    frame.columns = _header(tuple(column.name for column in columns)).copy()
    return frame


@lru_cache(100)
def _header(names: tuple[str, ...]) -> pd.Index:
    """Make the index of column names, which takes as long as all else of a frame of few rows."""
    import pandas as pd

    return pd.Index(names)


def to_table(columns: Sequence[Column]) -> pa.Table:
    """Put columns together to a pyarrow.Table; names may repeat."""
    import pyarrow as pa

    return pa.Table.from_arrays([column.to_arrow() for column in columns], names=[column.name for column in columns])


def to_batch(columns: Sequence[Column]) -> pa.RecordBatch:
    """Put columns together to a pyarrow.RecordBatch; names may repeat."""
    import pyarrow as pa

    arrays = [column.to_arrow() for column in columns]
    whole = [array.combine_chunks() if hasattr(array, "chunks") else array for array in arrays]
    return pa.RecordBatch.from_arrays(whole, names=[column.name for column in columns])


def losses(columns: Sequence[Column]) -> dict[str, str]:
    """Say by column which values are NA because the type cannot hold them, and which are rounded."""
    said: dict[str, str] = {}
    for column in columns:
        if not column.lossy and column.type.kind != "float":
            continue
        reasons = [f"{reason} ({count:,})" for reason, count in sorted(column.lossy.items()) if count]
        if column.type.kind == "float":
            may_lose = (
                "" if 0 < column.type.precision <= _DIGITS else f"; digits beyond the first {_DIGITS} may be lost"
            )
            reasons.append(f"numeric read as the nearest float64{may_lose}")
        if reasons:
            said[column.name] = "; ".join([*([said[column.name]] if column.name in said else []), *reasons])
    return said


def ways_to_plot(columns: Sequence[Column]) -> dict[str, str]:
    """Say by column which option reads exact decimals and dates as what can be plotted."""
    return {column.name: PLOTTED[column.type.kind] for column in columns if column.type.kind in PLOTTED}


def _joined(parts: Sequence[Column]) -> Column:
    import pyarrow as pa

    first = parts[0]
    arrays = [part.array for part in parts if part.array is not None]
    if arrays and not first.type.traits.keeps_values:
        arrays = [part.to_arrow() for part in parts]
    lossy = sum((part.lossy for part in parts), Counter[str]())
    if len(arrays) < len(parts):
        values = [value for part in parts for value in part.objects()]
        return Column(first.name, first.type, values=values, lossy=lossy, loads=first.loads)
    chunks = [chunk for array in arrays for chunk in (array.chunks if hasattr(array, "chunks") else [array])]
    return Column(first.name, first.type, pa.chunked_array(chunks, chunks[0].type), lossy=lossy, loads=first.loads)
