"""
Remember which statements gave few rows, because for those the plain way is quicker than COPY.

COPY needs a description of its own in each transaction, where a prepared statement needs one in its life. For a result
of some hundred rows that is what counts, and how many rows a statement gives is best told by its last run.

Such a statement is fetched whole, also when it suddenly gives many rows, once: to ask for a limited number at a time
would take the parallel plans away from every GROUP BY over a large table (ExecutePlan in execMain.c).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any
from weakref import WeakKeyDictionary

FEW = 500  # rows; about where both ways take as long
_REMEMBERED = 1_000  # statements of one engine


def gave_few(dialect: Any, statement: str) -> bool:
    """Say whether a statement gave few rows when it last ran."""
    return statement in _small.get(dialect, ())


def remember(dialect: Any, statement: str, rows: int) -> None:
    """Keep in mind how many rows a statement gave."""
    statements = _small.setdefault(dialect, OrderedDict())
    if rows > FEW:
        statements.pop(statement, None)
        return
    statements[statement] = None
    statements.move_to_end(statement)
    if len(statements) > _REMEMBERED:
        statements.popitem(last=False)


_small: WeakKeyDictionary[Any, OrderedDict[str, None]] = WeakKeyDictionary()
