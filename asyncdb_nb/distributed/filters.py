"""Filters as `dask.dataframe.read_parquet` takes them → a condition of SQL, whose values are bound."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from asyncdb_nb.dataframes.sql.tokenizer import tokens_of
from asyncdb_nb.errors import FrameError
from asyncdb_nb.explore.table_names import always_quoted

Filters = Sequence[tuple[str, str, Any]] | Sequence[Sequence[tuple[str, str, Any]]]

_COMPARE = {
    **{name: name for name in ("=", "<", "<=", ">", ">=")},
    "==": "=",
    "!=": "<>",
    "in": "= any",
    "not in": "<> all",
}


def condition(filters: Filters | None) -> tuple[str, dict[str, Any]]:
    """Write the condition of filters, on `part`, and give the values of its binds.

    Args:
        filters: `[(column, op, value), ...]`, all of which hold, or a list of such lists, one of which holds.

    Returns:
        The condition, empty for none, and its params.

    Raises:
        FrameError: They are no such filters.
    """
    if not filters:
        return "", {}
    groups: Any = [filters] if isinstance(filters[0], tuple) else filters
    params: dict[str, Any] = {}
    written = [" and ".join(_comparisons(group, params)) for group in groups]
    return " or ".join(f"({group})" for group in written), params


def filtered(statement: str, where: str) -> str:
    """Write a statement with a condition, which PostgreSQL moves into it; `:name` in the statement is no bind."""
    return f"select * from ({unbound(statement)}\n) as part where {where}"  # noqa: S608  SQL, and quoted names


def unbound(statement: str) -> str:
    """Write a statement so that it says beside binds what it says without any."""
    return "".join(f"\\{token.text}" if token.kind == "bind" else token.text for token in tokens_of(statement))


def _comparisons(group: Any, params: dict[str, Any]) -> Iterator[str]:
    for each in group if isinstance(group, list | tuple) and group else [group]:
        if not isinstance(each, tuple) or len(each) != 3 or not isinstance(each[0], str):
            raise FrameError(f'filters are [("column", "op", value), ...], or a list of such lists; got {each!r}.')
        column, op, value = each
        if op not in _COMPARE:
            raise FrameError(f"{op!r} of the filter on {column!r} is none of {', '.join(map(repr, _COMPARE))}.")
        is_list = isinstance(value, list | tuple | set | frozenset)
        if is_list != (op in ("in", "not in")):
            raise FrameError(f'Only "in" and "not in" take a list; the filter is {each!r}.')
        values = list(value) if is_list else value
        if any(map(_is_missing, values if is_list else [values])):
            raise FrameError(f"No value is equal to None, or above it; the filter is {each!r}. Filter the collection.")
        name = f"filter_{len(params)}"
        params[name] = [_number(each) for each in values] if is_list else _number(values)
        yield f"part.{always_quoted(column)} {_COMPARE[op]} (:{name})"


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or value is pd.NaT


def _number(value: Any) -> Any:
    """Give NaN as a number, for the columns that have it: a float that is NaN stands for NULL in the others."""
    return Decimal("NaN") if isinstance(value, float | np.floating) and value != value else value
