"""
The questions that an analyst asks of workflows: each a select with an order, and no input or output.

`WorkflowRepository` asks them. Every question takes the same filters: one workflow by name, and a half-open span of
time in which the runs were queued. Rates and shares are of 1, times are seconds, days and hours are UTC.

In an event log that records completions only, nobody can tell waiting from working: there `elapsed_seconds` answers,
and the columns for its parts are missing values.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    DateTime,
    Double,
    SmallInteger,
    cast,
    func,
    literal_column,
    select,
    true,
)
from sqlalchemy.types import Date, Numeric

from asyncdb_nb.workflows.filters import only, ratio
from asyncdb_nb.workflows.models import Run, Status, Task, Workflow

if TYPE_CHECKING:
    from sqlalchemy.sql import Select, Subquery

_PERCENTILES = (50, 90, 95, 99)


def overview(workflow: str | None = None, since: date | None = None, until: date | None = None) -> Select[Any]:
    """
    How each workflow does, the busiest first.

    Args:
        workflow: Only this workflow.
        since: Only runs queued at or after this moment. A date is its midnight; without a time zone it is UTC.
        until: Only runs queued before this moment.

    Returns:
        One row a workflow: `workflow`, `owner`, `runs`, `succeeded`, `failed`, `cancelled`, `open`, `failure_rate`
        (of the runs that succeeded or failed), `retries`, `cost`, `first_queued`, `last_queued`.
    """
    counts = {status: func.count().filter(Run.status == status) for status in Status}
    judged = counts[Status.SUCCEEDED] + counts[Status.FAILED]
    statement = (
        select(
            Workflow.name.label("workflow"),
            Workflow.owner,
            func.count().label("runs"),
            counts[Status.SUCCEEDED].label("succeeded"),
            counts[Status.FAILED].label("failed"),
            counts[Status.CANCELLED].label("cancelled"),
            (counts[Status.QUEUED] + counts[Status.RUNNING]).label("open"),
            ratio(counts[Status.FAILED], judged).label("failure_rate"),
            func.sum(Run.retries).label("retries"),
            _money(func.sum(Run.cost)).label("cost"),
            func.min(Run.queued_at).label("first_queued"),
            func.max(Run.queued_at).label("last_queued"),
        )
        .join(Run.workflow)
        .group_by(Workflow.id)
        .order_by(func.count().desc(), Workflow.name)
    )
    return only(workflow, since, until, statement)


def failures(workflow: str | None = None, since: date | None = None, until: date | None = None) -> Select[Any]:
    """
    What failed, where and why, the deadliest first.

    Args:
        workflow: As in `overview`, and so are the others.
        since: From here on.
        until: Before here.

    Returns:
        One row for each workflow, step and error: `workflow`, `step`, `error`, `failed_tasks`, `failed_runs` (which
        failed in the end), `recovered_runs` (which got over it), `seconds_lost` and `cost_lost` (by the failed
        tasks), `last_failed`.
    """
    runs = func.count(Run.id.distinct())
    statement = (
        select(
            Workflow.name.label("workflow"),
            Task.step,
            Task.error,
            func.count().label("failed_tasks"),
            runs.filter(Run.status == Status.FAILED).label("failed_runs"),
            runs.filter(Run.status == Status.SUCCEEDED).label("recovered_runs"),
            func.sum(Task.working_seconds).label("seconds_lost"),
            _money(func.sum(Task.cost)).label("cost_lost"),
            func.max(Task.finished_at).label("last_failed"),
        )
        .join(Task.run)
        .join(Run.workflow)
        .where(Task.status == Status.FAILED)
        .group_by(Workflow.name, Task.step, Task.error)
        .order_by(
            runs.filter(Run.status == Status.FAILED).desc(),
            func.count().desc(),
            Workflow.name,
            Task.step,
            Task.error,
        )
    )
    return only(workflow, since, until, statement)


def durations(
    by: Literal["workflow", "step"] = "workflow",
    workflow: str | None = None,
    since: date | None = None,
    until: date | None = None,
) -> Select[Any]:
    """
    How long things take from being queued to being finished, the slowest first.

    Args:
        by: `workflow` measures whole runs, `step` measures tasks.
        workflow: As in `overview`, and so are the others.
        since: From here on.
        until: Before here.

    Returns:
        One row a workflow or step: its name, `finished` (how many), `mean_seconds`, `p50_seconds`, `p90_seconds`,
        `p95_seconds`, `p99_seconds`, `max_seconds`. Runs and tasks that are not finished, or were cancelled, do not
        count.

    Raises:
        ValueError: `by` is neither `workflow` nor `step`.
    """
    if by not in ("workflow", "step"):
        raise ValueError(f"durations() measures by='workflow' or by='step', not by={by!r}.")
    thing, name = (Run, Workflow.name) if by == "workflow" else (Task, Task.step)
    elapsed: Any = thing.elapsed_seconds
    statement = (
        select(
            name.label(by),
            func.count().label("finished"),
            func.avg(elapsed).label("mean_seconds"),
            *(
                func.percentile_cont(percent / 100).within_group(elapsed).cast(Double).label(f"p{percent}_seconds")
                for percent in _PERCENTILES
            ),
            func.max(elapsed).label("max_seconds"),
        )
        .select_from(Task if by == "step" else Run)
        .where(elapsed.is_not(None), thing.status != Status.CANCELLED)
        .group_by(name)
        .order_by(func.avg(elapsed).desc(), name)
    )
    statement = statement.join(Task.run) if by == "step" else statement
    return only(workflow, since, until, statement.join(Run.workflow))


def throughput(workflow: str | None = None, since: date | None = None, until: date | None = None) -> Select[Any]:
    """
    How many runs come in and get done each day, quiet days included.

    Args:
        workflow: As in `overview`, and so are the others.
        since: From here on.
        until: Before here.

    Returns:
        One row a day (UTC), from the first on which a run was queued to the last on which one was queued or
        finished: `day`, `queued`, `finished` (of any end), `failed` (among the finished), `in_flight` (queued by
        the end of the day, and not finished).
    """
    runs = only(workflow, since, until, select(Run).join(Run.workflow)).subquery()
    queued, finished = (
        func.timezone(literal_column("'UTC'"), column).cast(Date) for column in (runs.c.queued_at, runs.c.finished_at)
    )
    came = select(queued.label("day"), func.count().label("n")).group_by(queued).cte("came")
    went = (
        select(
            finished.label("day"),
            func.count().label("n"),
            func.count().filter(runs.c.status == Status.FAILED).label("failed"),
        )
        .where(finished.is_not(None))
        .group_by(finished)
        .cte("went")
    )
    first = select(func.min(came.c.day)).scalar_subquery()
    last = func.greatest(select(func.max(came.c.day)).scalar_subquery(), select(func.max(went.c.day)).scalar_subquery())
    days = func.generate_series(first.cast(DateTime), last.cast(DateTime), literal_column("interval '1 day'"))
    span = days.table_valued("moment", name="span").render_derived()
    day = span.c.moment.cast(Date)
    n_came, n_went = func.coalesce(came.c.n, 0), func.coalesce(went.c.n, 0)
    return (
        select(  # type: ignore[return-value]  # SQLAlchemy 2.1's Select counts its columns
            day.label("day"),
            n_came.label("queued"),
            n_went.label("finished"),
            func.coalesce(went.c.failed, 0).label("failed"),
            cast(func.sum(n_came - n_went).over(order_by=day), BigInteger).label("in_flight"),
        )
        .select_from(span)
        .outerjoin(came, came.c.day == day)
        .outerjoin(went, went.c.day == day)
        .order_by(day)
    )


def time_lost(workflow: str | None = None, since: date | None = None, until: date | None = None) -> Select[Any]:
    """
    Where the time goes: waiting and working at each step, the largest first. The first rows are the bottlenecks.

    Args:
        workflow: As in `overview`, and so are the others.
        since: From here on.
        until: Before here.

    Returns:
        One row a step: `step`, `tasks` (finished ones), `elapsed_seconds` (sum), `share` (of all steps'
        elapsed time), `waiting_seconds` and `working_seconds` (sums; missing where only completions are known),
        `waiting_share` (of the step's waiting and working), `workers` (how many different ones).
    """
    elapsed, waiting, working = (
        func.sum(column) for column in (Task.elapsed_seconds, Task.waiting_seconds, Task.working_seconds)
    )
    statement = (
        select(
            Task.step,
            func.count().label("tasks"),
            elapsed.label("elapsed_seconds"),
            (elapsed / func.nullif(func.sum(elapsed).over(), 0)).label("share"),
            waiting.label("waiting_seconds"),
            working.label("working_seconds"),
            (waiting / func.nullif(waiting + working, 0)).label("waiting_share"),
            func.count(Task.worker.distinct()).label("workers"),
        )
        .join(Task.run)
        .join(Run.workflow)
        .where(Task.finished_at.is_not(None))
        .group_by(Task.step)
        .order_by(elapsed.desc(), Task.step)
    )
    return only(workflow, since, until, statement)


def retries(workflow: str | None = None, since: date | None = None, until: date | None = None) -> Select[Any]:
    """
    What it costs to do steps again, the dearest in time first. In an event log this is rework.

    Args:
        workflow: As in `overview`, and so are the others.
        since: From here on.
        until: Before here.

    Returns:
        One row a step that was done again: `step`, `tasks`, `retries` (tasks after the first in their run),
        `retry_rate` (retries of tasks), `succeeded` (retries that did), `extra_seconds` (elapsed time of the
        retries), `extra_cost`.
    """
    again = Task.attempt > 1
    retries = func.count().filter(again)
    extra = func.sum(Task.elapsed_seconds).filter(again)
    statement = (
        select(
            Task.step,
            func.count().label("tasks"),
            retries.label("retries"),
            ratio(retries, func.count()).label("retry_rate"),
            func.count().filter(again, Task.status == Status.SUCCEEDED).label("succeeded"),
            extra.label("extra_seconds"),
            _money(func.sum(Task.cost).filter(again)).label("extra_cost"),
        )
        .join(Task.run)
        .join(Run.workflow)
        .group_by(Task.step)
        .having(retries > 0)
        .order_by(extra.desc().nulls_last(), Task.step)
    )
    return only(workflow, since, until, statement)


def busiest_hours(workflow: str | None = None, since: date | None = None, until: date | None = None) -> Select[Any]:
    """
    When runs come in, and how long they then wait, by the hour of the week.

    Args:
        workflow: As in `overview`, and so are the others.
        since: From here on.
        until: Before here.

    Returns:
        Always 168 rows, ready to be pivoted into a picture: `weekday` (1 is Monday, 7 Sunday), `hour` (0 to 23,
        UTC), `runs`, `mean_waiting_seconds` (until the first task started; missing where no run is known to have).
    """
    runs = only(workflow, since, until, select(Run).join(Run.workflow)).subquery()
    queued = func.timezone(literal_column("'UTC'"), runs.c.queued_at)
    weekdays = func.generate_series(1, 7).table_valued("weekday", name="weekdays").render_derived()
    hours = func.generate_series(0, 23).table_valued("hour", name="hours").render_derived()
    weekday, hour = weekdays.c.weekday, hours.c.hour
    here = (func.extract("isodow", queued) == weekday) & (func.extract("hour", queued) == hour)
    return (
        select(
            weekday.cast(SmallInteger).label("weekday"),
            hour.cast(SmallInteger).label("hour"),
            func.count(runs.c.id).label("runs"),
            func.avg(runs.c.waiting_seconds).label("mean_waiting_seconds"),
        )
        .select_from(weekdays.join(hours, true()))
        .outerjoin(runs, here)
        .group_by(weekday, hour)
        .order_by(weekday, hour)
    )


def slowest_runs(
    limit: int = 10, workflow: str | None = None, since: date | None = None, until: date | None = None
) -> Select[Any]:
    """
    The runs that took longest, and the step that took most of it.

    Args:
        limit: How many rows at most.
        workflow: As in `overview`, and so are the others.
        since: From here on.
        until: Before here.

    Returns:
        One row a finished run: `run_id`, `workflow`, `case_id`, `status`, `queued_at`, `elapsed_seconds`, `tasks`,
        `slowest_step`, `slowest_step_seconds` (the elapsed time of one task).
    """
    runs = only(workflow, since, until, select(Run, Workflow.name).join(Run.workflow))
    runs = runs.where(Run.elapsed_seconds.is_not(None)).order_by(Run.elapsed_seconds.desc(), Run.id).limit(limit)
    top = runs.subquery("top")
    slowest = _slowest_task(top)
    tasks = select(func.count()).where(Task.run_id == top.c.id).scalar_subquery()
    return (
        select(
            top.c.id.label("run_id"),
            top.c.name.label("workflow"),
            top.c.case_id,
            top.c.status,
            top.c.queued_at,
            top.c.elapsed_seconds,
            tasks.label("tasks"),
            slowest.c.step.label("slowest_step"),
            slowest.c.elapsed_seconds.label("slowest_step_seconds"),
        )
        .select_from(top.outerjoin(slowest, true()))
        .order_by(top.c.elapsed_seconds.desc(), top.c.id)
    )


def _money(total: ColumnElement[Any]) -> ColumnElement[Any]:
    return cast(total, Numeric(18, 4))


def _slowest_task(top: Subquery) -> Any:
    return (
        select(Task.step, Task.elapsed_seconds)
        .where(Task.run_id == top.c.id)
        .order_by(Task.elapsed_seconds.desc().nulls_last(), Task.position)
        .limit(1)
        .lateral("slowest")
    )
