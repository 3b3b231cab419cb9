"""Refuse an option that a reader or writer does not have."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache, wraps
from typing import Any, ParamSpec, TypeVar

from asyncdb_nb.errors import UnknownOptionError

P = ParamSpec("P")
T = TypeVar("T")

_SHOWN = {
    "statement": '"..."',
    "source": '"..."',
}  # how a call is written, as far as it is not by the parameters' names


def check_options(reader: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Refuse, at the call, an option that a reader does not have; most often it is a value for a bind.

    Args:
        reader: One of a session's, such as `frame`, which a method of `Database` hands its options to.
        options: These.

    Raises:
        UnknownOptionError: There is no such option.
    """
    known = _options_of(reader) if options else ()
    for name in options:
        if name not in known or name == "exclusive":
            raise _unknown(reader, name)


def with_known_options(method: Callable[P, T]) -> Callable[P, T]:
    """Have a method of `Database` refuse, at the call, an option that it does not have.

    Python says of `db.explain("... :id", id=3)` only that there is no such argument, not where the value goes.
    """
    parameters = inspect.signature(method).parameters

    @wraps(method)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        for name in kwargs:
            if name not in parameters:
                raise _unknown(method, name)
        return method(*args, **kwargs)

    return checked


def _unknown(reader: Callable[..., Any], name: str) -> UnknownOptionError:
    parameters = [each for each in inspect.signature(reader).parameters if each not in ("self", "session")]
    before = parameters[: parameters.index("params")] if "params" in parameters else None
    shown = None if before is None else [_SHOWN.get(each, each) for each in before]
    return UnknownOptionError(
        reader.__name__, name, [each for each in _options_of(reader) if each != "exclusive"], shown
    )


@cache
def _options_of(reader: Callable[..., Any]) -> list[str]:
    return [name for name, each in inspect.signature(reader).parameters.items() if each.kind is each.KEYWORD_ONLY]
