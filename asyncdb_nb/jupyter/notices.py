"""
Show what the server says (NOTICE, WARNING) under the cell that asked.

It comes on the connection, whose callbacks belong to the cell that opened it; ipykernel would show it there. So it is
printed in the context of the cell that runs, or ran last.

What `if exists` and `if not exists` found is left to the log: a notebook that runs twice would show it only once.
"""

from __future__ import annotations

from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any

from asyncdb_nb.engine.notices import Notice, show_by

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

MOST = 50  # that are shown for a cell: `raise notice` may stand in a loop


class Notices:
    """How notices are shown, on one shell."""

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell: Any = shell
        self._cell: Context = copy_context()
        self._count = 0

    def install(self) -> None:
        """Show them."""
        self._begin()
        self._shell.events.register("pre_run_cell", self._begin)
        self._shell.events.register("post_run_cell", self._end)
        self._stop = show_by(self._show)

    def uninstall(self) -> None:
        """Leave them to the log again."""
        self._stop()
        self._shell.events.unregister("pre_run_cell", self._begin)
        self._shell.events.unregister("post_run_cell", self._end)

    def _begin(self, info: Any = None) -> None:
        self._cell, self._count = copy_context(), 0

    def _end(self, result: Any) -> None:
        if self._count > MOST:
            print(f"… and {self._count - MOST:,} more messages of the server.")  # noqa: T201

    def _show(self, notice: Notice) -> bool:
        if notice.says_skipping:
            return False
        self._count += 1
        if self._count <= MOST:
            self._cell.copy().run(print, notice)
        return True
