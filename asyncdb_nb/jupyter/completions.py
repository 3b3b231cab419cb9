"""
Complete names in SQL: in `%%asql` and `%asql`, and within the string of `db.frame("…")` and its like.

The names are those of the database that the cell or the call would use. In an f-string nothing is offered, for what it
will be is not known.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from asyncdb_nb.database.database import Database
from asyncdb_nb.errors import MagicError
from asyncdb_nb.jupyter._ipython import add_matcher
from asyncdb_nb.jupyter.known_names import KnownNames
from asyncdb_nb.jupyter.magic_options import options_of
from asyncdb_nb.jupyter.sql_completion import offers

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

_CELL = re.compile(r"\A\s*%%asql\b(?P<line>[^\n]*)\n")
_LINE = re.compile(r"(?:^|[\n=]|;)[ \t]*%asql\b(?P<line>[^\n]*)\Z")
_STATEMENTS = "frame|frames|table|batches|explain|execute|export|view|profile"
_CALL = re.compile(
    rf"(?P<db>\w+)\s*\.\s*(?P<method>{_STATEMENTS}|describe)\(\s*(?P<mark>[A-Za-z]*)"
    r"(?P<quote>\"\"\"|'''|\"|')"
)
_BARE_NAME = ("describe", "profile", "view")  # methods that take a table's name


class Sql(NamedTuple):
    """SQL around the cursor.

    Attributes:
        text: All of it.
        cursor: Where in it the cursor is.
        database: The variable that holds its database.
        quote: The quotes of the Python string that it stands in; nothing in a cell of SQL.
    """

    text: str
    cursor: int
    database: str
    quote: str = ""


class Completions:
    """The completion of SQL, on one shell."""

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell: Any = shell
        self._known = KnownNames()

    def install(self) -> None:
        """Offer names."""
        self._remove = add_matcher(self._shell, self.complete)

    def uninstall(self) -> None:
        """Offer none."""
        self._remove()

    def complete(self, context: Any) -> dict[str, Any]:
        """Offer the names that may stand at the cursor: a matcher of IPython's second kind."""
        from IPython.core.completer import SimpleCompletion

        lines = context.full_text.split("\n")
        before = sum(len(line) + 1 for line in lines[: context.cursor_line]) + context.cursor_position
        sql = sql_at(context.full_text, before)
        database = None if sql is None else _database(sql.database, self._shell.user_ns)
        if sql is None or database is None:
            return {"completions": []}
        start, found = offers(self._known.of(database), sql.text, sql.cursor)
        return {
            "completions": [SimpleCompletion(_escaped(name, sql.quote), type=kind) for name, kind in found],
            "matched_fragment": sql.text[start : sql.cursor],
            "suppress": True,
        }


def sql_at(text: str, cursor: int) -> Sql | None:
    """Find the SQL that the cursor is in, in a cell, a line or the string of a call; None where there is none.

    Args:
        text: The cell.
        cursor: Its place in it.
    """
    cell = _CELL.match(text)
    if cell is not None:
        return Sql(text[cell.end() :], cursor - cell.end(), _named(cell["line"])) if cursor >= cell.end() else None
    line = _LINE.search(text[:cursor])
    if line is not None:
        options, rest = _options(line["line"])
        goes_on = text[cursor:].partition("\n")[0]
        return Sql(rest + goes_on, len(rest), options.get("db", "db"))
    return _in_a_call(text, cursor)


def _in_a_call(text: str, cursor: int) -> Sql | None:
    for call in reversed(list(_CALL.finditer(text, 0, cursor))):
        quote, inside = call["quote"], text[call.end() : cursor]
        if _end(inside, quote) is not None:
            continue
        if "f" in call["mark"].lower() or "t" in call["mark"].lower():
            return None
        rest = text[cursor:]
        end = _end(rest, quote)
        after = rest[:end] if end is not None else "" if len(quote) == 3 else rest.partition("\n")[0]
        after = after.partition("\n")[0] if len(quote) == 1 else after
        if call["method"] in _BARE_NAME and not re.search(r"\s", inside.strip()):
            lead = "table "  # after which names of tables stand
            return Sql(lead + inside + after, len(lead) + len(inside), call["db"], quote)
        return Sql(inside + after, len(inside), call["db"], quote)
    return None


def _end(text: str, quote: str) -> int | None:
    """Find where a Python string ends; None where it does not."""
    found = re.search(rf"(?<!\\)(?:\\\\)*{quote}", text)
    if found is not None:
        return found.end() - len(quote)
    return text.index("\n") if len(quote) == 1 and "\n" in text else None


def _escaped(name: str, quote: str) -> str:
    """Write a name so that it ends no Python string."""
    return name.replace('"', '\\"') if quote == '"' else name


def _named(line: str) -> str:
    return _options(line)[0].get("db", "db")


def _options(line: str) -> tuple[dict[str, str], str]:
    try:
        return options_of(line)
    except MagicError:
        return {}, line


def _database(name: str, variables: Mapping[str, Any]) -> Database | None:
    found = variables.get(name)
    return found if isinstance(found, Database) else None
