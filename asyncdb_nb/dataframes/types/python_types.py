"""
What Python says of values: an annotation, or the values themselves → the type of a column.

Dataclasses, pydantic models, attrs classes and NamedTuples have annotations; then dtypes are the same for full and
all-NULL results, as in `frame`. Plain tuples and mappings have only their values, and those decide.
"""

from __future__ import annotations

import datetime as dt
import enum
import math
import numbers
import sys
import types
import typing
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from asyncdb_nb.dataframes.type_families.arrays import scalars
from asyncdb_nb.dataframes.type_families.built_in import named
from asyncdb_nb.dataframes.type_families.kind import KINDS, ColumnType
from asyncdb_nb.dataframes.type_families.python_processed import PYTHON
from asyncdb_nb.engine.exact_dates import asyncpgs_infinity

_INT8, _FLOAT8, _TIMESTAMP, _TIMESTAMPTZ = map(named, ("int8", "float8", "timestamp", "timestamptz"))
_ARRAY = ColumnType(0, "list", "array", element=PYTHON)
_RANGE = ColumnType(0, "range", "range", element=PYTHON)


def of_annotation(annotation: Any) -> ColumnType | None:
    """Give the type that a field's annotation means; None when it does not say."""
    if typing.get_origin(annotation) is typing.Annotated:
        return of_annotation(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        kinds = [kind for kind in typing.get_args(annotation) if kind is not type(None)]
        return of_annotation(kinds[0]) if len(kinds) == 1 else None
    if typing.get_origin(annotation) is list:
        element = of_annotation(typing.get_args(annotation)[0])
        return replace(_ARRAY, element=element) if element else None
    if not isinstance(annotation, type) or annotation in (dt.datetime, dt.time):  # the zone is in the values
        return None
    return _of_class(annotation)


def of_values(values: Sequence[Any]) -> ColumnType:
    """Give the type that values have in common; dtype object where they have none."""
    found = {_of_value(value) for value in values if value is not None}
    if found == {_TIMESTAMP, _TIMESTAMPTZ}:  # asyncpg's infinities have no time zone, whatever they are among
        found = {_of_value(value) for value in values if value is not None and not asyncpgs_infinity(value)}
    if found == {_INT8, _FLOAT8}:
        return _FLOAT8
    if found == {_ARRAY}:
        element = of_values([item for value in values for item in scalars(value or ())])
        return PYTHON if element == PYTHON else replace(_ARRAY, element=element)
    if found == {_RANGE}:
        bounds = [bound for value in values if value is not None for bound in (value.lower, value.upper)]
        return replace(_RANGE, element=of_values(bounds))
    return found.pop() if len(found) == 1 else PYTHON


def without_missing(values: Sequence[Any]) -> Sequence[Any]:
    """Put None where pandas' words for a missing value stand: NaT, NA, and NaN where it is not among numbers."""
    pandas = sys.modules.get("pandas")
    missing = () if pandas is None else (type(pandas.NaT), type(pandas.NA))
    classes = {*map(type, values)} - {type(None)}
    if classes.intersection(missing):
        values = [None if isinstance(value, missing) else value for value in values]
        classes -= {*missing}
    if bool not in classes and all(issubclass(kind, numbers.Number) for kind in classes):
        return values
    return [None if isinstance(value, float) and math.isnan(value) else value for value in values]


def _of_value(value: Any) -> ColumnType:
    if isinstance(value, dt.datetime):
        return _TIMESTAMPTZ if value.tzinfo else _TIMESTAMP
    if isinstance(value, dt.time):
        return named("timetz" if value.tzinfo else "time")
    if isinstance(value, list):
        return _ARRAY
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return PYTHON
    return _of_class(type(value)) or PYTHON


def _of_class(kind: type) -> ColumnType | None:
    if issubclass(kind, enum.Enum):
        return PYTHON
    if kind.__name__ == "Range" and kind.__module__.startswith(("asyncpg", "sqlalchemy")):
        return _RANGE
    name = _of_numpy(kind) if kind.__module__ == "numpy" else _of_other(kind)
    return None if name is None else named(name)


def _of_other(kind: type) -> str | None:
    for known in KINDS.values():
        if kind in known.python:
            return known.python[kind]
        if kind.__module__.startswith("asyncpg") and kind.__name__ in known.asyncpg:
            return known.asyncpg[kind.__name__]
        for base, name in known.python_bases.items():
            if issubclass(kind, base):
                return name
    return None


def _of_numpy(kind: type) -> str | None:
    if kind.__name__ in ("bool", "bool_"):
        return "bool"
    if issubclass(kind, str):
        return "text"
    return "int8" if issubclass(kind, numbers.Integral) else "float8" if issubclass(kind, numbers.Real) else None
