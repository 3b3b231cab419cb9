"""
A value that is not of the type of its parameter: say what the server expects, and what to type.

What is advised here is typed by a test, for every pair of types in the tables below.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import math
import re
import uuid
from decimal import Decimal
from typing import Any

from asyncdb_nb.dataframes.sql.bind_values import Parameter, plain

_TIMES = frozenset({"date", "timestamp", "timestamptz"})
_TAKE_LISTS = frozenset({"array", "range", "multirange", "json", "floats", "path"})
_TAKE_TEXT = frozenset({"uuid", "inet", "timetz", "bit", "char"})  # of the right form
_GIVE = {
    "bool": "True or False",
    "int2": "an int",
    "int4": "an int",
    "int8": "an int",
    "float4": "a float",
    "float8": "a float",
    "numeric": "a Decimal",
    "text": "a str",
    "bytea": "bytes",
    "json": "what `json.dumps` takes, or a text of JSON",
    "money": "a str",
    "date": "a date",
    "time": "a time",
    "timetz": "a time with a fixed offset, such as `datetime.timezone.utc`",
    "timestamp": "a datetime without a time zone",
    "timestamptz": "a datetime with a time zone",
    "interval": "a timedelta",
    "uuid": "a UUID",
    "array": "a list",
    "range": "a Range",
    "multirange": "a list of Range",
}
_NUMBERS = frozenset({"int2", "int4", "int8", "float4", "float8", "numeric"})
_BEYOND = re.compile(r"value out of \w+ range|too large to convert to float")
# Python type → the type that a cast makes of it; subclasses stand before their bases
_TYPES: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "bool"),
    (float, "float8"),
    (Decimal, "numeric"),
    (dt.date, "date"),
    (dt.time, "time"),
    (dt.timedelta, "interval"),
    (uuid.UUID, "uuid"),
    (bytes, "bytea"),
    (dict, "jsonb"),
    ((ipaddress.IPv4Address, ipaddress.IPv6Address, ipaddress.IPv4Network, ipaddress.IPv6Network), "inet"),
)


def a_list(bind: str) -> str:
    """Say how a list is looked for: it is one value, and `in` wants several."""
    name = bind if bind.startswith(":") else ":names"
    return f"A list is one value: type `= any({name})` instead of `in {name}`."


def misfit(bind: str, value: Any, said: str, parameter: Parameter | None, *, alone: bool = False) -> str:
    """Word the advice.

    Args:
        bind: How the statement names the value: `:name`, or `$1` where the text is not the user's.
        value: As it was given.
        said: What asyncpg said, or `binds` in its words.
        parameter: What the server expects, where that is known.
        alone: Whether the bind is a column by itself, which can be of any type.
    """
    value = plain(value)
    given = type(value).__name__
    kind = parameter.type.kind if parameter else ""
    if isinstance(value, list | tuple | set) and kind not in _TAKE_LISTS:
        return a_list(bind)
    if "nanoseconds" in said:
        return f"{bind} has nanoseconds, and PostgreSQL counts microseconds. Give it without: `value.floor('us')`."
    if kind == "timestamptz" and given in ("Timestamp", "datetime64"):
        localized = "value.tz_localize('UTC')" if given == "Timestamp" else "pd.Timestamp(value, tz='UTC')"
        return f"{bind} has no time zone. Give it one: `{localized}`."
    if kind in ("timestamp", "time") and getattr(value, "tzinfo", None) is not None:
        return f"{bind} has a time zone, and none is expected. Give it without: `value.replace(tzinfo=None)`."
    expected = parameter.in_sql() if parameter else "int"
    if _BEYOND.search(said) and (own := _own_type(value)):
        return _beyond(bind, own, kind, expected)
    if isinstance(value, str) and kind == "text":
        return f"{bind} has half of a character, which no encoding writes: `value.encode(errors='ignore').decode()`."
    if isinstance(value, str) and kind in _TAKE_TEXT:
        return f"{bind} is a text that is no {_short(expected)}."
    if isinstance(value, str):
        what, give = ("a time", "a datetime or a date") if kind in _TIMES else ("something that is no text", "that")
        cast = f", or cast the text: `{bind}::text::{_short(expected)}`" if bind.startswith(":") else ""
        return f"{bind} stands for {what}. Give {give}{cast}."
    return _other(bind, value, given, kind, expected, alone)


def _beyond(bind: str, own: str, kind: str, expected: str) -> str:
    """Say that a number is of the right kind, and too large; beside float8, PostgreSQL makes one of any number."""
    cast = f", or say what it is: `{bind}::{own}`" if bind.startswith(":") and kind != "float8" else ""
    return f"{bind} is out of the range of {_short(expected)}. Give a smaller one{cast}."


def _other(bind: str, value: Any, given: str, kind: str, expected: str, alone: bool) -> str:
    own = _own_type(value)
    if alone and own and kind == "text" and bind.startswith(":"):
        return f"{bind} got a value of type {given}. Give what fits there, or say what this is: `{bind}::{own}`."
    give = _GIVE.get(kind, "what fits there")
    castable = bind.startswith(":") and _casts(own, kind) and _is_finite(value)
    cast = f", or cast it: `{bind}::{own}::{_short(expected)}`" if castable else ""
    return f"{bind} got a value of type {given}, and {_short(expected)} is expected there. Give {give}{cast}."


def _casts(own: str, kind: str) -> bool:
    """Say whether PostgreSQL can cast a value of type `own` to a parameter's kind."""
    if not own:
        return False
    if kind == "money":
        return own in ("int", "bigint", "numeric")
    return kind == "text" or (own in ("int", "bigint", "float8", "numeric") and kind in _NUMBERS)


def _is_finite(value: Any) -> bool:
    return not isinstance(value, float | Decimal) or math.isfinite(value)


def _own_type(value: Any) -> str:
    """Name the type that a value has by itself; nothing where there is none."""
    if isinstance(value, dt.datetime):
        return "timestamp" if value.tzinfo is None else "timestamptz"
    if type(value) is int:
        return "int" if -(2**31) <= value < 2**31 else "bigint" if -(2**63) <= value < 2**63 else "numeric"
    return next((name for types, name in _TYPES if isinstance(value, types)), "")


def _short(name: str) -> str:
    """Name a type as people do."""
    return {"int4": "int", "int8": "bigint", "int2": "smallint", "float4": "real"}.get(name, name)
