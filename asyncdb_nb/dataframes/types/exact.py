"""
No conversion changes a value: a column takes only what it can give back as an equal one.

pyarrow makes 1 of 1.5 for an integer column, a date of a datetime, and drops time zones, all without a word. So every
value passes here on its way into a column. Each kind of types says what it takes: an int where floats stand, if a
double holds it; a Decimal where floats stand, if it is what that double prints. Everything else is an error that names
the column and the value.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from asyncdb_nb.dataframes.type_families.kind import ColumnType
from asyncdb_nb.errors import FrameError

CHANGES = (TypeError, ValueError, ArithmeticError, AttributeError)  # what a conversion raises for a value


def exact(name: Any, type_: ColumnType, values: Sequence[Any]) -> Sequence[Any]:
    """Give values in the classes that a column of `type_` takes.

    Raises:
        FrameError: A value would become another one in such a column.
    """
    kept = type_.traits.classes
    if not {*map(type, values)} - {type(None), *kept}:
        return values
    take = type_.converter()
    if take is None:
        return values
    taken: list[Any] = []
    for value in values:
        try:
            taken.append(value if value is None or type(value) in kept else take(value))
        except CHANGES as error:
            raise unfit(name, type_, value) from error
    return taken


def are_json(values: Iterable[Any]) -> bool:
    """Say whether values can be what was parsed out of JSON."""
    return {*map(type, values)} <= {type(None), dict, list, str, int, float, bool, Decimal}


def unfit(name: Any, type_: ColumnType, value: Any) -> FrameError:
    """Say that a value does not fit its column."""
    shown = repr(value)
    shown = shown if len(shown) <= 100 else f"{shown[:100]}…"
    return FrameError(f"Column {name!r} is {type_.name}, and {shown} ({type(value).__name__}) would change in it.")
