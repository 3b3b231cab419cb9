"""
Take an event log out again: its workflow, with the runs and tasks that were made of it.

The sample, and workflows that somebody wrote, are never touched.
"""

from __future__ import annotations

from sqlalchemy import delete, func, select, text

from asyncdb_nb.errors import EventLogError
from asyncdb_nb.workflows.bulk import Target, loading
from asyncdb_nb.workflows.eventlog import NOT_LOGS
from asyncdb_nb.workflows.models import SCHEMA, Run, Workflow


async def unload_event_log(target: Target, name: str) -> int:
    """
    Take a loaded event log out of the tables, as if it had never been loaded.

    Args:
        target: A `Database` or an engine, in a transaction of its own; or a session, inside the caller's transaction.
        name: The name of its workflow: the file's, without its suffix, unless it was given one.

    Returns:
        How many runs (cases) went with it.

    Raises:
        EventLogError: No event log has this name; the message has those that are loaded.
        SchemaTakenError: The database has a schema `workflows` of its own.

    Example:
        >>> await unload_event_log(db, "receipt")
    """
    async with loading(target) as connection:
        is_log = Workflow.source.not_in(NOT_LOGS)
        loaded = (await connection.scalars(select(Workflow.name).where(is_log).order_by(Workflow.name))).all()
        if name not in loaded:
            there = f"Loaded are: {', '.join(map(repr, loaded))}." if loaded else "None is loaded."
            raise EventLogError(f"There is no event log {name!r}. {there}")
        of_log = select(func.count()).select_from(Run).join(Workflow).where(Workflow.name == name)
        runs = await connection.scalar(of_log) or 0
        await connection.execute(delete(Workflow).where(Workflow.name == name))
        for table in ("workflow", "run", "task"):
            await connection.execute(text(f"analyze {SCHEMA}.{table}"))  # `db.tables()` tells the estimates
        return runs
