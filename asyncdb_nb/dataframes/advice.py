"""
Add to an error of the server what to type instead, where its own words leave a beginner alone.

A note (`add_note`) stands below the message in every traceback, and leaves the message as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.exc import DBAPIError

from asyncdb_nb.dataframes.statements import BIND

_SYNTAX_ERROR = "42601"
_IN_BEFORE = re.compile(r"\bin\s*\Z", re.IGNORECASE)


@contextmanager
def advice(statement: Any, params: Any) -> Iterator[None]:
    """Execute a statement in this block, and an error of the server will have notes.

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
    hint = getattr(asyncpgs, "hint", None)
    if hint and hint not in str(error):  # SQLAlchemy 2.1 leaves it out
        yield f"PostgreSQL's hint: {hint}"
    if getattr(asyncpgs, "sqlstate", None) != _SYNTAX_ERROR:
        return
    start = int(asyncpgs.position or 1) - 1
    if params is None and isinstance(statement, str) and (bind := BIND.match(statement, start)):
        yield f'No value was given for :{bind[1]}. Type it after the statement: `{{"{bind[1]}": ...}}`.'
    sent = error.statement or ""
    if params is not None and sent[start : start + 1] == "$" and _IN_BEFORE.search(sent[:start]):
        yield "A list is one value: type `= any(:names)` instead of `in :names`."
