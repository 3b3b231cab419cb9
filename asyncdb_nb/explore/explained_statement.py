"""What a statement is, as far as EXPLAIN is concerned: whether it says EXPLAIN itself, and whether it writes."""

from __future__ import annotations

import re
from typing import Any

from asyncdb_nb.dataframes.sql.statement import text_of
from asyncdb_nb.dataframes.sql.tokenizer import Token, tokens_of

_READS = frozenset({"select", "values", "table", "with"})
_WRITES = frozenset({"create", "delete", "insert", "merge", "refresh", "update"})
_KNOWN = frozenset(
    {"analyze", "verbose", "buffers", "costs", "timing", "summary", "settings", "wal", "memory", "serialize"}
)
_OFF = frozenset({"off", "false", "0", "none"})
_OPTION = re.compile(r"(\w+)(?:\s+('?)(\w+)\2)?\s*\Z")


def is_explain(statement: str) -> bool:
    """Say whether a text is an EXPLAIN that a `Plan` can stand for: not one that asks for another format."""
    return without_explain(statement)[0] != statement


def without_explain(statement: str) -> tuple[str, bool]:
    """Take EXPLAIN and its options off a statement.

    Returns:
        The statement that is explained, and whether ANALYZE was among the options. A text that is no EXPLAIN, or one
        with an option that a `Plan` has no place for, comes back as it is.
    """
    tokens = tokens_of(statement)
    at = _after_space(tokens, 0)
    if at == len(tokens) or tokens[at].word != "explain":
        return statement, False
    at = _after_space(tokens, at + 1)
    options: dict[str, str] = {}
    if at < len(tokens) and tokens[at].text == "(" and (found := _options(tokens, at)):
        options, at = found
    while at < len(tokens) and tokens[at].word in ("analyze", "analyse", "verbose"):
        options[tokens[at].word.replace("analyse", "analyze")] = ""
        at = _after_space(tokens, at + 1)
    plain = options.pop("format", "text") in ("text", "json") and options.keys() <= _KNOWN
    if not plain or at == len(tokens):
        return statement, False
    return "".join(token.text for token in tokens[at:]), options.get("analyze", "off") not in _OFF


def changes_something(statement: Any) -> bool:
    """Say whether a statement, by its words, does more than read; the server finds the rest.

    EXPLAIN ANALYZE of CREATE TABLE AS and SELECT INTO makes a table, also in a read-only transaction.
    """
    sql = text_of(statement)
    if sql is None:
        return bool(getattr(statement, "is_dml", False) or not getattr(statement, "is_select", True))
    words = [token.word for token in tokens_of(sql) if token.word and token.word != "("]
    return bool(words) and (words[0] in _WRITES or "into" in words)


def _options(tokens: tuple[Token, ...], at: int) -> tuple[dict[str, str], int] | None:
    """Read `(analyze, format json)`; None where it is the beginning of a query in parentheses."""
    end = next((place for place in range(at, len(tokens)) if tokens[place].text == ")"), None)
    if end is None:
        return None
    inside = "".join(token.text for token in tokens[at + 1 : end]).lower().split(",")
    found = [_OPTION.match(option.strip()) for option in inside]
    if not all(found) or any(match[1] in _READS for match in found if match):
        return None
    return {match[1]: match[3] or "" for match in found if match}, _after_space(tokens, end + 1)


def _after_space(tokens: tuple[Token, ...], at: int) -> int:
    while at < len(tokens) and tokens[at].kind == "space":
        at += 1
    return at
