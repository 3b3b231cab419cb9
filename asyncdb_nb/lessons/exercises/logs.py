"""Lesson 09: an event log of somebody else, and the ways that cases take."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pandas as pd

from asyncdb_nb.lessons.exercises.common_mistakes import kind
from asyncdb_nb.lessons.exercises.exercise import Exercise
from asyncdb_nb.lessons.exercises.frames import frame_fault
from asyncdb_nb.workflows import EventLog
from asyncdb_nb.workflows.models import quoted

if TYPE_CHECKING:
    from asyncdb_nb.database.database import Database

_EVENTS = {  # what the lesson's file says: summer time in Berlin is two hours before UTC
    ("1", "open"): datetime(2024, 5, 6, 7, 30, tzinfo=UTC),
    ("1", "close"): datetime(2024, 5, 7, 8, 0, tzinfo=UTC),
    ("2", "open"): datetime(2024, 5, 6, 9, 15, tzinfo=UTC),
}


async def _somebody_elses_file(db: Database, loaded: Any) -> str | None:
    if not isinstance(loaded, EventLog):
        return f"`loaded` is {kind(loaded)}, and what `load_event_log` returns is an EventLog."
    columns = {"case": "Ticket", "activity": "Schritt", "timestamp": "Zeit"}
    for role, column in columns.items():
        if (found := loaded.columns.get(role)) != column:
            return f"The {role} was taken from the column {found!r}."
    if not len(await db.frame("select 1 where to_regclass(:task) is not null", {"task": _table(loaded.schema)})):
        return f"The log is not in this database any more: there is no table {loaded.schema}.task."
    tasks = await db.frame(
        f"select run.case_id, task.step, task.finished_at from {_table(loaded.schema)} task "  # noqa: S608  quoted
        f"join {quoted(loaded.schema)}.run on run.id = task.run_id"
    )
    return _events(tasks)


def _events(tasks: pd.DataFrame) -> str | None:
    found = {(case, step): at for case, step, at in tasks.itertuples(index=False)}
    if found.keys() != _EVENTS.keys() or len(tasks) != len(_EVENTS):
        return f"The log has {len(tasks)} tasks of {tasks['case_id'].nunique()} cases, and its file has others."
    for event, right in _EVENTS.items():
        if pd.isna(found[event]) or found[event] != right:
            known = "is not known" if pd.isna(found[event]) else f"was done on {found[event]:%d.%m.%Y at %H:%M} UTC"
            return f"Step {event[1]!r} of ticket {event[0]} {known}, and that is not what its file says."
    return None


async def _ways_through(db: Database, variants: Any) -> str | None:
    tasks = await db.frame("select run_id, step from permits.task order by run_id, position")
    ways = Counter(" > ".join(steps) for _, steps in tasks.groupby("run_id")["step"])
    right = pd.DataFrame({"way": list(ways), "cases": list(ways.values())})
    return frame_fault("variants", variants, right, key="way", falling="cases")


def _table(schema: str) -> str:
    return f"{quoted(schema)}.task"


SOMEBODY_ELSES_FILE = Exercise(
    ("loaded",),
    _somebody_elses_file,
    "Every ticket is there, with its steps at the right times.",
    'Name the three columns, and say `timestamp_format="%d.%m.%Y %H:%M"` and `timezone="Europe/Berlin"`.',
)
WAYS_THROUGH = Exercise(
    ("variants",),
    _ways_through,
    "Every way is there, with its cases, and the most frequent comes first.",
    "First one row for each `run_id`: `string_agg(step, ' > ' order by position)`. Then count how often each of "
    "these occurs.",
)
