"""What is profiled: a table or a statement, its columns and their types; the first of a profile's three statements."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Executable
from sqlalchemy.ext.asyncio import AsyncSession

from asyncdb_nb.dataframes.sql.statement import Params
from asyncdb_nb.dataframes.sql.tokenizer import query_tokens
from asyncdb_nb.engine.history import own
from asyncdb_nb.engine.search_path import EQ, GT, NE
from asyncdb_nb.errors import FrameError, UnknownTableError
from asyncdb_nb.explore.profile_families import Family, family_of
from asyncdb_nb.explore.rewriting import Result, read_rewritten
from asyncdb_nb.explore.table_names import always_quoted, parts_of, quoted

# ruff: noqa: S608  the statements are put together from constants and quoted names

_KINDS = {"r": "table", "p": "partitioned table", "v": "view", "m": "materialized view", "f": "foreign table"}
_CAN_BE_SAMPLED = "rpm"

_TABLE = f"""
with recursive asked as (
    select coalesce(pg_catalog.to_regclass(:exact), pg_catalog.to_regclass(:folded)) as oid,
           pg_catalog.set_config('extra_float_digits', '1', true) as digits
           {{timeout}}
), types as (
    select a.attnum, t.oid, t.typtype, t.typcategory, t.typbasetype
    from asked, pg_catalog.pg_attribute as a join pg_catalog.pg_type as t on t.oid {EQ} a.atttypid
    where a.attrelid {EQ} asked.oid and a.attnum {GT} 0 and not a.attisdropped
    union all
    select d.attnum, t.oid, t.typtype, t.typcategory, t.typbasetype
    from types as d join pg_catalog.pg_type as t on t.oid {EQ} d.typbasetype where d.typtype {EQ} 'd'
)
select n.nspname as schema, c.relname as name, c.relkind::pg_catalog.text as kind, a.attname as "column",
       pg_catalog.format_type(a.atttypid, a.atttypmod) as type, t.oid,
       case when t.typtype {EQ} 'e' then 'enum' when t.typcategory {EQ} 'A' then 'array' else '' end as family,
       pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT') as readable,
       exists (select from pg_catalog.pg_index as i
               where i.indrelid {EQ} c.oid and i.indisunique and i.indisvalid and i.indimmediate
                 and i.indpred is null and i.indnkeyatts {EQ} 1 and i.indkey[0] {EQ} a.attnum) as is_unique
from asked join pg_catalog.pg_class as c on c.oid {EQ} asked.oid
     join pg_catalog.pg_namespace as n on n.oid {EQ} c.relnamespace
     left join pg_catalog.pg_attribute as a on a.attrelid {EQ} c.oid and a.attnum {GT} 0 and not a.attisdropped
     left join types as t on t.attnum {EQ} a.attnum and t.typtype {NE} 'd'
where c.relkind {EQ} ANY ('{{{{r,p,v,m,f}}}}')
order by a.attnum
"""
_TIMEOUT = ", pg_catalog.set_config('statement_timeout', :milliseconds, true) as limited"


@dataclass(frozen=True)
class Asked:
    """A column of what is profiled.

    Attributes:
        name: As the server names it; names of a statement may repeat.
        type: As SQL writes it; None where only the server knows it yet.
        oid: Of the type.
        family: What can be asked of it.
        readable: Whether the user may read it.
        is_unique: Whether an index keeps its values apart.
    """

    name: str
    type: str | None
    oid: int
    family: Family
    readable: bool = True
    is_unique: bool = False


@dataclass(frozen=True)
class Source:
    """What is profiled.

    Attributes:
        title: The table's name, or "statement".
        kind: "table", "view", … or "statement".
        columns: All columns.
        statement: What to read from: SQL, or a select of Core or the ORM.
        params: Values for its binds.
        relation: The table as SQL names it, if it is one that can be sampled.
    """

    title: str
    kind: str
    columns: list[Asked]
    statement: str | Executable
    params: Params = None
    relation: str | None = None

    @property
    def readable(self) -> list[Asked]:
        """The columns that are profiled."""
        return [column for column in self.columns if column.readable]

    async def read(self, session: AsyncSession, head: str, instead: Callable[[str], str] | None = None) -> list[Any]:
        """Read one row of what `head` selects from the source, of which the columns are `q.c1`, `q.c2`, ….

        Args:
            session: An open session.
            head: SQL, with `{source}` for the source.
            instead: Makes of the source's SQL what to read from in its place.
        """
        before, _, after = head.partition("{source}")
        make = instead or self._as_table
        found = await read_rewritten(session, self.statement, self.params, lambda sql: f"{before}{make(sql)}{after}")
        return list(found.rows[0])

    def _as_table(self, sql: str) -> str:
        aliases = ", ".join(f"c{number}" for number, _ in enumerate(self.readable, 1))
        return f"({sql}\n) as q({aliases})" if aliases else f"({sql}\n) as q"


async def find_source(session: AsyncSession, source: str | Executable, params: Params, timeout: float | None) -> Source:
    """Find out what is to be profiled, in one statement.

    Args:
        session: An open session.
        source: The name of a table, SQL text, or a select of Core or the ORM.
        params: Values for the binds of a statement.
        timeout: Seconds that each statement may take from now on; None leaves that as it is.

    Raises:
        UnknownTableError: There is no such table.
        FrameError: A text is neither a name nor a query.
    """
    if isinstance(source, str) and query_tokens(source) is None:
        if params is not None or len(source.split()) > 3:
            raise FrameError(
                "profile() and view() take the name of a table, or one SELECT, VALUES or TABLE. For what a statement "
                "with RETURNING gives, take the table."
            )
        return await _of_table(session, source, timeout)
    return await _of_statement(session, source, params, timeout)


async def _of_table(session: AsyncSession, name: str, timeout: float | None) -> Source:
    exact, folded = ".".join(map(always_quoted, name.split(".", 1))), ".".join(map(always_quoted, parts_of(name)))
    limits = {} if timeout is None else {"milliseconds": milliseconds(timeout)}
    statement = own(_TABLE.format(timeout="" if timeout is None else _TIMEOUT))
    rows = (await session.execute(statement, {"exact": exact, "folded": folded, **limits})).all()
    if not rows:
        raise UnknownTableError(name, [])
    columns = [
        Asked(row.column, row.type, row.oid, family_of(row.oid, row.family), row.readable, row.is_unique)
        for row in rows
        if row.column is not None
    ]
    first = rows[0]
    relation = f"{always_quoted(first.schema)}.{always_quoted(first.name)}"
    names = ", ".join(always_quoted(column.name) for column in columns if column.readable)
    title = f"{quoted(first.schema)}.{quoted(first.name)}"
    sampled = relation if first.kind in _CAN_BE_SAMPLED else None
    return Source(title, _KINDS[first.kind], columns, f"select {names} from {relation}", None, sampled)


async def _of_statement(
    session: AsyncSession, statement: str | Executable, params: Params, timeout: float | None
) -> Source:
    if isinstance(statement, str):
        statement = "".join(token.text for token in query_tokens(statement) or ())
    limit = "" if timeout is None else f"set_config('statement_timeout', '{milliseconds(timeout)}', true), pg_catalog."
    calls = f"pg_catalog.{limit}set_config('extra_float_digits', '1', true)"
    found = await read_rewritten(
        session, statement, params,
        lambda sql: f"select q.* from ({sql}\n) as q right join (select {calls}) as settings on false",
    )  # fmt: skip
    return Source("statement", "statement", _described(found), statement, params)


def _described(found: Result) -> list[Asked]:
    described = zip(found.names, found.oids, found.kinds, strict=True)
    return [Asked(name, None, oid, family_of(oid, kind)) for name, oid, kind in described]


def milliseconds(seconds: float) -> str:
    """Write a limit for `statement_timeout`.

    Raises:
        ValueError: It is no positive number.
    """
    if not (isinstance(seconds, int | float) and seconds > 0):
        raise ValueError(f"timeout is a number of seconds above 0; got {seconds!r}.")
    return str(max(round(seconds * 1000), 1))
