"""
The questions that an analyst asks of workflows, each answered by the server with a DataFrame.

They answer for the sample and for an event log alike, which has a schema of its own. Every question takes the same
filters: one workflow by name, and a half-open span of time in which the runs were queued. The order of the rows is
always defined, and so are columns and dtypes, also when nothing was found. Rates and shares are of 1, times are
seconds, days and hours are UTC.

In an event log that records completions only, nobody can tell waiting from working: there `elapsed_seconds` answers,
and the columns for its parts are missing values.
"""

from __future__ import annotations

from collections.abc import Coroutine
from datetime import date
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import select

from asyncdb_nb.aio.awaitables import Pending
from asyncdb_nb.database.repository import Repository
from asyncdb_nb.engine.search_path import builtin_names
from asyncdb_nb.workflows import queries
from asyncdb_nb.workflows.models import SCHEMA, Workflow, in_schema
from asyncdb_nb.workflows.queries import Only

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy import Select
    from sqlalchemy.ext.asyncio import AsyncSession

    Frame = Coroutine[Any, Any, pd.DataFrame]


class WorkflowRepository(Repository[Workflow]):
    """
    Workflows, and what their runs and tasks tell.

    One that is pointed at the schema of an event log answers the questions for it, and gives no entities: a session
    knows one table for each mapped class, and that is the sample's. SQL text means what it says, whatever the schema.

    Args:
        session: An open `AsyncSession`, which the caller owns.
        schema: Where the workflows are: the sample's schema, or that of an event log (`EventLog.schema`).

    Example:
        >>> async with db.session(readonly=True) as session:
        ...     failures = await WorkflowRepository(session).failures(since=date(2024, 2, 1))
        ...     rework = await WorkflowRepository(session, schema="receipt").retries()
    """

    def __init__(self, session: AsyncSession, schema: str = SCHEMA) -> None:
        super().__init__(session)
        self.schema = schema

    @property
    def _entity(self) -> type[Workflow]:
        if self.schema != SCHEMA:
            raise ValueError(
                f"This repository asks the schema {self.schema!r}, and a session knows the entities of one schema. Ask "
                "for frames, or open a session over that one: session_scope(db.engine.execution_options("
                f"schema_translate_map={{{SCHEMA!r}: {self.schema!r}}}))."
            )
        return self.model

    def _directed(self, statement: Any) -> Any:
        return statement if isinstance(statement, str) else statement.execution_options(**in_schema(self.schema))

    async def by_name(self, name: str) -> Workflow | None:
        """Return the workflow of this name, or None."""
        return await self.session.scalar(select(self._entity).where(Workflow.name == name))

    def overview(self, workflow: str | None = None, since: date | None = None, until: date | None = None) -> Frame:
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
        return self._answer(queries.overview(Only(workflow, since, until)))

    def failures(self, workflow: str | None = None, since: date | None = None, until: date | None = None) -> Frame:
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
        return self._answer(queries.failures(Only(workflow, since, until)))

    def durations(
        self,
        by: Literal["workflow", "step"] = "workflow",
        workflow: str | None = None,
        since: date | None = None,
        until: date | None = None,
    ) -> Frame:
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
        return self._answer(queries.durations(by, Only(workflow, since, until)))

    def throughput(self, workflow: str | None = None, since: date | None = None, until: date | None = None) -> Frame:
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
        return self._answer(queries.throughput(Only(workflow, since, until)))

    def time_lost(self, workflow: str | None = None, since: date | None = None, until: date | None = None) -> Frame:
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
        return self._answer(queries.time_lost(Only(workflow, since, until)))

    def retries(self, workflow: str | None = None, since: date | None = None, until: date | None = None) -> Frame:
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
        return self._answer(queries.retries(Only(workflow, since, until)))

    def busiest_hours(self, workflow: str | None = None, since: date | None = None, until: date | None = None) -> Frame:
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
        return self._answer(queries.busiest_hours(Only(workflow, since, until)))

    def slowest_runs(
        self, limit: int = 10, workflow: str | None = None, since: date | None = None, until: date | None = None
    ) -> Frame:
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
        return self._answer(queries.slowest_runs(limit, Only(workflow, since, until)))

    def transitions(self, workflow: str | None = None, since: date | None = None, until: date | None = None) -> Frame:
        """
        Which step follows which, the commonest first: the map of the process.

        Args:
            workflow: As in `overview`, and so are the others.
            since: From here on.
            until: Before here.

        Returns:
            One row for each pair: `from_step` (missing where a run begins), `to_step` (missing where a finished run
            ends), `times`, `share` (of all that leaves `from_step`).
        """
        return self._answer(queries.transitions(Only(workflow, since, until)))

    def _answer(self, question: Select[Any]) -> Frame:
        from asyncdb_nb.dataframes import frame

        async def answer() -> pd.DataFrame:
            async with builtin_names(await self.session.connection()):
                return await frame(self.session, self._directed(question))

        return Pending(answer, "frame(session, ...)")
