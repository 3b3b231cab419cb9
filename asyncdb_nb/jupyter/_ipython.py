"""
The one place that knows what IPython and ipykernel have no public name for, and what only some versions have.

Where a later version has a name no more, what relies on it falls back to what IPython does by itself;
`tests/test_other_seams.py` fails then, and names it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import CodeType, TracebackType
from typing import TYPE_CHECKING, Any

from asyncdb_nb.aio._asyncio import code_of

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


def code_of_cells(shell: InteractiveShell) -> CodeType | None:
    """Return what is on the stack while a cell runs: the code of `run_code`. Without it, no calculation is stopped."""
    return code_of(getattr(shell.run_code, "__func__", None))


def show_as(error: BaseException, lines: list[str]) -> Callable[[], None]:
    """Have IPython show an error as these lines, until what is returned is called: `_render_traceback_`, documented."""
    attributes = error.__dict__
    attributes["_render_traceback_"] = lambda: lines
    return lambda: attributes.pop("_render_traceback_", None)


def show_group(shell: Any, group: BaseExceptionGroup[Any], traceback: TracebackType | None, lines: list[str]) -> None:
    """Show a group of errors as these lines: `_showtraceback`. `showtraceback` prints groups, and ignores `show_as`."""
    if not hasattr(shell, "_showtraceback"):
        shell.showtraceback((type(group), group, traceback))
        return
    sys.last_type, sys.last_value, sys.last_traceback = type(group), group, traceback
    sys.last_exc = group  # type: ignore[attr-defined]  # from Python 3.12 on
    shell._showtraceback(type(group), group, lines)


def add_matcher(shell: Any, complete: Callable[[Any], dict[str, Any]]) -> Callable[[], None]:
    """Have the completer ask a function, until what is returned is called: public, but IPython 7 asks nobody."""
    try:
        from IPython.core.completer import context_matcher
    except ImportError:
        return lambda: None

    as_matcher: Any = context_matcher(identifier="asyncdb_nb")
    matcher = as_matcher(lambda context: complete(context))  # a function, on which the decorator puts attributes
    shell.Completer.custom_matchers.append(matcher)
    return lambda: shell.Completer.custom_matchers.remove(matcher)
