"""
Fill the tables of the sample domain with a simulated history.

What is loaded depends on the arguments alone: the same numbers and seed give the same rows and times, and in tables
that were empty the same ids, so that a lesson's outputs stay as they were printed. The history is 56 days from Monday
1 January 2024 on, at any size.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, select, text

from asyncdb_nb.workflows.bulk_load import Target, after_ids, copy_rows, loading, lock, next_id, reading
from asyncdb_nb.workflows.models import SCHEMA, Run, Task, Workflow
from asyncdb_nb.workflows.sample.company import CREWS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.ext.asyncio import AsyncConnection

    from asyncdb_nb.workflows.sample.company import Plan
    from asyncdb_nb.workflows.sample.simulation import Attempt, History, Simulation

RUNS, WORKFLOWS, SEED = 3_000, 30, 7

START = datetime(2024, 1, 1, tzinfo=UTC)  # a Monday

_SOURCE = "sample"
_RUNS_AT_ONCE = 150  # some 800 tasks: the event loop serves others in between, and memory stays small
_TRIGGERS = ("schedule", "schedule", "schedule", "api", "manual")
_REGIONS = ("eu-central", "us-east", "ap-south")
_WORKFLOW = ("id", "name", "owner", "priority", "tags", "source", "created_at", "retired_at")
_TIMES = ("queued_at", "started_at", "finished_at")
_RUN = ("id", "workflow_id", "case_id", "status", "priority", "retries", "cost", "context", *_TIMES)
_TASK = ("id", "run_id", "position", "step", "attempt", "status", "worker", "error", "cost", *_TIMES)


@dataclass(frozen=True)
class Seeded:
    """How many rows of the sample there are."""

    workflows: int
    runs: int
    tasks: int

    def __str__(self) -> str:
        return f"{self.workflows:,} workflows, {self.runs:,} runs, {self.tasks:,} tasks"


async def seed_workflows(
    target: Target, *, runs: int = RUNS, workflows: int = WORKFLOWS, seed: int = SEED, replace: bool = False
) -> Seeded:
    """
    Load the sample: a simulated company's workflows, runs and tasks. The tables are made where they are missing.

    Args:
        target: A `Database` or an engine, in a transaction of its own; or a session, inside the caller's transaction.
        runs: How many runs, about five tasks each. A million take a few minutes and little memory.
        workflows: How many workflows.
        seed: The same seed gives the same rows.
        replace: Whether a sample that is there already gives way to this one.

    Returns:
        The number of rows loaded.

    Raises:
        ValueError: There is a sample already, and `replace` is not set; or a number is out of range.
        SchemaTakenError: The database has a schema `workflows` of its own.
    """
    if runs < 0 or workflows < 1 or not 0 <= seed < 2**32:
        raise ValueError(
            "seed_workflows() takes runs of 0 or more, workflows of 1 or more, and a seed of 0 to 4294967295, "
            f"not runs={runs}, workflows={workflows}, seed={seed}."
        )
    async with loading(target) as connection:
        there = await count_sample(connection)
        if there.workflows and not replace:
            raise ValueError(
                f"The sample is loaded already ({there}). To load another: `seed_workflows(..., replace=True)`."
            )
        await connection.execute(delete(Workflow).where(Workflow.source == _SOURCE))
        return await load_sample(connection, runs, workflows, seed)


async def ensure_sample(target: Target) -> Seeded:
    """
    Load the sample in its usual size unless there is one, of whatever size; see `seed_workflows`.

    Where it is there, this waits for nobody.
    """
    async with reading(target) as connection:
        if await connection.scalar(text("select pg_catalog.to_regclass(:table)"), {"table": f"{SCHEMA}.task"}):
            there = await count_sample(connection)
            if there.workflows:
                return there
    async with loading(target) as connection:
        there = await count_sample(connection)  # another process may have loaded it while we waited for our turn
        return there if there.workflows else await load_sample(connection, RUNS)


async def count_sample(connection: AsyncConnection) -> Seeded:
    """Count its rows, in tables that are there."""
    ours = Workflow.source == _SOURCE
    workflows = await connection.scalar(select(func.count()).select_from(Workflow).where(ours))
    runs = await connection.scalar(select(func.count()).select_from(Run).join(Workflow).where(ours))
    tasks = await connection.scalar(select(func.count()).select_from(Task).join(Run).join(Workflow).where(ours))
    return Seeded(workflows or 0, runs or 0, tasks or 0)


async def load_sample(
    connection: AsyncConnection, number_of_runs: int = RUNS, number_of_workflows: int = WORKFLOWS, seed: int = SEED
) -> Seeded:
    """Add its rows, in its usual size, to tables that are there."""
    simulation = await asyncio.to_thread(_simulation, number_of_runs, number_of_workflows, seed)
    await lock(connection)
    first = {table: await next_id(connection, table) for table in ("workflow", "run", "task")}
    workflows = [_workflow_row(first["workflow"], number, plan) for number, plan in enumerate(simulation.plans)]
    await copy_rows(connection, "workflow", _WORKFLOW, workflows)
    ids = {plan.name: first["workflow"] + number for number, plan in enumerate(simulation.plans)}
    runs = tasks = 0
    histories = simulation.histories()
    while part := list(islice(histories, _RUNS_AT_ONCE)):
        task_rows = list(_task_rows(part, first["run"], first["task"] + tasks))
        await copy_rows(connection, "run", _RUN, (_run_row(each, first["run"], ids[each.plan.name]) for each in part))
        await copy_rows(connection, "task", _TASK, task_rows)
        runs, tasks = runs + len(part), tasks + len(task_rows)
    for table in first:
        await after_ids(connection, table)
        await connection.execute(text(f"analyze {SCHEMA}.{table}"))
    return Seeded(len(workflows), runs, tasks)


def _simulation(runs: int, workflows: int, seed: int) -> Simulation:
    from asyncdb_nb.workflows.sample.simulation import (
        Simulation,  # brings numpy, which a sample already there needs not
    )

    return Simulation(runs, workflows, seed)


def _workflow_row(first_id: int, number: int, plan: Plan) -> tuple[Any, ...]:
    created = START - timedelta(days=20 + 37 * number % 700)
    retired = START + timedelta(days=60 + number) if number % 13 == 12 else None
    return (first_id + number, plan.name, plan.owner, plan.priority, plan.tags, _SOURCE, created, retired)


def _run_row(history: History, first_id: int, workflow_id: int) -> tuple[Any, ...]:
    costs = [cost for cost in map(_cost, history.attempts) if cost is not None]
    return (
        first_id + history.number,
        workflow_id,
        f"{history.plan.name}/{history.number + 1:06}",
        history.status.value,
        history.plan.priority,
        sum(attempt.number > 1 for attempt in history.attempts),
        sum(costs) if costs else None,
        _context(history),
        _time(history.queued),
        _time(next((attempt.started for attempt in history.attempts), None)),
        _time(history.finished),
    )


def _task_rows(histories: list[History], first_run: int, first_task: int) -> Iterator[tuple[Any, ...]]:
    number = first_task
    for history in histories:
        for position, attempt in enumerate(history.attempts, start=1):
            yield (
                number,
                first_run + history.number,
                position,
                attempt.step.name,
                attempt.number,
                attempt.status.value,
                attempt.worker,
                attempt.error,
                _cost(attempt),
                _time(attempt.queued),
                _time(attempt.started),
                _time(attempt.finished),
            )
            number += 1


def _cost(attempt: Attempt) -> Decimal | None:
    if attempt.started is None or attempt.finished is None:
        return None
    hours = (attempt.finished - attempt.started) / 3600
    return Decimal(round(hours * CREWS[attempt.step.crew].hourly * 10_000)).scaleb(-4)


def _context(history: History) -> str:
    """What the run was told: a JSON object, some of its keys not always there."""
    number = history.number
    trigger = _TRIGGERS[number * 7 % 5]
    context: dict[str, Any] = {
        "trigger": trigger,
        "region": _REGIONS[number * 11 % 3],
        "input": {"rows": 50 + number * 7919 % 9973, "full": number % 29 == 0},
    }
    if trigger == "manual":
        context["reason"] = "correction" if number % 2 else None
    return json.dumps(context)


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else START + timedelta(milliseconds=round(seconds * 1000))
