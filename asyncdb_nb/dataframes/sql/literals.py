"""
A bind's value → an SQL literal that means exactly what would be sent for it.

COPY takes no parameters, so a query that has some is sent with literals in their place. Only values are written here
whose text is exact whatever the session's settings are (DateStyle, IntervalStyle, TimeZone, extra_float_digits,
standard_conforming_strings), and only of the Python type that asyncpg takes for the parameter's type. For everything
else there is no literal, and the query goes the way that has parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from asyncdb_nb.dataframes.sql.bind_values import Parameter
from asyncdb_nb.dataframes.type_families.kind import BuiltIn, ColumnType
from asyncdb_nb.dataframes.type_families.text import literal

Writer = Callable[[Any], str | None]

_NULL_ITEM = "NULL"
_FIRST_OWN_OID = 16_384  # of types that are not PostgreSQL's own


def literals(values: Sequence[Any], parameters: Sequence[Parameter], types: Sequence[Any]) -> list[str] | None:
    """Write values as literals.

    Args:
        values: As they would be sent.
        parameters: What the server says of each.
        types: The type of each as asyncpg describes it: an enum's `schema` and `name` are taken from there.

    Returns:
        A literal in parentheses with its type for each; None when there is no exact one for some value, or when there
        are not as many values as parameters.
    """
    if len(values) != len(parameters):
        return None
    written = [_literal(*each) for each in zip(values, parameters, types, strict=True)]
    return None if None in written else [text for text in written if text is not None]


def _literal(value: Any, parameter: Parameter, type_: Any) -> str | None:
    schema, name, write = _written(parameter, type_)
    if write is None:
        return None
    text = "NULL" if value is None else _quoted(write(value))
    return None if text is None else f"({text}::{_identifier(schema)}.{_identifier(name)})"


def _written(parameter: Parameter, type_: Any) -> tuple[str, str, Writer | None]:
    """Give the schema and the name of a parameter's type, and what writes its values."""
    column = parameter.type
    if parameter.written and parameter.oid < _FIRST_OWN_OID:
        return "pg_catalog", column.name, literal
    if column.kind == "text" and column.is_enum and column.oid == parameter.oid:
        return type_.schema, type_.name, literal
    element = _built_in(column.inside) if column.kind == "array" else None
    if element is not None and element.literal is not None and element.array == parameter.oid:
        return "pg_catalog", column.name, _array(element.literal)
    line = _built_in(column)
    return "pg_catalog", column.name, None if line is None or line.oid != parameter.oid else line.literal


def _built_in(column: ColumnType) -> BuiltIn | None:
    return column.traits.types.get(column.name)


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _quoted(text: str | None) -> str | None:
    """Quote text as a string constant that reads the same with standard_conforming_strings on or off."""
    if text is None or "\0" in text or not _is_utf8(text):
        return None
    doubled = text.replace("'", "''")
    return f"'{doubled}'" if "\\" not in text else "E'" + doubled.replace("\\", "\\\\") + "'"


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


def _array(write: Writer) -> Writer:
    def write_all(values: Any) -> str | None:
        if type(values) not in (list, tuple):
            return None
        texts = [_NULL_ITEM if value is None else _item(write(value)) for value in values]
        return None if None in texts else "{" + ",".join(text for text in texts if text is not None) + "}"

    return write_all


def _item(text: str | None) -> str | None:
    return None if text is None else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
