"""
Let no more of dask's threads ask for a connection than the pool has.

The threads of one process share the pool of one loop. On a machine with many cores the last of them would wait for a
connection for longer than the pool's timeout, while nothing is wrong.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from weakref import WeakKeyDictionary

from asyncdb_nb.database.database import Database
from asyncdb_nb.engine.pool_of_all_loops import LoopBoundPool

_OWN = 2  # what the process needs besides: the transaction of the snapshot, and that of a write

_lock = threading.Lock()
_turns: WeakKeyDictionary[Database, Any] = WeakKeyDictionary()


@contextmanager
def turn(database: Database) -> Iterator[None]:
    """Wait until a connection can be had, and count it as taken for the length of the block."""
    with _turn_of(database):
        yield


def _turn_of(database: Database) -> Any:
    with _lock:
        if database not in _turns:
            pool = database.engine.pool
            most = pool.capacity() if isinstance(pool, LoopBoundPool) else None
            _turns[database] = nullcontext() if most is None else threading.BoundedSemaphore(max(most - _OWN, 1))
        return _turns[database]
