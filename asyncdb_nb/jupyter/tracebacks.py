"""
Show an error of the database where the user's own code met it, without the libraries' frames in between.

A misspelt table raises an error of asyncpg, in one of SQLAlchemy's, in another one: three hundred lines, of which the
user wrote one. What stays are the frames of all other code, and the message with its statement. `%tb` shows the whole.

A TimeoutError (of `asyncio.timeout` or `wait_for`) is shown so, too, when it was the database that took too long; and
so is pandas' own error for one of SQLAlchemy's (from `to_sql`). A line of a message that is long, as a statement with
thousands of binds makes it, is shown without its middle.

A group of errors, as a `TaskGroup` raises it, is shown with each of its errors below it. IPython only prints groups.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy.exc import SQLAlchemyError

from asyncdb_nb.dataframes.sql.caret_under_errors import line_of_error, with_excerpt
from asyncdb_nb.errors import AsyncDBError
from asyncdb_nb.jupyter import custom_exceptions
from asyncdb_nb.jupyter.cell_lines import as_in_the_cell

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

_KINDS = (SQLAlchemyError, AsyncDBError)
_SHOWN = (*_KINDS, OSError, BaseExceptionGroup)  # TimeoutError is an OSError, and so is pandas' DatabaseError
_OF_DATABASES = frozenset({"asyncdb_nb", "asyncpg", "sqlalchemy"})
_LIBRARIES = _OF_DATABASES | {"asyncio", "concurrent", "contextlib", "pandas"}
_LONGEST = 1000  # characters of a line that are shown
_WHOLE = ("Verbose", "Docs")  # modes in which a user has asked for everything
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_HIDDEN = "(Frames of libraries are left out: `%tb` shows them.)"
_ALL_OF_A_GROUP = "import sys, traceback; traceback.print_exception(sys.last_value)"  # IPython has no `%tb` for groups
_HIDDEN_IN_GROUP = f"(Frames of libraries are left out: `{_ALL_OF_A_GROUP}` shows them.)"


class Tracebacks:
    """How errors of the database are shown, on one shell."""

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell: Any = shell

    def install(self) -> None:
        """Show them short."""
        custom_exceptions.show(self._shell, _SHOWN, self._lines)

    def uninstall(self) -> None:
        """Show them as IPython does."""
        custom_exceptions.show_no_more(self._shell, _SHOWN)

    def _lines(self, error: BaseException, traceback: TracebackType | None) -> list[str] | None:
        mode = self._shell.InteractiveTB.mode
        inside = list(_inside(error))
        if mode in _WHOLE or not any(_is_of_database(each) for each in (error, *inside)):
            return None
        hidden = _HIDDEN_IN_GROUP if inside else _HIDDEN
        lines = self._short(error)
        for number, each in enumerate(inside, 1):
            lines += ["", f"Error {number} of {len(inside)}:", *self._short(each, tb_offset=0)]
        return lines if mode == "Minimal" else [*lines, hidden]

    def _short(self, error: BaseException, tb_offset: int | None = None) -> list[str]:
        """Give the lines; without an offset IPython leaves out the first frame, which in a cell's error is its own."""
        with _shortened(error):
            lines = self._shell.InteractiveTB.structured_traceback(type(error), error, error.__traceback__, tb_offset)
        shown = as_in_the_cell([*lines, *_notes_left_out(error, lines)], line_of_error(error))
        return [_without_middles(line) for line in shown]


def _notes_left_out(error: BaseException, lines: list[str]) -> list[str]:
    """Give the notes that are not in the lines: IPython 7 shows none, and one may say what became of a transaction."""
    shown = _COLOURS.sub("", "\n".join(lines))
    notes = [str(note) for link in _chain(error) for note in getattr(link.error, "__notes__", ())]
    return [note for note in notes if not all(line in shown for line in note.splitlines())]


def _without_middles(text: str) -> str:
    """Cut the middle out of each long line."""
    return "\n".join(_without_middle(line) for line in text.split("\n"))


def _without_middle(line: str) -> str:
    left_out = len(line) - _LONGEST
    if left_out <= 0:
        return line
    return f"{line[: _LONGEST * 3 // 4]} … {left_out:,} characters … {line[-_LONGEST // 4 :]}"


def _inside(error: BaseException) -> Iterator[BaseException]:
    """Give the errors in a group, and in groups inside it; none for any other error."""
    for each in error.exceptions if isinstance(error, BaseExceptionGroup) else ():
        if isinstance(each, BaseExceptionGroup):
            yield from _inside(each)
        else:
            yield each


def _is_of_database(error: BaseException) -> bool:
    """Tell whether an error came out of a database's libraries; anybody can raise a TimeoutError, or lead to it."""
    if isinstance(error, OSError) and not isinstance(error, _KINDS):
        if not isinstance(error, TimeoutError) and type(error).__module__.partition(".")[0] != "pandas":
            return False
        return any(_passed(link.traceback, _OF_DATABASES) for link in _chain(error))
    return isinstance(error, _KINDS) and _passed(error.__traceback__, _LIBRARIES)


class _Link(NamedTuple):
    """An error as it was, with what led to it."""

    error: BaseException
    traceback: TracebackType | None
    cause: BaseException | None
    context: BaseException | None
    suppresses_context: bool
    args: tuple[Any, ...]


@contextmanager
def _shortened(error: BaseException) -> Iterator[None]:
    """Leave the libraries' frames, and the errors that no other code has seen, out of an error for a while.

    An error with a note stays, which may say what became of a transaction.
    """
    chain = list(_chain(error))
    own = [link for link in chain if link.error is error or _tells(link)]
    try:
        for link, earlier in zip(own, [*own[1:], None], strict=True):
            link.error.__traceback__ = _without_libraries(link.traceback)
            link.error.__cause__ = None
            link.error.__suppress_context__ = False
            link.error.__context__ = earlier.error if earlier is not None else None
            if earlier is not None and link.cause is earlier.error:
                link.error.__cause__ = earlier.error
            link.error.args = with_excerpt(link.error)
        yield
    finally:
        for link in chain:
            link.error.args = link.args
            link.error.__cause__, link.error.__context__ = link.cause, link.context
            link.error.__suppress_context__ = link.suppresses_context
            link.error.__traceback__ = link.traceback


def _chain(error: BaseException | None) -> Iterator[_Link]:
    """Go from an error to what led to it, as a traceback tells it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        cause, context, suppresses = error.__cause__, error.__context__, error.__suppress_context__
        yield _Link(error, error.__traceback__, cause, context, suppresses, error.args)
        error = cause if cause is not None or suppresses else context


def _tells(link: _Link) -> bool:
    return _without_libraries(link.traceback) is not None or bool(getattr(link.error, "__notes__", None))


def _passed(traceback: TracebackType | None, packages: frozenset[str]) -> bool:
    return any(_package(each) in packages for each in _steps(traceback))


def _without_libraries(traceback: TracebackType | None) -> TracebackType | None:
    kept: TracebackType | None = None
    for each in reversed(list(_steps(traceback))):
        if _package(each) not in _LIBRARIES:
            kept = TracebackType(kept, each.tb_frame, each.tb_lasti, each.tb_lineno)
    return kept


def _package(step: TracebackType) -> str:
    return str(step.tb_frame.f_globals.get("__name__")).partition(".")[0]


def _steps(traceback: TracebackType | None) -> Iterator[TracebackType]:
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next
