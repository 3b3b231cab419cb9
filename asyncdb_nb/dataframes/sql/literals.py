"""
A bind's value → an SQL literal that means exactly what would be sent for it.

COPY takes no parameters, so a query that has some is sent with literals in their place. Only values are written here
whose text is exact whatever the session's settings are (DateStyle, IntervalStyle, TimeZone, extra_float_digits,
standard_conforming_strings), and only of the Python type that asyncpg takes for the parameter's type. For everything
else there is no literal, and the query goes the way that has parameters.
"""

from __future__ import annotations

import datetime as dt
import math
import uuid
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from asyncdb_nb.dataframes.sql.binds import Parameter

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
    name, write = _WRITERS.get(parameter.oid, ("", None))
    name = f"pg_catalog.{name}"
    if parameter.written and parameter.oid < _FIRST_OWN_OID:
        name, write = f"pg_catalog.{_identifier(parameter.type.name)}", _text
    if parameter.type.is_enum and parameter.type.oid == parameter.oid:
        name, write = f"{_identifier(type_.schema)}.{_identifier(type_.name)}", _text
    if write is None:
        return None
    text = "NULL" if value is None else _quoted(write(value))
    return None if text is None else f"({text}::{name})"


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


def _integer(bits: int) -> Writer:
    limit = 1 << (bits - 1)
    return lambda value: str(value) if type(value) is int and -limit <= value < limit else None


def _bool(value: Any) -> str | None:
    return str(value).lower() if type(value) is bool else None


def _text(value: Any) -> str | None:
    return value if type(value) is str else None


def _float(value: Any) -> str | None:
    if type(value) is not float:
        return None
    return repr(value) if math.isfinite(value) else "NaN" if math.isnan(value) else str(value)


def _numeric(value: Any) -> str | None:
    if type(value) is int:
        return str(value)
    return f"{value:f}" if type(value) is Decimal and value.is_finite() and -500 < value.adjusted() < 500 else None


def _uuid(value: Any) -> str | None:
    return str(value) if isinstance(value, uuid.UUID) else None


def _bytes(value: Any) -> str | None:
    return f"\\x{value.hex()}" if type(value) is bytes else None


def _time(value: Any) -> str | None:
    return value.isoformat() if type(value) is dt.time and value.tzinfo is None else None


def _array(write: Writer) -> Writer:
    def write_all(values: Any) -> str | None:
        if type(values) not in (list, tuple):
            return None
        texts = [_NULL_ITEM if value is None else _item(write(value)) for value in values]
        return None if None in texts else "{" + ",".join(text for text in texts if text is not None) + "}"

    return write_all


def _item(text: str | None) -> str | None:
    return None if text is None else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


# oid → (name in pg_catalog, oid of its array, writer)
_SCALARS: dict[int, tuple[str, int, Writer]] = {
    16: ("bool", 1000, _bool),
    21: ("int2", 1005, _integer(16)),
    23: ("int4", 1007, _integer(32)),
    20: ("int8", 1016, _integer(64)),
    25: ("text", 1009, _text),
    1043: ('"varchar"', 1015, _text),
    1042: ("bpchar", 1014, _text),
    701: ("float8", 1022, _float),
    1700: ('"numeric"', 1231, _numeric),
    2950: ("uuid", 2951, _uuid),
    17: ("bytea", 1001, _bytes),
    114: ('"json"', 199, _text),
    3802: ("jsonb", 3807, _text),
    1083: ('"time"', 1183, _time),
}
_WRITERS: dict[int, tuple[str, Writer]] = {
    oid: entry
    for one, (name, array, write) in _SCALARS.items()
    for oid, entry in ((one, (name, write)), (array, ("_" + name.strip('"'), _array(write))))
}
