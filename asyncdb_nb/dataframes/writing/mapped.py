"""
What a mapped class adds to data that become its rows: names of columns, its discriminator, its types, its defaults.

A session's flush knows all this, and COPY nothing of it: a `Manager` would be written as a row of no class, and NULL
where `default=` stands. What COPY cannot do (rows in several tables, a default that is SQL) is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pandas as pd
import pyarrow as pa
from sqlalchemy import ARRAY, Column, Dialect, Enum, Table, TypeDecorator
from sqlalchemy.orm import ColumnProperty, Mapper
from sqlalchemy.types import TypeEngine, UserDefinedType

from asyncdb_nb.dataframes.writing.parts import Part, checked
from asyncdb_nb.errors import WriteError

Bind = Callable[[Any], Any]


class MappedRows:
    """Makes rows of a mapped class of parts of data.

    Args:
        mapper: The class's.
        dialect: Of the connection.
        upsert: Whether rows that are there may be changed.

    Attributes:
        discriminator: The name of the column that says which class a row is of; None for none.
        defaults: Names of columns that the data do not have: only new rows are given them.

    Raises:
        WriteError: Its rows are not rows of one table.
    """

    def __init__(self, mapper: Mapper[Any], dialect: Dialect, *, upsert: bool) -> None:
        self._name = mapper.class_.__name__
        self._table = _only_table(mapper)
        self._mapper = mapper
        self._dialect = dialect
        self._upsert = upsert
        self._mappers = [each for each in mapper.self_and_descendants if each.persist_selectable is self._table]
        self._attributes = {name: column for each in self._mappers for name, column in _attributes(each, self._table)}
        self._names = {column.name: column for column in self._table.columns}
        self.discriminator = self._find_discriminator()
        self._binds: dict[str, Bind | None] = {}
        self.defaults: set[str] = set()

    def column(self, name: str) -> str:
        """Give the name of a column in the table, by the attribute's or by its own.

        Raises:
            WriteError: It is no column of the class, or it means two.
        """
        mapped, stored = self._attributes.get(name), self._names.get(name)
        if mapped is not None and stored is not None and mapped is not stored:
            raise WriteError(
                f"{name!r} is an attribute of {self._name}, of the column {mapped.name!r}, and another column's name. "
                f"Write by the columns' names: `write(session, data, {self._table.name!r})`."
            )
        found = stored if mapped is None else mapped
        if found is None and name in self._mapper.all_orm_descriptors:
            raise WriteError(
                f"{self._name}.{name} is no column of its table. Leave it out: `frame.drop(columns={name!r})`."
            )
        if found is not None and (owner := self._other_class(found)):
            raise WriteError(f"The column {name!r} is one of {owner}, and {self._name} has none.")
        return name if found is None else str(found.name)

    def part(self, part: Part, first: int) -> Part:
        """Give a part as it goes into the table.

        Args:
            part: Some rows, by the names of attributes or of columns.
            first: The number of the first of them.

        Raises:
            WriteError: A row is one of another class, or a default cannot be had.
        """
        names = [self.column(name) for name in part.names]
        columns = [self._bound(name, values) for name, values in zip(names, part.columns, strict=True)]
        for name, values in self._missing(names, part.rows):
            names.append(name)
            columns.append(values)
        if self.discriminator is not None:
            self._check_classes(columns[names.index(self.discriminator)], first)
        return checked(replace(part, names=names, columns=columns, types={}))

    def _find_discriminator(self) -> str | None:
        by: Any = self._mapper.polymorphic_on
        if by is None or self._mapper.concrete:
            return None
        if isinstance(by, Column) and by.table is self._table:
            return str(by.name)
        if not self._mapper.single:
            return None
        raise WriteError(
            f"An expression says which rows are of {self._name}: {by}. Give the data what it is made of, and write "
            f"them by the table's name: `write(session, data, {self._table.name!r})`."
        )

    def _other_class(self, column: Column[Any]) -> str:
        """Name the class that alone has a column, if it is a sibling of this one."""
        if column in self._attributes.values():
            return ""
        others = self._mapper.base_mapper.self_and_descendants
        return next((each.class_.__name__ for each in others if each.columns.contains_column(column)), "")

    def _bound(self, name: str, values: Any) -> Any:
        """Make of the class's values those of the database, where its types have a function for that."""
        if name not in self._binds:
            column = self._names.get(name)
            self._binds[name] = None if column is None else bind(column.type, self._dialect)
        function = self._binds[name]
        if function is None:
            return values
        given = values.tolist() if hasattr(values, "iloc") else values.to_pylist()
        missing = pd.isna(pd.Series(given, dtype=object)).tolist()
        made = [None if gone else function(value) for value, gone in zip(given, missing, strict=True)]
        return pd.Series(made, dtype=object)

    def _missing(self, names: list[str], rows: int) -> Iterator[tuple[str, Any]]:
        """Give the columns that a flush would fill."""
        for _, column in _attributes(self._mapper, self._table):
            if column.name in names:
                continue
            if column.name == self.discriminator:
                yield column.name, _repeated(self._identity(), rows)
            elif column is self._mapper.version_id_col and self._mapper.version_id_generator is not False:
                yield column.name, _repeated(self._first_version(column), rows)
            elif column.default is not None:
                self.defaults.add(column.name)
                yield column.name, self._bound(column.name, self._defaults(column, rows))

    def _identity(self) -> Any:
        if self._mapper.polymorphic_identity is None:
            raise WriteError(
                f"{self._name} has no polymorphic_identity: the data need a column {self.discriminator!r}, with one of "
                f"{', '.join(map(repr, self._identities()))}."
            )
        return self._in_database(self._mapper.polymorphic_identity)

    def _identities(self) -> list[Any]:
        found = [each.polymorphic_identity for each in self._mappers]
        return [self._in_database(each) for each in found if each is not None]

    def _in_database(self, identity: Any) -> Any:
        assert self.discriminator is not None, "there is a column for it"  # noqa: S101
        function = bind(self._names[self.discriminator].type, self._dialect)
        return identity if function is None else function(identity)

    def _first_version(self, column: Column[Any]) -> Any:
        if self._upsert:
            raise WriteError(f"{self._name} counts its rows' versions: the data need a column {column.name!r}.")
        generator: Any = self._mapper.version_id_generator
        return generator(None)

    def _defaults(self, column: Column[Any], rows: int) -> Any:
        default: Any = column.default
        if default.is_scalar:
            return _repeated(default.arg, rows)
        if not default.is_callable:
            raise WriteError(
                f"The default of {self._name}.{column.key} is SQL, which COPY does not know. Give the data a column "
                f"{column.name!r}, or the table a server_default (and take the default away)."
            )
        try:
            return pd.Series([default.arg(None) for _ in range(rows)], dtype=object)
        except Exception as error:
            raise WriteError(
                f"The default of {self._name}.{column.key} failed, which is called without a context here. Give the "
                f"data a column {column.name!r}. ({type(error).__name__}: {error})"
            ) from error

    def _check_classes(self, values: Any, first: int) -> None:
        """Refuse rows of other classes, which this one's repository would not find again."""
        known = self._identities()
        if all(value in known for value in _different(values)):
            return
        given = values.tolist() if hasattr(values, "iloc") else values.to_pylist()
        row, value = next((row, value) for row, value in enumerate(given) if value not in known)
        value = None if pd.isna(value) is True else value
        raise WriteError(
            f"Row {first + row:,} has {self.discriminator}={value!r}, and {self._name} is "
            f"{' or '.join(map(repr, known))}. Nothing was written."
        )


def bind(type_: TypeEngine[Any], dialect: Dialect) -> Bind | None:
    """Give what makes of a value in Python the one that is stored; None where a column's type has no such function."""
    if isinstance(type_, TypeDecorator):
        if type(type_).bind_processor is not TypeDecorator.bind_processor:
            return type_.bind_processor(dialect)
        inner = bind(type_.impl_instance, dialect)
        if type(type_).process_bind_param is TypeDecorator.process_bind_param:
            return inner
        return lambda value: _then(inner, type_.process_bind_param(value, dialect))
    if isinstance(type_, Enum) and type_.enum_class is not None:
        return type_.dialect_impl(dialect).bind_processor(dialect)
    if isinstance(type_, ARRAY):
        item = bind(type_.item_type, dialect)
        return None if item is None else lambda value: _of_each(item, value)
    return type_.bind_processor(dialect) if isinstance(type_, UserDefinedType) else None


def _then(function: Bind | None, value: Any) -> Any:
    return value if function is None or value is None else function(value)


def _of_each(item: Bind, value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_of_each(item, each) for each in value]
    return None if value is None else item(value)


def _only_table(mapper: Mapper[Any]) -> Table:
    if isinstance(mapper.persist_selectable, Table):
        return mapper.persist_selectable
    name, tables = mapper.class_.__name__, ", ".join(str(table.description) for table in mapper.tables)
    raise WriteError(
        f"The rows of {name} are not rows of one table, but of: {tables}. Write each, the first one first: "
        '`write(session, data, "table")`.'
    )


def _attributes(mapper: Mapper[Any], table: Table) -> Iterator[tuple[str, Column[Any]]]:
    """Give the columns of a class by the names of its attributes."""
    for attribute in mapper.column_attrs:
        if isinstance(attribute, ColumnProperty):
            for column in attribute.columns:
                if isinstance(column, Column) and column.table is table:
                    yield attribute.key, column


def _repeated(value: Any, rows: int) -> Any:
    if type(value) in (str, int, float, bool):
        return pa.repeat(pa.scalar(value), rows)
    return pd.Series([value] * rows, dtype=object)


def _different(values: Any) -> list[Any]:
    return list(values.unique() if hasattr(values, "iloc") else values.unique().to_pylist())
