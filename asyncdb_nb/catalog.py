"""
Ask the database what it holds: its tables, and the columns of one.

The statements here read PostgreSQL's catalogs, which every user may read; sizes and row counts are the planner's
estimates, so listing a thousand large tables takes milliseconds.
"""

from __future__ import annotations

import re
from difflib import SequenceMatcher, get_close_matches
from typing import NamedTuple

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

_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")


async def find_table(session: AsyncSession, name: str) -> int:
    """Return the oid of a table or view.

    Args:
        session: An open session.
        name: `table` or `schema.table`, as it stands in the catalog, or as SQL would take it (quoted, or in capitals).

    Raises:
        UnknownTableError: There is none that this session could name so; the message has the nearest names.
    """
    relations = await _relations(session)
    by_name: dict[str, int] = {}
    for each in relations:
        by_name.setdefault(f"{each.schema}.{each.table}", each.oid)
        if each.visible:
            by_name.setdefault(each.table, each.oid)
    for spelling in (name, name.replace('"', ""), name.lower()):
        if spelling in by_name:
            return by_name[spelling]
    raise UnknownTableError(name, _near(name, relations))


async def nearest_tables(session: AsyncSession, name: str) -> list[str]:
    """Name the tables and views, three at most and the nearest first, that a name which is not there may have meant."""
    return _near(name, await _relations(session))


class _Relation(NamedTuple):
    oid: int
    schema: str
    table: str
    visible: bool

    @property
    def in_sql(self) -> str:
        """How SQL names it in this session."""
        return _quoted(self.table) if self.visible else f"{_quoted(self.schema)}.{_quoted(self.table)}"


async def _relations(session: AsyncSession) -> list[_Relation]:
    return [_Relation(*row) for row in await session.execute(text(RELATIONS))]


def _near(name: str, relations: list[_Relation]) -> list[str]:
    """Choose by the table's own name, and by the schema among those of one name; else by both together."""
    schema, _, table = name.lower().replace('"', "").rpartition(".")
    by_table: dict[str, list[_Relation]] = {}
    for each in relations:
        by_table.setdefault(each.table.lower(), []).append(each)
    similar = [each for found in get_close_matches(table, by_table) for each in _by_schema(schema, by_table[found])]
    if not similar:
        by_both = {f"{each.schema}.{each.table}".lower(): each for each in relations}
        similar = [by_both[found] for found in get_close_matches(name.lower(), by_both)]
    return [each.in_sql for each in similar[:3]]


def _by_schema(schema: str, relations: list[_Relation]) -> list[_Relation]:
    return sorted(relations, key=lambda each: -SequenceMatcher(None, schema, each.schema.lower()).ratio())


def _quoted(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else '"' + name.replace('"', '""') + '"'
