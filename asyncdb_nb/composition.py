"""
What `connect()` puts together: a database, the embedded server with its sample, and the notebook that it is called in.

No other module knows all of them.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from sqlalchemy import URL

from asyncdb_nb.aio.awaitables import Pending
from asyncdb_nb.database.database import Database
from asyncdb_nb.database.session import SessionFactory
from asyncdb_nb.engine.connector import without_frames
from asyncdb_nb.engine.conninfo.parameters import EMBEDDED, Target
from asyncdb_nb.engine.conninfo.parse import parse
from asyncdb_nb.engine.conninfo.resolve import complete, resolve

if TYPE_CHECKING:
    from asyncdb_nb.dataframes.types.table import DatesAs, NumericAs

_lock = threading.Lock()
_connected: list[Database] = []
"""What `connect()` made: a notebook's set-up cell is run fifty times, and must not open fifty pools."""

_with_sample: WeakSet[Database] = WeakSet()


def connect(
    url: str | URL | None = None,
    sessionmaker: SessionFactory | None = None,
    *,
    service: str | None = None,
    idle_timeout: float | None = 60.0,
    numeric: NumericAs = "decimal",
    dates: DatesAs = "date",
    **engine_options: Any,
) -> Coroutine[Any, Any, Database]:
    """Make a `Database` and ask its server once, so that a wrong URL fails here.

    Called again with the same arguments, it returns the same `Database` (after asking the server again) until that is
    closed: a set-up cell can be run fifty times. Safe to call from several tasks, threads and loops.

    Args:
        url: As for `Database`. With neither `url` nor `service`: `$DATABASE_URL` (environment, then `.env` in this
            folder or above), else the server that `PGSERVICE` or `PGHOST` names, else the embedded server with the
            sample workflows, started if need be.
        sessionmaker: As for `Database`. Another object is another argument, even if it looks the same.
        service: The name of a section of `pg_service.conf`.
        idle_timeout: As for `Database`.
        numeric: As for `Database`: `"float"` reads `numeric` as what can be plotted.
        dates: As for `Database`: `"timestamp"` reads `date` so.
        **engine_options: As for `Database`.

    Returns:
        A coroutine of the `Database`. Without an `await`, its repr says what to type.

    Raises:
        DatabaseURLError: The URL cannot be read.
        ConnectError: The server cannot be reached, or says no; the message says which part is wrong and what to type.
        ServerError: There is no URL, and the embedded server cannot be started.

    Example:
        >>> db = await connect("postgresql://me@db.example.org/shop")
        >>> await db.frame("select count(*) from orders")
    """
    options = {"idle_timeout": idle_timeout, "numeric": numeric, "dates": dates, **engine_options}
    given = (url, service, sessionmaker, options)
    return Pending(lambda: _connect(*given), "connect(...)", "Nothing is connected yet.", "db")


async def _connect(
    url: str | URL | None, service: str | None, sessionmaker: SessionFactory | None, options: dict[str, Any]
) -> Database:
    if "IPython" in sys.modules:  # a cell: Stop shall stop it, and nothing shall stay open behind it
        from asyncdb_nb.jupyter.extension import load_into_running_shell

        load_into_running_shell(connect)
    try:
        where = resolve(url, service=service) or await _embedded()
        database = _made_once(where, sessionmaker, options)
    except Exception as error:
        raise without_frames(error) from error.__cause__
    finally:
        del url, options  # no traceback shall show them: they may hold a password
    await database._check()
    if where.origin == EMBEDDED and database not in _with_sample:
        from asyncdb_nb.workflows import ensure_sample

        await ensure_sample(database)
        _with_sample.add(database)
    return database


def _made_once(where: Target, sessionmaker: SessionFactory | None, options: dict[str, Any]) -> Database:
    with _lock:
        _connected[:] = [database for database in _connected if not database._closed]
        for database in _connected:
            if database._is_made_of(where, sessionmaker, options):
                return database
        _connected.append(Database._of(where, sessionmaker, options))
        return _connected[-1]


async def _embedded() -> Target:
    from asyncdb_nb.server.embedded import embedded_server

    server = await asyncio.to_thread(embedded_server)
    return complete(parse(server.url), EMBEDDED)
