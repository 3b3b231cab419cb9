"""
Load many rows at once: COPY on the connection of whoever gave us a session, an engine or a `Database`.

The rows belong to one transaction. With a session that is the caller's own, inside a savepoint, so that a load that
fails leaves nothing behind even where the caller catches the error and commits.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

from asyncdb_nb.database.session import HasEngine, session_scope
from asyncdb_nb.engine.search_path import builtin_names
from asyncdb_nb.workflows.models import SCHEMA, create_tables

Target = AsyncSession | AsyncEngine | HasEngine


@asynccontextmanager
async def writing(target: Target) -> AsyncIterator[AsyncConnection]:
    """Open a transaction that commits at the end, unless it is a session's own: there, open a savepoint."""
    if isinstance(target, AsyncSession):
        async with target.begin_nested(), builtin_names(connection := await target.connection()):
            yield connection
    else:
        async with session_scope(target) as session, builtin_names(connection := await session.connection()):
            yield connection


@asynccontextmanager
async def loading(target: Target, schema: str = SCHEMA) -> AsyncIterator[AsyncConnection]:
    """
    Open a transaction, as `writing` does, in which a schema's tables exist and nobody else loads through here.

    Raises:
        SchemaTakenError: The database has a schema of this name of its own.
    """
    async with writing(target) as connection:
        await create_tables(connection, schema)
        yield connection


@asynccontextmanager
async def reading(target: Target) -> AsyncIterator[AsyncConnection]:
    """Open a read-only transaction, or use the session's own as it is."""
    if isinstance(target, AsyncSession):
        yield await target.connection()
    else:
        async with session_scope(target, readonly=True) as session:
            yield await session.connection()


async def lock(connection: AsyncConnection) -> None:
    """Keep everyone else from adding rows until the transaction ends, so that ids can be chosen. Reading goes on."""
    tables = ", ".join(f"{SCHEMA}.{table}" for table in ("workflow", "run", "task"))
    await connection.execute(text(f"lock table {tables} in share row exclusive mode"))


async def raw(connection: AsyncConnection) -> Any:
    """
    Return asyncpg's own connection, for COPY.

    It is in the transaction only after SQLAlchemy has run a statement there, as `loading` has.
    """
    return (await connection.get_raw_connection()).driver_connection


async def copy_rows(
    connection: AsyncConnection, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """Append rows of Python values to a table of the sample schema."""
    driver = await raw(connection)
    await driver.copy_records_to_table(table, schema_name=SCHEMA, columns=list(columns), records=rows)


async def next_id(connection: AsyncConnection, table: str) -> int:
    """Return the first id that is free at the end of a table."""
    return int(await connection.scalar(text(f"select coalesce(max(id), 0) + 1 from {SCHEMA}.{table}")) or 1)  # noqa: S608


async def after_ids(connection: AsyncConnection, table: str) -> None:
    """Let the server's own ids go on after those that were loaded."""
    await connection.execute(
        text("select setval(pg_get_serial_sequence(:table, 'id'), :next, false)"),
        {"table": f"{SCHEMA}.{table}", "next": await next_id(connection, table)},
    )
