"""
What a user gives as a statement → what the session executes.

SQL text without params runs exactly as typed: a colon is a colon. With params, `:name` is a bind. `select(Workflow)`
becomes a select of Workflow's mapped columns, so that no entity is built, nothing enters the session, and nothing can
be loaded lazily; what the session's hooks add to the select (`with_loader_criteria`) still applies.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Executable, FromClause, Select, text
from sqlalchemy.orm.strategy_options import _AbstractLoad

from asyncdb_nb.dataframes.entities import as_columns, entity_of
from asyncdb_nb.errors import FrameError

Params = Mapping[str, Any] | None

BIND = re.compile(r"(?<![:\w\\]):([A-Za-z_]\w*)(?=(::)?)")
"""`:name` in SQL text."""

_KEPT = "%\0("  # SQLAlchemy takes %(x)s for a bind that it has rendered itself; PostgreSQL takes no \0
_NO_BIND = re.compile(r"(?<![:\w\\]):(?=\d)")  # text() would take '{"x":1}' for a bind named 1


def executable(statement: str | Executable, params: Params) -> Executable:
    """Make what `session.execute` takes, with entities replaced by their columns.

    Raises:
        FrameError: It is no statement, or a `:name` has no value.
    """
    if not isinstance(statement, str | Executable):
        raise FrameError(
            f"A statement is SQL text, text(...) or a select(...), not {type(statement).__name__}. "
            "For results that are here already: `to_frame(results)`."
        )
    if params is not None and not isinstance(params, Mapping):
        raise FrameError(
            f"params is a mapping of names to values, {{'id': 1}} for :id in the text, not {type(params).__name__}."
        )
    if isinstance(statement, str):
        return _as_typed(statement) if params is None else _with_binds(statement, params)
    return _with_columns(statement) if isinstance(statement, Select) else statement


def builds_entities(statement: Any) -> bool:
    """Say whether executing a statement gives mapped objects rather than columns."""
    return any(entity_of(line) is not None for line in descriptions(statement))


def descriptions(statement: Any) -> Sequence[Mapping[str, Any]]:
    """Describe what a select, or a statement with RETURNING, gives, as SQLAlchemy's `column_descriptions` do."""
    if getattr(statement, "is_dml", False):
        return [_returned(part) for part in statement._returning]
    return getattr(statement, "column_descriptions", None) or ()


def _returned(part: Any) -> Mapping[str, Any]:
    """Describe a part of RETURNING; `returning_column_descriptions` fails where that is an entity."""
    entity = part._annotations.get("parententity") if isinstance(part, FromClause) else None
    expression = part if entity is None else entity.entity
    return {"name": getattr(part, "key", None), "type": getattr(part, "type", None), "expr": expression}


def as_sent(statement: str) -> str:
    """Take out of compiled SQL what kept SQLAlchemy from taking a `%(` of the user's for one of its own."""
    return statement.replace(_KEPT, "%(")


def _as_typed(statement: str) -> Executable:
    return _text(statement.replace(":", r"\:"))


def _text(statement: str) -> Executable:
    return text(statement.replace("%(", _KEPT))


def _with_binds(statement: str, params: Mapping[str, Any]) -> Executable:
    missing = [name for name, _ in BIND.findall(statement) if name not in params]
    if missing:
        raise FrameError(
            f"The statement has :{missing[0]}, but params has no {missing[0]!r}. Add it to params, "
            rf"or write \:{missing[0]} where a colon is meant."
        )
    apart = BIND.sub(lambda bind: f":{bind[1]} " if bind[2] else bind[0], statement)  # text() knows no `:name::int`
    return _text(_NO_BIND.sub(r"\:", apart))


def _with_columns(statement: Select[Any]) -> Select[Any]:
    """Replace mapped classes by their columns, unless the select says itself how they are to be loaded."""
    if not builds_entities(statement) or any(isinstance(o, _AbstractLoad) for o in statement._with_options):
        return statement
    return as_columns(statement)
