"""Refuse an option that a reader or writer does not have."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from asyncdb_nb.errors import UnknownOptionError


def check_options(reader: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Refuse, at the call, an option that a reader does not have; most often it is a value for a bind.

    Raises:
        UnknownOptionError: There is no such option.
    """
    known = _options_of(reader) if options else ()
    for name in options:
        if name not in known or name == "exclusive":
            raise UnknownOptionError(reader.__name__, name, [each for each in known if each != "exclusive"])


@cache
def _options_of(reader: Callable[..., Any]) -> list[str]:
    return [name for name, each in inspect.signature(reader).parameters.items() if each.kind is each.KEYWORD_ONLY]
