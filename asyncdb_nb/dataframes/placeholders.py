"""
Where a value was meant to go in, and what to type there: `:name`, outside of quotes.

People who know other drivers, or other languages, write `%(name)s`, `{name}`, `$1` or `?`, and put a value's name into
a literal: `'%:word%'`, `interval ':days days'`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from asyncdb_nb.dataframes.sql_text import Token

_POSITIONAL = re.compile(r"\$\d+|%s|\?(?=\s*(?:$|[),;]|(?:and|or|order|group|limit)\b))", re.IGNORECASE)
_NAMED = re.compile(r"%\((?P<a>\w+)\)s|\$?\{(?P<b>\w+)\}|[$@&](?P<c>[^\W\d]\w*)")  # of Python, shells, other drivers
_OPENING = re.compile(r"(?:[eEnN]|[uU]&)?'")


def instead_of_bind(name: str, tokens: Sequence[Token]) -> str:
    """Say what to type so that a value goes in, where no `:name` in the statement stands for it.

    Args:
        name: The value's.
        tokens: The statement's.
    """
    found = next(_quoted(name, tokens), None) or _placeholder(name, tokens)
    return found or f"Leave the value out, or type `:{name}` where it belongs."


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
    bind = re.compile(rf"(?<![:\w\\]):{re.escape(name)}\b")
    before = ""
    for token in tokens:
        if bind.search(token.text) and token.kind in _IN_QUOTES:
            yield _IN_QUOTES[token.kind](name, token.text, before)
        before = before if token.kind == "space" else token.word


def _in_literal(name: str, literal: str, before: str) -> str:
    """Advise the name alone, a multiple of an interval, or a concatenation."""
    opening = _OPENING.match(literal)
    inside = literal[opening.end() : -1] if opening else ""
    said = f"In quotes, :{name} is text. "
    if inside == f":{name}":
        return f"{said}Type it without them: `:{name}`."
    if before == "interval" and (unit := re.fullmatch(rf":{name}\s+(\w+)", inside)):
        return f"{said}Type `:{name} * interval '1 {unit[1]}'`."
    pieces = re.split(rf"(?<![:\w\\])(:{re.escape(name)})\b", inside)
    quote = opening[0] if opening else "'"
    written = [piece if piece == f":{name}" else f"{quote}{piece}'" for piece in pieces if piece]
    return f"{said}Type `{' || '.join(written)}`."


def _placeholder(name: str, tokens: Sequence[Token]) -> str | None:
    text = "".join(" " if token.kind in (*_IN_QUOTES, "bind") else token.text for token in tokens)
    named = next((found[0] for found in _NAMED.finditer(text) if name in found.groups()), None)
    found = _POSITIONAL.search(text)
    meant = named or (found and found[0])
    return f"Type `:{name}` in place of `{meant}`." if meant else None


_IN_QUOTES: dict[str, Callable[[str, str, str], str]] = {
    "string": _in_literal,
    "escapes": _in_literal,
    "name": lambda name, *_: f"In double quotes, :{name} is a name. Type it without them: `:{name}`.",
    "dollars": lambda name, *_: f"Between dollar signs, :{name} is text. Type it outside of them.",
    "space": lambda name, *_: f"In a comment, :{name} is text. Type it outside of it.",
}
