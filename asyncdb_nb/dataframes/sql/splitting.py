"""
Cut a script into its statements.

A semicolon ends a statement where PostgreSQL's own psql ends it: not within a literal, a comment, `$$`, parentheses
(`create rule … do (…; …)`) or the body of a function that is written `begin atomic … end`. The rules are those of psql
(src/fe_utils/psqlscan.l).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from asyncdb_nb.dataframes.sql.tokenizer import Token, tokens_of

_HEADS = (  # the words that begin a statement which may have such a body
    ("create", "function"),
    ("create", "procedure"),
    ("create", "or", "replace", "function"),
    ("create", "or", "replace", "procedure"),
)


class ScriptStatement(str):
    """One statement of a script, without its semicolon.

    Attributes:
        line: The line of the script that it begins on, from 1.
    """

    line: int

    def __new__(cls, text: str, line: int) -> ScriptStatement:
        """Make one of its text and its line."""
        made = super().__new__(cls, text)
        made.line = line
        return made


def statements_of(script: str) -> list[ScriptStatement]:
    """Cut a script into its statements; what is only space and comments is none."""
    found, line = [], 1
    for part in _parts(tokens_of(script)):
        lead = next((number for number, token in enumerate(part) if token.kind != "space"), len(part))
        before, text = _text(part[:lead]), _text(part[lead:]).rstrip()
        if text:
            found.append(ScriptStatement(text, line + before.count("\n")))
        line += _text(part).count("\n")
    return found


def first_words(statement: str, count: int = 3) -> list[str]:
    """Give the words that a statement begins with, in lower case."""
    words: list[str] = []
    for token in tokens_of(statement):
        if token.kind == "space":
            continue
        if token.kind != "word" or len(words) == count:
            break
        words.append(token.word)
    return words


def _parts(tokens: Sequence[Token]) -> Iterator[list[Token]]:
    part: list[Token] = []
    words: list[str] = []
    parentheses = bodies = 0
    for token in tokens:
        if token.text == ";" and not (parentheses or bodies):
            yield part
            part, words = [], []
            continue
        part.append(token)
        if token.text in "()" and token.kind == "other":
            parentheses = max(parentheses + (1 if token.text == "(" else -1), 0)
        elif token.kind == "word" and not parentheses:
            words = [*words, token.word] if len(words) < 4 else words
            bodies = max(bodies + _nesting(token.word, words, bodies), 0)
    yield part


def _nesting(word: str, words: Sequence[str], bodies: int) -> int:
    """Say by how much a word changes how deep in a function's body the statement is."""
    if not any(tuple(words[: len(head)]) == head for head in _HEADS):
        return 0
    if word == "begin" or (word == "case" and bodies):
        return 1
    return -1 if word == "end" else 0


def _text(tokens: Sequence[Token]) -> str:
    return "".join(token.text for token in tokens)
