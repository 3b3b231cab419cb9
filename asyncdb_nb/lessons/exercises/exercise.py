"""An exercise: the names of its answers, and the function that finds what is wrong with them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Exercise:
    """One exercise of a lesson.

    Attributes:
        asked: The variables that the lesson asks for, in the order in which the check takes them.
        fault: Says in one sentence what is wrong with the answers; None when nothing is.
        praise: What may be said of answers in which `fault` finds nothing, and no more.
        hint: How to go on.
    """

    asked: tuple[str, ...]
    fault: Callable[..., Awaitable[str | None]]
    praise: str
    hint: str
