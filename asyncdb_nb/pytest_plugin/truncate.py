"""Empty the tables that a test has filled, and have their sequences begin anew."""

from __future__ import annotations

from sqlalchemy import text

from asyncdb_nb.database import Database
from asyncdb_nb.errors import SeededTemplateError

KEPT = ("alembic_version",)  # what the schema needs to know about itself
LOCK_SECONDS = 2  # how long a table may be held by a connection that the test forgot

_TABLES = """
    select format('%I.%I', n.nspname, c.relname)
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p') and not c.relispartition and c.relpersistence <> 't'
      and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname not like 'pg\\_toast%'
      and not exists (select from pg_depend d where d.objid = c.oid and d.deptype = 'e')
      and c.relname <> all (:kept)
    order by 1"""

_OTHERS = """
    select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid() and state <> 'idle'"""


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
        tables = (await session.scalars(text(_TABLES), {"kept": list(KEPT)})).all()
        if not tables:
            return []
        parts = [f"select {number} where exists (table {table})" for number, table in enumerate(tables)]
        numbers = (await session.scalars(text(" union all ".join(parts).replace(":", "\\:")))).all()
        return [tables[number] for number in sorted(numbers)]
