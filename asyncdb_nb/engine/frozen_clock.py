"""
Import C extensions also while a test has frozen the clock.

freezegun puts subclasses in the place of `datetime.date` and `datetime.datetime`. An extension that is imported then
takes them for Python's own, whose memory is laid out otherwise: pandas ends the process (pandas#64023), asyncpg warns.
"""

from __future__ import annotations

import datetime
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module


def import_extension(name: str) -> None:
    """Import a module that has a C extension, with Python's own classes of dates and times."""
    if name not in sys.modules:
        with _real_classes():
            import_module(name)


@contextmanager
def _real_classes() -> Iterator[None]:
    replaced = {name: getattr(datetime, name) for name in ("date", "datetime")}
    for name, found in replaced.items():
        setattr(datetime, name, next(each for each in found.__mro__ if each.__module__ == "datetime"))
    try:
        yield
    finally:
        for name, found in replaced.items():
            setattr(datetime, name, found)
