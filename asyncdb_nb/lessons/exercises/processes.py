"""Lesson 11: the paths of a process."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import accumulate, pairwise
from math import isfinite
from typing import TYPE_CHECKING, Any

from asyncdb_nb.lessons.exercises.common_mistakes import is_number, kind, not_one_value, shown
from asyncdb_nb.lessons.exercises.exercise import Exercise

if TYPE_CHECKING:
    from asyncdb_nb.database.database import Database

_PATHS = """
select run.id, task.step
from workflows.run join workflows.workflow on workflow.id = run.workflow_id
left join workflows.task on task.run_id = run.id
where workflow.name = 'invoices-import'
order by run.id, task.position
"""


async def _common_ways(db: Database, few: Any) -> str | None:
    if several := not_one_value("few", few):
        return several
    if not is_number(few):
        return f"`few` is {kind(few)}, and a number is asked for."
    tasks = await db.frame(_PATHS)
    paths = Counter(tuple(steps.dropna()) for _, steps in tasks.groupby("id")["step"])
    runs = paths.total()
    shares = [Fraction(0), *(Fraction(n, runs) for n in accumulate(count for _, count in paths.most_common()))]
    if not isfinite(few) or few != int(few):
        return f"`few` is {shown(few)}, and a whole number is asked for."
    if not 0 <= few < len(shares):
        return f"`few` is {shown(few)}, and there are {len(paths)} variants."
    few = int(few)
    if shares[few] < Fraction(9, 10):
        commonest = "commonest variant has" if few == 1 else f"{few} commonest variants have"
        return f"The {commonest} {float(shares[few]):.1%} of the runs, which is less than nine in ten."
    if shares[few - 1] >= Fraction(9, 10):
        return f"{few} variants are enough, but fewer are enough, too."
    return None


async def _again(db: Database, stubborn: Any) -> str | None:
    if several := not_one_value("stubborn", stubborn):
        return several
    if not isinstance(stubborn, str):
        return f"`stubborn` is {kind(stubborn)}, and the name of a step is asked for."
    tasks = await db.frame("select run_id, step from workflows.task order by run_id, position")
    counts: Counter[str] = Counter()
    for _, steps in tasks.groupby("run_id")["step"]:
        counts.update(this for this, following in pairwise(steps) if this == following)
    if stubborn not in set(tasks["step"]):
        return f"There is no step {stubborn!r}."
    if counts[stubborn] < max(counts.values()):
        return f"{stubborn!r} follows itself {counts[stubborn]} times, and another step does so more often."
    return None


COMMON_WAYS = Exercise(
    ("few",),
    _common_ways,
    "One variant fewer would not be enough.",
    '`variants(workflow="invoices-import")` has a column `share`; `cumsum()` adds it up from the commonest on.',
)
AGAIN = Exercise(
    ("stubborn",),
    _again,
    "No other step follows itself as often.",
    "In `whole.frame()`, these are the rows in which `from_step` equals `to_step`; the commonest comes first.",
)
