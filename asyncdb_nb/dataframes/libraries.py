"""
Load pandas and pyarrow, which frames are made with, in a thread of their own.

They take a second or so, and C extensions cannot be loaded twice in a process: an import that is torn apart breaks them
until the process ends. KeyboardInterrupt is only raised in the main thread, so a Stop during the first frame ends the
frame and not the import. The loop is free meanwhile, and a notebook can begin to load before it needs them.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future

from asyncdb_nb.engine.frozen_clock import import_extension

_NAMES = (
    "numpy",
    "pandas",
    "pyarrow",
    "pyarrow.compute",
    "asyncdb_nb.dataframes.columns.decoder",
    "asyncdb_nb.dataframes.columns.to_pandas",
    "asyncdb_nb.dataframes.copy_binary.numeric",
    "asyncdb_nb.dataframes.copy_binary.text",
)

_loading: Future[None] | None = None
_lock = threading.Lock()


def begin() -> Future[None]:
    """Begin to load, if nobody has; the future is done when everything is there."""
    global _loading
    with _lock:
        if _loading is None or (_loading.done() and _loading.exception() is not None):
            _loading = Future()
            threading.Thread(target=_import, args=[_loading], name="asyncdb_nb imports pandas").start()
        return _loading


def are_loaded() -> bool:
    """Say whether everything is there."""
    return _loading is not None and _loading.done() and _loading.exception() is None


def load() -> None:
    """Wait until everything is loaded."""
    if not are_loaded():
        begin().result()


async def loaded() -> None:
    """Wait for the same while the loop runs; a cancellation ends the waiting, not the import."""
    if not are_loaded():
        await asyncio.wait([asyncio.wrap_future(begin())])
        load()


def _import(loading: Future[None]) -> None:
    try:
        for name in _NAMES:
            import_extension(name)
    except BaseException as error:
        loading.set_exception(error)
    else:
        loading.set_result(None)
