"""
The questions that a process analyst asks: the paths that runs take, what follows what, where work waits.

As in `queries.py`, each is a select with an order, takes the same filters, and is answered by the server. One task
follows another directly when its `position` in the run is the next: the order in which they began, and for those that
began at the same moment, that of the log's lines. Each attempt is a task of its own, so a step that is tried again
follows itself. Tasks that overlap are taken in that order too.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Integer, Text, case, cast, func, literal, literal_column, null, select
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by
from sqlalchemy.types import Double

from asyncdb_nb.workflows.filters import only, ratio
from asyncdb_nb.workflows.models import Run, Status, Task

if TYPE_CHECKING:
    from sqlalchemy.sql import Select

_IN_RUN: dict[str, Any] = {"partition_by": Task.run_id, "order_by": Task.position}
_OUTSIDE = 0  # the number of no step: what comes before the first task, and after the last


def variants(
    limit: int | None = None, workflow: str | None = None, since: date | None = None, until: date | None = None
) -> Select[Any]:
    """
    The paths that runs take, the commonest first.

    Args:
        limit: How many rows at most; None gives all. Shares are of all runs in any case.
        workflow: As in `overview`, and so are the others.
        since: From here on.
        until: Before here.

    Returns:
        One row for each sequence of steps: `variant` (its number, from 1), `path` (the steps in their order, as a
        list; empty for runs without a task), `steps` (how many), `runs`, `share` (of all runs), `failed`, `open` (of
        `runs`, those that are not finished: they may still go on), `p50_seconds`, `p90_seconds` (from being queued to
        being finished; as in `durations`, what is open or was cancelled does not count).
    """
    path = func.array_agg(aggregate_order_by(Task.step, Task.position)).filter(Task.id.is_not(None))
    paths = only(
        workflow,
        since,
        until,
        select(
            Run.status,
            Run.elapsed_seconds,
            func.coalesce(path, cast(literal_column("'{}'"), ARRAY(Text))).label("path"),
        )
        .select_from(Run)
        .join(Run.workflow)
        .outerjoin(Run.tasks)
        .group_by(Run.id),
    ).subquery()
    runs = func.count()
    judged = paths.c.elapsed_seconds.is_not(None) & (paths.c.status != Status.CANCELLED)
    return (
        select(
            func.row_number().over(order_by=(runs.desc(), paths.c.path)).label("variant"),
            paths.c.path,
            func.cardinality(paths.c.path).label("steps"),
            runs.label("runs"),
            ratio(runs, func.sum(runs).over()).label("share"),
            runs.filter(paths.c.status == Status.FAILED).label("failed"),
            runs.filter(paths.c.status.in_((Status.QUEUED, Status.RUNNING))).label("open"),
            *_percentiles("{}_seconds", paths.c.elapsed_seconds, judged),
        )
        .group_by(paths.c.path)
        .order_by(runs.desc(), paths.c.path)
        .limit(limit)
    )


def transitions(workflow: str | None = None, since: date | None = None, until: date | None = None) -> Select[Any]:
    """
    Which step follows which directly, the commonest first. `flow()` is the same as a picture.

    Args:
        workflow: As in `overview`, and so are the others.
        since: From here on.
        until: Before here.

    Returns:
        One row for each pair: `from_step` (missing where a run begins), `to_step` (missing where a finished run
        ends), `times`, `share` (of all that leaves `from_step`), `p50_seconds`, `p90_seconds` (from the end of the one
        task to the start of the next, or to its end where its start is not known; 0 where they overlap; missing at
        the begin and the end of runs), `coverage` (the share of runs that consist of pairs with this `coverage` or
        less: what is seen of the runs when rarer pairs are hidden). Runs without tasks do not count.
    """
    names = select(Task.step).distinct().subquery()
    steps = select(names.c.step, cast(func.row_number().over(), Integer).label("number")).cte("steps")
    tasks = only(workflow, since, until, _followed(steps.c.number).join(steps, steps.c.step == Task.step)).cte("tasks")
    pairs = (
        select(
            tasks.c.run_id, func.coalesce(tasks.c.before, _OUTSIDE).label("a"), tasks.c.this.label("b"), tasks.c.seconds
        )
        .union_all(
            select(tasks.c.run_id, tasks.c.this, literal(_OUTSIDE, literal_execute=True), cast(null(), Double)).where(
                tasks.c.last
            )
        )
        .cte("pairs")
    )
    counts = (
        select(pairs.c.a, pairs.c.b, func.count().label("times"), *_percentiles("{}_seconds", pairs.c.seconds))
        .group_by(pairs.c.a, pairs.c.b)
        .cte("counts")
    )
    # a run is as rare as the rarest of its pairs, and a pair as common as the commonest run that has it
    rarest = (
        select(pairs.c.run_id, func.min(counts.c.times).label("times"))
        .join(counts, (counts.c.a == pairs.c.a) & (counts.c.b == pairs.c.b))
        .group_by(pairs.c.run_id)
        .cte("rarest")
    )
    needed = (
        select(pairs.c.a, pairs.c.b, func.max(rarest.c.times).label("times"))
        .join(rarest, rarest.c.run_id == pairs.c.run_id)
        .group_by(pairs.c.a, pairs.c.b)
        .cte("needed")
    )
    runs = func.count()
    covered = (
        select(
            rarest.c.times,
            ratio(func.sum(runs).over(order_by=rarest.c.times.desc()), func.sum(runs).over()).label("coverage"),
        )
        .group_by(rarest.c.times)
        .cte("covered")
    )
    before, after = steps.alias("before"), steps.alias("after")
    return (
        select(
            before.c.step.label("from_step"),
            after.c.step.label("to_step"),
            counts.c.times,
            ratio(counts.c.times, func.sum(counts.c.times).over(partition_by=counts.c.a)).label("share"),
            counts.c.p50_seconds,
            counts.c.p90_seconds,
            covered.c.coverage,
        )
        .select_from(counts)
        .join(needed, (needed.c.a == counts.c.a) & (needed.c.b == counts.c.b))
        .join(covered, covered.c.times == needed.c.times)
        .outerjoin(before, before.c.number == counts.c.a)
        .outerjoin(after, after.c.number == counts.c.b)
        .order_by(counts.c.times.desc(), before.c.step.nulls_first(), after.c.step.nulls_last())
    )


def bottlenecks(workflow: str | None = None, since: date | None = None, until: date | None = None) -> Select[Any]:
    """
    How long a task waits, and how long it is worked at, by step: where most time is spent waiting comes first.

    `time_lost` has the sums; this is what one task meets, and how many are there at a time.

    Args:
        workflow: As in `overview`, and so are the others.
        since: From here on.
        until: Before here.

    Returns:
        One row a step: `step`, `tasks`, `open` (not finished), `workers` (how many different ones), `waiting_share` (of
        the waiting and working that is known), `p50_waiting_seconds`, `p90_waiting_seconds`, `p50_working_seconds`,
        `p90_working_seconds`, `p50_elapsed_seconds`, `p90_elapsed_seconds`, `waiting_tasks`, `working_tasks` (how many
        wait, and are worked at, at a time: the mean from the first task that was queued to the last that was
        finished, among all steps). Where only completions are known, waiting and working are missing, and the steps
        with most elapsed time come first.
    """
    waiting, working, elapsed = (
        func.sum(column) for column in (Task.waiting_seconds, Task.working_seconds, Task.elapsed_seconds)
    )
    first, last = func.min(func.min(Task.queued_at)).over(), func.max(func.max(Task.finished_at)).over()
    span = cast(func.extract("epoch", last - first), Double)
    statement = (
        select(
            Task.step,
            func.count().label("tasks"),
            func.count().filter(Task.finished_at.is_(None)).label("open"),
            func.count(Task.worker.distinct()).label("workers"),
            ratio(waiting, waiting + working).label("waiting_share"),
            *_percentiles("{}_waiting_seconds", Task.waiting_seconds),
            *_percentiles("{}_working_seconds", Task.working_seconds),
            *_percentiles("{}_elapsed_seconds", Task.elapsed_seconds),
            ratio(waiting, span).label("waiting_tasks"),
            ratio(working, span).label("working_tasks"),
        )
        .join(Task.run)
        .join(Run.workflow)
        .group_by(Task.step)
        .order_by(waiting.desc().nulls_last(), elapsed.desc().nulls_last(), Task.step)
    )
    return only(workflow, since, until, statement)


def handovers(workflow: str | None = None, since: date | None = None, until: date | None = None) -> Select[Any]:
    """
    Who hands work over to whom: the workers of tasks that follow each other directly, the commonest pair first.

    Args:
        workflow: As in `overview`, and so are the others.
        since: From here on.
        until: Before here.

    Returns:
        One row for each pair: `from_worker`, `to_worker` (the same where a worker goes on; missing where nobody knows
        who it was), `times`, `share` (of all that `from_worker` hands over or goes on with), `runs` (in how many),
        `p50_seconds`, `p90_seconds` (between the two tasks, as in `transitions`).
    """
    tasks = only(workflow, since, until, _followed(Task.worker)).subquery()
    times = func.count()
    return (
        select(
            tasks.c.before.label("from_worker"),
            tasks.c.this.label("to_worker"),
            times.label("times"),
            ratio(times, func.sum(times).over(partition_by=tasks.c.before)).label("share"),
            func.count(tasks.c.run_id.distinct()).label("runs"),
            *_percentiles("{}_seconds", tasks.c.seconds),
        )
        .where(tasks.c.follows)
        .group_by(tasks.c.before, tasks.c.this)
        .order_by(times.desc(), tasks.c.before.nulls_last(), tasks.c.this.nulls_last())
    )


def _followed(what: Any) -> Select[Any]:
    """Select each task's `this` beside that of the task `before` it, and the `seconds` between the two."""
    ended = func.lag(Task.finished_at).over(**_IN_RUN)
    began = func.coalesce(Task.started_at, Task.finished_at)
    between = cast(func.extract("epoch", began - ended), Double)
    return (
        select(
            Task.run_id,
            what.label("this"),
            func.lag(what).over(**_IN_RUN).label("before"),
            func.lag(Task.id).over(**_IN_RUN).is_not(None).label("follows"),
            (func.lead(Task.id).over(**_IN_RUN).is_(None) & Run.finished_at.is_not(None)).label("last"),
            case((between.is_not(None), func.greatest(between, 0))).label("seconds"),
        )
        .join(Task.run)
        .join(Run.workflow)
    )


def _percentiles(name: str, seconds: Any, among: Any = None) -> list[ColumnElement[Any]]:
    """Half of the values are at most the first, and nine of ten at most the second."""
    found = (func.percentile_cont(percent / 100).within_group(seconds) for percent in (50, 90))
    chosen = (one if among is None else one.filter(among) for one in found)
    return [cast(one, Double).label(name.format(f"p{percent}")) for one, percent in zip(chosen, (50, 90), strict=True)]
