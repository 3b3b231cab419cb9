"""Iterate in a thread, and close what was iterated: also when it is at work, and nobody waits for it any more."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

_END = object()


class InThread:
    """An iterator whose items are made in a thread of its own.

    Args:
        items: A generator, a reader, or any iterator. At the end `aclose` closes it, if it can be closed.
    """

    def __init__(self, items: Iterator[Any]) -> None:
        self._items = items
        self._thread = ThreadPoolExecutor(1, "asyncdb_nb-parts")
        self._context = copy_context()
        self._working: Future[Any] | None = None

    def __aiter__(self) -> InThread:
        return self

    async def __anext__(self) -> Any:
        """Wait for the next item. When this is cancelled, the thread finishes it."""
        self._working = self._thread.submit(self._context.run, self._next)
        item = await asyncio.wrap_future(self._working)
        if item is _END:
            raise StopAsyncIteration
        return item

    def _next(self) -> Any:
        return next(self._items, _END)

    async def aclose(self) -> None:
        """Close the iterator; one that is at work is closed as soon as it has made its item, and not waited for.

        Raises:
            Exception: What closing it raised.
        """
        is_working = self._working is not None and not self._working.done()
        close = getattr(self._items, "close", lambda: None)
        closed = asyncio.wrap_future(self._thread.submit(self._context.run, close))
        self._thread.shutdown(wait=False)
        if not is_working:  # else asyncio's exception handler is told when closing it fails
            await asyncio.shield(closed)
