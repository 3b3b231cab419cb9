"""
Hold a snapshot from synchronous code, for as long as somebody refers to it.

The snapshot is held on the portal, the loop in a thread of its own that `run()` uses: a collection outlives the cell,
and the loop, that made it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import weakref
from concurrent.futures import Future
from typing import Any

from asyncdb_nb.aio.portal import run
from asyncdb_nb.database.database import Database
from asyncdb_nb.database.snapshot import Snapshot

_SECONDS = 30.0  # how long `close` waits for the server


class HeldSnapshot:
    """A snapshot that is held until `close()`, or until nobody refers to this any more.

    Args:
        database: Where to take it.
        *tables: What to lock, as for `Database.snapshot`.

    Attributes:
        snapshot: What is held.
        types: What `frame` knows of the types of the columns that are read, by name.
    """

    def __init__(self, database: Database, *tables: str) -> None:
        self.types: dict[str, Any] = {}
        self.snapshot: Snapshot
        self.snapshot, loop, thread, scope = run(_entered(database, tables))
        self._end = weakref.finalize(self, _left, loop, thread, scope)

    def close(self) -> None:
        """End the snapshot, and wait until the connection is back. A second call does nothing."""
        leaving = self._end()
        if leaving is not None and leaving.exception(_SECONDS) is not None:
            _log(leaving)  # its connection was lost: readers have been told, and nothing is open


async def _entered(database: Database, tables: tuple[str, ...]) -> tuple[Any, ...]:
    scope = database.snapshot(*tables)
    snapshot = await scope.__aenter__()
    return snapshot, asyncio.get_running_loop(), threading.get_ident(), scope


def _left(loop: asyncio.AbstractEventLoop, thread: int, scope: Any) -> Future[None] | None:
    """Have the scope left on its loop. Where the garbage collector calls this, nobody waits."""
    if loop.is_closed():
        return None
    leaving = asyncio.run_coroutine_threadsafe(scope.__aexit__(None, None, None), loop)
    leaving.add_done_callback(_log)
    return leaving if threading.get_ident() != thread else None


def _log(leaving: Future[None]) -> None:
    if not leaving.cancelled() and (error := leaving.exception()) is not None:
        logging.getLogger("asyncdb_nb.distributed").info("A snapshot had ended before it was released: %s", error)
