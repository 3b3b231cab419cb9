"""
One async engine for every event loop, and what notebooks and tests need around it.

Names are imported when they are first used, so that `import asyncdb_nb` stays quick and brings in no pandas, pyarrow,
IPython, pytest or driver before it is needed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncdb_nb.bridge import run as run
    from asyncdb_nb.database import Database as Database
    from asyncdb_nb.database import connect as connect
    from asyncdb_nb.dataframes import frame as frame
    from asyncdb_nb.dataframes import frames as frames
    from asyncdb_nb.dataframes import table as table
    from asyncdb_nb.dataframes import to_frame as to_frame
    from asyncdb_nb.errors import AsyncDBError as AsyncDBError
    from asyncdb_nb.errors import ConcurrentUseError as ConcurrentUseError
    from asyncdb_nb.errors import ConnectError as ConnectError
    from asyncdb_nb.errors import DatabaseClosedError as DatabaseClosedError
    from asyncdb_nb.errors import DatabaseURLError as DatabaseURLError
    from asyncdb_nb.errors import EventLogError as EventLogError
    from asyncdb_nb.errors import FrameError as FrameError
    from asyncdb_nb.errors import LeakWarning as LeakWarning
    from asyncdb_nb.errors import ServerError as ServerError
    from asyncdb_nb.errors import TooManyRowsError as TooManyRowsError
    from asyncdb_nb.errors import UnknownTableError as UnknownTableError
    from asyncdb_nb.errors import WrongLoopError as WrongLoopError
    from asyncdb_nb.pool import LoopBoundPool as LoopBoundPool
    from asyncdb_nb.repository import Repository as Repository
    from asyncdb_nb.sessions import session_scope as session_scope

__version__ = "0.1.0"

_HOMES = {
    "AsyncDBError": "errors",
    "ConcurrentUseError": "errors",
    "ConnectError": "errors",
    "Database": "database",
    "DatabaseClosedError": "errors",
    "DatabaseURLError": "errors",
    "EventLogError": "errors",
    "FrameError": "errors",
    "LeakWarning": "errors",
    "LoopBoundPool": "pool",
    "Repository": "repository",
    "ServerError": "errors",
    "TooManyRowsError": "errors",
    "UnknownTableError": "errors",
    "WrongLoopError": "errors",
    "connect": "database",
    "frame": "dataframes",
    "frames": "dataframes",
    "run": "bridge",
    "session_scope": "sessions",
    "table": "dataframes",
    "to_frame": "dataframes",
}

__all__ = sorted(_HOMES)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
