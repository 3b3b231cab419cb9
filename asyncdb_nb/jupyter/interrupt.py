"""
Let Stop (Ctrl-C, SIGINT) end a cell that awaits, at once, with one line instead of forty frames.

A kernel cancels the cell's task on SIGINT, but from inside a signal handler, which does not wake the event loop:
nothing happens until the loop wakes for another reason, most often the end of the very query that was to be stopped
(ipykernel#881). In the IPython terminal, SIGINT breaks out of the loop and leaves the task and its query behind. So
while a cell awaits, SIGINT comes here: the loop is woken, the task is cancelled, and cancellation does the rest.

No cancellation reaches a cell that is in a long calculation, in the body of its `async for`, say. After half a second
KeyboardInterrupt is raised there, but not in a library that speaks to the server, nor in another task; a second Stop
raises it at once. A second Stop also cancels again, for a cell that swallowed the first. Neither is raised while a
library is imported: an import that is torn apart can break it (numpy, say), and even Python's import lock, for good.

Synchronous cells are left to Python, which serves them well; only what `run()` waited for is told in one line, too.
"""

from __future__ import annotations

import _thread
import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

from asyncdb_nb.aio._asyncio import running_loop
from asyncdb_nb.aio.loop_cleanup import exiting
from asyncdb_nb.aio.portal import run
from asyncdb_nb.jupyter import custom_exceptions, stack
from asyncdb_nb.jupyter._ipython import code_of_cells
from asyncdb_nb.jupyter.open_sessions import losses

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

TICK_SECONDS = 0.2  # how often the loop is woken where a signal cannot do it
ESCALATE_SECONDS = 0.5  # how long a stopped cell may keep the loop busy before KeyboardInterrupt ends what it does

_OURS = (asyncio.CancelledError, KeyboardInterrupt)  # what Stop raises in a cell

wakes_by_tick = os.name == "nt"
"""On Windows a signal does not interrupt a waiting loop, so the loop is woken from time to time while a cell awaits."""


@dataclass
class AwaitingCell:
    """A cell that is running and awaits."""

    loop: asyncio.AbstractEventLoop
    task: asyncio.Task[Any] | None
    started: float
    previous: Callable[[int, FrameType | None], Any]
    info: Any = None  # IPython's ExecutionInfo: a cell may run others, by `get_ipython().run_cell`, say
    stopped: float | None = None
    loop_has_iterated: bool = False
    escalates: bool = False
    over: bool = False

    def cancel(self) -> None:
        """Cancel the cell's task, as the loop's own callback."""
        if self.task is not None:
            self.task.cancel()

    def iterated(self) -> None:
        """Note that the loop runs: the cell is not in synchronous code that began before it was cancelled."""
        self.loop_has_iterated = True

    def iterated_once(self) -> None:
        """Wait for the next iteration, in which the kernel's callback of a callback cancels the task."""
        self.loop.call_soon(self.iterated)


class Interrupts:
    """Stop, on one shell."""

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell
        self._in_kernel = hasattr(shell, "kernel")
        self._cell: AwaitingCell | None = None
        self._started = time.monotonic()
        self._escalating = threading.Lock()
        self._handler = self._on_sigint  # one object, so that it is recognised
        self._code = code_of_cells(shell)

    def install(self) -> None:
        """Serve every cell from now on, the running one included."""
        self._shell.events.register("pre_run_cell", self._begin)
        self._shell.events.register("post_run_cell", self._end)
        custom_exceptions.show(self._shell, _OURS, self._lines)
        self._begin(None)

    def uninstall(self) -> None:
        """Leave Stop to the shell again."""
        self._end(None)
        self._shell.events.unregister("pre_run_cell", self._begin)
        self._shell.events.unregister("post_run_cell", self._end)
        custom_exceptions.show_no_more(self._shell, _OURS)

    def _begin(self, info: Any) -> None:
        if threading.current_thread() is not threading.main_thread():  # a subshell: signals do not reach it
            return
        previous = signal.getsignal(signal.SIGINT)
        if self._cell is not None and previous is self._handler:  # it goes on after the one that begins within it
            return
        self._cell = None
        self._started = time.monotonic()
        loop = running_loop()
        if loop is None or not callable(previous) or previous is self._handler:
            return
        if self._in_kernel and previous is signal.default_int_handler:
            return  # a synchronous cell
        self._cell = AwaitingCell(loop, asyncio.current_task(), loop.time(), previous, info)
        signal.signal(signal.SIGINT, self._handler)
        if wakes_by_tick:
            self._tick(self._cell)

    def _end(self, result: Any) -> None:
        if self._cell is None or threading.current_thread() is not threading.main_thread():
            return
        if result is not None and self._cell.info not in (None, result.info):
            return
        with self._escalating:
            self._cell.over = True  # a signal of ours that came before this line still finds our handler
        if signal.getsignal(signal.SIGINT) is self._handler:
            signal.signal(signal.SIGINT, self._cell.previous)
        self._cell = None

    def _on_sigint(self, number: int, frame: FrameType | None) -> None:
        cell = self._cell
        if cell is None:
            signal.default_int_handler(number, frame)
            return
        importing = stack.is_importing_library(frame)
        iterated = cell.iterated
        if cell.escalates:
            cell.escalates = False
            if importing:
                _thread.start_new_thread(self._escalate, (cell,))
            elif self._is_calculating(cell, frame) and stack.is_in_own_code(self._shell.user_ns, frame):
                signal.default_int_handler(number, frame)
            return
        if cell.stopped is None:
            cell.stopped = cell.loop.time()
            if self._in_kernel:
                cell.previous(number, frame)  # the kernel's own way to cancel the cell
                iterated = cell.iterated_once
            else:
                cell.loop.call_soon_threadsafe(cell.cancel)
        elif self._is_calculating(cell, frame) and not importing:
            signal.default_int_handler(number, frame)
        else:
            cell.loop.call_soon_threadsafe(cell.cancel)
        cell.loop_has_iterated = False
        cell.loop.call_soon_threadsafe(iterated)  # wakes the loop
        _thread.start_new_thread(self._escalate, (cell,))  # not `Thread`, whose lock the interrupted code may hold

    def _is_calculating(self, cell: AwaitingCell, frame: FrameType | None) -> bool:
        return not cell.loop_has_iterated and stack.is_running(self._code, frame)

    def _escalate(self, cell: AwaitingCell) -> None:
        """Send the signal once more if the cell does not let the loop turn: it is in a long calculation."""
        time.sleep(ESCALATE_SECONDS)
        with self._escalating:
            if not cell.over and not cell.loop_has_iterated:
                cell.escalates = True
                _interrupt_main_thread()

    def _tick(self, cell: AwaitingCell) -> None:
        if self._cell is cell:
            cell.loop.call_later(TICK_SECONDS, self._tick, cell)

    def _lines(self, error: BaseException, traceback: TracebackType | None) -> list[str] | None:
        """Say in one line what was stopped; `None` when the running cell was not."""
        if exiting():
            return [
                "Stopped, because the kernel ends."
            ]  # a traceback would take a second that is needed for graceful closes
        seconds = self._seconds(error, traceback)
        if seconds is None:
            return None
        where = stack.line_of_cell(traceback, self._shell.user_ns)
        for loss in losses(self._shell.user_ns):
            error.add_note(loss)
        notes = " ".join(getattr(error, "__notes__", []))
        return [f"Stopped after {seconds:.1f} s{where}. {notes}".rstrip()]

    def _seconds(self, error: BaseException, traceback: TracebackType | None) -> float | None:
        cell = self._cell
        if cell is not None and cell.stopped is not None:
            return cell.stopped - cell.started
        waited_in_run = isinstance(error, KeyboardInterrupt) and stack.passed(run.__code__, traceback)
        return time.monotonic() - self._started if waited_in_run else None


def _interrupt_main_thread() -> None:
    """Send SIGINT to the main thread; where threads can be named, that ends a `time.sleep` there, too."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        _thread.interrupt_main()
