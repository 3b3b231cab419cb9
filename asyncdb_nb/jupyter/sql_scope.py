"""
What SQL has in scope at a place: the tables of the query there, of those around it, and its CTEs.

The text is unfinished, so nothing is parsed: tokens are grouped by parentheses, and what stands after `from`, `join`
and their like is taken for a source of columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from asyncdb_nb.dataframes.sql.tokenizer import Token

Columns = Callable[[Sequence[str]], Sequence[str] | None]
"""Gives the columns of a table by its name, or schema and name; None where there is none."""


def words(text: str) -> frozenset[str]:
    """Give the words of a text."""
    return frozenset(text.split())


_SOURCES = frozenset({"from", "join", "into", "update", "using", "table"})
_SETS = frozenset({"union", "intersect", "except"})
STARTS = frozenset({"select", "with", "insert", "update", "delete", "merge", "values", "table", "truncate", "copy"})
NO_ALIAS = words(
    "as where join on left right inner outer full cross natural group order limit offset fetch having window union "
    "intersect except set values returning using select from default when tablesample for with and or lateral only "
    "into then do nothing conflict matched"
)


@dataclass(slots=True)
class Source:
    """Something with columns: a table, a CTE or a sub-select, under the name that the query has for it."""

    name: str
    columns: Sequence[str]


@dataclass(slots=True)
class Group:
    """Tokens between two parentheses, or all of them; a group inside is one item.

    Attributes:
        items: Tokens and groups, without spaces.
        here: Where among them the place is; None if it is not in this group.
    """

    items: list[Token | Group] = field(default_factory=list)
    here: int | None = None

    def word(self, position: int) -> str:
        """The keyword, operator or `(` at a position; nothing for names in quotes, literals, and beyond the ends."""
        if not 0 <= position < len(self.items):
            return ""
        item = self.items[position]
        return "(" if isinstance(item, Group) else item.word

    def name(self, position: int) -> str | None:
        """The name at a position, as the catalog has it; None where there is none."""
        item = self.items[position] if 0 <= position < len(self.items) else None
        if not isinstance(item, Token) or item.kind not in ("word", "name"):
            return None
        return item.text.lower() if item.kind == "word" else item.text[1:-1].replace('""', '"')


def groups_around(before: Sequence[Token], after: Sequence[Token]) -> list[Group]:
    """Group tokens, and give the groups around the place between the two sequences, the innermost first."""
    stack = [Group()]
    for token in before:
        _add(stack, token)
    around = stack[::-1]
    for group in around:
        group.here = len(group.items)
    stack = list(stack)
    for inner, outer in zip(stack[:0:-1], stack[-2::-1], strict=True):
        outer.items.append(inner)
    for token in after:
        _add(stack, token)
    return around


def _add(stack: list[Group], token: Token) -> None:
    if token.kind == "space":
        return
    if token.text == "(" and token.kind == "other":
        stack.append(Group())
    elif token.text == ")" and token.kind == "other":
        if len(stack) > 1:
            closed = stack.pop()
            if closed.here is None:
                stack[-1].items.append(closed)
    else:
        stack[-1].items.append(token)


def sources_in(around: Sequence[Group], columns: Columns) -> tuple[list[list[Source]], dict[str, Sequence[str]]]:
    """Give the sources of each group around a place, the innermost first; and the CTEs that are known there."""
    ctes: dict[str, Sequence[str]] = {}
    for group in reversed(around):
        ctes |= _ctes(group, _with(columns, ctes))
    known = _with(columns, ctes)
    return [list(_sources(_branch(group), known)) for group in around], ctes


def _with(columns: Columns, ctes: dict[str, Sequence[str]]) -> Columns:
    return lambda name: ctes[name[0]] if len(name) == 1 and name[0] in ctes else columns(name)


def _branch(group: Group) -> Group:
    """Give the part of a group that is one SELECT of a UNION: that of the place, or the first."""
    ends = [n for n in range(len(group.items)) if group.word(n) in _SETS]
    here = group.here or 0
    start = max((n + 1 for n in ends if n < here), default=0)
    end = min((n for n in ends if n >= here), default=len(group.items))
    return Group(group.items[start:end])


def _ctes(group: Group, columns: Columns) -> dict[str, Sequence[str]]:
    found: dict[str, Sequence[str]] = {}
    if group.word(0) != "with":
        return found
    at = 2 if group.word(1) == "recursive" else 1
    known = _with(columns, found)
    while (name := group.name(at)) is not None:
        at += 1
        named: Sequence[str] | None = None
        if isinstance(group.items[at] if at < len(group.items) else None, Group):
            named = _listed(group.items[at])
            at += 1
        while group.word(at) in ("as", "not", "materialized"):
            at += 1
        body = group.items[at] if at < len(group.items) else None
        if not isinstance(body, Group):
            break
        found[name] = named or list(_selected(body, known))
        at += 1
        if group.word(at) != ",":
            break
        at += 1
    return found


def _listed(group: object) -> list[str]:
    """Give the names of a list of columns."""
    assert isinstance(group, Group), "a list is in parentheses"  # noqa: S101
    return [name for n in range(len(group.items)) if (name := group.name(n)) is not None]


def _sources(group: Group, columns: Columns) -> Iterator[Source]:
    at = 0
    while at < len(group.items):
        word = group.word(at)
        before = group.word(at - 1)
        at += 1
        if word not in _SOURCES or (word == "update" and before in ("for", "do", "key", "no")):
            continue
        if (word == "from" and before == "distinct") or (word == "using" and group.word(at) == "("):
            continue
        while True:
            source, at = _source(group, at, columns)
            if source is not None:
                yield source
            if word not in ("from", "using") or group.word(at) != ",":
                break
            at += 1


def _source(group: Group, at: int, columns: Columns) -> tuple[Source | None, int]:
    while group.word(at) in ("lateral", "only", "table"):
        at += 1
    if group.here == at:
        return None, at
    item = group.items[at] if at < len(group.items) else None
    found: Sequence[str] | None
    if isinstance(item, Group):
        at += 1
        name, found = "", list(_selected(item, columns))
    else:
        path: list[str] = []
        while (part := group.name(at)) is not None and not (not path and group.word(at) in NO_ALIAS):
            path.append(part)
            at += 1
            if group.word(at) != ".":
                break
            at += 1
        if not path:
            return None, at
        name, found = path[-1], columns(path)
        if group.word(at) == "(" and found is None:  # a function's call
            at += 1
    if group.word(at) == "as":
        at += 1
    alias = group.name(at)
    if alias is not None and group.word(at) not in NO_ALIAS and group.here != at:
        name, at = alias, at + 1
        if isinstance(group.items[at] if at < len(group.items) else None, Group):
            found = _listed(group.items[at]) or found
            at += 1
    return (Source(name, found or ()) if name or found else None), at


def _selected(group: Group, columns: Columns) -> Iterator[str]:
    """Name the columns that a sub-select gives, as far as its text tells."""
    known = _with(columns, _ctes(group, columns))
    first = _first_select(group)
    start = next((n for n in range(len(first.items)) if first.word(n) in ("select", "returning")), None)
    if start is None:
        return
    sources = list(_sources(first, known))
    item: list[int] = []
    for at in range(start + 1, len(first.items) + 1):
        word = first.word(at)
        if at == len(first.items) or word in (",", "from", "where", "group", "order", "limit", "having"):
            yield from _outputs(first, item, sources)
            item = []
            if word != ",":
                return
        elif word != "distinct":
            item.append(at)


def _first_select(group: Group) -> Group:
    end = next((n for n in range(len(group.items)) if group.word(n) in _SETS), len(group.items))
    return Group(group.items[:end])


def _outputs(group: Group, item: Sequence[int], sources: Sequence[Source]) -> Iterator[str]:
    if not item:
        return
    last = item[-1]
    if group.word(last) == "*":
        of = group.name(last - 2) if group.word(last - 1) == "." else None
        for source in sources:
            if of is None or source.name == of:
                yield from source.columns
    elif (name := group.name(last)) is not None and (len(item) == 1 or group.word(last - 1) not in ("::", ":")):
        yield name
    elif group.word(last) == "(" and len(item) > 1 and (called := group.name(last - 1)) is not None:
        yield called
