"""What was found: a fact, how bad it is, and one line of advice."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Level(Enum):
    """How bad a finding is. Only `WRONG` changes the exit status."""

    OK = "ok"
    NOTE = "note"
    WRONG = "WRONG"


@dataclass(frozen=True)
class Finding:
    """One fact about one topic.

    Attributes:
        topic: `versions`, `loop`, `server` or `connections`.
        level: How bad it is.
        fact: What is so, with the values.
        advice: What to do, in one line; empty where there is nothing to do.
    """

    topic: str
    level: Level
    fact: str
    advice: str = ""
