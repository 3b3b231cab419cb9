"""Write the command `asyncdb-nb` as it can be typed here, and no password with it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from shlex import quote
from shutil import which
from typing import Any


def as_typed() -> str:
    """How this command is called here: by its name, or by its path where the name alone would not find it."""
    called = Path(sys.argv[0])
    return quote(str(called)) if called.name == "asyncdb-nb" and which("asyncdb-nb") is None else "asyncdb-nb"


def command(*words: str, options: Mapping[str, Any] | None = None) -> str:
    """
    Write a whole command for a POSIX shell.

    Args:
        words: The subcommand, and what it is about.
        options: By name, with underscores or hyphens: text, True for a switch, several values for an option that is
            given again, pairs for one that takes `name=value`; None, False and nothing at all are left out.
    """
    written = [word for name, value in (options or {}).items() for word in _option(name.replace("_", "-"), value)]
    subcommand, *rest = map(quote, words)
    if any(word.startswith("-") for word in words):
        return " ".join([as_typed(), subcommand, *written, "--", *rest])
    return " ".join([as_typed(), subcommand, *rest, *written])


def shown(url: str) -> str:
    """The URL without its password."""
    scheme, _, rest = url.partition("://")
    credentials, _, place = rest.rpartition("@")
    user, colon, _ = credentials.partition(":")
    return f"{scheme}://{user}{colon}{'***' if colon else ''}{'@' if credentials else ''}{place}"


def without_password(url: str | None) -> str | None:
    """The URL as it may be written into a command; dots in the place of one that has a password."""
    return "..." if url is not None and (shown(url) != url or "pass" in url.lower()) else url


def _option(name: str, value: Any) -> Iterator[str]:
    if value is True:
        yield f"--{name}"
    elif isinstance(value, Mapping):
        yield from _option(name, [f"{key}={each}" for key, each in value.items()])
    elif isinstance(value, Iterable) and not isinstance(value, str):
        for each in value:
            yield from _option(name, each)
    elif value is not None and value is not False:
        value = str(value)
        yield f"--{name}={quote(value)}" if value.startswith("-") else f"--{name} {quote(value)}"
