"""
One async engine for every event loop, and what notebooks and tests need around it.

Names are imported when they are first used, so that `import asyncdb_nb` stays quick and brings in no pandas, pyarrow,
IPython, pytest or driver before it is needed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncdb_nb.aio.portal import run as run
    from asyncdb_nb.composition import connect as connect
    from asyncdb_nb.database.database import Database as Database
    from asyncdb_nb.database.repository import Repository as Repository
    from asyncdb_nb.database.session import session_scope as session_scope
    from asyncdb_nb.dataframes import batches as batches
    from asyncdb_nb.dataframes import frame as frame
    from asyncdb_nb.dataframes import frames as frames
    from asyncdb_nb.dataframes import table as table
    from asyncdb_nb.dataframes import to_frame as to_frame
    from asyncdb_nb.dataframes.intervals import to_timedelta as to_timedelta
    from asyncdb_nb.diagnostics.trace import trace as trace
    from asyncdb_nb.engine.pool import LoopBoundPool as LoopBoundPool
    from asyncdb_nb.errors import AsyncDBError as AsyncDBError
    from asyncdb_nb.errors import CommitRolledBackError as CommitRolledBackError
    from asyncdb_nb.errors import ConcurrentUseError as ConcurrentUseError
    from asyncdb_nb.errors import ConnectError as ConnectError
    from asyncdb_nb.errors import CorruptStreamError as CorruptStreamError
    from asyncdb_nb.errors import DatabaseClosedError as DatabaseClosedError
    from asyncdb_nb.errors import DatabaseURLError as DatabaseURLError
    from asyncdb_nb.errors import EventLogError as EventLogError
    from asyncdb_nb.errors import FrameError as FrameError
    from asyncdb_nb.errors import LeakWarning as LeakWarning
    from asyncdb_nb.errors import LessonsFolderError as LessonsFolderError
    from asyncdb_nb.errors import MagicError as MagicError
    from asyncdb_nb.errors import MalformedRowError as MalformedRowError
    from asyncdb_nb.errors import MissingExtraError as MissingExtraError
    from asyncdb_nb.errors import NestedLoopError as NestedLoopError
    from asyncdb_nb.errors import NoRightToCreateError as NoRightToCreateError
    from asyncdb_nb.errors import NoSuchLessonError as NoSuchLessonError
    from asyncdb_nb.errors import NotACoroutineError as NotACoroutineError
    from asyncdb_nb.errors import NotIsolatedError as NotIsolatedError
    from asyncdb_nb.errors import OneConnectionError as OneConnectionError
    from asyncdb_nb.errors import OneTransactionError as OneTransactionError
    from asyncdb_nb.errors import SchemaFileError as SchemaFileError
    from asyncdb_nb.errors import SchemaSourceError as SchemaSourceError
    from asyncdb_nb.errors import SchemaTakenError as SchemaTakenError
    from asyncdb_nb.errors import SeededTemplateError as SeededTemplateError
    from asyncdb_nb.errors import ServerError as ServerError
    from asyncdb_nb.errors import SessionEndedError as SessionEndedError
    from asyncdb_nb.errors import TooManyRowsError as TooManyRowsError
    from asyncdb_nb.errors import UnknownOptionError as UnknownOptionError
    from asyncdb_nb.errors import UnknownTableError as UnknownTableError
    from asyncdb_nb.errors import WrongLoopError as WrongLoopError

__version__ = "0.1.0"

_HOMES = {
    "AsyncDBError": "errors",
    "CommitRolledBackError": "errors",
    "ConcurrentUseError": "errors",
    "ConnectError": "errors",
    "CorruptStreamError": "errors",
    "Database": "database.database",
    "DatabaseClosedError": "errors",
    "DatabaseURLError": "errors",
    "EventLogError": "errors",
    "FrameError": "errors",
    "LeakWarning": "errors",
    "LessonsFolderError": "errors",
    "LoopBoundPool": "engine.pool",
    "MagicError": "errors",
    "MalformedRowError": "errors",
    "MissingExtraError": "errors",
    "NestedLoopError": "errors",
    "NoRightToCreateError": "errors",
    "NoSuchLessonError": "errors",
    "NotACoroutineError": "errors",
    "NotIsolatedError": "errors",
    "OneConnectionError": "errors",
    "OneTransactionError": "errors",
    "SchemaFileError": "errors",
    "Repository": "database.repository",
    "SchemaSourceError": "errors",
    "SchemaTakenError": "errors",
    "SeededTemplateError": "errors",
    "ServerError": "errors",
    "SessionEndedError": "errors",
    "TooManyRowsError": "errors",
    "UnknownOptionError": "errors",
    "UnknownTableError": "errors",
    "WrongLoopError": "errors",
    "batches": "dataframes",
    "connect": "composition",
    "frame": "dataframes",
    "frames": "dataframes",
    "run": "aio.portal",
    "session_scope": "database.session",
    "table": "dataframes",
    "to_frame": "dataframes",
    "to_timedelta": "dataframes.intervals",
    "trace": "diagnostics.trace",
}

__all__ = sorted(_HOMES)


def load_ipython_extension(shell: Any) -> None:
    """Do what `%load_ext asyncdb_nb` asks for: Stop, tidy cells, clean ends, magics."""
    from asyncdb_nb.composition import connect
    from asyncdb_nb.jupyter.extension import load

    load(shell, connect)


def unload_ipython_extension(shell: Any) -> None:
    """Take all of it off again: `%unload_ext asyncdb_nb`."""
    from asyncdb_nb.jupyter.extension import unload

    unload(shell)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
