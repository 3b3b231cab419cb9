"""
Show some errors of a cell in a way of our own.

IPython asks one handler (`set_custom_exc`), and only about the kinds of errors that it was given for; more than one
part of this package has something to show. Whoever has set a handler before keeps it: then nothing is shown here. After
the cell the error is as it was, so `%tb` and `%debug` have all of it.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from asyncdb_nb.jupyter._ipython import show_as, show_group

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

Kinds = tuple[type[BaseException], ...]
Lines = Callable[[BaseException, TracebackType | None], list[str] | None]
"""Says how an error is to be shown; None is as IPython does."""

_ways: dict[Kinds, Lines] = {}


def show(shell: InteractiveShell, kinds: Kinds, lines: Lines) -> None:
    """Show errors of some kinds as `lines` says, unless somebody else shows errors in their own way."""
    if _is_ours(shell):
        _ways[kinds] = lines
        _set(shell)


def show_no_more(shell: InteractiveShell, kinds: Kinds) -> None:
    """Leave errors of these kinds to IPython again."""
    ours = _is_ours(shell)
    if _ways.pop(kinds, None) is not None and ours:
        _set(shell)


def _is_ours(shell: InteractiveShell) -> bool:
    """Say whether the handler is ours, or nobody's."""
    return bool(shell.custom_exceptions == _all_kinds())


def _all_kinds() -> Kinds:
    return tuple(kind for kinds in _ways for kind in kinds)


def _set(shell: Any) -> None:
    shell.set_custom_exc(_all_kinds(), _handler if _ways else None)


def _handler(
    shell: Any, kind: type[BaseException], error: BaseException, traceback: TracebackType, tb_offset: int | None = None
) -> None:
    found = next((lines for kinds, lines in _ways.items() if isinstance(error, kinds)), None)
    shown = found(error, traceback) if found is not None else None
    if shown is not None:
        _show_until_the_end_of_the_cell(shell, error, shown)
    if shown is not None and isinstance(error, BaseExceptionGroup):  # which IPython would only print, to stderr
        show_group(shell, error, traceback, shown)
    else:
        shell.showtraceback((kind, error, traceback))


def _show_until_the_end_of_the_cell(shell: Any, error: Any, shown: list[str]) -> None:
    """Let an error say how it is shown, for what is displayed and for IPython's history, which is written after it."""
    as_it_was = show_as(error, shown)

    def forget(result: Any) -> None:
        shell.events.unregister("post_run_cell", forget)
        as_it_was()

    shell.events.register("post_run_cell", forget)
