"""
Answer a front end for every cell, whenever Stop is pressed.

Before and after a cell's code, ipykernel lets SIGINT raise KeyboardInterrupt in its own. There it ends the handling of
the message: no reply is sent, or half of one, and the front end waits for ever. It takes a second Stop in the
milliseconds in which the first one is answered, or one between two cells of "Run all".

So here SIGINT is noted until the kernel has come to the cell, is Stop as ever while that runs, is noted again when it
has ended, and ignored once the reply is there. A Stop that was noted, or that came in between all the same, makes the
reply an error, so that what is queued behind the cell is not run. The cell that loads the extension is being handled
already: it is served by the next one on.
"""

from __future__ import annotations

import functools
import signal
import threading
from types import FrameType
from typing import TYPE_CHECKING, Any

from asyncdb_nb.jupyter._ipython import show_as

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


class Replies:
    """The replies to the cells of one kernel, in its main thread: signals reach no other. Subshells have their own."""

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell
        self._kernel: Any = getattr(shell, "kernel", None)
        self._stopped = False  # when it was not the cell's code that ran
        self._cell: Any = None  # IPython's ExecutionInfo: a cell may run others, by `%%capture`, say
        self._result: Any = None  # of the cell, once it has ended

    def install(self) -> None:
        """Serve every cell from the next one on."""
        if self._kernel is None:
            return
        self._hook, self._execute = self._kernel.pre_handler_hook, self._kernel.do_execute

        @functools.wraps(self._execute)  # ipykernel looks at its signature
        async def do_execute(*args: Any, **options: Any) -> Any:
            return await self._do_execute(*args, **options)

        self._wrapped = do_execute
        self._shell.events.register("pre_run_cell", self._begin)
        self._shell.events.register("post_run_cell", self._end)
        self._kernel.do_execute = self._wrapped
        self._kernel.pre_handler_hook = self._before_message

    def uninstall(self) -> None:
        """Leave the kernel as it was, unless somebody else has put something around it meanwhile."""
        if self._kernel is None:
            return
        self._shell.events.unregister("pre_run_cell", self._begin)
        self._shell.events.unregister("post_run_cell", self._end)
        if self._kernel.do_execute is self._wrapped:
            self._kernel.do_execute = self._execute
        if self._kernel.pre_handler_hook == self._before_message:
            self._kernel.pre_handler_hook = self._hook

    def _before_message(self) -> None:
        """Do what the kernel's `pre_handler_hook` does, whose `post_handler_hook` puts its handler back."""
        if _signals_come_here() and self._kernel.get_parent("shell")["msg_type"] == "execute_request":
            self._stopped = False
            self._kernel.saved_sigint_handler = signal.signal(signal.SIGINT, self._note)
        else:
            self._hook()

    async def _do_execute(self, *args: Any, **options: Any) -> Any:
        if not _signals_come_here():
            return await self._execute(*args, **options)
        self._cell = self._result = None
        execution = self._execute(*args, **options)
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if not self._stopped:
                reply = await execution
                signal.signal(signal.SIGINT, _ignore)
                if not self._stopped or reply["status"] == "error":
                    return reply
        except KeyboardInterrupt:
            pass  # the reply says it
        signal.signal(signal.SIGINT, _ignore)
        execution.close()  # it may not have begun
        return self._reply_to_stop()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._stopped = True

    def _begin(self, info: Any) -> None:
        if _signals_come_here() and self._cell is None:
            self._cell = info

    def _end(self, result: Any) -> None:
        if result is None or not _signals_come_here() or result.info is not self._cell:
            return
        self._result = result
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # that of an awaiting cell is its own
            signal.signal(signal.SIGINT, self._note)

    def _reply_to_stop(self) -> dict[str, Any]:
        """Make the reply to a cell that was stopped outside its code: with the cell's own error, if it had one."""
        result, error, lines = self._result, None, ["Stopped."]
        if result is not None:
            lines = ["Stopped when the cell had ended."]
            error = result.error_before_exec or result.error_in_exec
        elif self._stopped:
            lines = ["Stopped before the cell began."]
        if error is None:
            error = KeyboardInterrupt()
            show_as(error, lines)
            self._shell.showtraceback((KeyboardInterrupt, error, None))
        return {
            "status": "error",
            "ename": type(error).__name__,
            "evalue": str(error),
            "traceback": lines,
            "execution_count": getattr(result, "execution_count", None) or self._shell.execution_count,
            "user_expressions": {},
            "payload": [],
        }


def _signals_come_here() -> bool:
    return threading.current_thread() is threading.main_thread()


def _ignore(number: int, frame: FrameType | None) -> None:
    """Handle a signal that is too late: not SIG_IGN, of which Python complains when one has just come."""
