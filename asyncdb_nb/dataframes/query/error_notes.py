"""
Add to an error of the server, or of the driver, what to type instead, where its own words leave a beginner alone.

A note (`add_note`) stands below the message in every traceback. The place of an error in its statement, where the
server names one, stands in the message, as it does in psql.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy.exc import DBAPIError

from asyncdb_nb.dataframes.sql.bind_values import Parameter
from asyncdb_nb.dataframes.sql.caret_under_errors import FIRST_LINE, with_excerpt
from asyncdb_nb.dataframes.sql.placeholder_hints import instead_of_placeholder
from asyncdb_nb.dataframes.sql.splitting import ScriptStatement, first_words
from asyncdb_nb.dataframes.sql.statement import as_sent, text_of
from asyncdb_nb.dataframes.sql.tokenizer import bind_names, tokens_of
from asyncdb_nb.dataframes.sql.type_mismatches import a_list, misfit

_SYNTAX_ERROR = "42601"
_READ_ONLY = "25006"
_NO_COLUMN = "42703"
_NO_LABEL = "22P02"
_IN_TRANSACTION = "25001"
_ENDS_TRANSACTION = "2D000"
_ENDED_MEANWHILE = re.compile(r'cursor cannot be created outside of a transaction|portal "__asyncpg_portal_')
_READING = (
    "No transaction is open. If one ended (by commit, rollback or close) while rows were still being read in it: read "
    "all of them first, or change things in a second session, `async with db.session() as other:`. Under AUTOCOMMIT: "
    "read by `db.frames(...)`."
)
_OUTSIDE = (
    "It cannot run in a transaction. Run it without one: "
    '`async with db.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection: '
    "await connection.exec_driver_sql(...)`."
)
_IN_BEFORE = re.compile(r"\bin\s*\Z", re.IGNORECASE)
_TYPE_BEFORE = re.compile(
    r"\b(interval|date|time(?:stamp)?(?:tz|\s+with(?:out)?\s+time\s+zone)?|jsonb?|uuid|inet|numeric|float8?|int[248]?)\s*\Z",
    re.IGNORECASE,
)
_UNIT = re.compile(r"\s+(year|month|day|hour|minute|second)\b", re.IGNORECASE)
_NAME = re.compile(r"""\s*((?:[^\W\d]\w*|"[^"]+")(?:\.(?:[^\W\d]\w*|"[^"]+"))?)\s*;?\s*""")
_QUOTED = re.compile(r'"((?:[^"]|"")*)"')
_COLUMN = re.compile(r"""((?:(?:[^\W\d][\w$]*|"[^"]+")\.)*)([^\W\d][\w$]*|"[^"]+")""")
_HINTED = re.compile(r'the column "([^"]*?)\.([^"]*)"')  # of its alias and a dot, without the quotes to type
_BIND = re.compile(r":([^\W\d]\w*)")
_NUMBER = re.compile(r"\$(\d+)")
_INVALID = re.compile(r"invalid input for query argument \$(\d+): ")  # asyncpg's own words
_TOO_FEW = re.compile(r"the server expects \d+ arguments? for this query")


@contextmanager
def advice(statement: Any, params: Any, capture: Any = None) -> Iterator[None]:
    """Execute a statement and read it in this block, and an error of the server says more.

    Args:
        statement: As the user gave it.
        params: Likewise.
        capture: What learns of the statement as it runs: its `parameters`.
    """
    try:
        yield
    except DBAPIError as error:
        error.statement = None if error.statement is None else as_sent(error.statement)
        if isinstance(statement, ScriptStatement):
            error.__dict__[FIRST_LINE] = statement.line
        error.args = with_excerpt(error)
        parameters = getattr(capture, "parameters", ())
        for note in _notes(error, getattr(error.orig, "__cause__", None), text_of(statement), params, parameters):
            error.add_note(note)
        raise


def _notes(
    error: DBAPIError, asyncpgs: Any, text: str | None, params: Any, parameters: Sequence[Parameter]
) -> Iterator[str]:
    said = str(asyncpgs)
    state = getattr(asyncpgs, "sqlstate", None)
    if (hint := getattr(asyncpgs, "hint", None)) and hint not in str(error) and not _TOO_FEW.match(said):
        yield f"PostgreSQL's hint: {hint}"  # which SQLAlchemy 2.1 leaves out
    if invalid := _INVALID.match(said):
        yield _fitting(int(invalid[1]), said, error, text, parameters)
    if _TOO_FEW.match(said) and text is not None:
        numbered = next((token.text for token in tokens_of(text) if token.kind == "parameter"), "")
        if note := instead_of_placeholder(numbered):
            yield note
    if state == _NO_LABEL:
        yield from _members(error)
    if state == _READ_ONLY:
        yield (
            "Only reading is allowed here. To write: `%%asql --write` in a cell; elsewhere `await db.execute(...)`, "
            "or a session of your own, `async with db.session() as session:`."
        )
    if _ENDED_MEANWHILE.match(said):
        yield _READING
    if state == _ENDS_TRANSACTION or (state == _IN_TRANSACTION and first_words(text or "", 1) != ["set"]):
        yield _OUTSIDE
    if state == _SYNTAX_ERROR and "multiple commands" in said:
        yield (
            "These are several statements. Give them one at a time, or, where they change something, all of them to "
            "`%%asql --write` or `await db.execute(...)`."
        )
    elif asyncpgs is not None and getattr(asyncpgs, "position", None):
        yield from _at(int(asyncpgs.position) - 1, error, state, text, params, hint or "")


def _fitting(number: int, said: str, error: DBAPIError, text: str | None, parameters: Sequence[Parameter]) -> str:
    """Say which value does not fit, and what would."""
    sent: Any = error.params
    value = sent[number - 1] if isinstance(sent, tuple | list) and number <= len(sent) else None
    bind = _bind(number, text)
    column = parameters[number - 1] if number <= len(parameters) else None
    return misfit(bind, value, said, column, alone=_stands_alone(number, error.statement or ""))


def _bind(number: int, text: str | None) -> str:
    """Name a parameter as the user did."""
    names = [] if text is None else bind_names(tokens_of(text))
    return f":{names[number - 1]}" if number <= len(names) else f"${number}"


def _stands_alone(number: int, sent: str) -> bool:
    """Say whether a parameter is a column by itself, which can be of any type."""
    return re.search(rf"\bselect\s+\${number}(?!\d|\s*::)", sent, re.IGNORECASE) is not None


def _members(error: DBAPIError) -> Iterator[str]:
    for value in error.params if isinstance(error.params, tuple | list) else ():
        if isinstance(value, enum.Enum) and value.name != value.value:
            yield f"The value of {value} was sent. If its name is meant, give that: `value.name`, {value.name!r}."


def _at(start: int, error: DBAPIError, state: str | None, text: str | None, params: Any, hint: str) -> Iterator[str]:
    """Say what an error at a position of the statement may come from."""
    sent = error.statement or ""
    rest = sent[start:]
    if params is None and state == _SYNTAX_ERROR and (bind := _BIND.match(rest)):
        yield f'No value was given for :{bind[1]}. Type it after the statement: `{{"{bind[1]}": ...}}`.'
    elif params is not None and rest.startswith("$") and _IN_BEFORE.search(sent[:start]):
        number = _NUMBER.match(rest)
        yield a_list(_bind(int(number[1]), text) if number else "")
    elif params and state == _SYNTAX_ERROR and (number := _NUMBER.match(rest)):
        named = _bind(int(number[1]), text)
        if before := _TYPE_BEFORE.search(sent[:start]):
            yield _cast(named, before[1], rest[number.end() :], params)
            return
        yield f"{named} is a value, and only a name or a keyword can stand there. Those belong in the statement's text."
    elif state == _NO_COLUMN and (instead := _with_capitals(rest, hint)):
        yield instead
    elif state == _NO_COLUMN and (quoted := _QUOTED.match(rest)):
        text_of_it = quoted[1].replace("'", "''")
        yield f"Double quotes are for names. If a text is meant, it takes single ones: '{text_of_it}'."
    elif state == _SYNTAX_ERROR and (name := _NAME.fullmatch(sent)):
        yield f"This is a name alone. Type SQL: `select * from {name[1]}`."  # noqa: S608 - text for a person
    elif state == _SYNTAX_ERROR:
        mark = "?" if sent[:start].rstrip().endswith("?") else rest  # it is an operator, so the error is behind it
        yield from filter(None, [instead_of_placeholder(mark)])


def _with_capitals(rest: str, hint: str) -> str | None:
    """Say how a column is typed whose name has capital letters, where an error stands before a column."""
    written = _COLUMN.match(rest)
    if written is None:
        return None
    before, name = written.groups()
    for _, meant in _HINTED.findall(hint):
        if meant != meant.lower() and meant.lower() == name.strip('"').lower():
            return f'A name with capital letters takes double quotes: {before}"{meant}".'
    if hint or name.startswith('"') or name == name.lower():
        return None
    return f'Capital letters without double quotes are read as small ones. If the name has them: {before}"{name}".'


def _cast(bind: str, name: str, rest: str, params: Any) -> str:
    """Say what to type for `interval :x`: a type stands before a literal, and never before a value."""
    if name.lower() == "interval" and (unit := _UNIT.match(rest)):
        return f"Type `{bind} * interval '1 {unit[1]}'` in place of `interval {bind} {unit[1]}`."
    value = params.get(bind.removeprefix(":")) if isinstance(params, Mapping) else None
    text = "text::" if isinstance(value, str) else ""  # which the server reads, as it reads a literal
    return f"Type `{bind}::{text}{name}` in place of `{name} {bind}`."
