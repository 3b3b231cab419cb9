"""
One async engine for every event loop, and what notebooks and tests need around it.

Names are imported when they are first used, so that `import asyncdb_nb` stays quick and brings in no pandas, pyarrow,
IPython, pytest or driver before it is needed. Errors that one catches are here, all of them in `asyncdb_nb.errors`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from asyncdb_nb.aio import sigint
from asyncdb_nb.errors import (
    AsyncDBError,
    CommitRolledBackError,
    ConcurrentUseError,
    ConnectError,
    DatabaseClosedError,
    DatabaseURLError,
    EventLogError,
    FrameError,
    LeakWarning,
    ServerError,
    SessionEndedError,
    SnapshotGoneError,
    TooManyRowsError,
    UnknownTableError,
    UnsplittableError,
    WriteError,
    WrongLoopError,
)

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
    from asyncdb_nb.dataframes import write as write
    from asyncdb_nb.dataframes.intervals import to_timedelta as to_timedelta
    from asyncdb_nb.diagnostics.timeline import trace as trace
    from asyncdb_nb.engine.pool_of_all_loops import LoopBoundPool as LoopBoundPool

__version__ = "0.1.0"

_HOMES = {
    "Database": "database.database",
    "LoopBoundPool": "engine.pool_of_all_loops",
    "Repository": "database.repository",
    "batches": "dataframes",
    "connect": "composition",
    "frame": "dataframes",
    "frames": "dataframes",
    "run": "aio.portal",
    "session_scope": "database.session",
    "table": "dataframes",
    "to_frame": "dataframes",
    "to_timedelta": "dataframes.intervals",
    "trace": "diagnostics.timeline",
    "write": "dataframes",
}

__all__ = [
    "AsyncDBError",
    "CommitRolledBackError",
    "ConcurrentUseError",
    "ConnectError",
    "Database",
    "DatabaseClosedError",
    "DatabaseURLError",
    "EventLogError",
    "FrameError",
    "LeakWarning",
    "LoopBoundPool",
    "Repository",
    "ServerError",
    "SessionEndedError",
    "SnapshotGoneError",
    "TooManyRowsError",
    "UnknownTableError",
    "UnsplittableError",
    "WriteError",
    "WrongLoopError",
    "batches",
    "connect",
    "frame",
    "frames",
    "run",
    "session_scope",
    "table",
    "to_frame",
    "to_timedelta",
    "trace",
    "write",
]

_STOPS = 5  # that wait for an import: people press it again


def load_ipython_extension(shell: Any) -> None:
    """Do what `%load_ext asyncdb_nb` asks for: Stop, tidy cells, clean ends, magics."""
    with sigint.waiting(_STOPS):
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
    with sigint.waiting(_STOPS):
        value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
