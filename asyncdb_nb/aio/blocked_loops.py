"""
Know which event loops are blocked until the running code comes to its end.

A synchronous function that waits for a coroutine on another loop blocks the loop of its own thread. Code that is waited
for in this way must not wait for that loop in turn: neither would ever go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from asyncdb_nb.aio._asyncio import running_loop


@dataclass
class _BlockedLoop:
    loop: asyncio.AbstractEventLoop
    over: bool = False  # a task that the awaited code began may live on


_above: ContextVar[tuple[_BlockedLoop, ...]] = ContextVar("asyncdb_nb blocked loops", default=())


@contextmanager
def until_done() -> Iterator[None]:
    """Say that the running loop, if any, is blocked in this block, to code that runs in a copy of its context."""
    loop = running_loop()
    if loop is None:
        yield
        return
    blocked = _BlockedLoop(loop)
    token = _above.set((*_above.get(), blocked))
    try:
        yield
    finally:
        blocked.over = True
        _above.reset(token)


def waits_for_us(loop: asyncio.AbstractEventLoop | None) -> bool:
    """Tell whether a loop is blocked until the code that asks has come to its end."""
    return any(blocked.loop is loop and not blocked.over for blocked in _above.get())
