"""Empty the tables that a test has filled, and have their sequences begin anew."""

from __future__ import annotations

from sqlalchemy import text

from asyncdb_nb.database.database import Database
from asyncdb_nb.engine.search_path import EQ, IS_NOT_LIKE, NE
from asyncdb_nb.errors import SeededTemplateError

KEPT = ("alembic_version",)  # what the schema needs to know about itself
LOCK_SECONDS = 2  # how long a table may be held by a connection that the test forgot

# ruff: noqa: S608  the statements are put together from constants

_TABLES = f"""
    select pg_catalog.format('%I.%I', n.nspname, c.relname)
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid {EQ} c.relnamespace
    where c.relkind {EQ} ANY ('{{r,p}}') and not c.relispartition and c.relpersistence {NE} 't'
      and n.nspname {NE} ALL ('{{pg_catalog,information_schema}}') and n.nspname {IS_NOT_LIKE} 'pg\\_toast%'
      and not exists (select from pg_catalog.pg_depend d where d.objid {EQ} c.oid and d.deptype {EQ} 'e')
      and c.relname {NE} ALL (pg_catalog.string_to_array(:kept, ',')::pg_catalog.name[])
    order by 1"""

_OTHERS = f"""
    select pg_catalog.pg_terminate_backend(pid) from pg_catalog.pg_stat_activity
    where datname {EQ} pg_catalog.current_database() and pid {NE} pg_catalog.pg_backend_pid()
      and state {NE} 'idle'"""


async def refuse_seeds(database: Database) -> None:
    """Refuse a template with rows: truncating would remove them for good.

    Raises:
        SeededTemplateError: Some table has rows.
    """
    filled = await _filled(database)
    if filled:
        raise SeededTemplateError(filled)


async def truncate(database: Database) -> None:
    """Empty every table that has rows. Whoever holds one of them for longer than two seconds is disconnected."""
    filled = await _filled(database)
    if not filled:
        return
    statement = text(f"truncate {', '.join(filled)} restart identity cascade")
    async with database.session() as session:
        await session.execute(text(f"set local lock_timeout = '{LOCK_SECONDS}s'"))
        try:
            async with session.begin_nested():
                await session.execute(statement)
        except Exception as error:
            if getattr(getattr(error, "orig", None), "sqlstate", None) != "55P03":  # lock_not_available
                raise
            await session.execute(text(_OTHERS))
            await session.execute(statement)


async def _filled(database: Database) -> list[str]:
    async with database.session() as session:
        tables = (await session.scalars(text(_TABLES), {"kept": ",".join(KEPT)})).all()
        if not tables:
            return []
        parts = [f"select {number} where exists (table {table})" for number, table in enumerate(tables)]
        numbers = (await session.scalars(text(" union all ".join(parts).replace(":", "\\:")))).all()
        return [tables[number] for number in sorted(numbers)]
