"""
What can stand at a place in SQL: tables after `from`, columns in an expression, columns of `alias.`, functions.

Names are offered as SQL takes them, in quotes where they need them. A table that is found by its schema alone is
offered with it, for its own name too: `ru` offers `workflows.run`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from asyncdb_nb.dataframes.sql.tokenizer import Token, tokens_of
from asyncdb_nb.jupyter.known_names import Names, Table
from asyncdb_nb.jupyter.sql_scope import STARTS, Group, Source, groups_around, sources_in, words

MOST = 500  # names that are offered at a time

_TABLES_AFTER = words("from join into update only truncate references analyze vacuum copy table lock cluster describe")
_EXPRESSIONS_AFTER = words(
    "select distinct where and or not on having by set returning when then else case between like ilike similar all "
    "any some in exists using over filter partition array row is if while return nulls with"
)
_CLAUSES = words("select from where group order having limit offset window set values returning on using join into")
_NOTHING_AFTER = words("as limit offset fetch recursive type cast schema database role user index")
_NEW = frozenset({"create", "temp", "temporary", "unlogged"})
_PLAIN = re.compile(r"[a-z_][a-z0-9_$]*")
_WORD_GOES_ON = re.compile(r"[A-Za-z0-9_$\x80-\U0010ffff]*")
_OWN = ("pg_", "information_schema")


class Offer(NamedTuple):
    """A name that may stand at the place."""

    text: str
    kind: str


class Place(NamedTuple):
    """What stands around the place.

    Attributes:
        prefix: What is typed of the name, without its opening quote.
        quoted: Whether it has one.
        path: The names before it, with dots between.
        around: The groups around, the innermost first.
    """

    prefix: str
    quoted: bool
    path: list[str]
    around: list[Group]


def offers(names: Names, sql: str, cursor: int) -> tuple[int, list[Offer]]:
    """Say what may stand at a place.

    Args:
        names: Those of the database.
        sql: All of the text, before and after the place.
        cursor: The place, as an index into the text.

    Returns:
        Where what is typed of the name begins, as an index into the text; and the names.
    """
    place = _place(sql, cursor)
    if place is None:
        return cursor, []
    begun = len(place.prefix) + place.quoted
    found: dict[Offer, None] = {}
    for offer in _offered(names, place):
        found[offer] = None
        if len(found) == MOST:
            break
    return cursor - begun, list(found)


def quoted(name: str, reserved: frozenset[str] = frozenset()) -> str:
    """Write a name as SQL takes it."""
    return name if _PLAIN.fullmatch(name) and name not in reserved else '"' + name.replace('"', '""') + '"'


def _place(sql: str, cursor: int) -> Place | None:
    before, after = list(tokens_of(sql[:cursor])), sql[cursor:]
    prefix, in_quotes = "", False
    if before and before[-1].kind == "doubt":
        if not before[-1].text.startswith('"'):
            return None  # a literal, or a comment
        prefix, in_quotes = before.pop().text[1:], True
        after = after.partition('"')[2] if '"' in after.partition("\n")[0] else after
    elif before and before[-1].kind == "word":
        prefix = before.pop().text
        after = after[_WORD_GOES_ON.match(after).end() :]  # type: ignore[union-attr]
    elif before and _ends_a_value(before[-1]):
        return None
    semicolons = [n for n, token in enumerate(before) if token.text == ";"]
    before = before[semicolons[-1] + 1 :] if semicolons else before
    path = _path(before)
    rest: list[Token] = []
    for token in tokens_of(after):
        if token.text == ";" or token.kind == "doubt":
            break
        rest.append(token)
    return Place(prefix, in_quotes, path, groups_around(before, rest))


def _ends_a_value(token: Token) -> bool:
    """Say whether no name begins behind a token: a literal, a number, a comment to the end of its line."""
    return token.text.startswith("--") or token.text.isdigit() or token.kind not in ("space", "other", "colon")


def _path(before: list[Token]) -> list[str]:
    """Take the names before the place off the tokens: `schema.table.`."""
    path: list[str] = []
    while len(before) > 1 and before[-1].text == "." and before[-2].kind in ("word", "name"):
        before.pop()
        token = before.pop()
        name = token.text.lower() if token.kind == "word" else token.text[1:-1].replace('""', '"')
        path.insert(0, name)
    return path


def _offered(names: Names, place: Place) -> Iterator[Offer]:
    inner = place.around[0]
    at = inner.here or 0
    clause = _clause(place, inner, at)
    if clause == "nothing":
        return
    tables = {(table.schema, table.name): table for table in names.tables}
    scopes, ctes = sources_in(place.around, lambda path: _columns(names, tables, path))
    if clause == "tables":
        yield from _tables(names, place, ctes)
    elif clause == "functions":
        yield from _functions(names, place)
    elif clause.startswith("columns of "):
        path = clause.removeprefix("columns of ").split("\0")
        yield from _matching(names, place, _columns(names, tables, path) or (), "column")
    else:
        yield from _expression(names, place, scopes, tables)


def _clause(place: Place, inner: Group, at: int) -> str:
    """Say what stands at the place: "tables", "expression", "functions", "columns of" a table, or "nothing"."""
    before, earlier = inner.word(at - 1), inner.word(at - 2)
    if at == 0:
        return _first_in_parentheses(place)
    item = inner.items[at - 1]
    verb = _verb(inner, at)
    if before == "from" and (earlier == "distinct" or not verb):
        return "expression"
    if before == "table" and earlier in _NEW:
        return "nothing"
    if before in _TABLES_AFTER and not (before == "update" and earlier in ("for", "do", "key")):
        return "tables"
    if before == "using":
        return "tables" if verb in ("delete", "merge") else "nothing"
    if before == "call":
        return "functions"
    if before in _NOTHING_AFTER or before == "update":
        return "nothing"
    if before == ",":
        return _after_comma(place, inner, at)
    if before == "set" and verb == "update":
        path = _target(inner, "update")
        return "columns of " + "\0".join(path) if path else "expression"
    if before in _EXPRESSIONS_AFTER:
        return "expression"
    if isinstance(item, Group) or item.kind != "other" or before == ")":
        return "nothing"
    return "nothing" if before.isdigit() else "expression"


def _first_in_parentheses(place: Place) -> str:
    if len(place.around) == 1:
        return "nothing"  # the statement's first word
    outer = place.around[1]
    at = (outer.here or 0) - 1
    called = outer.word(at)
    if called == "values" or _last_clause(outer, outer.here or 0) == "values":
        return "functions"
    if path := _target(outer, "into", end=outer.here):
        return "columns of " + "\0".join(path)
    if called in ("references",) or called in ("from", "join"):
        return "tables"
    return "expression"


def _after_comma(place: Place, inner: Group, at: int) -> str:
    clause, verb = _last_clause(inner, at), _verb(inner, at)
    if clause in ("from", "join"):
        return "tables" if verb else "expression"
    if clause == "set" and verb == "update" and (path := _target(inner, "update")):
        return "columns of " + "\0".join(path)
    if not clause and len(place.around) > 1:
        first = _first_in_parentheses(place)
        return "expression" if first == "tables" else first
    if not clause:
        return "tables" if {"truncate", "lock", "analyze", "vacuum"} & {inner.word(0), verb} else "expression"
    return "nothing" if clause in ("limit", "offset") else "expression"


def _verb(group: Group, at: int) -> str:
    """Give what a group does, as far as it says before the place: `select`, `update`, …; nothing in a call."""
    for n in range(at - 1, -1, -1):
        word = group.word(n)
        if word in STARTS and word != "with" and not (word == "update" and group.word(n - 1) in ("for", "do", "key")):
            return word
    return ""


def _last_clause(group: Group, at: int) -> str:
    return next((word for n in range(at - 1, -1, -1) if (word := group.word(n)) in _CLAUSES), "")


def _target(group: Group, keyword: str, end: int | None = None) -> list[str]:
    """Give the name after `into` or `update`; with `end`, only where it ends right there."""
    start = next((n for n in range(len(group.items)) if group.word(n) == keyword), None)
    if start is None:
        return []
    path: list[str] = []
    at = start + 1
    while (name := group.name(at)) is not None:
        path.append(name)
        at += 1
        if group.word(at) != ".":
            break
        at += 1
    if end is not None and group.word(at) == "as":
        at += 2
    return path if path and (end is None or at == end) else []


def _columns(names: Names, tables: dict[tuple[str, str], Table], path: Sequence[str]) -> Sequence[str] | None:
    if len(path) == 2 and tuple(path) in tables:
        return tables[path[0], path[1]].columns
    if len(path) == 1:
        return next((each.columns for each in names.tables if each.visible and each.name == path[0]), None)
    return None


def _tables(names: Names, place: Place, ctes: dict[str, Sequence[str]]) -> Iterator[Offer]:
    if len(place.path) > 1:
        return
    if place.path:
        inside = [table.name for table in names.tables if table.schema == place.path[0]]
        yield from _matching(names, place, inside, "table")
        return
    yield from _matching(names, place, ctes, "table")
    own = place.prefix.lower().startswith(_OWN)
    shown = [table for table in names.tables if own or not table.schema.startswith(_OWN)]
    yield from _matching(names, place, [table.name for table in shown if table.visible], "table")
    for table in shown:
        begins = _begins(table.name, place) or _begins(table.schema, place)
        if not table.visible and begins and not place.quoted:
            yield Offer(f"{quoted(table.schema, names.reserved)}.{quoted(table.name, names.reserved)}", "table")
    if place.prefix:
        yield from _matching(names, place, names.schemas, "schema")


def _expression(
    names: Names, place: Place, scopes: Sequence[Sequence[Source]], tables: dict[tuple[str, str], Table]
) -> Iterator[Offer]:
    sources = [source for scope in scopes for source in scope]
    if place.path:
        yield from _qualified(names, place, sources, tables)
        return
    seen = [column for source in sources for column in source.columns]
    for scope in scopes:
        for source in scope:
            for column in source.columns:
                if seen.count(column) > 1 and source.name and _begins(column, place) and not place.quoted:
                    yield Offer(f"{quoted(source.name, names.reserved)}.{quoted(column, names.reserved)}", "column")
                elif seen.count(column) == 1 or not source.name:
                    yield from _matching(names, place, [column], "column")
    yield from _matching(names, place, [source.name for source in sources if source.name], "alias")
    if not sources and place.prefix:
        own = [table for table in names.tables if not table.schema.startswith(_OWN)]
        yield from _matching(names, place, [column for table in own for column in table.columns], "column")
    if place.prefix and not place.quoted:
        yield from _functions(names, place)


def _qualified(
    names: Names, place: Place, sources: Sequence[Source], tables: dict[tuple[str, str], Table]
) -> Iterator[Offer]:
    if len(place.path) > 1:
        yield from _matching(names, place, _columns(names, tables, place.path) or (), "column")
        return
    source = next((each for each in sources if each.name == place.path[0]), None)
    if source is not None:
        yield from _matching(names, place, source.columns, "column")
        return
    yield from _matching(names, place, [t.name for t in names.tables if t.schema == place.path[0]], "table")
    yield from _functions(names, place)


def _functions(names: Names, place: Place) -> Iterator[Offer]:
    if place.path:
        shown = [name for schema, name, _ in names.functions if schema == place.path[0]]
    else:
        own = [name for schema, name, visible in names.functions if visible and not schema.startswith(_OWN)]
        builtin = [name for schema, name, visible in names.functions if visible and schema == "pg_catalog"]
        shown = [*own, *(name for name in builtin if place.prefix and name[0] != "_")]
    yield from _matching(names, place, shown, "function")


def _matching(
    names: Names, place: Place, candidates: Sequence[str] | dict[str, Sequence[str]], kind: str
) -> Iterator[Offer]:
    for name in candidates:
        if _begins(name, place):
            text = quoted(name, names.reserved)
            yield Offer('"' + name.replace('"', '""') + '"' if place.quoted else text, kind)


def _begins(name: str, place: Place) -> bool:
    return name.startswith(place.prefix) if place.quoted else name.lower().startswith(place.prefix.lower())
