"""
Look at the sample in a database, and put it back as it was.

Its rows are deleted and loaded again in one transaction, which readers do not wait for: until it commits they see what
was there, and afterwards the sample. Only tables that are no longer built as they were are dropped, which does wait for
readers. Whoever is changing the sample is never waited for longer than a moment.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, select, text
from sqlalchemy.exc import DBAPIError

from asyncdb_nb.database.session import session_scope
from asyncdb_nb.engine.search_path import builtin_names
from asyncdb_nb.errors import SampleError
from asyncdb_nb.workflows.models import SCHEMA, Workflow, create_tables, drop_tables, our_schemas
from asyncdb_nb.workflows.sample.seed import Seeded, count_sample, load_sample

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from asyncdb_nb.database.session import HasEngine

WAIT = "5s"  # for a lock that somebody else has
_LOCK_NOT_AVAILABLE, _INSUFFICIENT_PRIVILEGE = "55P03", "42501"
_SCRATCH = "asyncdb_nb_as_it_should_be"

_BUILT = """
select c.relname || '.' || a.attname || ' ' || pg_catalog.format_type(a.atttypid, a.atttypmod) || ' ' || a.attnotnull
    || ' ' || a.attgenerated::text || a.attidentity::text || coalesce(pg_catalog.pg_get_expr(d.adbin, d.adrelid), '')
from pg_catalog.pg_class c join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
left join pg_catalog.pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
where c.relnamespace = cast(:schema as regnamespace) and c.relkind = 'r' and c.relname in ('workflow', 'run', 'task')
union all
select r.conname || ' '
    || pg_catalog.replace(pg_catalog.pg_get_constraintdef(r.oid), r.connamespace::regnamespace::text || '.', '')
from pg_catalog.pg_constraint r join pg_catalog.pg_class c on c.oid = r.conrelid
where c.relnamespace = cast(:schema as regnamespace) and c.relname in ('workflow', 'run', 'task') and r.contype <> 'n'
union all
select pg_catalog.replace(pg_catalog.pg_get_indexdef(i.indexrelid), c.relnamespace::regnamespace::text || '.', '')
from pg_catalog.pg_index i join pg_catalog.pg_class c on c.oid = i.indrelid
where c.relnamespace = cast(:schema as regnamespace) and c.relname in ('workflow', 'run', 'task')
union all
select 'trigger ' || t.tgname from pg_catalog.pg_trigger t join pg_catalog.pg_class c on c.oid = t.tgrelid
where c.relnamespace = cast(:schema as regnamespace) and not t.tgisinternal
union all
select 'row security ' || c.relname from pg_catalog.pg_class c
where c.relnamespace = cast(:schema as regnamespace) and c.relrowsecurity
"""
_OTHERS = """
select count(*) from pg_catalog.pg_stat_activity
where datname = pg_catalog.current_database() and backend_type = 'client backend' and pid <> pg_catalog.pg_backend_pid()
"""
_BUSY = """
select distinct a.pid, a.usename, a.application_name, a.state
from pg_catalog.pg_locks l join pg_catalog.pg_stat_activity a on a.pid = l.pid
join pg_catalog.pg_class c on c.oid = l.relation
where l.granted and l.pid <> pg_catalog.pg_backend_pid() and l.locktype = 'relation'
    and l.database = (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())
    and c.relnamespace = (select oid from pg_catalog.pg_namespace where nspname = :schema)
    and (:readers or l.mode <> 'AccessShareLock')
order by a.pid
"""
_DEPENDENT = """
select distinct dependent.oid::regclass::text
from pg_catalog.pg_depend d join pg_catalog.pg_class c on c.oid = d.refobjid
join pg_catalog.pg_rewrite r on r.oid = d.objid join pg_catalog.pg_class dependent on dependent.oid = r.ev_class
where c.relnamespace = (select oid from pg_catalog.pg_namespace where nspname = :schema) and dependent.oid <> c.oid
union
select r.conrelid::regclass::text from pg_catalog.pg_constraint r join pg_catalog.pg_class c on c.oid = r.confrelid
join pg_catalog.pg_class t on t.oid = r.conrelid
where r.contype = 'f' and c.relnamespace = (select oid from pg_catalog.pg_namespace where nspname = :schema)
    and t.relnamespace <> c.relnamespace
union
select c.oid::regclass::text from pg_catalog.pg_class c
where c.relnamespace = (select oid from pg_catalog.pg_namespace where nspname = :schema)
    and c.relkind in ('r', 'v', 'm', 'p', 'f') and c.relname not in ('workflow', 'run', 'task')
order by 1
"""


@dataclass(frozen=True)
class Found:
    """The sample as it is in a database.

    Attributes:
        there: Whether its schema is.
        damaged: Whether its tables are not built as they should be.
        sample: How many rows of it there are; None where they cannot be counted.
        added: How many workflows somebody else has put beside it.
        others: How many other clients are connected to the database.
    """

    there: bool
    damaged: bool
    sample: Seeded | None
    added: int
    others: int


async def look(target: HasEngine) -> Found:
    """
    Say what there is of the sample in a database; nothing is changed.

    Raises:
        SampleError: The user has no right to look.
        SchemaTakenError: The database has a schema `workflows` of its own.
    """
    with _told():
        async with session_scope(target) as session:
            found = await _found(await session.connection())
            await session.rollback()  # of the tables that it was compared with
            return found


async def _found(connection: AsyncConnection) -> Found:
    others = int(await connection.scalar(text(_OTHERS)) or 0)
    if SCHEMA not in await our_schemas(connection):
        await create_tables(connection)  # which refuses a schema that is not ours
        return Found(False, False, None, 0, others)
    if not await _is_built(connection):
        return Found(True, True, None, 0, others)
    added = await connection.scalar(select(func.count()).select_from(Workflow).where(Workflow.source != "sample"))
    return Found(True, False, await count_sample(connection), int(added or 0), others)


async def _is_built(connection: AsyncConnection) -> bool:
    """Compare the tables with new ones, which are made beside them and dropped again."""
    async with builtin_names(connection):
        await create_tables(connection, _SCRATCH)
        built, wanted = [
            sorted(await connection.scalars(text(_BUILT), {"schema": schema})) for schema in (SCHEMA, _SCRATCH)
        ]
        await drop_tables(connection, _SCRATCH)
    return built == wanted


async def reset_sample(target: HasEngine) -> Seeded:
    """
    Put the sample back as it was first loaded, ids included; all of it, or nothing is changed.

    What somebody has added to its tables is deleted. Schemas of event logs are left alone.

    Args:
        target: A `Database` or an engine.

    Returns:
        The number of rows loaded.

    Raises:
        SampleError: Somebody else is changing the sample, or depends on a table that has to be made anew, or the user
            has no right to change it.
        SchemaTakenError: The database has a schema `workflows` of its own.
    """
    dropping = False
    try:
        async with session_scope(target) as session, builtin_names(connection := await session.connection()):
            there = SCHEMA in await our_schemas(connection)
            dropping = there and not await _is_built(connection)
            await connection.execute(text(f"set local lock_timeout = '{WAIT}'"))
            if dropping:
                if dependent := list(await connection.scalars(text(_DEPENDENT), {"schema": SCHEMA})):
                    raise SampleError.depended_upon(dependent)
                await drop_tables(connection)
            await create_tables(connection)
            await connection.execute(delete(Workflow))
            return await load_sample(connection)
    except DBAPIError as error:
        if _sqlstate(error) == _LOCK_NOT_AVAILABLE:
            raise SampleError.in_use(await _busy(target, readers=dropping)) from error
        with _told():
            raise


@contextmanager
def _told() -> Iterator[None]:
    """Say what to do about a right that is missing."""
    try:
        yield
    except DBAPIError as error:
        if _sqlstate(error) == _INSUFFICIENT_PRIVILEGE:
            raise SampleError.not_allowed(str(error.orig).rpartition(">: ")[2]) from error
        raise


def _sqlstate(error: DBAPIError) -> str | None:
    return getattr(error.orig, "sqlstate", None)


async def _busy(target: HasEngine, *, readers: bool) -> list[dict[str, Any]]:
    """Say who holds a lock on the sample."""
    async with session_scope(target, readonly=True) as session:
        rows = await session.execute(text(_BUSY), {"schema": SCHEMA, "readers": readers})
        return [dict(row) for row in rows.mappings()]
