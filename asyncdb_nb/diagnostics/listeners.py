"""
Hear what event loops and connections do: SQLAlchemy's class-level events, and two methods of asyncio's loops.

`listen(recorder)` tells a `Recorder` of everything until `ignore(recorder)`. The listeners are on the classes `Pool`
and `Engine`, so that every engine of the process is heard, also one that was made before. When the last recorder has
gone, everything is as it was.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine, Pool, event
from sqlalchemy.engine import Dialect, ExceptionContext

from asyncdb_nb.aio._asyncio import running_loop
from asyncdb_nb.diagnostics.recorder import Loop, Recorder, words
from asyncdb_nb.engine._sqlalchemy.execution import marks_of_listeners


def listen(recorder: Recorder) -> None:
    """Tell `recorder` of everything from now on."""
    with _lock:
        if not _recorders:
            _install()
        _recorders.append(recorder)
    running = running_loop()
    if running is not None:
        recorder.loop_runs(running)


def ignore(recorder: Recorder) -> None:
    """Tell `recorder` nothing any more. Nothing happens when it is told nothing already."""
    with _lock:
        if recorder in _recorders:
            _recorders.remove(recorder)
            recorder.look_at_loops()
            if not _recorders:
                _uninstall()


_recorders: list[Recorder] = []
_lock = threading.Lock()
_undo: list[Callable[[], None]] = []


def _install() -> None:
    """Listen on the classes. SQLAlchemy marks a class that has listeners, and never unmarks it; that is undone too."""
    for marked in (Engine, Dialect):
        _undo.append(marks_of_listeners(marked))
    for target, name, listener in _LISTENERS:
        event.listen(target, name, listener)
    for loop_class in _loop_classes():
        for name, told in (("run_forever", _told_before), ("close", _told_after)):
            _undo.append(_restorer(loop_class, name))
            setattr(loop_class, name, told(getattr(loop_class, name)))


def _uninstall() -> None:
    for target, name, listener in _LISTENERS:
        event.remove(target, name, listener)
    while _undo:
        _undo.pop()()


def _restorer(owner: type, name: str) -> Callable[[], None]:
    if name in owner.__dict__:
        original = owner.__dict__[name]
        return lambda: setattr(owner, name, original)
    return lambda: delattr(owner, name) if name in owner.__dict__ else None


def _loop_classes() -> list[type]:
    uvloop = sys.modules.get("uvloop")
    return [asyncio.BaseEventLoop, *([uvloop.Loop] if uvloop else [])]


def _told_before(run_forever: Callable[[Loop], None]) -> Callable[[Loop], None]:
    def told(self: Loop) -> None:
        for recorder in _recorders[:]:
            recorder.loop_runs(self)
        run_forever(self)

    return told


def _told_after(close: Callable[[Loop], None]) -> Callable[[Loop], None]:
    def told(self: Loop) -> None:
        close(self)
        for recorder in _recorders[:]:
            recorder.look_at_loops()

    return told


def _on_connect(connection: Any, record: Any) -> None:
    for recorder in _recorders[:]:
        recorder.connected(connection, record)


def _on_checkout(connection: Any, record: Any, fairy: Any) -> None:
    for recorder in _recorders[:]:
        recorder.happened("checked out", connection, record)


def _on_checkin(connection: Any, record: Any) -> None:
    if connection is None:
        return  # it was closed already, and only its place goes back
    for recorder in _recorders[:]:
        recorder.happened("checked in", connection, record)


def _on_invalidate(connection: Any, record: Any, error: BaseException | None) -> None:
    for recorder in _recorders[:]:
        recorder.happened("invalidated", connection, record, words(error) if error else "")


def _on_close(connection: Any, record: Any) -> None:
    for recorder in _recorders[:]:
        recorder.happened("closed", connection, record)


def _on_statement(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
    for recorder in _recorders[:]:
        recorder.statement_begins(connection, statement)


def _on_statement_end(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
    for recorder in _recorders[:]:
        recorder.statement_ends(connection)


def _on_error(context: ExceptionContext) -> None:
    for recorder in _recorders[:]:
        recorder.failed(context.connection, context.original_exception)


def _on_dispose(engine: Engine) -> None:
    for recorder in _recorders[:]:
        recorder.disposed()


_LISTENERS: tuple[tuple[Any, str, Any], ...] = (
    (Pool, "connect", _on_connect),
    (Pool, "checkout", _on_checkout),
    (Pool, "checkin", _on_checkin),
    (Pool, "invalidate", _on_invalidate),
    (Pool, "close", _on_close),
    (Engine, "before_cursor_execute", _on_statement),
    (Engine, "after_cursor_execute", _on_statement_end),
    (Engine, "handle_error", _on_error),
    (Engine, "engine_disposed", _on_dispose),
)
