"""Say what a test left open: what it is, where it was opened, and what to type."""

from __future__ import annotations

from dataclasses import dataclass

from asyncdb_nb.aio import call_site
from asyncdb_nb.aio.call_site import CallSite

_WHAT = {
    "session": ("a session with an open transaction", "`async with db.session() as session:`"),
    "connection": ("a connection", "`async with engine.connect() as connection:`"),
    "transaction": ("a connection with an open transaction", "`async with engine.begin() as connection:`"),
    "query": (
        "a query that is still running",
        "`await task` before the test ends, or `async with asyncio.TaskGroup()`",
    ),
    "task": (
        "a task that holds a connection",
        "`await task` before the test ends, or `async with asyncio.TaskGroup()`",
    ),
    "engine": (
        "an engine with connections to a loop that has ended",
        "`create_async_engine(url, poolclass=LoopBoundPool)`, or `await engine.dispose()` before the loop ends",
    ),
}


@dataclass(frozen=True)
class Leak:
    """One thing that was left open."""

    kind: str
    owner: str
    call_site: CallSite
    task: str | None = None
    statement: str | None = None

    def __str__(self) -> str:
        what, remedy = _WHAT[self.kind]
        words = f"{what}, opened {call_site.in_words(self.call_site)}"
        if self.task is not None:
            words += f"; the task is {self.task!r}"
        if self.statement is not None:
            words += f"; the last statement was {_short(self.statement)!r}"
        return f"{words}. Type {remedy}."


def report(leaks: list[Leak]) -> str:
    """Say all of it."""
    lines = [f"{leak.owner} left {leak}" for leak in leaks]
    return "\n".join([*lines, "It was closed now; the tests after this one are not affected."])


def _short(statement: str) -> str:
    text = " ".join(statement.split())
    return text if len(text) <= 80 else f"{text[:79]}…"
