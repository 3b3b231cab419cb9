"""
Find the lines of the user's own code that led to here.

SQLAlchemy runs its synchronous half in a greenlet whose stack begins there; the coroutine that awaits it is in the
parent greenlet, suspended. So the walk goes on from greenlet to greenlet, and leaves out what is installed.
"""

from __future__ import annotations

import inspect
import sys
import sysconfig
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import FrameType

import greenlet  # type: ignore[import-untyped]

from asyncdb_nb.aio._asyncio import is_step_of_loop

DEPTH = 4  # lines that are kept: who opened it, and who called that

CallSite = tuple[tuple[str, int, str], ...]

_INSTALLED = tuple(
    {
        *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        *(str(Path(module.__file__ or "").parent) for name, module in sys.modules.items() if name == "sqlalchemy"),
        str(Path(__file__).parents[1]),
        "<",
    }
)


def here(depth: int = DEPTH) -> CallSite:
    """Return (file, line, function) of the innermost lines of the user's code, at most `depth`."""
    found = []
    for frame in frames():
        if is_users(frame.f_code.co_filename):
            found.append((frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name))
            if len(found) == depth:
                break
    return tuple(found)


def in_words(origin: CallSite) -> str:
    """Say it for people, files relative to the working directory where they are below it."""
    if not origin:
        return "at a place outside of this project"
    opened, *callers = [f"{short(file)}:{line} in {function}" for file, line, function in origin]
    return f"at {opened}" + "".join(f", called at {caller}" for caller in callers)


def frames() -> Iterator[FrameType]:
    """Go from here outward, through greenlets and the coroutines that wait for them, to the step of the loop."""
    current: greenlet.greenlet | None = greenlet.getcurrent()
    frame: FrameType | None = inspect.currentframe()
    while current is not None:
        while frame is not None:
            if is_step_of_loop(frame):  # below are the loop, and pytest
                return
            yield frame
            frame = frame.f_back
        current = current.parent
        frame = current.gr_frame if current is not None else None


@cache
def is_users(file: str) -> bool:
    """Say whether a file is none of Python, of an installed package or of this one."""
    return not file.startswith(_INSTALLED)


def short(file: str) -> str:
    """Name a file as seen from the working directory, if it is below that."""
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file
