"""
A column's type as SQLAlchemy or Python declares it → its line in the table of types.

Results that are here already carry no description from the server. Mapped entities have their columns' types,
dataclasses and pydantic models their annotations; then dtypes are the same for full, all-NULL and empty results, as in
`frame`. Plain tuples and mappings have only their values, and those decide.
"""

from __future__ import annotations

import datetime as dt
import types
import typing
import uuid
from collections.abc import Iterable
from decimal import Decimal
from enum import Enum as PythonEnum
from typing import Any

from sqlalchemy import types as sql
from sqlalchemy.dialects import postgresql as pg

from asyncdb_nb.dataframes.processing import how
from asyncdb_nb.dataframes.types import ColumnType, column_type

_PYTHON = ColumnType(0, "python", "python")
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
_PYTHON_OIDS: dict[type, int] = {
    bool: 16,
    int: 20,
    float: 701,
    str: 25,
    bytes: 17,
    Decimal: 1700,
    dt.date: 1082,
    dt.time: 1083,
    dt.timedelta: 1186,
    dict: 3802,
}


def of_sql_type(type_: sql.TypeEngine[Any]) -> ColumnType:
    """Give the type of a column that SQLAlchemy declares; dtype object where it processes values in Python."""
    if isinstance(type_, sql.TypeDecorator) and not isinstance(type_, sql.Interval) and how(type_) == "nothing":
        return of_sql_type(type_.impl_instance)
    if how(type_) == "floats":
        return column_type(701)
    if how(type_) != "nothing":
        return _PYTHON
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
    return next((column_type(oid) for kind, oid in _OIDS.items() if isinstance(type_, kind)), _PYTHON)


def of_annotation(annotation: Any) -> ColumnType | None:
    """Give the type that a field's annotation means; None when it does not say."""
    if typing.get_origin(annotation) is typing.Annotated:
        return of_annotation(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        kinds = [kind for kind in typing.get_args(annotation) if kind is not type(None)]
        return of_annotation(kinds[0]) if len(kinds) == 1 else None
    if typing.get_origin(annotation) is list:
        element = of_annotation(typing.get_args(annotation)[0])
        return ColumnType(0, "list", "array", element=element) if element else None
    if not isinstance(annotation, type) or annotation is dt.datetime:  # a datetime's zone is in its values
        return None
    return _of_class(annotation)


def of_values(values: Iterable[Any]) -> ColumnType:
    """Give the type that values have in common; dtype object where they have none."""
    found = {_of_value(value) for value in values if value is not None}
    if found == {column_type(20), column_type(701)}:
        return column_type(701)
    return found.pop() if len(found) == 1 else _PYTHON


def _of_value(value: Any) -> ColumnType:
    if isinstance(value, dt.datetime):
        return column_type(1184 if value.tzinfo else 1114)
    if isinstance(value, list):
        return ColumnType(0, "list", "array", element=of_values(value))
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return _PYTHON
    return _of_class(type(value)) or _PYTHON


def _of_class(kind: type) -> ColumnType | None:
    if issubclass(kind, PythonEnum):
        return _PYTHON
    if issubclass(kind, uuid.UUID):
        return column_type(2950)
    oid = _PYTHON_OIDS.get(kind)
    return None if oid is None else column_type(oid)
