"""Why a value cannot be read, and the options with which it could be: what readers of values raise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SHOWN = 60  # characters of a wrong value


class UnreadableError(Exception):
    """
    A value cannot be read, or not for certain.

    Attributes:
        reason: How the sentence goes on that begins with the column and the value.
        options: What to pass to `load_event_log` so that it can be read.
    """

    def __init__(self, reason: str, options: Mapping[str, Any] | None = None) -> None:
        super().__init__(reason)
        self.reason, self.options = reason, dict(options or {})


def cut(value: str) -> str:
    """Quote a value, and cut one that is long."""
    return repr(value if len(value) <= _SHOWN else value[:_SHOWN] + "…")
