"""Lessons 02 and 03: one engine on several event loops."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import NullPool, event
from sqlalchemy.ext.asyncio import AsyncEngine

from asyncdb_nb.lessons.exercises.common_mistakes import kind, outcome, raised, shown
from asyncdb_nb.lessons.exercises.exercise import Exercise

if TYPE_CHECKING:
    from asyncdb_nb.database.database import Database


async def _three_loops(db: Database, engine: Any, three_answers: Any) -> str | None:
    if not isinstance(engine, AsyncEngine):
        return f"`engine` is {kind(engine)}, and `create_async_engine` makes an AsyncEngine."
    if not isinstance(engine.pool, NullPool):
        return f"The pool of `engine` is {kind(engine.pool)}, and `NullPool` is asked for."
    if not callable(three_answers):
        return f"`three_answers` is {kind(three_answers)}, and a function is asked for."
    with _loops_of(engine, "connect") as loops:
        answers, wrong = await outcome("three_answers()", three_answers)
    if wrong or answers != [42, 42, 42]:
        return wrong or f"`three_answers()` returned {shown(answers)}, and not the list of three answers."
    if len(loops) < 3:
        return f"`engine` has opened {_connections(len(loops))}, so it was not asked three times."
    if asyncio.get_running_loop() in loops:
        return "`engine` was asked on this notebook's loop, and three new ones are asked for."
    if len(set(map(id, loops))) < 3:
        return f"The three questions were asked on {_loops(len(set(map(id, loops))))}, and not on three."
    return None


async def _ask_twice(db: Database, ask_twice: Any, engine: Any) -> str | None:
    if not isinstance(engine, AsyncEngine):
        return f"`engine` is {kind(engine)}, and that of the lesson is an AsyncEngine."
    if not callable(ask_twice):
        return f"`ask_twice` is {kind(ask_twice)}, and a function is asked for."
    if inspect.iscoroutinefunction(ask_twice):
        return "`ask_twice` is `async`, and an ordinary function is asked for."
    for where in ("this notebook's thread", "another thread"):
        with _loops_of(engine, "before_cursor_execute") as asked:
            try:
                answers = ask_twice() if where.startswith("this") else await asyncio.to_thread(ask_twice)
            except Exception as error:  # whatever a learner's code raises is told to the learner
                return f"In {where}, {raised('ask_twice()', error)}"
        if inspect.isawaitable(answers):
            if inspect.iscoroutine(answers):
                answers.close()
            return "`ask_twice()` returned a coroutine, which has asked nothing yet."
        if answers != [42, 42]:
            return f"In {where}, `ask_twice()` returned {shown(answers)}, and not the list of two answers."
        if len(asked) != 2:
            return f"In {where}, `engine` was asked {_times(len(asked))}, and not twice."
    return None


@contextmanager
def _loops_of(engine: AsyncEngine, name: str) -> Iterator[list[Any]]:
    """Record the running loop at each event of an engine."""
    loops: list[Any] = []

    def note(*_: Any) -> None:
        try:
            loops.append(asyncio.get_running_loop())
        except RuntimeError:  # the first event of a dialect may come outside of a loop
            loops.append(None)

    event.listen(engine.sync_engine, name, note)
    try:
        yield loops
    finally:
        event.remove(engine.sync_engine, name, note)


def _connections(number: int) -> str:
    return {0: "no connection", 1: "one connection"}.get(number, f"{number} connections")


def _loops(number: int) -> str:
    return "one loop" if number == 1 else f"{number} loops"


def _times(number: int) -> str:
    return {0: "nothing", 1: "once"}.get(number, f"{number} times")


THREE_LOOPS = Exercise(
    ("engine", "three_answers"),
    _three_loops,
    "Three loops, no error; but every question has to open a connection.",
    "`await on_a_new_loop(ask(engine))` gives one answer. A list comprehension gives three.",
)
ASK_TWICE = Exercise(
    ("ask_twice", "engine"),
    _ask_twice,
    "One engine, any thread.",
    "`run(ask(engine))` gives one answer. A coroutine runs once, so the second answer needs another `ask(engine)`.",
)
