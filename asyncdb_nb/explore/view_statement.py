"""
The SQL of a view: one page of a table or a statement, sorted and filtered, each value as the server writes it.

Rows that are equal in the column that sorts them follow one another in the same order on every page: by where they lie
in a table, and as in the statement otherwise. Else the server may give a row on two pages, and another on none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from asyncdb_nb.engine.history import own
from asyncdb_nb.engine.search_path import EQ, GT, NE
from asyncdb_nb.explore.profile_source import Source
from asyncdb_nb.explore.table_names import always_quoted

# ruff: noqa: S608  the statements are put together from constants, quoted names and positions

PAGE = 100  # rows
CUT = 1_000  # characters of a value

SETTINGS = (
    "select pg_catalog.set_config('datestyle', 'ISO', true), pg_catalog.set_config('extra_float_digits', '1', true), "
    # both would let rows come in another order each time
    "pg_catalog.set_config('synchronize_seqscans', 'off', true), "
    "pg_catalog.set_config('max_parallel_workers_per_gather', '0', true)"
)
_BPCHAR = 1042
_COMPARISON = re.compile(r"\s*(?P<operator><=|>=|!=|<>|<|>|=)\s*(?P<value>.*?)\s*\Z", re.DOTALL)
_TYPES = f"""
select pg_catalog.format_type(t.oid, null) as type, pg_catalog.format_type(t.oid, -1) as exact, s.sorts,
       s.sorts and e.typtype {NE} 'p'
         and (e.typtype {NE} 'b' or e.typnamespace {EQ} 'pg_catalog'::pg_catalog.regnamespace) as compares
from pg_catalog.unnest(pg_catalog.string_to_array(:oids, ',')::pg_catalog.oid[]) with ordinality as asked(oid, place)
     join pg_catalog.pg_type as t on t.oid {EQ} asked.oid
     left join pg_catalog.pg_type as i on i.oid {EQ} t.typelem and i.typarray {EQ} t.oid
     join pg_catalog.pg_type as e on e.oid {EQ} coalesce(i.oid, t.oid),
     lateral (select e.typtype {EQ} ANY ('{{e,r,m}}') or exists (
        select from pg_catalog.pg_opclass as c join pg_catalog.pg_am as m on m.oid {EQ} c.opcmethod
        where m.amname {EQ} 'btree' and c.opcdefault and (c.opcintype {EQ} e.oid or exists (
            select from pg_catalog.pg_cast as k
            where k.castsource {EQ} e.oid and k.casttarget {EQ} c.opcintype
              and k.castmethod {EQ} 'b' and k.castcontext {EQ} 'i'))) as sorts) as s
order by asked.place
"""


@dataclass(frozen=True)
class ViewColumn:
    """A column that is shown.

    Attributes:
        name: As the server names it; names may repeat.
        type: As SQL writes it.
        exact: The type as a cast names it that cuts nothing.
        sorts: Whether the type has an order; else its texts are sorted.
        compares: Whether its values are compared with `=` and `<`; else their texts are.
        text: The server's text of a value of the column, as SQL, with `{x}` for it.
    """

    name: str
    type: str
    exact: str
    sorts: bool
    compares: bool
    text: str


@dataclass(frozen=True)
class Asked:
    """What is to be shown.

    Attributes:
        sort: The position of the column to sort by, and whether downwards; None is the order of the source.
        filters: Positions of columns, and what each shall hold.
        first: How many rows are before the page.
    """

    sort: tuple[int, bool] | None = None
    filters: tuple[tuple[int, str], ...] = ()
    first: int = 0


@dataclass(frozen=True)
class Page:
    """Some rows.

    Attributes:
        asked: What was asked for.
        rows: At most 100. A value is the server's text of it; None is NULL.
        more: Whether rows follow.
    """

    asked: Asked
    rows: list[list[str | None]]
    more: bool

    def rows_in_words(self, title: str, rows: int) -> str:
        """Say which rows are seen when the first so many of the page are."""
        seen = min(rows, len(self.rows))
        if not self.more:
            total = self.asked.first + len(self.rows)
            return f"{title}: {total:,} row{'' if total == 1 else 's'}" + ("" if seen == total else f", {seen} shown")
        return f"{title}: more than {self.asked.first + len(self.rows):,} rows, {seen} shown"


async def columns_of(session: AsyncSession, source: Source) -> list[ViewColumn]:
    """Ask for the types of what is shown."""
    shown = source.readable
    oids = ",".join(str(column.oid) for column in shown)
    types = (await session.execute(own(_TYPES), {"oids": oids})).all() if shown else []
    return [
        ViewColumn(
            column.name, column.type or type_.type, type_.exact, type_.sorts, type_.compares, _text_of(column.oid)
        )
        for column, type_ in zip(shown, types, strict=True)
    ]


@dataclass(frozen=True)
class Query:
    """A query on a source, filtered.

    Attributes:
        source: What it reads from.
        columns: Those of the source that are shown.
        asked: What is to be shown.
    """

    source: Source
    columns: Sequence[ViewColumn]
    asked: Asked

    @property
    def values(self) -> list[str]:
        """Values for the parameters of the filters."""
        return [value for _, value in self._conditions() if value is not None]

    def page(self, sql: str, *parameters: str) -> str:
        """Write the query for a page, and for one row more, which tells whether there are any.

        It has one column more, for the server counts a statement's rows only if somebody looks. A LIMIT above that
        count does not reach the statement's own ORDER BY, which would order equal rows anew for each page.
        """
        cells = "".join(
            f"pg_catalog.left({column.text.format(x=f'p.c{n}')}, {CUT + 1}), "
            for n, column in enumerate(self.columns, 1)
        )
        rows = f"select * {self._rows(sql, parameters)}{self._order()} limit {PAGE + 1} offset {int(self.asked.first)}"
        # in a subquery: else the server would write the texts of all rows before it sorts them
        return f"select {cells}p.place::pg_catalog.text from ({rows}) as p"

    def count(self, sql: str, *parameters: str) -> str:
        """Write the query for the number of rows."""
        return f"select pg_catalog.count(*)::pg_catalog.text {self._rows(sql, parameters)}"

    def _rows(self, sql: str, parameters: Sequence[str]) -> str:
        names = iter(parameters)
        conditions = [
            condition if value is None else condition.replace("{parameter}", f"{next(names)}::pg_catalog.text")
            for condition, value in self._conditions()
        ]
        where = f" where {' and '.join(conditions)}" if conditions else ""
        return f"from {self._from(sql)}{where}"

    def _from(self, sql: str) -> str:
        aliases = "".join(f"c{n}, " for n, _ in enumerate(self.columns, 1))
        if self.source.relation is None:
            return f"(select n.*, pg_catalog.row_number() over () from ({sql}\n) as n) as q({aliases}place)"
        names = "".join(f"{always_quoted(column.name)}, " for column in self.columns)
        return f"(select {names}tableoid, ctid from {self.source.relation}) as q({aliases}part, place)"

    def _order(self) -> str:
        if self.asked.sort is None:
            return ""
        position, downwards = self.asked.sort
        column, x = self.columns[position], f"q.c{position + 1}"
        key = x if column.sorts else column.text.format(x=x)
        place = "q.place" if self.source.relation is None else "q.part, q.place"
        return f" order by {key}{' desc' if downwards else ''} nulls last, {place}"

    def _conditions(self) -> Iterator[tuple[str, str | None]]:
        for position, wanted in self.asked.filters:
            yield _condition(self.columns[position], f"q.c{position + 1}", wanted)


def _condition(column: ViewColumn, x: str, wanted: str) -> tuple[str, str | None]:
    """Write what a filter asks for, with `{parameter}` for the value; None where it has none."""
    shown = column.text.format(x=x)
    found = _COMPARISON.match(wanted)
    if found is None:
        in_lower_case = f'pg_catalog.lower({shown} collate pg_catalog."default")'
        return f"pg_catalog.strpos({in_lower_case}, pg_catalog.lower({{parameter}})) {GT} 0", wanted
    operator = found["operator"].replace("!=", "<>")
    if found["value"].lower() == "null" and operator in ("=", "<>"):
        return f"({shown}) is {'not ' if operator == '<>' else ''}null", None  # of a row, `is null` asks for its fields
    compared, value = (x, f"CAST({{parameter}} AS {column.exact})") if column.compares else (shown, "{parameter}")
    return f"{compared} OPERATOR(pg_catalog.{operator}) {value}", found["value"]


def _text_of(oid: int) -> str:
    """Write what gives the server's text of a value; the cast of char(n) to text would take spaces off its end."""
    return "case when {x} is not null then pg_catalog.concat({x}) end" if oid == _BPCHAR else "{x}::pg_catalog.text"
