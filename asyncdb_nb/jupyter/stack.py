"""Find out from the stack, or from a traceback, what a cell is doing."""

from __future__ import annotations

import linecache
import re
import sysconfig
from collections.abc import Iterator
from types import CodeType, FrameType, TracebackType
from typing import Any

from greenlet import getcurrent  # type: ignore[import-untyped]

from asyncdb_nb.aio._asyncio import is_importing

SHOWN = 70  # characters of a line

_INSTALLED = ("<frozen", sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"))
_LIBRARIES = ("asyncdb_nb.", "asyncpg.", "sqlalchemy.")  # in which a KeyboardInterrupt would break a connection

_MAGIC = re.compile(r"(?:await )?get_ipython\(\)\.run_(?:(cell)|line)_magic\('(\w+)', '((?:[^'\\]|\\.)*)'(?(1).*|\))")


def is_running(code: CodeType | None, frame: FrameType | None) -> bool:
    """Tell whether code is on the stack: the cell itself is running, and not another task."""
    return any(each.f_code is code for each in _stack(frame))


def is_in_own_code(namespace: dict[str, Any], frame: FrameType | None) -> bool:
    """Tell whether the running code was called by a cell, and not by a library that speaks to the server for it."""
    for each in _stack(frame):
        if each.f_globals is namespace:
            return True
        if f"{each.f_globals.get('__name__')}.".startswith(_LIBRARIES):
            return False
    return False


def is_importing_library(frame: FrameType | None) -> bool:
    """Tell whether the running code imports an installed module; a script of the user's own may be interrupted."""
    body = None  # of the module that is imported; none while one is looked for, or is an extension
    for each in _stack(frame):
        if is_importing(each):
            return body is None or _is_installed(body.f_code.co_filename)
        body = each
    return False


def _is_installed(file: str) -> bool:
    return file.startswith(_INSTALLED) or "site-packages" in file or "dist-packages" in file


def passed(code: CodeType, traceback: TracebackType | None) -> bool:
    """Tell whether an error passed through code."""
    return any(each.tb_frame.f_code is code for each in _steps(traceback))


def line_of_cell(traceback: TracebackType | None, namespace: dict[str, Any]) -> str:
    """Name the cell's own line in a traceback, as part of a sentence; '' if it is not there."""
    for each in _steps(traceback):
        if each.tb_frame.f_globals is namespace:
            source = _as_typed(linecache.getline(each.tb_frame.f_code.co_filename, each.tb_lineno).strip())
            shortened = source if len(source) <= SHOWN else f"{source[: SHOWN - 1]}…"
            return f" in line {each.tb_lineno}: {shortened}"
    return ""


def _stack(frame: FrameType | None) -> Iterator[FrameType]:
    """Go from a frame outward, also from a greenlet (SQLAlchemy's `run_sync`) to what waits for it."""
    current: Any = getcurrent()
    while True:
        while frame is not None:
            yield frame
            frame = frame.f_back
        current = current.parent
        if current is None:
            return
        frame = current.gr_frame


def _steps(traceback: TracebackType | None) -> Iterator[TracebackType]:
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next


def _as_typed(source: str) -> str:
    """Write a magic as it stood in the cell, before IPython made Python of it."""
    return _MAGIC.sub(lambda magic: f"{'%%' if magic[1] else '%'}{magic[2]} {magic[3]}".rstrip(), source)
