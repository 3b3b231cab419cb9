"""
The live side of a view: what the browser asks, and the task that answers on the kernel's own loop.

The widget has no output of its own. Its JavaScript looks for the table that the notebook shows and stores, and puts
controls in its place: so what stays after a restart, on GitHub or in an exported page is the table, not an empty box.
One question is at work at a time; the next one cancels it, on the server too.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from sqlalchemy.exc import DBAPIError

from asyncdb_nb.explore.view_statement import CUT, PAGE, Page

_CANCELED = "57014"


def live(view: Any, mark: str) -> LiveView | None:
    """Put controls on a view that is about to be shown; None where nobody could use them.

    Args:
        view: The `View`.
        mark: What the id of its table ends with.
    """
    if not _somebody_looks():
        return None
    try:
        import anywidget
        import traitlets
    except ModuleNotFoundError:
        return None

    class ViewWidget(anywidget.AnyWidget):
        _esm = Path(__file__).with_name("view.js").read_text(encoding="utf-8")
        mark = traitlets.Unicode().tag(sync=True)

    return LiveView(view, ViewWidget(mark=mark))


def _somebody_looks() -> bool:
    """Say whether the cell was run by somebody who could answer: what runs notebooks unattended takes no input."""
    if "IPython" not in sys.modules:
        return False
    from IPython.core.getipython import get_ipython

    shell: Any = get_ipython()
    parent = shell.get_parent() if hasattr(shell, "get_parent") else {}
    return bool((parent or {}).get("content", {}).get("allow_stdin"))


class LiveView:
    """Answers the browser.

    Args:
        view: The `View` that is shown.
        widget: The widget that is asked.
    """

    def __init__(self, view: Any, widget: Any) -> None:
        self._view = view
        self._widget = widget
        self._task: asyncio.Task[None] | None = None
        widget.on_msg(self._heard)

    def _heard(self, widget: Any, content: Any, buffers: Any) -> None:
        before = self._task
        if before is not None:  # its loop may be that of another subshell
            before.get_loop().call_soon_threadsafe(before.cancel)
        self._task = asyncio.get_running_loop().create_task(self._answer(content, before))

    async def _answer(self, content: dict[str, Any], before: asyncio.Task[None] | None) -> None:
        number = content.get("number")
        self._send(number, heard=True)
        if before is not None and before.get_loop() is asyncio.get_running_loop():
            await asyncio.wait([before])
        try:
            self._send(number, **await self._asked(content))
        except Exception as error:
            self._send(number, error=_in_words(error))

    async def _asked(self, content: dict[str, Any]) -> dict[str, Any]:
        view = self._view
        match content.get("kind"):
            case "hello":
                return {"title": view.title, "columns": [[each.name, each.type] for each in view._shown],
                        "size": PAGE, **_sent(view._first)}  # fmt: skip
            case "stop":
                return {"stopped": True}
            case "count":
                return {"total": await view.count(_filters(content))}
        sort, descending = content.get("sort") or (None, False)
        return _sent(
            await view.page(sort=sort, descending=descending, filters=_filters(content), first=content["first"])
        )

    def _send(self, number: Any, **said: Any) -> None:
        self._widget.send({"number": number, **said})


def _filters(content: dict[str, Any]) -> dict[int, Any]:
    return {int(position): wanted for position, wanted in content.get("filters", {}).items()}


def _sent(page: Page) -> dict[str, Any]:
    """Make what is sent of a page; a text that was cut is alone in a list."""
    rows = [[[value[:CUT]] if value is not None and len(value) > CUT else value for value in row] for row in page.rows]
    return {"rows": rows, "first": page.asked.first, "more": page.more}


def _in_words(error: Exception) -> str:
    """Say in a line what the server, or the way to it, answered."""
    cause = getattr(error, "orig", error)
    if isinstance(error, DBAPIError) and getattr(cause, "sqlstate", None) == _CANCELED:
        return "It took longer than the view may take. Filter more, or type: await db.view(..., timeout=300)"
    cause = cause.__cause__ or cause if isinstance(error, DBAPIError) else error
    line = " ".join(str(cause).split())
    return f"{type(cause).__name__}: {line}" if line else type(cause).__name__
