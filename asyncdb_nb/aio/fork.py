"""Begin anew in a forked child: loops, sockets and locks that it inherits are its parent's."""

from __future__ import annotations

import os
from collections.abc import Callable


def in_child(begin_anew: Callable[[], None]) -> Callable[[], None]:
    """Have a function called in each forked child, before its own code; those that are registered later come later."""
    if hasattr(os, "register_at_fork"):  # not on Windows
        os.register_at_fork(after_in_child=begin_anew)
    return begin_anew
