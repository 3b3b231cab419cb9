"""
What SQLAlchemy's column types do to a value in Python, and which of it a frame needs.

A `TypeDecorator`, an Enum of a Python class or a user's own type changes values after they came: such a column is given
the values that SQLAlchemy gives, in dtype object. Types of SQLAlchemy's own that only put the same value in another
form (ranges, arrays, bytes) are left to their kind, so that their dtypes are those of the same statement as SQL
text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import ARRAY, Enum, Float, Numeric, TypeDecorator, Uuid
from sqlalchemy.dialects.postgresql import asyncpg

from asyncdb_nb.dataframes.type_families.kind import ColumnType
from asyncdb_nb.engine._sqlalchemy.statements import declared_columns, is_declared_in_order

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect
    from sqlalchemy.engine.default import DefaultExecutionContext
    from sqlalchemy.types import TypeEngine

_LONGEST_NAME = 63  # bytes


@dataclass(frozen=True, slots=True)
class Declared:
    """The result columns of a statement, as SQLAlchemy declares them; SQL text declares none.

    Attributes:
        columns: Their names as rendered, and their types. A piece of text among them has no name.
        ordered: Whether these are all columns, in the order of the result.
    """

    columns: Sequence[tuple[str, TypeEngine[Any]]]
    ordered: bool

    def types(self, names: Sequence[str]) -> list[TypeEngine[Any] | None]:
        """Give the type of each column of a result, by position where SQLAlchemy goes by it, else by name.

        Args:
            names: As the server names the columns.
        """
        return [None if place is None else self.columns[place][1] for place in self.places(names)]

    def places(self, names: Sequence[str]) -> list[int | None]:
        """Give the place of each column of a result among those that are declared."""
        if self.ordered and len(names) == len(self.columns):
            return list(range(len(names)))
        by_name = {_cut(name): place for place, (name, _) in enumerate(self.columns)}
        return [by_name.get(name) for name in names]

    def processed(self, names: Sequence[str]) -> list[bool]:
        """Say of each column of a result whether SQLAlchemy changes its values."""
        return [type_ is not None and how(type_) != "nothing" for type_ in self.types(names)]

    def key(self) -> str:
        """Write down all that `processed` goes by."""
        changed = [how(type_) != "nothing" for _, type_ in self.columns]
        return repr([name for name, _ in self.columns] + changed + [self.ordered]) if any(changed) else ""


@dataclass(frozen=True, slots=True)
class Processing:
    """What happens to one column's values: nothing, a function, a list of members, or floats.

    Attributes:
        how: Which of these.
        process: Makes of a value from the server what SQLAlchemy gives.
        stored: Makes of that what the server has.
    """

    how: Literal["nothing", "function", "members", "floats"] = "nothing"
    process: Callable[[Any], Any] | None = None
    stored: Callable[[Any], Any] | None = None

    def type(self, column: ColumnType, *, members: bool = True) -> ColumnType:
        """Give the type that a frame shows; with `members` false an Enum stays the text that it is in PostgreSQL."""
        if self.how == "floats":
            return column.as_float()
        if self.how == "function" or (self.how == "members" and members):
            return replace(column, kind="python")
        return column


def declared(context: DefaultExecutionContext | None) -> Declared:
    """Find what SQLAlchemy declares of the result columns of a statement."""
    compiled = None if context is None else context.compiled
    columns = [(entry[0] or "", entry[3]) for entry in declared_columns(compiled)]
    return Declared(columns, is_declared_in_order(compiled))


def processings(declared: Declared, columns: Sequence[tuple[str, int]], dialect: Dialect) -> list[Processing]:
    """Say what happens to each column, given by name and oid."""
    types = declared.types([name for name, _ in columns])
    return [_processing(type_, oid, dialect) for type_, (_, oid) in zip(types, columns, strict=True)]


def as_on_postgresql(type_: TypeEngine[Any]) -> TypeEngine[Any]:
    """Give what a type is on PostgreSQL, where `with_variant` or a decorator's `load_dialect_impl` names another."""
    return type_.dialect_impl(_dialect())


def how(type_: TypeEngine[Any]) -> Literal["nothing", "function", "members", "floats"]:
    """Say what a column type does to the values that come from the server."""
    type_ = as_on_postgresql(type_)
    if isinstance(type_, TypeDecorator):
        return "function" if _has_own_processing(type_) else how(type_.impl_instance)
    if isinstance(type_, Enum):
        return "members" if type_.enum_class is not None else "nothing"
    if isinstance(type_, ARRAY):
        of_items = how(type_.item_type)
        return of_items if of_items in ("nothing", "members") else "function"
    if isinstance(type_, Float):  # a Numeric in SQLAlchemy 2.0, not in 2.1
        return "function" if type_.asdecimal else "nothing"
    if isinstance(type_, Numeric):
        return "nothing" if type_.asdecimal else "floats"
    if isinstance(type_, Uuid):
        return "nothing" if type_.as_uuid else "function"
    return "nothing" if type(type_).__module__.startswith("sqlalchemy.") else "function"


@cache
def _dialect() -> Dialect:
    return asyncpg.dialect()  # type: ignore[no-untyped-call]


def _cut(name: str) -> str:
    """Cut a name as PostgreSQL does: it counts bytes, where SQLAlchemy counts characters."""
    return name.encode()[:_LONGEST_NAME].decode(errors="ignore")


def _has_own_processing(type_: TypeDecorator[Any]) -> bool:
    own = type(type_)
    return (
        own.process_result_value is not TypeDecorator.process_result_value
        or own.result_processor is not TypeDecorator.result_processor
    )


def _processing(type_: TypeEngine[Any] | None, oid: int, dialect: Dialect) -> Processing:
    done = "nothing" if type_ is None else how(type_)
    if type_ is None or done == "nothing":
        return Processing()
    impl = type_.dialect_impl(dialect)
    process = impl.result_processor(dialect, oid)
    stored = impl.bind_processor(dialect) if done == "members" else None
    return Processing() if process is None and done != "floats" else Processing(done, process, stored)
