"""
Remember what was made for which arguments, without remembering the arguments.

A notebook's set-up cell is run fifty times, and must not open fifty pools: `connect()` gives back what it made before.
Arguments may hold a password, so only a salted hash of them is kept.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Registry(Generic[T]):
    """Values by the arguments that they were made for. Safe to use from several threads."""

    def __init__(self) -> None:
        self._values: dict[bytes, T] = {}
        self._lock = threading.Lock()
        self._salt = secrets.token_bytes(32)

    def get_or_make(self, arguments: object, make: Callable[[], T]) -> T:
        """Return the value for these arguments; equal ones have equal reprs. `make` must be quick: the lock is held."""
        key = hmac.new(self._salt, repr(arguments).encode(), hashlib.sha256).digest()
        with self._lock:
            if key not in self._values:
                self._values[key] = make()
            return self._values[key]

    def forget(self, value: T) -> None:
        """Let a value go, if it is here."""
        with self._lock:
            self._values = {key: kept for key, kept in self._values.items() if kept is not value}
