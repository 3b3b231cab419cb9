"""
Results that are here already → columns: rows, mappings, mapped entities, dataclasses, pydantic models, tuples, scalars.

Nothing is loaded. A mapped entity gives its mapped columns, without those that were never loaded or have expired in
every one of the entities; a column that only some of them have is an error that names it. A relationship that is loaded
on all of them is a column as well: a dict of the related entity's columns, or a list of such dicts.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Result, Row, ScalarResult, inspect
from sqlalchemy.engine import MappingResult
from sqlalchemy.orm import InstanceState, Mapper
from sqlalchemy.types import NullType, TypeEngine

from asyncdb_nb.dataframes import sql_types
from asyncdb_nb.dataframes.columns import Column, from_native
from asyncdb_nb.dataframes.processing import declared
from asyncdb_nb.dataframes.statements import descriptions, entity_of, mapped_columns
from asyncdb_nb.dataframes.types import ColumnType, UnknownTypeError, column_type
from asyncdb_nb.errors import FrameError

Named = list[tuple[str, ColumnType | None, list[Any]]]  # name, type where it is declared, values


def columns(results: Any) -> tuple[list[Column], int]:
    """Make columns of results.

    Returns:
        The columns and the number of rows.

    Raises:
        FrameError: The results are of several kinds, or of none that has columns.
    """
    if isinstance(results, Result):
        types = _described(results)
        rows = all_rows(results)
        named = _named(rows, [type_ for _, type_ in types]) if rows else [(*each, []) for each in types]
        return [_column(*each) for each in named], len(rows)
    rows = _listed(results)
    return [_column(*named) for named in (_named(rows) if rows else [])], len(rows)


def of_statement(statement: Any, rows: Sequence[Any]) -> list[Column]:
    """Make columns of the rows of a statement that gives mapped entities; without rows, the columns it would have."""
    if rows:
        return [_column(*named) for named in _named(rows, _stated(statement))]
    named: Named = []
    for line in descriptions(statement):
        entity = entity_of(line)
        if entity is None:
            named.append((line["name"], sql_types.of_sql_type(line["type"]), []))
        else:
            mapper = inspect(entity).mapper
            named.extend(_of_mapper(mapper, name) for name in mapped_columns(mapper))
    return [_column(*part) for part in named]


def all_rows(result: Result[Any]) -> list[Any]:
    """Read a result to its end; once each entity where a joined eager load has repeated them, as SQLAlchemy demands."""
    return list((result.unique() if repeats(result) else result).all())


def repeats(result: Any) -> bool:
    """Say whether a result repeats entities because of a joined eager load."""
    return getattr(result, "_unique_filter_state", None) is not None


def _column(name: Any, type_: ColumnType | None, values: list[Any]) -> Column:
    return from_native(name, type_ or sql_types.of_values(values), values)


def _of_mapper(mapper: Mapper[Any], name: str) -> tuple[str, ColumnType | None, list[Any]]:
    return name, sql_types.of_sql_type(mapper.column_attrs[name].columns[0].type), []


def _listed(results: Any) -> list[Any]:
    """Give results as a list of rows."""
    if hasattr(results, "__aiter__"):
        raise FrameError("This result is streamed. Read it first: `to_frame(await result.all())`.")
    if isinstance(results, ScalarResult | MappingResult):
        return list(results.all())
    one = isinstance(results, str | bytes | Mapping) or not isinstance(results, Iterable) or _is_record(results)
    return [results] if one else list(results)


def _described(result: Result[Any]) -> list[tuple[str, ColumnType | None]]:
    """Give a result's columns by name, with the types that SQLAlchemy or the server has for them.

    An entity is one column of the result and several of the server's; the statement then says what stands beside it.
    """
    keys = list(result.keys())
    cursor_result = getattr(result, "raw", result)
    says = declared(getattr(cursor_result, "context", None))
    server = getattr(getattr(cursor_result, "cursor", None), "description", None)  # None after the last row
    described = [(line[0], line[1]) for line in server or [(name, 0) for name, _ in says.columns]]
    names = [name for name, _ in described]
    types = [_known(type_, oid) for type_, (_, oid) in zip(says.types(names), described, strict=True)]
    if len(types) == len(keys):
        return list(zip(keys, types, strict=True))
    stated = _stated(getattr(getattr(cursor_result, "context", None), "invoked_statement", None))
    return list(zip(keys, stated if len(stated) == len(keys) else [None] * len(keys), strict=True))


def _stated(statement: Any) -> list[ColumnType | None]:
    """Give the types of what a statement says that it gives; None for an entity, whose columns have theirs."""
    return [None if entity_of(line) else _known(line["type"], 0) for line in descriptions(statement)]


def _known(type_: TypeEngine[Any] | None, oid: int) -> ColumnType | None:
    return _built_in(oid) if type_ is None or isinstance(type_, NullType) else sql_types.of_sql_type(type_)


def _built_in(oid: int) -> ColumnType | None:
    try:
        return column_type(oid)
    except UnknownTypeError:
        return None


def _named(rows: Sequence[Any], types: Sequence[ColumnType | None] = ()) -> Named:
    """Take rows apart; `types` are those of a result's columns, where they are known."""
    kinds = {_kind(row) for row in rows if row is not None} or {"scalar"}
    if len(kinds) == 1 and None in rows and kinds != {"scalar"}:
        raise FrameError(f"There is a None among the results, where each is a {kinds.pop()}. Leave it out.")
    if len(kinds) > 1:
        raise FrameError(f"The results are of several kinds: {', '.join(sorted(kinds))}. Give one kind at a time.")
    first = rows[0]
    match kinds.pop():
        case "mapped entity":
            return _of_entities(rows)
        case "row":
            return _of_tuples(rows, list(first._fields), types)
        case "mapping":
            return _of_mappings(rows)
        case "dataclass":
            return _of_fields(rows, [field.name for field in dataclasses.fields(first)])
        case "pydantic model":
            return _of_fields(rows, list(type(first).model_fields))
        case "tuple":
            return _of_tuples(rows, list(getattr(first, "_fields", range(len(first)))))
        case _:
            return [("value", None, list(rows))]


def _kind(row: Any) -> str:
    if isinstance(inspect(row, raiseerr=False), InstanceState):
        return "mapped entity"
    if isinstance(row, Row):
        return "row"
    if isinstance(row, Mapping):
        return "mapping"
    if dataclasses.is_dataclass(row):
        return "dataclass"
    if hasattr(type(row), "model_fields"):
        return "pydantic model"
    return "tuple" if isinstance(row, tuple | list) else "scalar"


def _is_record(value: Any) -> bool:
    return _kind(value) in ("mapped entity", "row", "dataclass", "pydantic model")


def _of_tuples(rows: Sequence[Any], names: Sequence[Any], types: Sequence[ColumnType | None] = ()) -> Named:
    """Take rows apart by position; an entity or another record inside them gives its own columns."""
    if {len(row) for row in rows} != {len(names)}:
        raise FrameError(
            f"The results have {len(names)} columns first and {sorted({len(row) for row in rows})} in all."
        )
    named: Named = []
    for position, name in enumerate(names):
        values = [row[position] for row in rows]
        if all(_kind(value) == "mapped entity" for value in values):
            named.extend(_of_entities(values))
        else:
            named.append((name, types[position] if types else None, values))
    return named


def _of_mappings(rows: Sequence[Mapping[str, Any]]) -> Named:
    """Take mappings apart; a key that a mapping does not have is NULL there."""
    names = dict.fromkeys(name for row in rows for name in row)
    return [(name, None, [row.get(name) for row in rows]) for name in names]


def _of_fields(rows: Sequence[Any], names: Sequence[str]) -> Named:
    hints = typing.get_type_hints(type(rows[0]), include_extras=True)
    return [(name, sql_types.of_annotation(hints.get(name)), [getattr(row, name) for row in rows]) for name in names]


def _of_entities(entities: Sequence[Any]) -> Named:
    mappers = {inspect(entity).mapper for entity in entities}
    mapper = _common(mappers)
    loaded = [inspect(entity).dict for entity in entities]
    named: Named = []
    for attribute in mapper.column_attrs:
        values = _loaded(loaded, attribute.key, mapper)
        if values is not None:
            named.append((attribute.key, sql_types.of_sql_type(attribute.columns[0].type), values))
    for relationship in mapper.relationships:
        if all(relationship.key in values for values in loaded):
            related = [_related(values[relationship.key]) for values in loaded]
            named.append((relationship.key, ColumnType(0, "relationship", "python"), related))
    if not named:
        raise FrameError(
            f"The {mapper.class_.__name__} entities have expired: none of their columns is loaded. "
            "Open the session with expire_on_commit=False, or make the frame before the commit."
        )
    return named


def _common(mappers: set[Mapper[Any]]) -> Mapper[Any]:
    """Give the mapper that all entities share: theirs, or the nearest class that they inherit from."""
    first, *others = mappers
    for mapper in first.iterate_to_root():
        if all(other.isa(mapper) for other in others):
            return mapper
    names = ", ".join(sorted(mapper.class_.__name__ for mapper in mappers))
    raise FrameError(f"The results are of several mapped classes: {names}. Give one at a time.")


def _loaded(loaded: Sequence[Mapping[str, Any]], key: str, mapper: Mapper[Any]) -> list[Any] | None:
    have = sum(key in values for values in loaded)
    if have == 0:
        return None
    if have < len(loaded):
        raise FrameError(
            f"{mapper.class_.__name__}.{key} is loaded on {have:,} of {len(loaded):,} entities. "
            f"Load it on all (`await session.refresh(entity)`, or `undefer` in the select), or on none."
        )
    return [values[key] for values in loaded]


def _related(value: Any) -> Any:
    """Give the loaded columns of a related entity, or of each of several; never what those relate to in turn."""
    if value is None:
        return None
    state = inspect(value, raiseerr=False)
    if isinstance(state, InstanceState):
        columns = {attribute.key for attribute in state.mapper.column_attrs}
        return {key: item for key, item in state.dict.items() if key in columns}
    return [_related(item) for item in (value.values() if isinstance(value, Mapping) else value)]
