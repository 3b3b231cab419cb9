"""
Pass on what the server says beside its answers: NOTICE, WARNING and their kin.

asyncpg keeps them to itself unless somebody listens. Each connection of ours does, and gives them to whoever shows them
(a notebook, under the cell), else to the log `asyncdb_nb.notices`.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from asyncdb_nb.errors import CorruptStreamError

logger = logging.getLogger("asyncdb_nb.notices")

_LEVELS = {"WARNING": logging.WARNING, "NOTICE": logging.INFO, "INFO": logging.INFO, "LOG": logging.DEBUG}


_DUPLICATE = frozenset({"42P07", "42701", "42710", "42723", "42P06", "42P04"})  # of `drop … if exists` only words tell


@dataclass(frozen=True, slots=True)
class Notice:
    """A message of the server's.

    Attributes:
        severity: WARNING, NOTICE, INFO, LOG or DEBUG.
        message: What it says.
        detail: More of it, or nothing.
        hint: What to do, or nothing.
        state: Its SQLSTATE.
    """

    severity: str
    message: str
    detail: str = ""
    hint: str = ""
    state: str = "00000"

    @property
    def says_skipping(self) -> bool:
        """Whether it is what `if exists` or `if not exists` found: at a second run it is the other way round."""
        return self.severity == "NOTICE" and (self.state in _DUPLICATE or self.message.endswith(", skipping"))

    def __str__(self) -> str:
        """Say it as psql does."""
        more = [f"{name}:  {text}" for name, text in (("DETAIL", self.detail), ("HINT", self.hint)) if text]
        return "\n".join([f"{self.severity}:  {self.message}", *more])


Show = Callable[[Notice], bool]
"""Shows a notice, and says whether it did."""

_shown_by: list[Show] = []
_held: weakref.WeakKeyDictionary[Any, list[Notice]] = weakref.WeakKeyDictionary()


def listen(connection: Any) -> None:
    """Take what the server says on an asyncpg connection from now on."""
    connection.add_log_listener(_take)


def show_by(show: Show) -> Callable[[], None]:
    """Have notices shown by a function, on the thread of the connection's loop, until what is returned is called."""
    _shown_by.append(show)
    return lambda: _shown_by.remove(show)


@contextmanager
def held_back(connection: Any) -> Iterator[None]:
    """Pass on what the server says within the block at its end: not at all when the statement is then run again."""
    held = _held[connection] = []
    try:
        yield
    except CorruptStreamError:
        held.clear()
        raise
    finally:
        _held.pop(connection, None)
        for notice in held:
            _pass_on(notice)


def _take(connection: Any, message: Any) -> None:
    told = vars(message)
    severity = str(told.get("severity_en") or told.get("severity") or "NOTICE")
    words = [str(told.get(name) or "") for name in ("message", "detail", "hint", "sqlstate")]
    notice = Notice(severity, *words)
    held = _held.get(connection)
    if held is None:
        _pass_on(notice)
    else:
        held.append(notice)


def _pass_on(notice: Notice) -> None:
    if not (_shown_by and _shown_by[-1](notice)):
        logger.log(_LEVELS.get(notice.severity, logging.DEBUG), "%s", notice)
