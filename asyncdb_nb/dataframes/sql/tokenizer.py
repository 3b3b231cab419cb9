r"""
Cut SQL text into tokens as PostgreSQL does: what is a bind, what a parameter, and which kind of statement is it?

Inside a literal, a quoted name or a comment `:name` and `$1` are text, and so is `;`. The rules are those of
PostgreSQL's scanner (src/backend/parser/scan.l); between them, those of SQLAlchemy's `text()` say what `:name` and `\:`
are. What this reading leaves in doubt is a token of its own, the last one, never a guess.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

_LETTER = r"[A-Za-z_\x80-\U0010ffff]"
_GAP = r"[ \t\f\v]* (?: --[^\n\r]* )? [\n\r] (?: [ \t\n\r\f\v] | --[^\n\r]* [\n\r] )*"  # a string goes on behind it
_TOKEN = re.compile(
    rf"""
      (?P<space> [ \t\n\r\f\v]+ | --[^\n\r]* )
    | (?P<comment> /\* )
    | (?P<escapes> [eE]'(?: [^'\\] | \\. | '' )*+' (?: {_GAP} '(?: [^'\\] | \\. | '' )*+' )* )
    | (?P<string> (?: [uU]& | [bBxXnN] )?'(?: [^'] | '' )*+' )
    | (?P<name> (?: [uU]& )?"(?: [^"] | "" )*+" )
    | (?P<dollars> \$(?P<tag> (?: {_LETTER} (?: {_LETTER} | [0-9] )* )? )\$ .*? \$(?P=tag)\$ )
    | (?P<parameter> \$[0-9]+ )
    | (?P<word> {_LETTER} (?: {_LETTER} | [0-9$] )* )
    | (?P<bind> (?<! [:\w\\] ):[^\W\d]\w* )
    | (?P<colon> \\: )
    | (?P<other> [^'"$] )
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_STARTS = frozenset({"select", "values", "table", "with"})
_CHANGES = frozenset({"insert", "update", "delete", "merge"})
# What stands before or after a parameter that is part of an expression, and not a column without a name of its own.
_OPERATORS = frozenset("+-*/<>=~!@#%^&|?")
_WORDS_BEFORE = frozenset({"limit", "offset", "like", "ilike", "between", "and", "or", "then", "else", "when"})
_AFTER = _OPERATORS | {"as"}
_BEFORE_PARENTHESIS = frozenset({"any", "in", "all", "some"})


class Token(NamedTuple):
    """A piece of SQL: `kind` is a group of `_TOKEN`; the texts of all tokens together are the whole."""

    kind: str
    text: str

    @property
    def word(self) -> str:
        """A keyword or operator in lower case; nothing for literals and quoted names."""
        return self.text.lower() if self.kind in ("word", "other") else ""


@lru_cache(64)
def tokens_of(text: str) -> tuple[Token, ...]:
    """Cut any text into tokens; the last one is of kind `doubt` where it is not clear how the text goes on."""
    return tuple(_tokens(text))


def bind_names(tokens: Iterable[Token]) -> list[str]:
    """Name the binds of a text, each once, in their order."""
    return list(dict.fromkeys(token.text[1:] for token in tokens if token.kind == "bind"))


@lru_cache(64)
def query_tokens(text: str) -> list[Token] | None:
    """Cut a query into tokens, without the semicolon at its end.

    Returns:
        The tokens of a SELECT, VALUES or TABLE without a CTE that changes data; None for any other, or in doubt.
    """
    tokens = tokens_of(text)
    if not tokens or tokens[-1].kind == "doubt":
        return None
    words = [token.word for token in tokens if token.word]
    start = next((word for word in words if word != "("), "")
    if start not in _STARTS or ("with" in words and not _CHANGES.isdisjoint(words)):
        return None
    return _without_semicolon(tokens)


def inlined(tokens: Sequence[Token], literals: Sequence[str]) -> str | None:
    """Put literals in the place of parameters.

    Args:
        tokens: A query's, as `query_tokens` gives them.
        literals: One for each parameter: `$1` is the first.

    Returns:
        The query's text; None where a literal would change more than a parameter does: a column that is a bare
        parameter has no name, and a literal has one.
    """
    positions = [position for position, token in enumerate(tokens) if token.kind == "parameter"]
    numbers = [int(tokens[position].text[1:]) for position in positions]
    if sorted(set(numbers)) != list(range(1, len(literals) + 1)):
        return None
    if not all(_within_expression(tokens, position) for position in positions):
        return None
    texts = [token.text for token in tokens]
    for position, number in zip(positions, numbers, strict=True):
        texts[position] = literals[number - 1]
    return "".join(texts)


def _tokens(text: str) -> Iterator[Token]:
    position = 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        kind = found.lastgroup if found else "doubt"
        kind = "dollars" if kind == "tag" else kind
        end = found.end() if found else position
        if kind == "comment":
            end = _comment_end(text, position)
            kind = "space" if end > 0 else "doubt"
        if kind in ("doubt", None):
            yield Token("doubt", text[position:])
            return
        yield Token(kind, text[position:end])
        position = end


def _comment_end(text: str, start: int) -> int:
    """Find where a comment ends, with the comments inside it; 0 when it does not."""
    depth = 0
    for edge in _COMMENT_EDGE.finditer(text, start):
        depth += 1 if edge[0] == "/*" else -1
        if depth == 0:
            return edge.end()
    return 0


def _without_semicolon(tokens: Sequence[Token]) -> list[Token] | None:
    kept = [token for token in tokens if token.text != ";"]
    first = next((position for position, token in enumerate(tokens) if token.text == ";"), len(tokens))
    return kept if all(token.kind == "space" or token.text == ";" for token in tokens[first:]) else None


def _within_expression(tokens: Sequence[Token], position: int) -> bool:
    before = [token for token in reversed(tokens[:position]) if token.kind != "space"][:2]
    after = [token for token in tokens[position + 1 :] if token.kind != "space"][:2]
    if [token.text for token in after] == [":", ":"] or (after and after[0].word in _AFTER):
        return True
    if not before:
        return False
    if before[0].text == "(":
        return len(before) > 1 and before[1].word in _BEFORE_PARENTHESIS
    return before[0].word in _OPERATORS or before[0].word in _WORDS_BEFORE
