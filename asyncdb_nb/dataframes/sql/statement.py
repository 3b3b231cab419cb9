"""
What a user gives as a statement → what the session executes.

SQL text runs exactly as typed. Without params a colon is a colon; with params, `:name` is a bind, but never in a
literal, a comment, a quoted name or `$$`, where SQLAlchemy's `text()` would take it for one.

`select(Workflow)` becomes a select of Workflow's mapped columns, so that no entity is built, nothing enters the
session, and nothing can be loaded lazily; what the session's hooks add to the select (`with_loader_criteria`) still
applies.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy import BindParameter, Executable, Select, TextClause, TextualSelect, text
from sqlalchemy.sql import visitors

from asyncdb_nb.dataframes.results.entities import as_columns, builds_entities
from asyncdb_nb.dataframes.sql.placeholder_hints import instead_of_bind, instead_of_name
from asyncdb_nb.dataframes.sql.tokenizer import Token, bind_names, tokens_of
from asyncdb_nb.engine._sqlalchemy.statements import has_loader_options
from asyncdb_nb.errors import FrameError

Params = Mapping[str, Any] | None

_KEPT = "%\0("  # SQLAlchemy takes %(x)s for a bind that it has rendered itself; PostgreSQL takes no \0
_COLON = re.compile(":")
_BARE_COLON = re.compile(r"(?<!\\):")  # in `text()` of the user's, `\:` is a colon, wherever it stands


def executable(statement: str | Executable, params: Params) -> Executable:
    """Make what `session.execute` takes, with entities replaced by their columns.

    Raises:
        FrameError: It is no statement, a `:name` has no value, or a value has no `:name`.
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
        return _of_text(statement, params)
    if isinstance(statement, TextClause | TextualSelect):
        _check_values(_text_of(statement), params or {}, missing=False)
    statement = _reread(statement)
    return _with_columns(statement) if isinstance(statement, Select) else statement


@lru_cache(64)
def numbered(statement: str) -> tuple[str, list[str]]:
    """Write a text with binds as the driver takes it, `$1` for `:name`, and name the binds in their order."""
    tokens = tokens_of(statement)
    names = bind_names(tokens)
    numbers = {f":{name}": f"${number}" for number, name in enumerate(names, 1)} | {r"\:": ":"}
    sent = (numbers[token.text] if token.kind in ("bind", "colon") else token.text for token in tokens)
    return "".join(sent), names


def text_of(statement: Any) -> str | None:
    """Give the text of a statement that is one, as it was typed; None for a select of Core or the ORM."""
    if isinstance(statement, TextClause | TextualSelect):
        return _text_of(statement)
    return statement if isinstance(statement, str) else None


def as_sent(statement: str) -> str:
    """Take out of compiled SQL what kept SQLAlchemy from taking a `%(` of the user's for one of its own."""
    return statement.replace(_KEPT, "%(")


def _of_text(statement: str, params: Params) -> Executable:
    if params is None:
        return _typed(statement)
    executable = _with_binds(statement)
    _check_values(statement, params)
    return executable


@lru_cache(64)
def _typed(statement: str) -> TextClause:
    _refuse_empty(statement)
    return text(statement.replace(":", r"\:").replace("%(", _KEPT))


@lru_cache(64)
def _with_binds(statement: str) -> TextClause:
    _refuse_empty(statement)
    return text(_escaped(statement, _COLON))


def _refuse_empty(statement: str) -> None:
    if all(token.kind == "space" or token.text == ";" for token in tokens_of(statement)):
        raise FrameError("The statement is empty. Type SQL: `select * from ...`.")


def _text_of(statement: TextClause | TextualSelect) -> str:
    clause: Any = statement if isinstance(statement, TextClause) else statement.element
    return str(clause.text)


def _check_values(statement: str, params: Mapping[str, Any], *, missing: bool = True) -> None:
    """Refuse a bind without a value (unless SQLAlchemy knows it), a value without a bind, and `$1` beside binds."""
    tokens = tokens_of(statement)
    for name in params:
        if instead := instead_of_name(name, tokens):
            raise FrameError(f"params has {name!r}, which no `:name` can stand for. {instead}")
    binds = bind_names(tokens)
    lacking = [name for name in binds if name not in params] if missing else []
    if lacking:
        raise FrameError(
            f"The statement has :{lacking[0]}, but params has no {lacking[0]!r}. Add it to params, "
            rf"or write \:{lacking[0]} where a colon is meant."
        )
    unused = [name for name in params if name not in binds]
    if unused and tokens[-1].kind != "doubt":  # which the server refuses, and says why
        raise FrameError(
            f"params has {unused[0]!r}, and the statement has no :{unused[0]}. {instead_of_bind(unused[0], tokens)}"
        )
    if binds and (numbered := [token.text for token in tokens if token.kind == "parameter"]):
        raise FrameError(f"The statement has {numbered[0]} beside :{binds[0]}. Name that value as well: `:name`.")


def _escaped(statement: str, colon: re.Pattern[str] = _BARE_COLON) -> str:
    """Write SQL so that `text()` finds the binds that are there, and leaves all else as it is typed."""
    return "".join(_escaped_token(token, colon) for token in tokens_of(statement)).replace("%(", _KEPT)


def _escaped_token(token: Token, colon: re.Pattern[str]) -> str:
    if token.kind in ("bind", "colon"):
        return token.text
    if token.kind == "escapes":  # where the backslash is PostgreSQL's own
        colon = _COLON
    return colon.sub(r"\\:", token.text)


def _reread(statement: Executable) -> Executable:
    """Have `text()` in a statement of the user's read as PostgreSQL reads it."""
    if isinstance(statement, TextClause):
        return _reread_text(statement)
    parts = [part for part in visitors.iterate(statement) if isinstance(part, TextClause)]  # type: ignore[arg-type]
    if all(_escaped(part.text) == part.text for part in parts):
        return statement
    return visitors.replacement_traverse(  # type: ignore[no-any-return, call-overload]
        statement, {}, lambda part, **_: _reread_text(part) if isinstance(part, TextClause) else None
    )


def _reread_text(clause: TextClause) -> TextClause:
    reread = text(_escaped(clause.text)).execution_options(**clause.get_execution_options())
    found = {part.key for part in visitors.iterate(reread) if isinstance(part, BindParameter)}
    binds = (part for part in visitors.iterate(clause) if isinstance(part, BindParameter))
    return reread.bindparams(*(bind for bind in binds if bind.key in found))


def _with_columns(statement: Select[Any]) -> Select[Any]:
    """Replace what is built of columns by them, unless the select says itself how entities are to be loaded."""
    if not builds_entities(statement) or has_loader_options(statement):
        return statement
    return as_columns(statement)
