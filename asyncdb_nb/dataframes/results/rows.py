"""
Results that are here already → columns: rows, mappings, mapped entities, records, objects with fields, scalars.

Nothing is loaded. A column has the type that the server says, else the one that is declared, else the one of its
values; one whose values would change in that type has the type of its values. A mapped entity gives its mapped columns,
as `entities` says, also inside a row.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Result, Row, ScalarResult
from sqlalchemy.engine import MappingResult, RowMapping
from sqlalchemy.exc import InvalidRequestError

from asyncdb_nb.dataframes.columns.column import Column, from_native
from asyncdb_nb.dataframes.results.bundles import values_of
from asyncdb_nb.dataframes.results.entities import is_entity, of_entities, without_rows
from asyncdb_nb.dataframes.results.result_types import Known, known
from asyncdb_nb.dataframes.type_families.kind import ColumnType
from asyncdb_nb.dataframes.type_families.python_processed import PYTHON
from asyncdb_nb.dataframes.types import python_types
from asyncdb_nb.dataframes.types.exact import are_json
from asyncdb_nb.engine._sqlalchemy.statements import keys_of_row, repeats_entities
from asyncdb_nb.errors import FrameError

_HAVE_FIELDS = ("dataclass", "pydantic model", "attrs object", "msgspec struct")


def columns(results: Any) -> tuple[list[Column], int]:
    """Make columns of results.

    Returns:
        The columns and the number of rows.

    Raises:
        FrameError: The results are of several kinds, or of none that has columns.
    """
    if isinstance(results, Result | ScalarResult | MappingResult):
        of_columns = known(results)
        if isinstance(results, ScalarResult):
            of_columns = [replace(of_columns[0], name="value")]
        rows = all_rows(results)
        return of_rows(of_columns, _tuples(results, rows)), len(rows)
    rows = _listed(results)
    return (_taken_apart(rows) if rows else []), len(rows)


def of_rows(of_columns: Sequence[Known], rows: Sequence[Sequence[Any]]) -> list[Column]:
    """Make columns of rows, of which it is known what they have."""
    by_position = list(zip(*rows, strict=True)) if rows else [()] * len(of_columns)
    made: list[Column] = []
    for column, values in zip(of_columns, by_position, strict=True):
        made += _expanded(column, values)
    if any(column.mapper is not None or column.bundle is not None for column in of_columns) or len(made) != len(
        of_columns
    ):
        _tell_apart(made)
    return made


def all_rows(result: Any) -> list[Any]:
    """Read a result to its end; once each entity where a joined eager load has repeated them, as SQLAlchemy demands."""
    try:
        return list((result.unique() if repeats_entities(result) else result).all())
    except InvalidRequestError:  # which SQLAlchemy raises before it reads, where `repeats_entities` could not know
        return list(result.unique().all())


def _tuples(result: Any, rows: Sequence[Any]) -> Sequence[Sequence[Any]]:
    if isinstance(result, ScalarResult):
        return [(row,) for row in rows]
    return [tuple(row.values()) for row in rows] if isinstance(result, MappingResult) else rows


def _expanded(column: Known, values: Sequence[Any]) -> list[Column]:
    """Make the column of some values, or the columns of entities, composites or bundles."""
    if column.mapper is not None and not values:
        return [_column(*part) for part in without_rows(column.mapper, column.attributes)]
    if column.mapper is not None or _are_entities(values):
        return [_column(*part) for part in of_entities(values, column.mapper, column.attributes)]
    if column.bundle is not None:
        return of_rows(column.parts, [values_of(column.bundle, value) for value in values])
    if column.type is None and values and all(isinstance(value, Row) for value in values):
        return _of_tuples(values)  # a bundle's
    return [_column(column.name, column.type, values)]


def _are_entities(values: Sequence[Any]) -> bool:
    """Say whether values are entities, with None for those that an outer join did not find."""
    first = next((value for value in values if value is not None), None)
    return is_entity(first) and all(value is None or is_entity(value) for value in values)


def _column(name: Any, type_: ColumnType | None, values: Sequence[Any]) -> Column:
    """Make a column of the type that is known, if its values fit or theirs loses as much; else theirs, or objects."""
    if type_ == PYTHON:
        return from_native(name, PYTHON, values)
    values = python_types.without_missing(values)
    fitting = None if type_ is None else _fitting(name, type_, values)
    if fitting is not None and not fitting.lossy:
        return fitting
    of_values = _fitting(name, python_types.of_values(values), values)
    if fitting is not None and of_values is not None and of_values.lossy == fitting.lossy:
        return fitting  # infinities alone, which have no time zone, in a timestamptz
    return of_values or from_native(name, PYTHON, values)


def _fitting(name: Any, type_: ColumnType, values: Sequence[Any]) -> Column | None:
    if type_.kind == "json" and not are_json(values):
        return None
    try:
        return from_native(name, type_, values)
    except FrameError:
        return None


def _tell_apart(columns: Sequence[Column]) -> None:
    """Number the names that repeat, as SQLAlchemy does for the columns of entities side by side."""
    seen: dict[Any, int] = {}
    for column in columns:
        count = seen.setdefault(column.name, 0)
        seen[column.name] += 1
        column.name = f"{column.name}_{count}" if count else column.name


def _listed(results: Any) -> list[Any]:
    """Give results as a list of rows."""
    if hasattr(results, "__aiter__"):
        raise FrameError("This result is streamed. Read it first: `to_frame(await result.all())`.")
    one = isinstance(results, str | bytes | Mapping) or not isinstance(results, Iterable) or _is_one(results)
    return [results] if one else list(results)


def _taken_apart(rows: Sequence[Any]) -> list[Column]:
    """Take rows apart, all of which are of one kind."""
    kinds = {_kind(row) for row in rows if row is not None} or {"scalar"}
    if len(kinds) == 1 and None in rows and kinds != {"scalar"}:
        raise FrameError(f"There is a None among the results, where each is a {kinds.pop()}. Leave it out.")
    if len(kinds) > 1:
        raise FrameError(f"The results are of several kinds: {', '.join(sorted(kinds))}. Give one kind at a time.")
    match kinds.pop():
        case "mapped entity":
            return [_column(*part) for part in of_entities(rows)]
        case "mapping":
            return _of_mappings(rows)
        case "row" | "record" | "tuple":
            return _of_tuples(rows)
        case kind if kind in _HAVE_FIELDS:
            return _of_objects(rows)
        case _:
            return [_column("value", None, rows)]


def _kind(row: Any) -> str:
    if is_entity(row):
        return "mapped entity"
    if isinstance(row, Row | RowMapping):
        return "row"
    if isinstance(row, Mapping):
        return "mapping"
    if dataclasses.is_dataclass(row):
        return "dataclass"
    if hasattr(type(row), "model_fields"):
        return "pydantic model"
    if hasattr(type(row), "__attrs_attrs__"):
        return "attrs object"
    if hasattr(type(row), "__struct_fields__"):
        return "msgspec struct"
    if type(row).__module__.startswith("asyncpg") and hasattr(row, "keys"):
        return "record"
    return "tuple" if isinstance(row, tuple | list) else "scalar"


def _is_one(value: Any) -> bool:
    """Say whether something that can be iterated is one result, not several."""
    return _kind(value) in ("mapped entity", "row", "record", *_HAVE_FIELDS) or hasattr(value, "_fields")


def _of_tuples(rows: Sequence[Any]) -> list[Column]:
    """Take rows apart by position; an entity inside them gives its own columns."""
    names = {_names(row) for row in rows}
    if len({*map(len, names)}) > 1:
        raise FrameError(
            f"The results have {len(_names(rows[0]))} columns first and {sorted({*map(len, names)})} in all."
        )
    if len(names) > 1:
        raise FrameError(f"The results have several names for their columns: {' and '.join(map(repr, sorted(names)))}.")
    hints = _hints(type(rows[0]))
    of_columns = [Known(name, python_types.of_annotation(hints.get(name))) for name in names.pop()]
    return of_rows(of_columns, [tuple(row.values() if isinstance(row, RowMapping) else row) for row in rows])


def _names(row: Any) -> tuple[Any, ...]:
    if isinstance(row, Row | RowMapping):
        return keys_of_row(row)
    if hasattr(row, "_fields"):
        return tuple(row._fields)
    return tuple(row.keys()) if hasattr(row, "keys") else tuple(range(len(row)))


def _of_mappings(rows: Sequence[Mapping[Any, Any]]) -> list[Column]:
    """Take mappings apart; a key that a mapping does not have is NULL there."""
    names = dict.fromkeys(name for row in rows for name in row)
    return of_rows([Known(name) for name in names], [tuple(row.get(name) for name in names) for row in rows])


def _of_objects(rows: Sequence[Any]) -> list[Column]:
    """Take objects apart by their fields; one that an object's class does not have is NULL there."""
    types: dict[str, ColumnType | None] = {}
    for kind in dict.fromkeys(map(type, rows)):
        hints = _hints(kind)
        for name in _fields(kind):
            of_hint = python_types.of_annotation(hints.get(name))
            types[name] = of_hint if types.setdefault(name, of_hint) == of_hint else None
    types |= dict.fromkeys(
        name for row in rows for name in getattr(row, "model_extra", None) or () if name not in types
    )
    values = [tuple(getattr(row, name, None) for name in types) for row in rows]
    return of_rows([Known(name, type_) for name, type_ in types.items()], values)


def _fields(kind: type) -> list[str]:
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind)]
    if (attributes := getattr(kind, "__attrs_attrs__", None)) is not None:
        return [attribute.name for attribute in attributes]
    names: Any = getattr(kind, "__struct_fields__", None)
    return list(kind.model_fields if names is None else names)  # type: ignore[attr-defined]


def _hints(kind: type) -> dict[str, Any]:
    """Give the annotations of a class; none where they name what cannot be found, such as a class in a function."""
    try:
        return typing.get_type_hints(kind, include_extras=True)
    except NameError:
        return {}
