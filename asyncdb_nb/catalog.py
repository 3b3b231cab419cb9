"""
Ask the database what it holds: its tables, and the columns of one.

The statements here read PostgreSQL's catalogs, which every user may read; sizes and row counts are the planner's
estimates, so listing a thousand large tables takes milliseconds.
"""

from __future__ import annotations

from difflib import get_close_matches

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from asyncdb_nb.errors import UnknownTableError

TABLES = """
select n.nspname as schema,
       c.relname as "table",
       case c.relkind when 'r' then 'table' when 'p' then 'partitioned table' when 'v' then 'view'
                      when 'm' then 'materialized view' when 'f' then 'foreign table' end as kind,
       case when c.reltuples >= 0 then c.reltuples::bigint end as rows,
       case when c.relkind in ('r', 'm') then pg_total_relation_size(c.oid)
            when c.relkind = 'p' then (select sum(pg_total_relation_size(p.relid))::bigint
                                       from pg_partition_tree(c.oid) as p where p.isleaf) end as bytes
from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
where c.relkind in ('r', 'p', 'v', 'm', 'f') and not c.relispartition
  and n.nspname <> 'information_schema' and n.nspname !~ '^pg_'
order by schema, "table"
"""
"""schema, table, kind (text), rows (int8, the planner's estimate; NULL before the first ANALYZE), bytes (int8)."""

RELATIONS = """
select c.oid, n.nspname, c.relname, pg_table_is_visible(c.oid)
from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
where c.relkind in ('r', 'p', 'v', 'm', 'f')
order by n.nspname ~ '^(pg_|information_schema$)', n.nspname, c.relname
"""

COLUMNS = """
select a.attname as "column",
       format_type(a.atttypid, a.atttypmod) as type,
       not a.attnotnull as nullable,
       pg_get_expr(d.adbin, d.adrelid) as "default",
       (select string_agg(case k.contype when 'p' then 'primary key' when 'u' then 'unique'
                                         else 'references ' || cast(cast(k.confrelid as regclass) as text) end,
                          ', ' order by k.contype desc)
        from pg_constraint as k
        where k.conrelid = a.attrelid and k.contype in ('p', 'u', 'f') and a.attnum = any(k.conkey)) as key
from pg_attribute as a left join pg_attrdef as d on d.adrelid = a.attrelid and d.adnum = a.attnum
where a.attrelid = cast(:oid as oid) and a.attnum > 0 and not a.attisdropped
order by a.attnum
"""
"""column, type (text), nullable (bool), default, key (text or NULL); one row a column, in the table's order."""


async def find_table(session: AsyncSession, name: str) -> int:
    """Return the oid of a table or view.

    Args:
        session: An open session.
        name: `table` or `schema.table`, as it stands in the catalog, or as SQL would take it (quoted, or in capitals).

    Raises:
        UnknownTableError: There is none that this session could name so; the message has the nearest names.
    """
    found = (await session.execute(text(RELATIONS))).all()
    by_name: dict[str, int] = {}
    for oid, schema, table, visible in found:
        by_name.setdefault(f"{schema}.{table}", oid)
        if visible:
            by_name.setdefault(table, oid)
    for spelling in (name, name.replace('"', ""), name.lower()):
        if spelling in by_name:
            return by_name[spelling]
    raise UnknownTableError(name, _near(name, list(by_name)))


def _near(name: str, names: list[str]) -> list[str]:
    """Choose the names that may have been meant: the same table in another schema, then similar names."""
    last = name.lower().rpartition(".")[2]
    elsewhere = [full for full in names if full.lower().rpartition(".")[2] == last]
    similar = get_close_matches(name.lower(), names, n=3, cutoff=0.6)
    return list(dict.fromkeys([*elsewhere, *similar]))[:3]
