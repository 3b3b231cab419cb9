"""Read the options of `%asql` and `%%asql`: `%%asql --db shop --write found =`, or `%%asql found = --write`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from asyncdb_nb.errors import MagicError

_OPTION = re.compile(r"\s*--(?P<name>\w+)(?:\s+|\s*=\s*|$)")
_VALUE = re.compile(r"(?P<value>[^\s=]+)(?:\s+|$)")

FLAG: Sequence[str] = ()
OPTIONS: Mapping[str, Sequence[str] | None] = {
    "db": None,
    "write": FLAG,
    "explain": FLAG,
    "analyze": FLAG,
    "numeric": ("decimal", "float"),
    "dates": ("date", "timestamp"),
}
"""The options: None takes any word, `FLAG` none, and a sequence one of its words."""


def options_of(line: str, before: Mapping[str, str] | None = None) -> tuple[dict[str, str], str]:
    """Take the options off a line.

    Args:
        line: It begins with options, or with something else.
        before: Options that stood before it.

    Returns:
        The options with their values, "" for a flag, those before among them; and the rest of the line.

    Raises:
        MagicError: There is no such option, its value is missing or none that it takes, or two exclude each other.
    """
    found = dict(before or {})
    while option := _OPTION.match(line):
        name, line = option["name"], line[option.end() :]
        if name not in OPTIONS:
            raise MagicError(f"There is no option --{name}", f"one of {', '.join(f'--{each}' for each in OPTIONS)}")
        words = OPTIONS[name]
        found[name] = ""
        if words is None or words:
            value = _VALUE.match(line)
            if value is None or (words and value["value"] not in words):
                given = f"`--{name} {value['value'] if value else ''}`".replace(" `", "`")
                raise MagicError(f"{given} says nothing", _example(name, words))
            found[name], line = value["value"], line[value.end() :]
    if "write" in found and (plan := {"explain", "analyze"} & found.keys()):
        raise MagicError(f"--write and --{min(plan)} cannot be given at once", "one of them")
    return found, line


def _example(name: str, words: Sequence[str] | None) -> str:
    return " or ".join(f"`--{name} {word}`" for word in words or ("NAME",))
