"""
Close every connection when a kernel is told to end by SIGTERM, which otherwise ends a process without a word.

SIGTERM comes from supervisors, and from Jupyter when a kernel does not shut down within 2.5 seconds (in asyncio debug
mode it never does). Shutdown, restart and `exit()` need nothing of that: the exit hook of `aio/loop_cleanup.py` serves
them. It ends the cell that runs, too, whose reply the kernel then logs as an error: its sockets are closed already, and
nobody waits for it. That is kept out of the log.

A cell that runs in a subshell ends with it, and must not fail then: ipykernel would abort what is queued behind it, for
which it needs a lock of the very thread that waits for the end of the subshell.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from types import FrameType
from typing import TYPE_CHECKING, Any

from asyncdb_nb.aio import loop_cleanup
from asyncdb_nb.aio._asyncio import running_loop

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


class SigtermHandler:
    """SIGTERM, in one process. A handler that is there already stays."""

    def __init__(self, shell: InteractiveShell) -> None:
        self._events: Any = shell.events
        self._kernel: Any = getattr(shell, "kernel", None)
        self._loop: asyncio.AbstractEventLoop | None = None  # the kernel's, which has not begun to run at its start-up
        self._handler = self._on_sigterm

    def install(self) -> None:
        """Handle SIGTERM, in a kernel, and keep its log clean."""
        if self._kernel is None:
            return
        _logger(self._kernel).addFilter(_is_of_interest)
        self._events.register("post_run_cell", _forgive)
        self._events.register("pre_run_cell", self._note_loop)
        if _in_main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            self._note_loop()
            signal.signal(signal.SIGTERM, self._handler)

    def uninstall(self) -> None:
        """Let SIGTERM end the process at once again, and the kernel log what it likes."""
        if self._kernel is not None:
            _logger(self._kernel).removeFilter(_is_of_interest)
            self._events.unregister("post_run_cell", _forgive)
            self._events.unregister("pre_run_cell", self._note_loop)
        if _in_main_thread() and signal.getsignal(signal.SIGTERM) is self._handler:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _note_loop(self, info: Any = None) -> None:
        if _in_main_thread():
            self._loop = running_loop() or self._loop

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second one ends the process at once
        if self._loop is not None and self._loop.is_running():
            self._loop.call_soon_threadsafe(self._close, self._loop)
            # a cell may hold the loop: in `run()`, whose own loop is closed here, or in something that never ends
            threading.Thread(target=loop_cleanup.finish_now, args=[self._loop], daemon=True).start()
            last_resort = threading.Timer(loop_cleanup.EXIT_SECONDS, os._exit, [128 + number])
            last_resort.daemon = True
            last_resort.start()
        else:  # a shutdown waits for a subshell that is held by `run()`, say
            loop_cleanup.finish_now()
            _die()

    def _close(self, loop: asyncio.AbstractEventLoop) -> None:
        self._closing = loop.create_task(loop_cleanup.finish_all())
        self._closing.add_done_callback(_die)


def _die(*_: Any) -> None:
    """End by the signal itself, so that the parent sees what ended this process."""
    os.kill(os.getpid(), signal.SIGTERM)


def _logger(kernel: Any) -> logging.Logger:
    return getattr(kernel.log, "logger", kernel.log)  # type: ignore[no-any-return]  # it may be an adapter


def _is_of_interest(record: logging.LogRecord) -> bool:
    """Tell whether a kernel's log entry is more than a reply that came after its sockets were closed; a filter."""
    from zmq import ENOTSOCK, ZMQError

    error = record.exc_info and record.exc_info[1]
    return not (isinstance(error, ZMQError) and error.errno == ENOTSOCK)


def _forgive(result: Any) -> None:
    """Let the cell of a subshell that ends with its kernel, or is being closed, count as one that did not fail."""
    loop = running_loop()
    ends = loop_cleanup.exiting() or (loop is not None and loop_cleanup.closing(loop))
    if result is not None and ends and not _in_main_thread():
        result.error_in_exec = None


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
