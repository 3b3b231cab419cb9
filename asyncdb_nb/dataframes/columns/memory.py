"""
Give memory that was freed back to the system.

The columns of a large result come in parts, which lie side by side in the allocator's memory. When one column's parts
have been put together they are freed, but glibc returns to the system only what lies at the end of its memory. Unless
it is asked, a frame would so take twice its size while it is made. `malloc_trim` asks; other C libraries have no such
call, and most of them do not need it.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import cache

ENOUGH = 2**22  # bytes freed, from which on asking (about a millisecond) is worth it


def give_back(freed: int) -> None:
    """Return what was freed to the system, where the C library can.

    Args:
        freed: About how many bytes that is; for a few nothing is done.
    """
    if freed >= ENOUGH and (trim := _trim()) is not None:
        trim(0)


@cache
def _trim() -> Callable[[int], int] | None:
    if sys.platform != "linux":
        return None
    trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return trim
