"""Lesson 10: a ping before each use, and a choice by numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pandas as pd
from sqlalchemy import AsyncAdaptedQueuePool
from sqlalchemy.ext.asyncio import AsyncEngine

from asyncdb_nb.engine._sqlalchemy.pool import pings_before_use
from asyncdb_nb.lessons.exercises.common_mistakes import kind, shown
from asyncdb_nb.lessons.exercises.exercise import Exercise

if TYPE_CHECKING:
    from asyncdb_nb.database.database import Database

_NAME = "usual pool, with a ping"
_QUESTIONS = 20  # that are asked on each loop


async def _a_ping(db: Database, engine: Any, pinged: Any) -> str | None:
    if not isinstance(engine, AsyncEngine):
        return f"`engine` is {kind(engine)}, and `create_async_engine` makes an AsyncEngine."
    if type(engine.pool) is not AsyncAdaptedQueuePool:
        return f"The pool of `engine` is {kind(engine.pool)}, and the usual one is an AsyncAdaptedQueuePool."
    if not pings_before_use(engine.pool):
        return "The pool of `engine` does not ping before each use."
    if not isinstance(pinged, Mapping):
        return f"`pinged` is {kind(pinged)}, and `weigh` returns a dict."
    for key in ("way", "first loop", "second loop", "connections opened", "left behind"):
        if key not in pinged:
            return f"`pinged` has no {key!r}, so `weigh` did not make it."
    if pinged["way"] != _NAME:
        return f"It was weighed as {pinged['way']!r}, and {_NAME!r} is asked for."
    if pinged["first loop"] != _QUESTIONS:
        return (
            f"On the first loop {shown(pinged['first loop'])} of {_QUESTIONS} answers were right: weigh a new engine."
        )
    if pinged["second loop"] >= _QUESTIONS:
        return "On the second loop every answer was right, which this pool does not give: another engine was weighed."
    return None


async def _choose(db: Database, safe: Any, table: Any) -> str | None:
    if not isinstance(table, pd.DataFrame):
        return f"`table` is {kind(table)}, and that of the lesson is a DataFrame."
    if isinstance(safe, str | Mapping | pd.DataFrame) or not isinstance(safe, Iterable):
        return f"`safe` is {kind(safe)}, and a list of names is asked for."
    names = list(safe)
    for name in names:
        if name not in table.index:
            return f"`safe` has {shown(name)}, which is none of the ways in `table`."
        if fault := _unsafe(name, table.loc[name]):
            return fault
        if names.count(name) > 1:
            return f"`safe` has {name!r} {names.count(name)} times."
    if missing := [name for name in table.index if name not in names and not _unsafe(name, table.loc[name])]:
        return f"`safe` has {len(names)} ways, and should have {len(names) + len(missing)}: {missing[0]!r} is missing."
    return _out_of_order(names, table["connections opened"])


def _unsafe(name: str, row: Any) -> str | None:
    right = row["first loop"] + row["second loop"]
    if right < 2 * _QUESTIONS:
        return f"`safe` has {name!r}, which gave {right} right answers and not {2 * _QUESTIONS}."
    if row["left behind"]:
        return f"`safe` has {name!r}, which left {row['left behind']} behind."
    return None


def _out_of_order(names: list[str], opened: Any) -> str | None:
    for first, then in pairwise(names):
        if opened[first] > opened[then]:
            return f"{first!r} stands before {then!r}, and opens more connections."
        if opened[first] == opened[then] and first > then:
            return (
                f"{first!r} stands before {then!r}; they open as many connections, and by name come in the other order."
            )
    return None


A_PING = Exercise(
    ("engine", "pinged"),
    _a_ping,
    "A ping on the wrong loop is one error more.",
    "`create_async_engine(db.url, connect_args=arguments, pool_pre_ping=True)`, and then "
    f'`await weigh("{_NAME}", engine, [])`.',
)
CHOOSE = Exercise(
    ("safe", "table"),
    _choose,
    "These are safe, the cheapest first.",
    'Keep the rows in which `"first loop"` and `"second loop"` make 40 and `"left behind"` is 0; then '
    '`reset_index().sort_values(["connections opened", "way"])`.',
)
