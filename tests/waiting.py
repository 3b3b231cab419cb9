"""Wait for a condition, with a bound that only a hang can reach: a busy machine is no failure."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

HANG = 90.0  # seconds; what is to be ended in a test sleeps for longer, so that it cannot end by itself


def wait_until(condition: Callable[[], T], seconds: float = HANG) -> T:
    """Wait until a condition holds, and return what it returned."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"this did not happen within {seconds} s"
        time.sleep(0.01)
    return found


async def until(condition: Callable[[], T], seconds: float = HANG) -> T:
    """Wait for the same while the loop runs."""
    async with asyncio.timeout(seconds):
        while not (found := condition()):
            await asyncio.sleep(0.01)
    return found
