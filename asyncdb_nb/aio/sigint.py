"""
Let Ctrl-C wait while connections are closed gracefully, and while libraries are imported.

Python raises KeyboardInterrupt between any two instructions of the main thread. In the middle of a close that leaves a
socket half written and a task that nobody ends; in the middle of an import, a library of which some modules are there
and others are not, for as long as the process lives. A close takes milliseconds, and two seconds at most.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def waiting(times: int = 1) -> Iterator[None]:
    """Raise KeyboardInterrupt after the block if Ctrl-C came in it.

    Args:
        times: How many of them wait. The next one does not.
    """
    if not _raises_keyboard_interrupt():
        yield
        return
    noted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if len(noted) >= times:
            signal.default_int_handler(number, frame)
        noted.append(number)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if noted:
        raise KeyboardInterrupt


def came() -> bool:
    """Tell whether this runs on the way out of a KeyboardInterrupt, in a `finally` or an `__exit__`."""
    return isinstance(sys.exc_info()[1], KeyboardInterrupt)


def _raises_keyboard_interrupt() -> bool:
    """Tell whether Ctrl-C raises it here: in the main thread, if nobody has changed that."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    return in_main_thread and signal.getsignal(signal.SIGINT) is signal.default_int_handler
