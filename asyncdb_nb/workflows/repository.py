"""
Ask the questions of `queries.py` in a session: each is answered by the server with a DataFrame.

They answer for the sample and for an event log alike, which has a schema of its own. The order of the rows is always
defined, and so are columns and dtypes, also when nothing was found.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

from sqlalchemy import select

from asyncdb_nb.aio.awaitables import Pending
from asyncdb_nb.database.repository import Repository
from asyncdb_nb.engine.search_path import builtin_names
from asyncdb_nb.workflows import process, queries
from asyncdb_nb.workflows.models import SCHEMA, Workflow, in_schema

if TYPE_CHECKING:
    from datetime import date

    import pandas as pd
    from sqlalchemy import Select
    from sqlalchemy.ext.asyncio import AsyncSession

    from asyncdb_nb.workflows.flow import Flow

    Frame = Coroutine[Any, Any, pd.DataFrame]


Filters = ParamSpec("Filters")


def _asked(question: Callable[Filters, Select[Any]]) -> Callable[Concatenate[WorkflowRepository, Filters], Frame]:
    """Make a method of a question, which has its arguments and its docstring."""

    @wraps(question)
    def ask(self: WorkflowRepository, /, *args: Filters.args, **kw: Filters.kwargs) -> Frame:
        return self._answer(question(*args, **kw), question.__name__)

    ask.__annotations__["return"] = "Frame"
    return ask


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

    overview = _asked(queries.overview)
    failures = _asked(queries.failures)
    durations = _asked(queries.durations)
    throughput = _asked(queries.throughput)
    time_lost = _asked(queries.time_lost)
    retries = _asked(queries.retries)
    busiest_hours = _asked(queries.busiest_hours)
    slowest_runs = _asked(queries.slowest_runs)
    variants = _asked(process.variants)
    transitions = _asked(process.transitions)
    bottlenecks = _asked(process.bottlenecks)
    handovers = _asked(process.handovers)

    def flow(
        self, workflow: str | None = None, since: date | None = None, until: date | None = None
    ) -> Coroutine[Any, Any, Flow]:
        """
        The map of the process: which step follows which, as a picture, a text and a frame.

        It is made of `transitions()`, whose docstring says what follows what, and what the frame's columns mean.

        Args:
            workflow: As in `overview`, and so are the others.
            since: From here on.
            until: Before here.

        Returns:
            A `Flow`. It lives on when the session has ended.

        Example:
            >>> async with db.session(readonly=True) as session:
            ...     flow = await WorkflowRepository(session).flow(workflow="invoices-import")
            >>> flow.plot(coverage=0.9)
        """
        from asyncdb_nb.workflows.flow import Flow

        async def answer() -> Flow:
            return Flow(await self.transitions(workflow, since, until))

        return Pending(answer, "WorkflowRepository(session).flow(...)")

    def _answer(self, question: Select[Any], name: str) -> Frame:
        from asyncdb_nb.dataframes import frame

        async def answer() -> pd.DataFrame:
            async with builtin_names(await self.session.connection()):
                return await frame(self.session, self._directed(question))

        return Pending(answer, f"WorkflowRepository(session).{name}(...)")
