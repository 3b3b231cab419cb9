"""
The one place that knows what asyncio and the modules under it have no public name for.

Where a later Python has a name no more, what relies on it falls back to something plainer, which each function says;
`tests/test_other_seams.py` fails then, and names it.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

_IMPORT_MACHINERY = ("importlib._bootstrap", "importlib._bootstrap_external")


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that runs in this thread, or None. All public: here, because asyncio's own raises."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def loop_of(runner: asyncio.Runner) -> asyncio.AbstractEventLoop | None:
    """Return the loop that a runner has made, or None: `Runner._loop`, because `get_loop()` would make one."""
    return getattr(runner, "_loop", None)


def has_closed_generators(loop: asyncio.AbstractEventLoop) -> bool:
    """Return whether `shutdown_asyncgens()` was called, if that is known: `_asyncgens_shutdown_called`."""
    return bool(getattr(loop, "_asyncgens_shutdown_called", False))


def is_step_of_loop(frame: FrameType) -> bool:
    """Return whether a frame is where a loop calls a callback or a task: `Handle._run`. uvloop has no such frame."""
    return frame.f_code is _STEP


def is_patched() -> bool:
    """Return whether nest_asyncio has put its own classes and functions into asyncio: `asyncio._nest_patched`."""
    return hasattr(asyncio, "_nest_patched")


def before_executors_end(function: Callable[[], object]) -> None:
    """Call a function at exit while executors still work: `threading._register_atexit`; without it, by `atexit`."""
    getattr(threading, "_register_atexit", atexit.register)(function)


def is_importing(frame: FrameType) -> bool:
    """Return whether a frame belongs to Python's import machinery: the modules `_bootstrap` of `importlib`."""
    return frame.f_globals.get("__name__") in _IMPORT_MACHINERY


def code_of(function: Any) -> CodeType | None:
    """Return the code of a function that is written in Python, or None."""
    return getattr(function, "__code__", None)


_STEP = code_of(getattr(asyncio.Handle, "_run", None))
