"""
Say what to type when pandas or matplotlib cannot calculate with exact decimals or dates.

Their own words ("no numeric data to plot") name no column, and do not say that the database can give floats and time
stamps instead. Which columns are meant is found in the frames of the traceback, where pandas has them in its hands; or
in the variables that stand on the line of the cell.
"""

from __future__ import annotations

import datetime as dt
import linecache
import re
import sys
from collections.abc import Iterator
from decimal import Decimal
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

_ERRORS = (TypeError, ValueError, NotImplementedError, AttributeError, ArithmeticError)
_SAID = re.compile(  # by pandas, numpy, pyarrow and matplotlib, of values that they cannot calculate with
    r"no numeric|Only valid with Datetime|decimal|date32|datetime\.date\b|ArrowTemporal|No matching signature"
    r"|agg function failed|dtype object|dtype\('O'\)|Can only use \.dt",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W\d]\w*")
_MOST = 5  # columns that are named
_DECIMALS, _DATES = "exact decimals", "dates"
_PLAIN = {_DECIMALS: "float64", _DATES: "datetime64[us]"}


class ExactColumns:
    """What is said after a cell of one shell that failed so."""

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell

    def install(self) -> None:
        """Look after every cell."""
        self._shell.events.register("post_run_cell", self._after)

    def uninstall(self) -> None:
        """Say nothing any more."""
        self._shell.events.unregister("post_run_cell", self._after)

    def _after(self, result: Any) -> None:
        error = getattr(result, "error_in_exec", None)
        if error is not None and (said := advice(error, self._shell.user_ns)):
            print(said)  # noqa: T201  below the error


def advice(error: BaseException, variables: dict[str, Any]) -> str | None:
    """Say which columns an error comes from, and what to type; None where it is another error.

    Args:
        error: What a cell raised, with its traceback.
        variables: Those of the cell.
    """
    pandas = sys.modules.get("pandas")
    if pandas is None or not isinstance(error, _ERRORS) or not _SAID.search(str(error)):
        return None
    found = (_exact(value, pandas) for value in _held(error.__traceback__, variables))
    columns = next(filter(None, found), None) or _named(error.__traceback__, variables, pandas)
    if not columns:
        return None
    options = [("float", "numeric")] if _DECIMALS in columns.values() else []
    options += [("timestamp", "dates")] if _DATES in columns.values() else []
    arguments = ", ".join(f'{name}="{word}"' for word, name in options)
    flags = " ".join(f"--{name} {word}" for word, name in options)
    plain = " and ".join(f'`.astype("{_PLAIN[kind]}")`' for kind in _PLAIN if kind in columns.values())
    return (
        f"{_in_words(columns)}. To plot them and calculate with them: `await db.frame(..., {arguments})`, "
        f"`%%asql {flags}`, or `connect(..., {arguments})` for all frames that `db` reads; for a column that is "
        f"there already, {plain}."
    )


def _in_words(columns: dict[str, str]) -> str:
    named = [f"{name}{'' if number else ' holds'} {what}" for number, (name, what) in enumerate(columns.items())]
    more = f" and {len(named) - _MOST} more" if len(named) > _MOST else ""
    return ", ".join(named[:_MOST]) + more


def _held(traceback: TracebackType | None, variables: dict[str, Any]) -> Iterator[Any]:
    """Give what the frames of libraries hold, from the cell inward."""
    while traceback is not None:
        if traceback.tb_frame.f_globals is not variables:
            yield from traceback.tb_frame.f_locals.values()
        traceback = traceback.tb_next


def _named(traceback: TracebackType | None, variables: dict[str, Any], pandas: Any) -> dict[str, str]:
    """Give the exact columns of the frames that the failed lines of the cell name: those named there, too, or all."""
    columns: dict[str, str] = {}
    words: set[str] = set()
    while traceback is not None:
        frame = traceback.tb_frame
        if frame.f_globals is variables:
            words.update(_WORD.findall(linecache.getline(frame.f_code.co_filename, traceback.tb_lineno)))
        traceback = traceback.tb_next
    for name in words & variables.keys():
        columns |= _exact(variables[name], pandas)
    return {name: kind for name, kind in columns.items() if name in words} or columns


def _exact(value: Any, pandas: Any) -> dict[str, str]:
    """Name the columns of a frame, or a series or an index, that hold decimals or dates."""
    if not isinstance(value, pandas.DataFrame | pandas.Series | pandas.Index):
        return {}
    if isinstance(value, pandas.DataFrame):
        parts = [(name, value.iloc[:, position]) for position, name in enumerate(value.columns)]
    else:
        parts = [(value.name or "the column", value)]
    if not isinstance(value, pandas.Index):
        parts.append((value.index.name or "the index", value.index))
    found = {str(name): _kind(part) for name, part in parts}
    return {name: kind for name, kind in found.items() if kind is not None}


def _kind(values: Any) -> str | None:
    type_ = str(values.dtype)
    if type_.startswith("decimal") and type_.endswith("[pyarrow]"):
        return _DECIMALS
    if type_.startswith("date32"):
        return _DATES
    if type_ != "object":
        return None
    first = next((each for each in values[:1000] if each is not None), None)
    if isinstance(first, Decimal):
        return _DECIMALS
    return _DATES if isinstance(first, dt.date) and not isinstance(first, dt.datetime) else None
