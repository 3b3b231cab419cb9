"""Values that are what a function in Python made of them: SQLAlchemy's, or a codec that a user registered."""

from __future__ import annotations

from typing import Any

from asyncdb_nb.dataframes.type_families.kind import OBJECTS, ColumnType, Function, Kind, Loads, Reader
from asyncdb_nb.errors import FrameError


def _reader(column: ColumnType, loads: Loads) -> Reader:
    raise FrameError(
        f"An anonymous row holds a {column.name}, for which a codec is registered on the connection (set_type_codec), "
        "and codecs are for columns. Select it by itself, or cast it in the statement: `row(value::text)`."
    )


def _from_driver(column: ColumnType) -> Function | None:
    decode = column.decode
    return None if decode is None else lambda value: decode(value) if isinstance(value, str) else value


def _arrow_type(column: ColumnType) -> Any:
    import pyarrow as pa

    return pa.null()


PYTHON = ColumnType(0, "python", "python")
"""Values that stay the Python objects that they are."""

KINDS = (
    Kind(
        name="python",
        documented="a column type with Python-side processing (TypeDecorator, Enum of a class, …), or with a codec "
        "that was registered on the connection",
        arrow="what pyarrow infers",
        dtypes=OBJECTS,
        note="The values that SQLAlchemy, or the codec, gives. `table()` has an Enum's text as PostgreSQL does.",
        arrow_type=_arrow_type,
        reader=_reader,
        from_driver=_from_driver,
        exact_in_asyncpg=True,
        keeps_values=True,
    ),
)
