"""
The statements behind `WorkflowRepository`'s questions: each a select with an order, and no input or output.

What they return, column by column, is told where they are asked: in `repository.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
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

from asyncdb_nb.workflows.models import Run, Status, Task, Workflow

if TYPE_CHECKING:
    from sqlalchemy.sql import Select, Subquery

_PERCENTILES = (50, 90, 95, 99)


@dataclass(frozen=True)
class Only:
    """
    Which runs a question is about.

    Attributes:
        workflow: The name of a workflow; all of them if None.
        since: Only runs queued at or after this moment. A date is its midnight; without a time zone it is UTC.
        until: Only runs queued before this moment.
    """

    workflow: str | None = None
    since: date | None = None
    until: date | None = None

    def apply(self, statement: Any) -> Select[Any]:
        """Add these conditions to a select from runs joined with workflows."""
        if self.workflow is not None:
            statement = statement.where(Workflow.name == self.workflow)
        if self.since is not None:
            statement = statement.where(Run.queued_at >= _moment(self.since))
        if self.until is not None:
            statement = statement.where(Run.queued_at < _moment(self.until))
        limited: Select[Any] = statement
        return limited


def overview(only: Only) -> Select[Any]:
    """How each workflow does, the busiest first."""
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
            _ratio(counts[Status.FAILED], judged).label("failure_rate"),
            func.sum(Run.retries).label("retries"),
            _money(func.sum(Run.cost)).label("cost"),
            func.min(Run.queued_at).label("first_queued"),
            func.max(Run.queued_at).label("last_queued"),
        )
        .join(Run.workflow)
        .group_by(Workflow.id)
        .order_by(func.count().desc(), Workflow.name)
    )
    return only.apply(statement)


def failures(only: Only) -> Select[Any]:
    """What failed, where and why, the deadliest first."""
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
    return only.apply(statement)


def durations(by: Literal["workflow", "step"], only: Only) -> Select[Any]:
    """How long things take from being queued to being finished, the slowest first."""
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
    return only.apply(statement.join(Run.workflow))


def throughput(only: Only) -> Select[Any]:
    """How many runs come in and get done each day, quiet days included."""
    runs = only.apply(select(Run).join(Run.workflow)).subquery()
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


def time_lost(only: Only) -> Select[Any]:
    """Where the time goes: waiting and working at each step, the largest first. The first rows are the bottlenecks."""
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
    return only.apply(statement)


def retries(only: Only) -> Select[Any]:
    """What it costs to do steps again, the dearest in time first. In an event log this is rework."""
    again = Task.attempt > 1
    retries = func.count().filter(again)
    extra = func.sum(Task.elapsed_seconds).filter(again)
    statement = (
        select(
            Task.step,
            func.count().label("tasks"),
            retries.label("retries"),
            _ratio(retries, func.count()).label("retry_rate"),
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
    return only.apply(statement)


def busiest_hours(only: Only) -> Select[Any]:
    """When runs come in, and how long they then wait, by the hour of the week."""
    runs = only.apply(select(Run).join(Run.workflow)).subquery()
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


def slowest_runs(limit: int, only: Only) -> Select[Any]:
    """The runs that took longest, and the step that took most of it."""
    runs = only.apply(select(Run, Workflow.name).join(Run.workflow))
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


def transitions(only: Only) -> Select[Any]:
    """Which step follows which, the commonest first: the map of the process."""
    in_run: dict[str, Any] = {"partition_by": Task.run_id, "order_by": Task.position}
    tasks = only.apply(
        select(
            Task.step,
            func.lag(Task.step).over(**in_run).label("before"),
            (func.lead(Task.id).over(**in_run).is_(None) & Run.finished_at.is_not(None)).label("last"),
        )
        .join(Task.run)
        .join(Run.workflow)
    ).cte("tasks")
    pairs = (
        select(tasks.c.before.label("from_step"), tasks.c.step.label("to_step"))
        .union_all(select(tasks.c.step, literal_column("null::text")).where(tasks.c.last))
        .subquery()
    )
    times = func.count()
    leaving = func.sum(times).over(partition_by=pairs.c.from_step)
    return (
        select(pairs.c.from_step, pairs.c.to_step, times.label("times"), _ratio(times, leaving).label("share"))
        .group_by(pairs.c.from_step, pairs.c.to_step)
        .order_by(times.desc(), pairs.c.from_step.nulls_first(), pairs.c.to_step.nulls_last())
    )


def _moment(value: date) -> datetime:
    if not isinstance(value, datetime):
        value = datetime.combine(value, time.min)
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def _ratio(part: ColumnElement[Any], whole: ColumnElement[Any]) -> ColumnElement[Any]:
    return cast(part, Double) / cast(func.nullif(whole, 0), Double)


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
