"""
Where event logs are: in schemas of their own, so that none counts among the sample's figures.

A log's schema is named like its workflow, unless the caller names another. The sample's own is none for logs.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, insert, select

from asyncdb_nb.errors import EventLogError
from asyncdb_nb.workflows.models import SCHEMA, Workflow, in_schema

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

NOT_LOGS = ("sample", "user")
"""The sources of workflows that are no event logs."""

_LONGEST = 63  # bytes of a PostgreSQL identifier
_NEVER = ("information_schema", "public", SCHEMA)


def schema_for(name: str) -> str:
    """Make the name of a schema from that of a workflow: lower-case letters, digits and underscores."""
    plain = re.sub(r"\W+", "_", name.lower()).strip("_")
    if not plain or not plain[0].isalpha() or plain.startswith("pg_") or plain in _NEVER:
        plain = f"log_{plain}"
    return plain.encode()[:_LONGEST].decode(errors="ignore")


def checked_schema(schema: str) -> str:
    """
    Refuse the name of a schema that is none for logs.

    Raises:
        EventLogError: It is the sample's, or no name of letters, digits and underscores.
    """
    if schema == SCHEMA:
        raise EventLogError(
            f"The schema {SCHEMA!r} is the sample's, and a log there would count in its figures.", {"schema": "logs"}
        )
    if not re.fullmatch(r"[^\W\d]\w*", schema) or schema.startswith("pg_") or len(schema.encode()) > _LONGEST:
        raise EventLogError(
            f"{schema!r} is no name for a schema: it has letters, digits and underscores, does not begin with 'pg_', "
            f"and is {_LONGEST} bytes long at most.",
            {"schema": schema_for(schema)},
        )
    return schema


async def add_workflow(connection: AsyncConnection, schema: str, name: str, source: str, replace: bool) -> int:
    """
    Make room for a log, and return the id of its workflow.

    Raises:
        EventLogError: There is one of that name, or the schema that is named like it has another log.
    """
    here = in_schema(schema)
    found = await connection.execute(select(Workflow.name, Workflow.source), execution_options=here)
    there = {row.name: row.source for row in found}
    if there.get(name) in NOT_LOGS:
        raise EventLogError(f"{name!r} is the name of a workflow that is no event log.", {"name": f"{name}-log"})
    if name in there and not replace:
        raise EventLogError(
            f"The event log {name!r} is loaded already, from {there[name]}. To load another, give it a name (name); to "
            "load it again:",
            {"replace": True},
        )
    others = sorted(there.keys() - {name})
    if others and schema == schema_for(name):
        raise EventLogError(
            f"The schema {schema!r} has another log, {others[0]!r}, with which this one would be counted.",
            {"schema": f"{schema}_2"},
        )
    await connection.execute(delete(Workflow).where(Workflow.name == name), execution_options=here)
    values = {"name": name, "source": source, "tags": ["event-log"]}
    statement = insert(Workflow).values(values).returning(Workflow.id)
    return int(await connection.scalar(statement, execution_options=here) or 0)


async def logs_in(connection: AsyncConnection, schema: str) -> list[str]:
    """Name the event logs in one schema."""
    statement = select(Workflow.name).where(Workflow.source.not_in(NOT_LOGS)).order_by(Workflow.name)
    return list(await connection.scalars(statement, execution_options=in_schema(schema)))


async def is_empty(connection: AsyncConnection, schema: str) -> bool:
    """Say whether a schema has no workflow, log or not."""
    return not await connection.scalar(select(func.count()).select_from(Workflow), execution_options=in_schema(schema))
