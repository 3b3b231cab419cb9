"""
Ask the database what it holds: its tables, and the columns of one.

The statements here read PostgreSQL's catalogs, which every user may read; sizes and row counts are the planner's
estimates, so listing a thousand large tables takes milliseconds.
"""

from __future__ import annotations

from difflib import SequenceMatcher, get_close_matches
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncSession

from asyncdb_nb.engine.history import own
from asyncdb_nb.engine.search_path import EQ, GE, GT, MATCHES, NE
from asyncdb_nb.errors import UnknownTableError
from asyncdb_nb.explore.table_names import always_quoted, parts_of, quoted

# ruff: noqa: S608  the statements are put together from constants

_RELATIONS = f"c.relkind {EQ} ANY ('{{r,p,v,m,f}}')"

TABLES = f"""
select n.nspname as schema,
       c.relname as "table",
       case when c.relkind {EQ} 'r' then 'table' when c.relkind {EQ} 'p' then 'partitioned table'
            when c.relkind {EQ} 'v' then 'view' when c.relkind {EQ} 'm' then 'materialized view'
            when c.relkind {EQ} 'f' then 'foreign table' end as kind,
       case when c.reltuples {GE} 0 then c.reltuples::pg_catalog.int8 end as rows,
       case when c.relkind {EQ} ANY ('{{r,m}}') then pg_catalog.pg_total_relation_size(c.oid)
            when c.relkind {EQ} 'p' then (
                select pg_catalog.sum(pg_catalog.pg_total_relation_size(p.relid))::pg_catalog.int8
                from pg_catalog.pg_partition_tree(c.oid) as p where p.isleaf) end as bytes,
       case when pg_catalog.has_schema_privilege(n.oid, 'USAGE') then pg_catalog.concat_ws(', ',
                case when pg_catalog.has_table_privilege(c.oid, 'SELECT') then 'select'
                     when pg_catalog.has_any_column_privilege(c.oid, 'SELECT') then 'select of some columns' end,
                case when pg_catalog.has_table_privilege(c.oid, 'INSERT') then 'insert' end,
                case when pg_catalog.has_table_privilege(c.oid, 'UPDATE') then 'update' end,
                case when pg_catalog.has_table_privilege(c.oid, 'DELETE') then 'delete' end) else '' end as rights,
       pg_catalog.obj_description(c.oid, 'pg_class') as comment
from pg_catalog.pg_class as c join pg_catalog.pg_namespace as n on n.oid {EQ} c.relnamespace
where {_RELATIONS} and not c.relispartition
  and n.nspname {NE} 'information_schema' and not n.nspname {MATCHES} '^pg_'
order by schema, "table"
"""
"""schema, table, kind (text), rows (int8, the planner's estimate; NULL before the first ANALYZE), bytes (int8), rights
(text: what the user may do; empty for nothing), comment (text or NULL).
"""

RELATIONS = f"""
select c.oid, n.nspname, c.relname, pg_catalog.pg_table_is_visible(c.oid)
from pg_catalog.pg_class as c join pg_catalog.pg_namespace as n on n.oid {EQ} c.relnamespace
where {_RELATIONS}
order by n.nspname {MATCHES} '^(pg_|information_schema$)', n.nspname, c.relname
"""

COLUMNS = f"""
select a.attname as "column",
       pg_catalog.format_type(a.atttypid, a.atttypmod) as type,
       not a.attnotnull as nullable,
       pg_catalog.pg_get_expr(d.adbin, d.adrelid) as "default",
       (select pg_catalog.string_agg(
                   case when pg_catalog.cardinality(k.conkey) {GT} 1
                        then pg_catalog.concat(
                                 case when k.contype {EQ} 'p' then 'primary key' when k.contype {EQ} 'u' then 'unique'
                                      else 'foreign key' end,
                                 pg_catalog.substr(pg_catalog.pg_get_constraintdef(k.oid),
                                                   case when k.contype {EQ} 'u' then 7 else 12 end))
                        when k.contype {EQ} 'p' then 'primary key' when k.contype {EQ} 'u' then 'unique'
                        else pg_catalog.concat('references ', k.confrelid::pg_catalog.regclass) end,
                   ', ' order by k.contype desc)
        from pg_catalog.pg_constraint as k
        where k.conrelid {EQ} a.attrelid and k.contype {EQ} ANY ('{{p,u,f}}') and a.attnum {EQ} ANY (k.conkey)) as key,
       (select pg_catalog.string_agg(
                   pg_catalog.concat(k.conrelid::pg_catalog.regclass, ' ', (
                       select pg_catalog.concat('(', pg_catalog.string_agg(
                                  pg_catalog.quote_ident(o.attname), ', ' order by place), ')')
                       from pg_catalog.generate_subscripts(k.conkey, 1) as place join pg_catalog.pg_attribute as o
                         on o.attrelid {EQ} k.conrelid and o.attnum {EQ} k.conkey[place])),
                   ', ' order by k.conrelid::pg_catalog.regclass::pg_catalog.text, k.conname)
        from pg_catalog.pg_constraint as k
        where k.confrelid {EQ} a.attrelid and k.contype {EQ} 'f' and k.conparentid {EQ} 0::pg_catalog.oid
          and a.attnum {EQ} ANY (k.confkey)) as referenced_by,
       (select pg_catalog.string_agg(
                   pg_catalog.concat(case when i.indisunique then 'unique ' end,
                                     pg_catalog.regexp_replace(pg_catalog.pg_get_indexdef(i.indexrelid),
                                                               '^.*? USING ([a-z_]+ )', '\\1')),
                   ', ' order by x.relname)
        from pg_catalog.pg_index as i join pg_catalog.pg_class as x on x.oid {EQ} i.indexrelid
        where i.indrelid {EQ} a.attrelid and i.indisvalid
          and (a.attnum {EQ} ANY (i.indkey::pg_catalog.int2[])
               or exists (select from pg_catalog.pg_depend as d
                          where d.classid {EQ} 'pg_catalog.pg_class'::pg_catalog.regclass
                            and d.objid {EQ} i.indexrelid and d.refobjid {EQ} i.indrelid
                            and d.refobjsubid {EQ} a.attnum))
          and not exists (select from pg_catalog.pg_constraint as k where k.conindid {EQ} i.indexrelid
                          and k.contype {EQ} ANY ('{{p,u}}'))) as indexes,
       pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'SELECT') as readable,
       pg_catalog.col_description(a.attrelid, a.attnum) as comment
from pg_catalog.pg_attribute as a left join pg_catalog.pg_attrdef as d
  on d.adrelid {EQ} a.attrelid and d.adnum {EQ} a.attnum
where a.attrelid {EQ} cast(:oid as pg_catalog.oid) and a.attnum {GT} 0 and not a.attisdropped
order by a.attnum
"""
"""column, type (text), nullable (bool), default, key, referenced_by, indexes (text or NULL), readable (bool), comment
(text or NULL); one row a column, in the table's order.

A key of several columns is written with them, as SQL has it: `unique (a, b)`.
"""

_OWN = ("pg_", "information_schema")


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
    for spelling in (name, ".".join(parts_of(name))):
        if spelling in by_name:
            return by_name[spelling]
    raise UnknownTableError(name, _near(name, relations))


async def name_in_sql(session: AsyncSession, name: str) -> str:
    """Say how SQL names a table or view in any session; the argument and the error are those of `find_table`."""
    oid = await find_table(session, name)
    found = next(each for each in await _relations(session) if each.oid == oid)
    return f"{always_quoted(found.schema)}.{always_quoted(found.table)}"


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
        return quoted(self.table) if self.visible else f"{quoted(self.schema)}.{quoted(self.table)}"


async def _relations(session: AsyncSession) -> list[_Relation]:
    return [_Relation(*row) for row in await session.execute(own(RELATIONS))]


def _near(name: str, relations: list[_Relation]) -> list[str]:
    """Choose by the table's own name, and by the schema among those of one name; else by both together.

    PostgreSQL's own tables are meant by who names one of theirs, or their schema.
    """
    *schemas, table = (part.lower() for part in parts_of(name))
    schema = ".".join(schemas)
    if not f"{schema}.{table}".lstrip(".").startswith(_OWN):
        relations = [each for each in relations if not each.schema.startswith(_OWN)]
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
