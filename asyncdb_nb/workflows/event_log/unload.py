"""
Delete an event log: its workflow, with the runs and tasks that were made of it, and its schema.

The sample, and workflows that somebody wrote, are never touched.
"""

from __future__ import annotations

from sqlalchemy import delete, func, select, text

from asyncdb_nb.errors import EventLogError
from asyncdb_nb.workflows.bulk_load import Target, writing
from asyncdb_nb.workflows.event_log.schemas import is_empty, logs_in
from asyncdb_nb.workflows.models import SCHEMA, Run, Workflow, drop_tables, in_schema, our_schemas, quoted


async def unload_event_log(target: Target, name: str, *, schema: str | None = None) -> int:
    """
    Take a loaded event log out of the tables, as if it had never been loaded.

    Args:
        target: A `Database` or an engine, in a transaction of its own; or a session, inside the caller's transaction.
        name: The name of its workflow: the file's, without its suffix, unless it was given one.
        schema: Where it is; only needed where several schemas have a log of this name.

    Returns:
        How many runs (cases) went with it.

    Raises:
        EventLogError: No event log has this name, or several have; the message has those that are loaded.

    Example:
        >>> await unload_event_log(db, "receipt")
    """
    async with writing(target) as connection:
        loaded = [(log, place) for place in await our_schemas(connection) for log in await logs_in(connection, place)]
        places = [place for log, place in loaded if log == name and schema in (None, place)]
        if not places:
            there = f"Loaded are: {', '.join(repr(log) for log, _ in loaded)}." if loaded else "None is loaded."
            where = f" in the schema {schema!r}" if schema else ""
            raise EventLogError(f"There is no event log {name!r}{where}. {there}")
        if len(places) > 1:
            raise EventLogError(f"The event log {name!r} is in {' and in '.join(places)}.", {"schema": places[0]})
        here = in_schema(places[0])
        of_log = select(func.count()).select_from(Run).join(Workflow).where(Workflow.name == name)
        runs = await connection.scalar(of_log, execution_options=here) or 0
        await connection.execute(delete(Workflow).where(Workflow.name == name), execution_options=here)
        if places[0] != SCHEMA and await is_empty(connection, places[0]):
            await drop_tables(connection, places[0])
        else:
            for table in ("workflow", "run", "task"):  # `db.tables()` tells the estimates
                await connection.execute(text(f"analyze {quoted(places[0])}.{table}"))
        return runs
