"""
Compare a frame with the right one: columns, types, rows, values, order, in this turn; the first fault is told.

Left open are the order of the columns, the index, what kind of number a number is, and the order of equal rows.
"""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pandas as pd

from asyncdb_nb.lessons.exercises.common_mistakes import is_number, kind, shown


def frame_fault(
    name: str, mine: Any, right: pd.DataFrame, *, key: str, falling: str, tolerance: str = "0", unit: str = ""
) -> str | None:
    """
    Say what is wrong with a frame of one row for each `key`, with the largest `falling` first.

    Args:
        name: The variable.
        mine: What is in it.
        right: The right frame: the columns `key` and `falling`.
        key: The column of texts.
        falling: The column of numbers.
        tolerance: By how much a number may differ.
        unit: What is to be told of a number that differs.
    """
    if not isinstance(mine, pd.DataFrame):
        return f"`{name}` is {kind(mine)}, and a DataFrame is asked for."
    return (
        _columns(name, mine, [key, falling])
        or _types(mine, key, falling)
        or _rows(mine, right, key)
        or _values(mine, right, key, falling, Decimal(tolerance), unit)
        or _order(mine, key, falling)
    )


def _columns(name: str, mine: pd.DataFrame, wanted: list[str]) -> str | None:
    there = [str(column) for column in mine.columns]
    for column in wanted:
        if column in mine.index.names:
            return f"`{column}` is the index of `{name}`, and should be a column."
        if column not in there:
            listed = ", ".join(f"`{one}`" for one in there) or "none"
            return f"`{name}` has no column `{column}`; its columns are: {listed}."
        if there.count(column) > 1:
            return f"`{name}` has the column `{column}` {there.count(column)} times."
    if more := [column for column in there if column not in wanted]:
        return f"`{name}` has a column that was not asked for: `{more[0]}`."
    return None


def _types(mine: pd.DataFrame, key: str, falling: str) -> str | None:
    for row, value in enumerate(mine[falling]):
        if not is_number(value):
            what = "missing" if _missing(value) else f"{kind(value)}, {shown(value)}"
            return f"`{falling}` should have numbers, and in row {row} it is {what} (dtype {mine[falling].dtype})."
    for row, value in enumerate(mine[key]):
        if not isinstance(value, str):
            what = "missing" if _missing(value) else f"{kind(value)}, {shown(value)}"
            return f"`{key}` should have texts, and in row {row} it is {what} (dtype {mine[key].dtype})."
    return None


def _rows(mine: pd.DataFrame, right: pd.DataFrame, key: str) -> str | None:
    counts, wanted = Counter(mine[key]), set(right[key])
    for value, count in counts.items():
        if value not in wanted:
            return f"There is a row for {value!r}, which is none of the values that `{key}` should have."
        if count > 1:
            return f"{value!r} has {count} rows, and should have one."
    if missing := sorted(wanted - counts.keys()):
        there = "is 1 row" if len(counts) == 1 else f"are {len(counts)} rows"
        return f"There {there}, and should be {len(wanted)}: {missing[0]!r} has none."
    return None


def _values(
    mine: pd.DataFrame, right: pd.DataFrame, key: str, falling: str, tolerance: Decimal, unit: str
) -> str | None:
    exact = dict(zip(right[key], right[falling], strict=True))
    for value, number in zip(mine[key], mine[falling], strict=True):
        if not equal(number, exact[value], tolerance):
            way = "large" if _decimal(number) > _decimal(exact[value]) else "small"
            return f"`{falling}` of {value!r} is {shown(number)}{unit}, which is too {way}."
    return None


def _order(mine: pd.DataFrame, key: str, falling: str) -> str | None:
    rows = list(zip(mine[key], mine[falling], strict=True))
    for (above, more), (below, less) in pairwise(rows):
        if _decimal(less) > _decimal(more):
            return (
                f"Every row is right, but not the order: {below!r} stands below {above!r}, and its `{falling}` is "
                "larger."
            )
    return None


def equal(mine: Any, right: Any, tolerance: Decimal = Decimal(0)) -> bool:
    """Say whether two numbers are equal; a float may differ by its last digits."""
    difference = abs(_decimal(mine) - _decimal(right))
    slack = abs(_decimal(right)) * Decimal("1e-12") if isinstance(mine, float) else Decimal(0)
    return difference <= max(tolerance, slack)


def _decimal(number: Any) -> Decimal:
    return number if isinstance(number, Decimal) else Decimal(str(number))


def _missing(value: Any) -> bool:
    return bool(pd.api.types.is_scalar(value) and pd.isna(value))
