"""
What is known of the columns of a SQLAlchemy result: the server's type, then SQLAlchemy's.

SQLAlchemy guesses the type of an expression (the median of integers is an integer), and a model may differ from its
table. So the server's type counts, which the driver's cursor still has when the rows are read. SQLAlchemy adds to it
what the cursor does not tell: the precision of a plain column, what a TypeDecorator does, and which columns are an
entity's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Cast, ClauseElement, Column, Label, inspect, select
from sqlalchemy.orm import Mapper
from sqlalchemy.types import NullType, TypeEngine

from asyncdb_nb.dataframes.results.bundles import columns_of
from asyncdb_nb.dataframes.results.entities import Types, descriptions, entity_of, is_built, selected
from asyncdb_nb.dataframes.type_families.built_in import UnknownTypeError
from asyncdb_nb.dataframes.type_families.kind import ColumnType
from asyncdb_nb.dataframes.type_families.python_processed import PYTHON
from asyncdb_nb.dataframes.types import declared, processing
from asyncdb_nb.dataframes.types.processing import how
from asyncdb_nb.dataframes.types.table import column_type
from asyncdb_nb.engine._sqlalchemy.statements import NO_LABEL, declared_columns, execution_of, keys_of


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one column of a result.

    Attributes:
        name: Its key in the result.
        type: Its type; None where neither the server nor SQLAlchemy says.
        mapper: The mapped class, where the column is an entity.
        attributes: The types of that class's columns, as far as the result tells.
        bundle: The composite or bundle, where the column is one.
        parts: What is known of its columns.
    """

    name: Any
    type: ColumnType | None = None
    mapper: Mapper[Any] | None = None
    attributes: Types = field(default_factory=dict)
    bundle: Any = None
    parts: Sequence[Known] = ()


def known(result: Any) -> list[Known]:
    """Say what is known of the columns of a result, which may have been cut down to some of them."""
    keys = keys_of(result)
    whole = _of_context(execution_of(result))
    if len(whole) == len(keys):
        return [column if key is None else replace(column, name=key) for column, key in zip(whole, keys, strict=True)]
    by_name = {column.name: column for column in whole if [other.name for other in whole].count(column.name) == 1}
    return [replace(by_name.get(key, _UNKNOWN), name=key) for key in keys]


def _of_context(context: Any) -> list[Known]:
    described = getattr(getattr(context, "cursor", None), "description", None) or ()
    says = processing.declared(context)
    places = says.places([line[0] for line in described])
    oids = {place: line[1] for place, line in zip(places, described, strict=True) if place is not None}
    lines = descriptions(getattr(context, "invoked_statement", None))
    entries = declared_columns(getattr(context, "compiled", None))
    if any(map(is_built, lines)):
        return [_beside_entities(line, entries, oids) for line in lines]
    names = [line[0] for line in described]
    if len(lines) == len(described):  # a text() among them has no name but the server's
        names = [name if line["name"] is None else line["name"] for line, name in zip(lines, names, strict=True)]
    if not described:  # nothing was read by the driver: SQLAlchemy had it in a cache
        return [Known(name, _type(type_, 0, plain=False)) for name, type_ in says.columns]
    return [
        _known(name, None if place is None else entries[place], oid)
        for name, place, (_, oid, *_) in zip(names, places, described, strict=True)
    ]


def _beside_entities(line: Any, entries: Sequence[Any], oids: Mapping[int, int]) -> Known:
    """Say what is known of an entity, a composite or a bundle, or of a column beside one."""
    entity = entity_of(line)
    if entity is not None:
        attributes = {key: _of_expression(column, entries, oids) for key, column in selected(entity).items()}
        return Known(line["name"], mapper=inspect(entity).mapper, attributes=attributes)
    if (columns := columns_of(line["expr"])) is not None:
        parts = [_of_part(part, entries, oids) for part in select(*columns).column_descriptions]
        return Known(line["name"], bundle=line["expr"], parts=parts)
    return _of_part(line, entries, oids)


def _of_part(line: Any, entries: Sequence[Any], oids: Mapping[int, int]) -> Known:
    expression = line["expr"]
    element = expression.__clause_element__() if hasattr(expression, "__clause_element__") else expression
    found = _of_expression(element, entries, oids) or _type(line["type"], 0, plain=False)
    return Known(NO_LABEL if line["name"] is None else line["name"], found)


def _of_expression(element: Any, entries: Sequence[Any], oids: Mapping[int, int]) -> ColumnType | None:
    """Find the type of an expression among all that SQLAlchemy selected; None where it is not there."""
    for same in (lambda part: part is element, lambda part: isinstance(part, ClauseElement) and part.compare(element)):
        for place, entry in enumerate(entries):
            if any(map(same, entry.objects)):
                return _known(None, entry, oids.get(place, 0)).type
    return None


def _known(name: Any, entry: Any, oid: int) -> Known:
    """Join what SQLAlchemy and the server say of one column."""
    type_ = None if entry is None else entry.type
    plain = entry is not None and any(_is_plain(part) for part in entry.objects)
    return Known(name, _type(type_, oid, plain=plain))


def _is_plain(part: Any) -> bool:
    """Say whether an expression is a column of a table, or a cast, of which SQLAlchemy knows more than the type."""
    return isinstance(part.element if isinstance(part, Label) else part, Column | Cast)


def _type(type_: TypeEngine[Any] | type | None, oid: int, *, plain: bool) -> ColumnType | None:
    server = _built_in(oid)
    if isinstance(type_, type):  # a bundle class of a user's own
        return PYTHON
    if type_ is None or isinstance(type_, NullType):
        return server
    told = declared.of_sql_type(type_)
    if server is None or how(type_) in ("function", "members"):
        return told
    if how(type_) == "floats":
        return server.as_float()
    return told if plain and _is_same(told, server) else server


def _is_same(told: ColumnType, server: ColumnType) -> bool:
    if told.kind == server.kind == "array" and told.element is not None and server.element is not None:
        return _is_same(told.element, server.element)
    return told.oid == server.oid


def _built_in(oid: int) -> ColumnType | None:
    try:
        return column_type(oid)
    except UnknownTypeError:
        return None


_UNKNOWN = Known(None)
