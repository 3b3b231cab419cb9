"""
Where a value was meant to go in, and what to type there: `:name`, outside of quotes.

People who know other drivers, or other languages, write `%(name)s`, `{name}`, `$1` or `?`, and put a value's name into
a literal: `'%:word%'`, `interval ':days days'`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from asyncdb_nb.dataframes.sql.tokenizer import Token

_POSITIONAL = re.compile(r"\$\d+|%s|\?(?=\s*(?:$|[),;]|(?:and|or|order|group|limit)\b))", re.IGNORECASE)
_NAMED = re.compile(r"%\((?P<a>\w+)\)s|\$?\{(?P<b>\w+)\}|[$@&](?P<c>[^\W\d]\w*)")  # of Python, shells, other drivers
_NAME = re.compile(r"[^\W\d]\w*")
_TYPED = frozenset({"date", "time", "timestamp", "timestamptz", "interval"})  # `date '...'`
_OPENING = re.compile(r"(?:[eEnN]|[uU]&)?'")


def instead_of_bind(name: str, tokens: Sequence[Token]) -> str:
    """Say what to type so that a value goes in, where no `:name` in the statement stands for it.

    Args:
        name: The value's.
        tokens: The statement's.
    """
    found = next(_quoted(name, tokens), None) or _placeholder(name, tokens)
    return found or f"Leave the value out, or type `:{name}` where it belongs."


def instead_of_name(name: Any, tokens: Sequence[Token]) -> str | None:
    """Say what to type in place of the name of a value that no bind can have; None for one that a bind can have."""
    if isinstance(name, str) and _NAME.fullmatch(name):
        return None
    found = re.sub(r"\W", "_", str(name))
    proposed = found if _NAME.fullmatch(found) else f"p{found}"
    text = "".join(" " if token.kind in _IN_QUOTES else token.text for token in tokens)
    position = rf":{re.escape(str(name))}(?!\w)"
    meant = f":{name}" if re.search(position, text) else getattr(_POSITIONAL.search(text), "group", lambda: None)()
    place = f"in place of `{meant}`" if meant else "where it belongs"
    return f'The name of a value begins with a letter: type `:{proposed}` {place}, and `{{"{proposed}": ...}}`.'


def instead_of_placeholder(rest: str) -> str | None:
    """Say what to type in place of a placeholder at which the server met a syntax error.

    Args:
        rest: The statement from there on.
    """
    if found := _NAMED.match(rest):
        name = found["a"] or found["b"] or found["c"]
    elif found := _POSITIONAL.match(rest):
        name = "name"
    else:
        return None
    return f'Type `:{name}` in place of `{found[0]}`, and the value after the statement: `{{"{name}": ...}}`.'


def _quoted(name: str, tokens: Sequence[Token]) -> Iterator[str]:
    meant = re.compile(rf"(?<![:\w\\]):{re.escape(name)}\b|%\({re.escape(name)}\)s|\$?\{{{re.escape(name)}\}}")
    before = ""
    for position, token in enumerate(tokens):
        if token.kind in _IN_QUOTES and (found := meant.search(token.text)):
            after = "".join(each.word for each in tokens[position + 1 : position + 4])
            literal = meant.sub(f":{name}", token.text)
            yield _IN_QUOTES[token.kind](name, found[0]) + _instead_of(name, literal, token.kind, before, after)
        before = before if token.kind == "space" else token.word


def _instead_of(name: str, literal: str, kind: str, before: str, after: str) -> str:
    """Advise the name alone, with a type, a multiple of an interval, or a concatenation."""
    if kind not in ("string", "escapes"):
        return ""
    opening = _OPENING.match(literal)
    inside = literal[opening.end() : -1] if opening else ""
    if inside == f":{name}":
        return f"Type `:{name}::{before}`." if before in _TYPED else f"Type it without them: `:{name}`."
    is_interval = before == "interval" or after == "::interval"
    if is_interval and (unit := re.fullmatch(rf":{re.escape(name)}\s+(\w+)", inside)):
        return f"Type `:{name} * interval '1 {unit[1]}'`."
    pieces = re.split(rf"(?<![:\w\\])(:{re.escape(name)})\b", inside)
    quote = opening[0] if opening else "'"
    written = [piece if piece == f":{name}" else f"{quote}{piece}'" for piece in pieces if piece]
    return f"Type `{' || '.join(written)}`."


def _placeholder(name: str, tokens: Sequence[Token]) -> str | None:
    text = "".join(" " if token.kind in (*_IN_QUOTES, "bind") else token.text for token in tokens)
    named = next((found[0] for found in _NAMED.finditer(text) if name in found.groups()), None)
    found = _POSITIONAL.search(text)
    meant = named or (found and found[0])
    return f"Type `:{name}` in place of `{meant}`." if meant else None


_IN_QUOTES: dict[str, Callable[[str, str], str]] = {
    "string": lambda name, found: f"In quotes, {found} is text. ",
    "escapes": lambda name, found: f"In quotes, {found} is text. ",
    "name": lambda name, found: f"In double quotes, {found} is a name. Type it without them: `:{name}`.",
    "dollars": lambda name, found: f"Between dollar signs, {found} is text. Type `:{name}` outside of them.",
    "space": lambda name, found: f"In a comment, {found} is text. Type `:{name}` outside of it.",
}
