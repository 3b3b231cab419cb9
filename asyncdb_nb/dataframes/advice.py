"""
Add to an error of the server, or of the driver, what to type instead, where its own words leave a beginner alone.

A note (`add_note`) stands below the message in every traceback, and leaves the message as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy.exc import DBAPIError

from asyncdb_nb.dataframes.statements import BIND

_SYNTAX_ERROR = "42601"
_READ_ONLY = "25006"
_IN_BEFORE = re.compile(r"\bin\s*\Z", re.IGNORECASE)
_LIST = "A list is one value: type `= any(:names)` instead of `in :names`."
_MISFIT = re.compile(r"invalid input for query argument \$(\d+): .*\((.*)\)\Z", re.DOTALL)  # asyncpg's own words


@contextmanager
def advice(statement: Any, params: Any) -> Iterator[None]:
    """Execute a statement and read it in this block, and an error of the server will have notes.

    Args:
        statement: As the user gave it.
        params: Likewise.
    """
    try:
        yield
    except DBAPIError as error:
        for note in _notes(error, getattr(error.orig, "__cause__", None), statement, params):
            error.add_note(note)
        raise


def _notes(error: DBAPIError, asyncpgs: Any, statement: Any, params: Any) -> Iterator[str]:
    said = str(asyncpgs)
    if quoted := _bind_in_quotes(statement, params):
        yield f"In quotes, :{quoted} is text. Type it without them: `:{quoted}`."
    elif (hint := getattr(asyncpgs, "hint", None)) and hint not in str(error):  # SQLAlchemy 2.1 leaves it out
        yield f"PostgreSQL's hint: {hint}"
    if misfit := _MISFIT.match(said):
        yield _fitting(int(misfit[1]), misfit[2], error, statement, params)
    state = getattr(asyncpgs, "sqlstate", None)
    if state == _READ_ONLY:
        yield "Only reading is allowed here. To write: `async with db.session() as session:`."
    if state == _SYNTAX_ERROR and "multiple commands" in said:
        yield "These are several statements. Give them one at a time."
    elif state == _SYNTAX_ERROR:
        yield from _at(int(asyncpgs.position or 1) - 1, error, statement, params)


def _bind_in_quotes(statement: Any, params: Any) -> str | None:
    """Give the name of a value that stands in quotes, `':name'`, where it is no bind."""
    if not isinstance(statement, str) or not isinstance(params, Mapping):
        return None
    return next((name for name in params if f"':{name}'" in statement), None)


def _fitting(number: int, expected: str, error: DBAPIError, statement: Any, params: Any) -> str:
    """Say which value does not fit, and what would."""
    sent: Any = error.params
    value = sent[number - 1] if isinstance(sent, tuple | list) and number <= len(sent) else None
    names = [*dict.fromkeys(name for name, _ in BIND.findall(statement))] if isinstance(statement, str) else []
    bind = f":{names[number - 1]}" if params is not None and number <= len(names) else f"${number}"
    given = type(value).__name__
    if isinstance(value, list | tuple | set):
        return _LIST
    if given in ("NAType", "NaTType"):
        return f"{bind} is pandas' missing value. Give None."
    if given == "datetime64":
        return f"{bind} is numpy's. Give a datetime: `pd.Timestamp(value).to_pydatetime()`."
    if type(value).__module__ == "numpy":
        return f"{bind} is numpy's. Give Python's own: `value.item()`."
    if isinstance(value, dict):
        return f"{bind} is a dict. Give its JSON, a text: `json.dumps(value)`."
    if given == "Timestamp":
        return f"{bind} has no time zone. Give it one: `value.tz_localize('UTC')`."
    if isinstance(value, str) and "datetime" in expected:
        return f"{bind} stands for a time. Give a datetime or a date, or cast the text: `{bind}::text::timestamptz`."
    if isinstance(value, str):
        return f"{bind} stands for something that is no text. Give that, or cast the text: `{bind}::text::int`."
    return f"{bind} got a value of type {given}. Give what fits there, or say what this is: `{bind}::int`, for example."


def _at(start: int, error: DBAPIError, statement: Any, params: Any) -> Iterator[str]:
    """Say what a syntax error at a position of the statement may come from."""
    if params is None and isinstance(statement, str) and (bind := BIND.match(statement, start)):
        yield f'No value was given for :{bind[1]}. Type it after the statement: `{{"{bind[1]}": ...}}`.'
    sent = error.statement or ""
    if params is not None and sent[start : start + 1] == "$" and _IN_BEFORE.search(sent[:start]):
        yield _LIST
