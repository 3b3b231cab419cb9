"""
Say what to type when the `await` was forgotten.

The last expression of a cell is shown; a coroutine shows itself as `<coroutine object …>`, which tells a learner
nothing, and warns much later, when it is thrown away. Here it is shown with the remedy. It stays usable (`await _` runs
it), and if nobody ever does, it is closed at exit, so that nothing warns.
"""

from __future__ import annotations

import atexit
import inspect
import weakref
from types import CoroutineType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


class CoroutineDisplay:
    """How coroutines are shown, on one shell."""

    def __init__(self, shell: InteractiveShell) -> None:
        self._formatter: Any = shell.display_formatter.formatters["text/plain"]  # type: ignore[union-attr]
        self._shown: weakref.WeakSet[Any] = weakref.WeakSet()

    def install(self) -> None:
        """Show coroutines with the remedy."""
        self._formatter.for_type(CoroutineType, self._show)
        atexit.register(self._close)

    def uninstall(self) -> None:
        """Show them as Python does."""
        self._formatter.pop(CoroutineType, None)

    def _show(self, coroutine: Any, printer: Any, cycle: bool) -> None:
        if inspect.getcoroutinestate(coroutine) != inspect.CORO_CREATED:
            printer.text(repr(coroutine))
            return
        self._shown.add(coroutine)
        printer.text(f"Nothing has run yet. Type: await {coroutine.__name__}(...)")

    def _close(self) -> None:
        for coroutine in self._shown:
            if inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
                coroutine.close()
