"""
A table made for data: its columns have the types that the data say.

A column that `frame` or `table` has read knows its type, and has it again if its dtype is still that type's. Otherwise
the dtype says it, or, of Python objects, the classes of the values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kinds

from asyncdb_nb.dataframes.type_families.kind import ColumnType
from asyncdb_nb.dataframes.types.python_types import of_values, without_missing
from asyncdb_nb.dataframes.writing.arrow_casts import plain
from asyncdb_nb.dataframes.writing.parts import Part, is_objects
from asyncdb_nb.dataframes.writing.target import parts_of_name, quoted
from asyncdb_nb.dataframes.writing.write_connection import Server
from asyncdb_nb.engine.search_path import EQ
from asyncdb_nb.errors import WriteError

_NAME_OF_TYPE = f"""
SELECT pg_catalog.format_type(t.oid, $2::pg_catalog.int4) AS sql, t.oid
FROM pg_catalog.pg_type AS t JOIN pg_catalog.pg_namespace AS n ON n.oid {EQ} t.typnamespace
WHERE t.typname {EQ} $3::pg_catalog.text::pg_catalog.name
  AND (t.oid {EQ} $1::pg_catalog.oid OR n.nspname {EQ} $4::pg_catalog.text::pg_catalog.name
       OR pg_catalog.pg_type_is_visible(t.oid))
ORDER BY t.oid {EQ} $1::pg_catalog.oid DESC, n.nspname {EQ} $4::pg_catalog.text::pg_catalog.name DESC LIMIT 1
"""  # noqa: S608  put together from constants
_HEAD = 4  # what a typmod counts besides the characters
_TEXT, _BYTEA = "pg_catalog.text", "pg_catalog.bytea"  # only names that are no words of SQL go by the search path
_BY_KIND = (
    (kinds.is_boolean, "boolean"),
    (lambda given: given in (pa.int8(), pa.int16(), pa.uint8()), "smallint"),
    (lambda given: given in (pa.int32(), pa.uint16()), "integer"),
    (lambda given: given in (pa.int64(), pa.uint32()), "bigint"),
    (kinds.is_uint64, "numeric(20,0)"),
    (lambda given: given in (pa.float16(), pa.float32()), "real"),
    (kinds.is_floating, "double precision"),
    (lambda given: kinds.is_string(given) or kinds.is_large_string(given) or kinds.is_null(given), _TEXT),
    (lambda given: given == pa.binary(16), "pg_catalog.uuid"),
    (
        lambda given: kinds.is_binary(given) or kinds.is_large_binary(given) or kinds.is_fixed_size_binary(given),
        _BYTEA,
    ),
    (kinds.is_date, "pg_catalog.date"),
    (kinds.is_time, "time"),
    (lambda given: kinds.is_duration(given) or kinds.is_interval(given), "interval"),
    (lambda given: kinds.is_struct(given) or kinds.is_map(given), "pg_catalog.jsonb"),
)


async def create_table(server: Server, name: str, part: Part, types: Mapping[str, str], key: Sequence[str]) -> None:
    """Make a table for the columns of a part.

    Args:
        server: In a transaction.
        name: `table`, or `schema.table`.
        part: The first rows.
        types: SQL types of columns, where the data do not say what is wanted.
        key: The columns of the primary key; none for no primary key.

    Raises:
        WriteError: A column's type cannot be told.
    """
    known = {**await _known(server, part), **types}
    columns = [
        f"{quoted(column)} {known.get(column) or _of_data(column, values)}"
        for column, values in zip(part.names, part.columns, strict=True)
    ]
    if key:
        columns.append(f"PRIMARY KEY ({', '.join(map(quoted, key))})")
    table = ".".join(map(quoted, parts_of_name(name)))
    await server.execute(f"CREATE TABLE {table} ({', '.join(columns)})")


async def _known(server: Server, part: Part) -> dict[str, str]:
    """Name the types of columns that still are as they were read."""
    found = {}
    for column, values in zip(part.names, part.columns, strict=True):
        if column not in part.types:
            continue
        oid, typmod, name, schema = part.types[column]
        for row in await server.rows(_NAME_OF_TYPE, oid, typmod, name, schema):
            [type_] = await server.types([(row["oid"], typmod)])
            if _is_still(type_, values) and (name != "bpchar" or _are_of_length(values, typmod - _HEAD)):
                found[column] = row["sql"]
    return found


def _is_still(type_: ColumnType, values: Any) -> bool:
    if not hasattr(values, "iloc"):
        return bool(values.type == type_.arrow())
    return any(values.dtype == type_.dtype(backend) for backend in (None, "numpy_nullable", "pyarrow"))


def _are_of_length(values: Any, length: int) -> bool:
    """Say whether texts are as `char(n)` pads them; one that took the column's name in a rename would be changed."""
    texts = pa.array(values, pa.string(), from_pandas=True) if hasattr(values, "iloc") else values
    return length < 1 or pc.all(pc.equal(pc.utf8_length(texts), length)).as_py() is not False


def _of_data(column: str, values: Any) -> str:
    if is_objects(values):
        return _of_objects(column, values.tolist())
    if not hasattr(values, "iloc"):
        return _of_arrow(column, values.type)
    try:
        return _of_arrow(column, plain(pa.array(values.iloc[:0].array)).type)
    except (pa.ArrowException, TypeError) as error:
        raise _unknown_type(column, str(values.dtype)) from error


def _of_arrow(column: str, given: pa.DataType) -> str:
    if kinds.is_dictionary(given) or kinds.is_run_end_encoded(given):
        return _of_arrow(column, given.value_type)
    if kinds.is_decimal(given):
        return f"numeric({given.precision - min(given.scale, 0)},{max(given.scale, 0)})"
    if kinds.is_timestamp(given):
        return "timestamp with time zone" if given.tz else "timestamp"
    if hasattr(given, "value_type") and not kinds.is_map(given):
        return f"{_of_arrow(column, given.value_type)}[]"
    if kinds.is_string_view(given) or kinds.is_binary_view(given):
        return _TEXT if kinds.is_string_view(given) else _BYTEA
    for is_kind, name in _BY_KIND:
        if is_kind(given):
            return name
    raise _unknown_type(column, str(given))


def _of_objects(column: str, values: Sequence[Any]) -> str:
    values = without_missing(values)
    if all(value is None for value in values):
        return _TEXT
    type_ = of_values(values)
    sql: str = type_.name
    if type_.kind == "array":
        sql = f"{type_.inside.name}[]"
    elif type_.kind == "range":
        sql = _RANGES.get(type_.inside.name, "")
    if not sql or any(part.kind in ("python", "record") for part in type_.parts()):
        raise _unknown_type(
            column, " and ".join(sorted({type(value).__name__ for value in values if value is not None}))
        )
    return f"pg_catalog.{sql}"


_RANGES = {
    "int8": "int8range",
    "numeric": "numrange",
    "date": "daterange",
    "timestamp": "tsrange",
    "timestamptz": "tstzrange",
}


def _unknown_type(column: str, given: str) -> WriteError:
    return WriteError(
        f"Column {column!r} of {given} does not say which SQL type it has. Type it: types={{{column!r}: 'text'}}."
    )
