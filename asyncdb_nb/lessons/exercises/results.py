"""Lessons 01 and 05: results as frames and values."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pandas as pd

from asyncdb_nb.lessons.exercises.common_mistakes import is_number, kind, not_one_value, shown
from asyncdb_nb.lessons.exercises.exercise import Exercise
from asyncdb_nb.lessons.exercises.frames import frame_fault

if TYPE_CHECKING:
    from asyncdb_nb.database.database import Database


async def _dearest_owners(db: Database, dearest: Any) -> str | None:
    runs = await db.frame("select workflow_id, cost from workflows.run where cost is not null", numeric="decimal")
    owners = await db.frame("select id, owner from workflows.workflow where owner is not null")
    owner_of = dict(zip(owners["id"], owners["owner"], strict=True))
    costs = {owner: Decimal(0) for owner in owners["owner"]}
    for workflow, cost in zip(runs["workflow_id"], runs["cost"], strict=True):
        if workflow in owner_of:
            costs[owner_of[workflow]] += cost
    right = pd.DataFrame({"owner": list(costs), "cost": list(costs.values())})
    return frame_fault("dearest", dearest, right, key="owner", falling="cost", tolerance="0.5")


async def _regions(db: Database, regions: Any) -> str | None:
    contexts = (await db.frame("select context from workflows.run"))["context"]
    rows: dict[str, int] = {}
    for context in contexts:
        if "region" in context:
            rows[context["region"]] = rows.get(context["region"], 0) + context.get("input", {}).get("rows", 0)
    right = pd.DataFrame({"region": list(rows), "rows": list(rows.values())})
    return frame_fault("regions", regions, right, key="region", falling="rows")


async def _to_the_last_digit(db: Database, total: Any) -> str | None:
    if several := not_one_value("total", total):
        return several
    if isinstance(total, float):
        return "`total` is a float, which holds some sixteen digits and no sum of a `numeric` exactly."
    if pd.api.types.is_scalar(total) and pd.isna(total):
        return f"`total` is missing ({shown(total)}), and so is every sum to which `+` adds a missing cost."
    if not is_number(total):
        return f"`total` is {shown(total)}, {kind(total)}, and a number is asked for."
    costs = (await db.frame("select cost from workflows.task where cost is not null", numeric="decimal"))["cost"]
    right = sum(costs, Decimal(0))
    if not isinstance(total, Decimal):
        return f"`total` is {kind(total)}, and cannot hold the digits behind the point."
    if total != right:
        return f"`total` is {shown(total)}, which is too {'large' if total > right else 'small'}."
    return None


DEAREST_OWNERS = Exercise(
    ("dearest",),
    _dearest_owners,
    "Every owner is there, with its cost, and the dearest comes first.",
    "Join `workflows.run` to `workflows.workflow` by `workflow_id`, add up `cost` in groups of `owner`, and say "
    "`order by cost desc`.",
)
REGIONS = Exercise(
    ("regions",),
    _regions,
    "Every region is there, with its rows, and the largest comes first.",
    "`context ->> 'region'` is text. `(context -> 'input' ->> 'rows')::int` is a number, which `sum` takes; "
    "then say `order by rows desc`.",
)
TO_THE_LAST_DIGIT = Exercise(
    ("total",),
    _to_the_last_digit,
    "That is the sum, to its last digit.",
    'Begin with `total = 0`, and in `async for part in db.frames(..., rows=4_000):` add `part["cost"].sum()`.',
)
