"""
A column's type as SQLAlchemy declares it → the type of a column.

Mapped entities carry no description from the server. With their columns' types, dtypes are the same for full, all-NULL
and empty results, as in `frame`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from sqlalchemy import Cast, Column, FunctionFilter, Label, Over, ScalarSelect
from sqlalchemy import types as sql
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.sql import functions

from asyncdb_nb.dataframes.type_families.built_in import named
from asyncdb_nb.dataframes.type_families.kind import KINDS, ColumnType
from asyncdb_nb.dataframes.type_families.python_processed import PYTHON
from asyncdb_nb.dataframes.types.processing import as_on_postgresql, how
from asyncdb_nb.dataframes.types.table import column_type


def of_sql_type(type_: sql.TypeEngine[Any]) -> ColumnType:
    """Give the type of a column that SQLAlchemy declares; dtype object where it processes values in Python."""
    type_ = as_on_postgresql(type_)
    if isinstance(type_, sql.TypeDecorator) and how(type_) == "nothing":
        return of_sql_type(type_.impl_instance)
    if isinstance(type_, pg.DOMAIN):
        return of_sql_type(type_.data_type)
    if how(type_) == "floats":
        return named("float8")
    if how(type_) != "nothing":
        return PYTHON
    if isinstance(type_, sql.ARRAY):
        element = of_sql_type(type_.item_type)
        return ColumnType(0, f"_{element.name}", "array", element=element)
    found = next((_classes()[kind] for kind in type(type_).__mro__ if kind in _classes()), None)
    if found is None:
        return PYTHON
    name, typmod = found(type_) if callable(found) else (found, -1)
    return column_type(named(name).oid, typmod)


@cache
def _classes() -> dict[type, str | Callable[[Any], tuple[str, int]]]:
    """Give the types' names by SQLAlchemy's classes."""
    return {kind: name for each in KINDS.values() for kind, name in each.sqlalchemy.items()}


def of_expression(expression: Any) -> ColumnType:
    """Give the type of a column, or of what a class computes.

    For the latter SQLAlchemy guesses: counts are int8, not int4, and a product does not have its factor's precision.
    """
    if isinstance(expression, Column):
        return of_sql_type(expression.type)
    inner = _innermost(expression)
    guessed = of_sql_type(expression.type)
    if isinstance(inner, Column | Cast):
        return guessed
    if isinstance(inner, functions.FunctionElement) and inner.name.lower() in _COUNTS and guessed.kind == "int4":
        return named("int8")
    return named("numeric") if guessed.kind == "decimal" else guessed


def _innermost(expression: Any) -> Any:
    """Look through labels, windows, filters and scalar subqueries."""
    while isinstance(expression, Label | Over | FunctionFilter | ScalarSelect):
        is_query = isinstance(expression, ScalarSelect)
        expression = next(iter(expression.element.selected_columns), None) if is_query else expression.element
    return expression


_COUNTS = frozenset({"count", "row_number", "rank", "dense_rank"})
