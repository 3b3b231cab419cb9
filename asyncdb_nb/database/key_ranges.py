"""
Cut a statement into ranges of one of its columns.

The statement becomes a subquery, with a condition beside it that PostgreSQL moves into the statement where that does
not change it. Bounds are written as PostgreSQL writes the values, and two neighbours have the very same text, so that a
row is in one of them and not in both, however exact the text is. NULLs are the last part.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Any, Literal, NamedTuple, get_args

from sqlalchemy import Select, literal_column, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from asyncdb_nb.database import repeatability
from asyncdb_nb.dataframes.results.entities import builds_entities
from asyncdb_nb.dataframes.sql.statement import executable
from asyncdb_nb.dataframes.sql.tokenizer import query_tokens
from asyncdb_nb.engine._sqlalchemy.statements import criteria_of, has_loader_options
from asyncdb_nb.engine.history import own
from asyncdb_nb.engine.search_path import EQ, GE, LT, NE
from asyncdb_nb.errors import UnsplittableError

# ruff: noqa: S608  names and literals are quoted here; the statement is SQL already

How = Literal["percentile", "width"]

_NO_ORDER = {"42883", "42809", "42704"}  # no operator or function for it; no array of it, in which percentiles come
_NO_COLUMN = {"42703", "42702"}  # there is none, or there are several

_TYPE = f"""
with recursive base(oid) as (
    select cast(:oid as pg_catalog.oid)
    union all
    select d.typbasetype from base join pg_catalog.pg_type as d on d.oid {EQ} base.oid where d.typtype {EQ} 'd'
)
select t.typname::pg_catalog.text as name, t.typtype {EQ} 'c' or t.typname {EQ} 'record' as is_row,
       own.below, own.from_on
from base join pg_catalog.pg_type as t on t.oid {EQ} base.oid
left join lateral (
    select pg_catalog.max(m.name) filter (where m.strategy {EQ} 1) as below,
           pg_catalog.max(m.name) filter (where m.strategy {EQ} 4) as from_on
    from (
        select m.amopstrategy as strategy, pg_catalog.format('OPERATOR(%I.%s)', n.nspname, o.oprname) as name
        from pg_catalog.pg_opclass as c
        join pg_catalog.pg_am as a on a.oid {EQ} c.opcmethod and a.amname {EQ} 'btree'
        join pg_catalog.pg_amop as m on m.amopfamily {EQ} c.opcfamily
          and m.amoplefttype {EQ} c.opcintype and m.amoprighttype {EQ} c.opcintype
        join pg_catalog.pg_operator as o on o.oid {EQ} m.amopopr
        join pg_catalog.pg_namespace as n on n.oid {EQ} o.oprnamespace
        where c.opcdefault and c.opcintype {EQ} t.oid
    ) as m
) as own on true
where t.typtype {NE} 'd'
"""
"""What a type is, under its domains, and the operators by which ORDER BY sorts it; none where those of another do."""

_FINITE = {
    **dict.fromkeys(("int2", "int4", "int8"), "true"),
    **dict.fromkeys(
        ("numeric", "float4", "float8"),
        f"{{0}}::pg_catalog.text {NE} ALL ('{{{{NaN,Infinity,-Infinity}}}}'::pg_catalog.text[])",
    ),
    **dict.fromkeys(("date", "timestamp", "timestamptz"), "pg_catalog.isfinite({0})"),
}
"""The types that have a width, and what says that a value is not endless."""


_HAS_MIN = {*_FINITE, "text", "varchar"}

_FIRST_AND_LAST = [f"pg_catalog.percentile_disc({share}) within group (order by {{}})" for share in (0, 1)]
"""As `min` and `max`, which uuid and boolean do not have, nor bytea before PostgreSQL 18."""

_SORTED_ALIKE = {*_FINITE, "bool", "bytea", "oid", "time", "uuid"}

_BY_CODE = own(f"""
select pg_catalog.current_setting('server_encoding') {EQ} 'UTF8' and case cast(:collation as pg_catalog.text)
    when '"C"' then true when '"POSIX"' then true when 'ucs_basic' then true when 'pg_c_utf8' then true
    when '"default"' then (select d.datcollate {EQ} ANY ('{{C,POSIX}}') and coalesce(
            pg_catalog.jsonb_extract_path_text(pg_catalog.to_jsonb(d), 'datlocprovider'), 'c') {EQ} 'c'
        from pg_catalog.pg_database as d where d.datname {EQ} pg_catalog.current_database())
    else false end
""")
"""Whether a collation compares the bytes of UTF-8, in the order of code points, as Python's `str`."""


class _Key(NamedTuple):
    name: str  # quoted, of the subquery
    type: str
    from_on: str  # the operators that ORDER BY sorts by: those of another type may be nearer on the search path
    below: str


async def statements(
    session: AsyncSession, statement: Any, key: str, n: int, how: How, params: Any = None
) -> list[Any]:
    """Write about `n` statements that give ranges of a statement by its column `key`; see `Snapshot.ranges`.

    Args:
        session: A session on the snapshot.
        statement: SQL text, or a select.
        key: The column's name.
        n: How many.
        how: "percentile" or "width".
        params: Values for the binds of a text.

    Raises:
        UnsplittableError: It cannot be cut; the message has the reason.
    """
    found = await bounds(session, statement, key, n, how, params)
    return [range_of(statement, where, key) for where in found]


async def bounds(session: AsyncSession, statement: Any, key: str, n: int, how: How, params: Any = None) -> list[str]:
    """Write the conditions of the ranges, in their order: on `s`, as which the statement is a subquery."""
    if how not in get_args(How):
        raise ValueError(f"how={how!r}: it is 'percentile' or 'width'.")
    _check(statement)
    await repeatability.check(session, statement if isinstance(statement, str) else _sql(statement))
    try:
        column = await _key(session, statement, key, params)
        edges = await (_percentiles if how == "percentile" else _steps)(session, statement, column, n, params)
    except DBAPIError as error:
        raise _explained(error, key) from error
    return list(_conditions(column, edges))


async def sorts_as_in_python(session: AsyncSession, statement: str, key: str, params: Any = None) -> bool:
    """Say whether the server orders the values of a key as Python does: numbers, times, bytes, and text by its code.

    A collation such as `en_US` has a before B, Python has B before a; an enum is in the order in which it was declared.
    """
    column = await _key(session, statement, key, params)
    if column.type in ("text", "varchar", "name"):
        # the collation of no value is known all the same
        asking = f"pg_catalog.pg_collation_for((pg_catalog.array_agg({column.name}))[1])"
        collation = await session.scalar(*_asking(statement, asking, params, none=True))
        return bool(await session.scalar(_BY_CODE, {"collation": collation}))
    return column.type in _SORTED_ALIKE


def range_of(statement: Any, condition: str, key: str) -> Any:
    """Write the statement of one of the ranges that `bounds` gives."""
    name = _quoted(key)
    if isinstance(statement, Select):
        inner = _columns(statement).subquery("s")
        return _alike(select(inner).where(literal_column(condition)).order_by(literal_column(name)), statement)
    return f"select * from ({_body(statement)}\n) as s where {condition} order by {name}"


async def ends_of(
    session: AsyncSession, statement: str, key: str, conditions: Sequence[str], params: Any = None
) -> str:
    """Ask for the least key of each range but that of NULLs, the greatest of all, and how many rows each range has."""
    column = await _key(session, statement, key, params)
    least, greatest = ("pg_catalog.min({})", "pg_catalog.max({})") if column.type in _HAS_MIN else _FIRST_AND_LAST
    lows = [f"{least.format(column.name)} filter (where {condition})" for condition in conditions[:-1]]
    counts = [f"pg_catalog.count(*) filter (where {condition})" for condition in conditions]
    asked = ", ".join([*lows, greatest.format(column.name), *counts])
    return f"select {asked} from ({_body(statement)}\n) as s"


def empty(statement: str) -> str:
    """Ask for the columns of a statement, and no row."""
    return f"select * from ({_body(statement)}\n) as s limit 0"


def _check(statement: Any) -> None:
    if isinstance(statement, Select):
        if builds_entities(statement) and has_loader_options(statement):
            raise UnsplittableError(
                "Options such as load_only() and joinedload() are for whole entities, and these are cut into rows. "
                "Name the columns instead: `select(Order.id, Order.day)`."
            )
        return
    if not isinstance(statement, str):
        raise UnsplittableError(
            f"What is cut by a column is SQL text or a select(...), not {type(statement).__name__}."
        )
    if query_tokens(statement) is None:
        raise UnsplittableError("What is cut by a column is one SELECT, VALUES or TABLE that changes nothing.")


def _explained(error: DBAPIError, key: str) -> Exception:
    state = getattr(error.orig, "sqlstate", None)
    if state in _NO_ORDER:
        return UnsplittableError(f"Nothing is cut by the column {key!r}, because of its type: {error.orig}")
    if state in _NO_COLUMN and key in str(error.orig):
        error.add_note(f"key={key!r} is the name of one column of the result, as the server has it.")
    return error


async def _key(session: AsyncSession, statement: Any, key: str, params: Any) -> _Key:
    name = _quoted(key)
    asking = f"pg_catalog.pg_typeof((pg_catalog.array_agg({name} order by {name}))[1])::pg_catalog.oid"
    oid = await session.scalar(*_asking(statement, asking, params, none=True))
    found = (await session.execute(own(_TYPE), {"oid": oid})).one()
    if found.is_row:
        raise UnsplittableError(f"Nothing is cut by the column {key!r}, because it is a row. Name one of its fields.")
    return _Key(name, found.name, found.from_on or GE, found.below or LT)


async def _percentiles(session: AsyncSession, statement: Any, key: _Key, n: int, params: Any) -> list[str]:
    """Give the values at equal shares of the rows, as PostgreSQL writes them, each once."""
    if n < 2:
        return []
    shares = ",".join(f"{part / n!r}" for part in range(1, n))
    values = f"pg_catalog.percentile_disc('{{{shares}}}'::pg_catalog.float8[]) within group (order by {key.name})"
    rows = await session.execute(*_asking(statement, f"pg_catalog.unnest({values})::pg_catalog.text", params))
    return list(dict.fromkeys(value for (value,) in rows if value is not None))


async def _steps(session: AsyncSession, statement: Any, key: _Key, n: int, params: Any) -> list[str]:
    """Give the values at equal distances between the least and the greatest."""
    if key.type not in _FINITE:
        raise UnsplittableError(
            f"how='width' is for whole and decimal numbers, dates and timestamps, and this key is of type {key.type}. "
            "Type how='percentile'."
        )
    finite = _FINITE[key.type].format(key.name)
    ends = ", ".join(f"pg_catalog.{end}({key.name}) filter (where {finite})" for end in ("min", "max"))
    low, high = (await session.execute(*_asking(statement, ends, params))).one()
    if low is None or low == high:
        return []
    return list(dict.fromkeys(_written(_between(low, high, part, n)) for part in range(1, n)))


def _between(low: Any, high: Any, part: int, n: int) -> Any:
    if isinstance(low, float):
        low, high = Decimal(low), Decimal(high)
    if isinstance(low, int):
        return low + (high - low) * part // n
    return low + (high - low) * part / n


def _written(value: Any) -> str:
    return value.isoformat() if isinstance(value, dt.date) else str(value)


def _conditions(key: _Key, edges: Sequence[str]) -> Iterator[str]:
    """Write the condition of each range between two edges, and of NULLs."""
    if not edges:
        yield f"{key.name} is not null"
    for low, high in pairwise([None, *edges, None] if edges else []):
        limits = ((key.from_on, low), (key.below, high))
        yield " and ".join(f"{key.name} {sign} {_literal(edge)}" for sign, edge in limits if edge is not None)
    yield f"{key.name} is null"


def _literal(value: str) -> str:
    """Write a literal that is the same whatever `standard_conforming_strings` is."""
    doubled = value.replace("'", "''")
    return f"'{doubled}'" if "\\" not in doubled else "E'" + doubled.replace("\\", "\\\\") + "'"


def _asking(statement: Any, what: str, params: Any, *, none: bool = False) -> tuple[Any, Any]:
    """Make what asks for something over a statement's rows, and its params; `none`: over no row of it."""
    if isinstance(statement, Select):
        inner: Any = _columns(statement).limit(0) if none else _columns(statement)
        asking = _alike(select(literal_column(what)).select_from(inner.subquery("s")), statement)
        return asking.execution_options(stream_results=False, yield_per=None), params
    inner = f"(select * from ({_body(statement)}\n) as w limit 0)" if none else f"({_body(statement)}\n)"
    return executable(f"select {what} from {inner} as s", params), params


def _quoted(key: str) -> str:
    return "s." + '"' + key.replace('"', '""') + '"'


def _sql(statement: Select[Any]) -> str:
    return str(statement.compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]


def _columns(statement: Select[Any]) -> Any:
    """Replace entities by their columns, as a frame of the statement has them."""
    return executable(statement, None)


def _alike(made: Select[Any], statement: Select[Any]) -> Select[Any]:
    """Give what is made of a select its criteria and execution options, which SQLAlchemy takes of the outermost one."""
    return made.options(*criteria_of(statement)).execution_options(**statement.get_execution_options())


def _body(statement: str) -> str:
    return "".join(token.text for token in query_tokens(statement) or ())
