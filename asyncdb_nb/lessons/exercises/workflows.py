"""Lesson 06: the questions of an analyst, and a picture."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from asyncdb_nb.lessons.exercises.common_mistakes import is_number, kind, not_one_value, shown
from asyncdb_nb.lessons.exercises.exercise import Exercise

if TYPE_CHECKING:
    from asyncdb_nb.database.database import Database

_STEPS = "select step, attempt, cost, elapsed_seconds, status from workflows.task"


async def _fullest_night(db: Database, fullest: Any) -> str | None:
    if several := not_one_value("fullest", fullest):
        return several
    if is_number(fullest):
        return f"`fullest` is the number {shown(fullest)}, and a day is asked for."
    try:
        day = pd.Timestamp(fullest)
    except (TypeError, ValueError):
        return f"`fullest` is {shown(fullest)}, which is no day."
    if pd.isna(day):
        return "`fullest` is a missing value, and a day is asked for."
    counts = await _in_flight(db)
    if day.date() not in counts:
        return f"On {day.date()} no run of the sample came in or was finished."
    if counts[day.date()] < max(counts.values()):
        return f"On {day.date()}, {_runs(counts[day.date()])} in flight at midnight, and there is a day with more."
    return None


async def _in_flight(db: Database) -> dict[date, int]:
    """How many runs were in flight at the end of each day, counted here from the times of all runs."""
    runs = await db.frame("select queued_at, finished_at from workflows.run")
    queued = runs["queued_at"].dt.tz_convert("UTC").dt.tz_localize(None).dt.floor("D")
    finished = runs["finished_at"].dt.tz_convert("UTC").dt.tz_localize(None).dt.floor("D")
    days = pd.date_range(queued.min(), max(queued.max(), finished.max()))
    return {day.date(): int(((queued <= day) & ~(finished <= day)).sum()) for day in days}


def _runs(number: int) -> str:
    return "1 run was" if number == 1 else f"{number} runs were"


async def _doing_it_twice(db: Database, dearest: Any) -> str | None:
    if fault := not_one_value("dearest", dearest) or _no_name("dearest", dearest):
        return fault
    tasks = await db.frame(_STEPS, numeric="decimal")
    if dearest not in set(tasks["step"]):
        return f"There is no step {dearest!r}."
    again = tasks[tasks["attempt"] > 1]
    costs = {step: sum(group["cost"].dropna(), Decimal(0)) for step, group in again.groupby("step")}
    seconds = again.groupby("step")["elapsed_seconds"].sum()
    if dearest not in costs:
        return f"The step {dearest!r} was never repeated."
    if costs[dearest] == max(costs.values()):
        return None
    if dearest == seconds.idxmax():
        return f"The repetitions of {dearest!r} took the most time, and those of another step cost more money."
    return f"The repetitions of {dearest!r} cost {costs[dearest]:.2f}, and those of another step cost more."


def _no_name(name: str, answer: Any) -> str | None:
    if not isinstance(answer, str):
        return f"`{name}` is {kind(answer)}, and the name of a step is asked for."
    return None


async def _own_picture(db: Database, axes: Any) -> str | None:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    if isinstance(axes, Figure):
        return "`axes` is a Figure; what is asked for are its axes."
    if not isinstance(axes, Axes):
        return f"`axes` is {kind(axes)}, and matplotlib's Axes are asked for."
    tasks = await db.frame(_STEPS)
    done = tasks[tasks["elapsed_seconds"].notna() & (tasks["status"] != "cancelled")]
    right = {str(step): float(np.quantile(group, 0.9)) for step, group in done.groupby("step")["elapsed_seconds"]}
    return _bars(axes, right)


def _bars(axes: Any, right: dict[str, float]) -> str | None:
    bars = [bar for bar in axes.patches if hasattr(bar, "get_width")]
    if len(bars) != len(right):
        there = "1 bar" if len(bars) == 1 else f"{len(bars)} bars"
        return f"The picture has {there}, and there are {len(right)} steps."
    across = len({round(bar.get_height(), 9) for bar in bars}) == 1  # all are as thick as each other
    sizes = [bar.get_width() if across else bar.get_height() for bar in bars]
    middles = [bar.get_y() + bar.get_height() / 2 if across else bar.get_x() + bar.get_width() / 2 for bar in bars]
    names = _names(axes.yaxis if across else axes.xaxis)
    size_of = {names.get(round(middle, 3), ""): size for middle, size in zip(middles, sizes, strict=True)}
    if unknown := sorted(set(right) - size_of.keys()):
        return f"The axis of the steps names no bar {unknown[0]!r}."
    unit = max(sizes) / max(right.values())
    for step, seconds in right.items():
        if abs(size_of[step] - unit * seconds) > 0.01 * unit * seconds + 0.001 * max(sizes):
            return f"The bar of {step!r} is not as long, beside the longest, as its `p90_seconds`."
    if not any(axes.get_title(place).strip() for place in ("left", "center", "right")) and not _heading(axes):
        return "The figure has no title."
    if not (axes.get_xlabel() if across else axes.get_ylabel()).strip():
        return "The axis of the numbers has no name."
    return None


def _names(axis: Any) -> dict[float, str]:
    """The texts at an axis by where they stand."""
    axis.axes.figure.draw_without_rendering()  # which is when an axis finds its texts
    return {round(tick.get_loc(), 3): tick.label1.get_text() for tick in axis.get_major_ticks()}


def _heading(axes: Any) -> bool:
    return bool(axes.figure.get_suptitle().strip())


FULLEST_NIGHT = Exercise(
    ("fullest",),
    _fullest_night,
    "On no other day were more runs in flight at midnight.",
    "`throughput()` has a column `in_flight`; `idxmax()` gives the row in which a column is largest.",
)
DOING_IT_TWICE = Exercise(
    ("dearest",),
    _doing_it_twice,
    "The repetitions of no other step cost more.",
    "`retries()` has a column `extra_cost`; its rows are ordered by time.",
)
OWN_PICTURE = Exercise(
    ("axes",),
    _own_picture,
    "It has a bar for each step, a title, and a name for the numbers.",
    '`durations(by="step")` has the numbers. `frame.plot.barh(x="step", y="p90_seconds")` returns axes, whose '
    "`set(title=..., xlabel=...)` names things.",
)
