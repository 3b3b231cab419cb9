"""
A column's type as SQLAlchemy declares it → its line in the table of types.

Mapped entities carry no description from the server. With their columns' types, dtypes are the same for full, all-NULL
and empty results, as in `frame`.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Cast, Column, FunctionFilter, Label, Over, ScalarSelect
from sqlalchemy import types as sql
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.sql import functions

from asyncdb_nb.dataframes.types.processing import how
from asyncdb_nb.dataframes.types.table import PYTHON, ColumnType, column_type

_OIDS: dict[type, int] = {  # the first class that a type is an instance of
    sql.SmallInteger: 21,
    sql.BigInteger: 20,
    sql.Integer: 23,
    sql.Boolean: 16,
    sql.REAL: 700,
    sql.Float: 701,
    sql.Text: 25,
    pg.CIDR: 650,
    pg.INET: 869,
    pg.BIT: 1560,
    pg.OID: 26,
    sql.String: 25,
    sql.Date: 1082,
    sql.Interval: 1186,
    pg.INTERVAL: 1186,
    sql.LargeBinary: 17,
    sql.Uuid: 2950,
    pg.JSONB: 3802,
    sql.JSON: 114,
    pg.INT4RANGE: 3904,
    pg.NUMRANGE: 3906,
    pg.TSRANGE: 3908,
    pg.TSTZRANGE: 3910,
    pg.DATERANGE: 3912,
    pg.INT8RANGE: 3926,
    pg.INT4MULTIRANGE: 4451,
    pg.NUMMULTIRANGE: 4532,
    pg.TSMULTIRANGE: 4533,
    pg.TSTZMULTIRANGE: 4534,
    pg.DATEMULTIRANGE: 4535,
    pg.INT8MULTIRANGE: 4536,
}


def of_sql_type(type_: sql.TypeEngine[Any]) -> ColumnType:
    """Give the type of a column that SQLAlchemy declares; dtype object where it processes values in Python."""
    if isinstance(type_, sql.TypeDecorator) and not isinstance(type_, sql.Interval) and how(type_) == "nothing":
        return of_sql_type(type_.impl_instance)
    if how(type_) == "floats":
        return column_type(701)
    if how(type_) != "nothing":
        return PYTHON
    if isinstance(type_, sql.ARRAY):
        element = of_sql_type(type_.item_type)
        return ColumnType(0, f"_{element.name}", "array", element=element)
    if isinstance(type_, sql.Numeric) and not isinstance(type_, sql.Float):
        bounded = type_.precision is not None
        return column_type(1700, ((type_.precision or 0) << 16 | (type_.scale or 0) & 0x7FF) + 4 if bounded else -1)
    if isinstance(type_, sql.DateTime):
        return column_type(1184 if type_.timezone else 1114)
    if isinstance(type_, sql.Time):
        return column_type(1266 if type_.timezone else 1083)
    return next((column_type(oid) for kind, oid in _OIDS.items() if isinstance(type_, kind)), PYTHON)


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
        return column_type(20)
    return column_type(1700) if guessed.kind == "decimal" else guessed


def _innermost(expression: Any) -> Any:
    """Look through labels, windows, filters and scalar subqueries."""
    while isinstance(expression, Label | Over | FunctionFilter | ScalarSelect):
        is_query = isinstance(expression, ScalarSelect)
        expression = next(iter(expression.element.selected_columns), None) if is_query else expression.element
    return expression


_COUNTS = frozenset({"count", "row_number", "rank", "dense_rank"})
