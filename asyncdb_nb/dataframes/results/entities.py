"""
Mapped classes and their entities → columns.

A class has the columns that are mapped on it and, where a select of it gives entities of its subclasses, theirs: a
column of a subclass is NULL in rows of the others. So the columns depend on the classes alone, never on what the
session happens to have loaded. Relationships are no columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Column, FromClause, Select, and_, case, func, inspect, or_
from sqlalchemy.orm import ColumnProperty, InstanceState, Mapper, selectin_polymorphic, with_polymorphic
from sqlalchemy.orm.util import AliasedInsp

from asyncdb_nb.dataframes.results.bundles import bundle_of, columns_of
from asyncdb_nb.dataframes.type_families.kind import ColumnType
from asyncdb_nb.dataframes.types import declared
from asyncdb_nb.dataframes.types.processing import how
from asyncdb_nb.engine._sqlalchemy.statements import annotation_of, can_be_joined, has_outer_join, returned_by
from asyncdb_nb.errors import FrameError

Named = list[tuple[Any, ColumnType | None, Sequence[Any]]]  # name, type where it is declared, values
Types = Mapping[str, ColumnType | None]
Owners = dict[str, list[ColumnProperty[Any]]]  # by name: what is mapped under it on one class or on several

_NO_TYPES: Types = {}


def builds_entities(statement: Any) -> bool:
    """Say whether executing a statement gives mapped objects, composites or bundles rather than columns."""
    return any(is_built(line) for line in descriptions(statement))


def is_built(line: Mapping[str, Any]) -> bool:
    """Say whether SQLAlchemy makes one object of several columns, in a part of a statement that is described."""
    return entity_of(line) is not None or bundle_of(line["expr"]) is not None


def descriptions(statement: Any) -> Sequence[Mapping[str, Any]]:
    """Describe what a select, or a statement with RETURNING, gives, as SQLAlchemy's `column_descriptions` do."""
    if getattr(statement, "is_dml", False):
        return [_returned(part) for part in returned_by(statement)]
    return getattr(statement, "column_descriptions", None) or ()


def _returned(part: Any) -> Mapping[str, Any]:
    """Describe a part of RETURNING; `returning_column_descriptions` fails where that is an entity."""
    entity = annotation_of(part, "parententity") if isinstance(part, FromClause) else None
    expression = part if entity is None else entity.entity
    name = annotation_of(part, "proxy_key") or getattr(part, "key", None)
    return {"name": name, "type": getattr(part, "type", None), "expr": expression}


def entity_of(description: Any) -> Any:
    """Give the mapped class (or alias of one) when a described column is a whole entity; else None."""
    expression = description.get("expr")
    found = inspect(expression, raiseerr=False)
    return expression if isinstance(found, Mapper | AliasedInsp) else None


def is_entity(value: Any) -> bool:
    """Say whether a value is an object of a mapped class."""
    return isinstance(inspect(value, raiseerr=False), InstanceState)


def as_columns(statement: Select[Any]) -> Select[Any]:
    """Replace mapped classes, composites and bundles in a select by their columns.

    The tables of subclasses are joined where they are not yet.

    A select that would need such a join and cannot have one (GROUP BY, FOR UPDATE) stays as it is. So does one of a
    class whose subclasses have columns of one name and several types, which the entities are loaded with.
    """
    entities = [entity for line in statement.column_descriptions if (entity := entity_of(line)) is not None]
    if mixed := [entity for entity in entities if _has_mixed_types(inspect(entity).mapper)]:
        return statement.options(*map(_with_subclasses, mixed))
    columns: list[Any] = []
    joins: list[tuple[Any, Any]] = []
    may_lack = has_outer_join(statement)
    for line in statement.column_descriptions:
        entity = entity_of(line)
        if entity is None:
            columns += columns_of(line["expr"]) or [line["expr"]]
            continue
        mapper, of_subclasses = inspect(entity).mapper, _of_subclasses(entity)
        if of_subclasses is None:
            joins.append((entity, with_polymorphic(mapper, "*", aliased=True)))
            of_subclasses = _attributes_of_subclasses(joins[-1][1])
        own = {key: getattr(entity, key) for key, owners in _own(mapper).items() if not _is_deferred(owners)}
        columns += [_where_found(entity, key, own[key]) for key in own] if may_lack else own.values()
        columns += of_subclasses
    if joins and not can_be_joined(statement):
        return statement
    statement = statement.with_only_columns(*columns)
    for entity, whole in joins:
        statement = statement.outerjoin_from(entity, whole, _same_row(entity, whole))
    return statement


def selected(entity: Any) -> dict[str, Any]:
    """Give the expressions that a select of a class, or of an alias of it, has for its columns, where each has one."""
    selectable = inspect(entity).selectable
    found: dict[str, Any] = {}
    for key, owners in _attributes(inspect(entity).mapper).items():
        column = selectable.corresponding_column(owners[0].columns[0])
        if column is None and hasattr(entity, key):
            column = getattr(entity, key).__clause_element__()
        if column is not None and len(owners) == 1:
            found[key] = column
    return found


def without_rows(mapper: Mapper[Any], types: Types) -> Named:
    """Give the columns of no entities."""
    shown = {key: owners for key, owners in _attributes(mapper).items() if not _is_deferred(owners)}
    return [(key, types.get(key) or _type(owners), []) for key, owners in shown.items()]


def of_entities(entities: Sequence[Any], mapper: Mapper[Any] | None = None, types: Types = _NO_TYPES) -> Named:
    """Give the loaded columns of entities.

    Args:
        entities: Objects of a mapped class and its subclasses; None, of an outer join, has NULL in each column.
        mapper: The class that was selected; without it, the nearest one that all of them inherit from.
        types: Of columns, by name, where more is known than what the class declares.

    Raises:
        FrameError: A column is loaded on some of them only, or those of a subclass are not loaded.
    """
    states = [None if entity is None else inspect(entity) for entity in entities]
    mappers = dict.fromkeys(state.mapper for state in states if state is not None)
    mapper = mapper or _common(mappers)
    named: Named = []
    unloaded: list[str] = []
    for key, owners in _attributes(mapper, mappers).items():
        held = [state.dict for state in states if state is not None and key in state.mapper.column_attrs]
        loaded = sum(key in values for values in held)
        if 0 < loaded < len(held):
            raise FrameError(
                f"{mapper.class_.__name__}.{key} is loaded on {loaded:,} of {len(held):,} entities. "
                f"Load it on all (`await session.refresh(entity)`, or `undefer` in the select), or on none."
            )
        if loaded or (not held and not _is_deferred(owners)):
            values = [None if state is None else state.dict.get(key) for state in states]
            named.append((key, types.get(key) or _type(owners), values))
        elif not _is_deferred(owners):
            unloaded.append(key)
    _check_loaded(mapper, [state for state in states if state is not None], [key for key, *_ in named], unloaded)
    return named


def _check_loaded(mapper: Mapper[Any], states: Sequence[Any], loaded: Iterable[str], unloaded: Iterable[str]) -> None:
    """Refuse entities that have expired, and those without the columns of their class that a select of a parent omits.

    What the select itself left out (`load_only`, `defer`) may be missing.
    """
    if states and not any(key in mapper.column_attrs for key in loaded):
        raise FrameError(
            f"The {mapper.class_.__name__} entities have expired: none of their columns is loaded. "
            "Open the session with expire_on_commit=False, or make the frame before the commit."
        )
    base = mapper.base_mapper
    missing = [key for key in unloaded if key not in base.column_attrs]
    if missing and not any(map(_defers, states)):
        name = base.class_.__name__
        subclasses = ", ".join(dict.fromkeys(state.class_.__name__ for state in states if state.mapper is not base))
        raise FrameError(
            f"{missing[0]!r} is a column of a subclass of {name}, and is not loaded: a select of {name} leaves those "
            f"out. Load them by `select({name}).options(selectin_polymorphic({name}, [{subclasses}]))`, "
            f"or read `await frame(session, select({name}))`."
        )


def _defers(state: Any) -> bool:
    """Say whether an entity was loaded with an option that leaves columns out."""
    elements = [element for option in state.load_options for element in getattr(option, "context", ())]
    return any(("deferred", True) in (getattr(element, "strategy", None) or ()) for element in elements)


def _common(mappers: Iterable[Mapper[Any]]) -> Mapper[Any]:
    """Give the mapper that all entities share: theirs, or the nearest class that they inherit from."""
    first, *others = mappers
    for mapper in first.iterate_to_root():
        if all(other.isa(mapper) for other in others):
            return mapper
    names = ", ".join(sorted(mapper.class_.__name__ for mapper in mappers))
    raise FrameError(f"The results are of several mapped classes: {names}. Give one at a time.")


def _own(mapper: Mapper[Any]) -> Owners:
    """Give the columns of a class by name, without those that have no attribute: a concrete union's discriminator."""
    names = mapper.all_orm_descriptors
    return {column.key: [column] for column in mapper.column_attrs if column.key in names}


def _attributes(mapper: Mapper[Any], beside: Iterable[Mapper[Any]] = ()) -> Owners:
    """Give the columns of a class and of the subclasses that a select of it gives, or that stand `beside`, by name."""
    found = _own(mapper)
    subclasses = mapper.self_and_descendants if mapper.polymorphic_on is not None else ()
    for subclass in dict.fromkeys([*subclasses, *beside]):
        for key, owners in _own(subclass).items():
            if key not in mapper.column_attrs and owners[0] not in found.setdefault(key, []):
                found[key] += owners
    return found


def _is_deferred(owners: Sequence[ColumnProperty[Any]]) -> bool:
    return all(owner.deferred for owner in owners)


def _type(owners: Sequence[ColumnProperty[Any]]) -> ColumnType | None:
    types = {declared.of_expression(owner.columns[0]) for owner in owners}
    return types.pop() if len(types) == 1 else None


def _where_found(entity: Any, key: str, column: Any) -> Any:
    """Have what is computed be NULL where an outer join finds no entity."""
    if isinstance(inspect(entity).mapper.column_attrs[key].columns[0], Column):
        return column
    keys = [getattr(entity, name).is_not(None) for name in _primary_key(entity)]
    return case((or_(*keys), column), else_=None).label(key)


def _has_mixed_types(mapper: Mapper[Any]) -> bool:
    """Say whether subclasses have columns of one name that PostgreSQL would convert to have them in one column."""
    return not all(map(_are_alike, _inherited(mapper).values()))


def _are_alike(owners: Sequence[ColumnProperty[Any]]) -> bool:
    types = [owner.columns[0].type for owner in owners]
    if len({*map(id, types)}) == 1:
        return True
    return len({*map(repr, types)}) == 1 and how(types[0]) in ("nothing", "members")


def _with_subclasses(entity: Any) -> Any:
    return selectin_polymorphic(entity, [each.class_ for each in inspect(entity).mapper.self_and_descendants][1:])


def _inherited(mapper: Mapper[Any]) -> Owners:
    """Give the columns that only subclasses have."""
    found = _attributes(mapper).items()
    return {key: owners for key, owners in found if key not in mapper.column_attrs and not _is_deferred(owners)}


def _of_subclasses(entity: Any) -> list[Any] | None:
    """Find the columns of subclasses in what a select of the class selects from; None where one is not there."""
    selectable = inspect(entity).selectable
    columns: list[Any] = []
    for key, owners in _inherited(inspect(entity).mapper).items():
        found = {selectable.corresponding_column(owner.columns[0]) for owner in owners}
        if None in found:
            return None
        columns.append(_first(found).label(key))
    return columns


def _attributes_of_subclasses(whole: Any) -> list[Any]:
    return [
        _first([getattr(getattr(whole, owner.parent.class_.__name__), key) for owner in owners]).label(key)
        for key, owners in _inherited(inspect(whole).mapper).items()
    ]


def _first(columns: Iterable[Any]) -> Any:
    """Give a column; of those of several subclasses the one that a row has."""
    one, *others = columns
    return func.coalesce(one, *others) if others else one


def _same_row(entity: Any, other: Any) -> Any:
    return and_(*(getattr(entity, key) == getattr(other, key) for key in _primary_key(entity)))


def _primary_key(entity: Any) -> list[str]:
    mapper: Mapper[Any] = inspect(entity).mapper
    return [mapper.get_property_by_column(column).key for column in mapper.primary_key]
