"""
Close every connection when a kernel is told to end by SIGTERM, which otherwise ends a process without a word.

SIGTERM comes from supervisors, and from Jupyter when a kernel does not shut down within 2.5 seconds (in asyncio debug
mode it never does). Shutdown, restart and `exit()` need nothing here: the exit hook of `loops.py` serves them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from types import FrameType
from typing import TYPE_CHECKING, Any

from asyncdb_nb import loops

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


class Ending:
    """SIGTERM, in one process. A handler that is there already stays."""

    def __init__(self, shell: InteractiveShell) -> None:
        self._in_kernel = hasattr(shell, "kernel")
        self._handler = self._on_sigterm

    def install(self) -> None:
        """Handle SIGTERM, in a kernel."""
        if self._in_kernel and _in_main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            self._loop = asyncio.get_running_loop()
            signal.signal(signal.SIGTERM, self._handler)

    def uninstall(self) -> None:
        """Let SIGTERM end the process at once again."""
        if _in_main_thread() and signal.getsignal(signal.SIGTERM) is self._handler:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second one ends the process at once
        if self._loop.is_running():
            self._loop.call_soon_threadsafe(self._close)
            last_resort = threading.Timer(loops.EXIT_SECONDS, os._exit, [128 + number])  # a cell may hold the loop
            last_resort.daemon = True
            last_resort.start()
        else:
            _die()

    def _close(self) -> None:
        self._closing = self._loop.create_task(loops.finish_all())
        self._closing.add_done_callback(_die)


def _die(*_: Any) -> None:
    """End by the signal itself, so that the parent sees what ended this process."""
    os.kill(os.getpid(), signal.SIGTERM)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
