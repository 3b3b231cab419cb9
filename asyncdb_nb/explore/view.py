"""
A table to look through in a notebook: page by page, sorted and filtered by the server.

    await db.view("orders")
    await db.view("select * from orders where day >= :day", {"day": date(2026, 1, 1)})

What is shown, and stored in the notebook, is a table of the first rows. Where ipywidgets is there, the browser puts
controls on it; each of them asks the server anew. Between two questions there is no transaction and no rows are kept,
but for the page that is seen.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from html import escape
from itertools import count
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from asyncdb_nb.dataframes.sql.statement import Params
from asyncdb_nb.engine.history import own
from asyncdb_nb.errors import UnknownTableError
from asyncdb_nb.explore.profile_source import Source, find_source
from asyncdb_nb.explore.rewriting import Result, Rewrite, read_rewritten
from asyncdb_nb.explore.view_statement import CUT, PAGE, SETTINGS, Asked, Page, Query, ViewColumn, columns_of
from asyncdb_nb.explore.view_widget import LiveView, live

Open = Callable[[], AbstractAsyncContextManager[AsyncSession]]

FIRST = 10  # rows of what is stored
_WIDEST = 40  # characters of a value in text
_NUMBERS = re.compile(r"(smallint|integer|bigint|numeric|real|double precision|oid|money)\b(?!.*\[)")  # as in view.js
_HEAD = "vertical-align:top;white-space:nowrap;text-align:"
_CELL = "vertical-align:top;white-space:pre-wrap;max-width:30em;overflow-wrap:break-word;text-align:"
_shown = count(1)


async def find(session: AsyncSession, source: Any, params: Params, named: Callable[..., Awaitable[str]]) -> Source:
    """Find out what is to be looked through.

    Args:
        session: An open session.
        source: A name, SQL text, or a select of Core or the ORM.
        params: Values for the binds of a statement.
        named: Says how SQL names a table that is not found under its name alone, or raises what says which are near.
    """
    try:
        return await find_source(session, source, params, None)
    except UnknownTableError:
        return await find_source(session, await named(session, source), params, None)


async def read_view(session: AsyncSession, opened: Open, source: Source) -> View:
    """Read the first page of a source, in the session's transaction; see `Database.view`.

    Args:
        session: Any AsyncSession on PostgreSQL through asyncpg.
        opened: Opens a session for each page that is looked at later.
        source: As `find_source` gives it.
    """
    columns = await columns_of(session, source)
    return View(opened, source, columns, await _read_page(session, Query(source, columns, Asked())))


class View:
    """A table of which one page is seen; made by `db.view`.

    In a notebook it is a table with a page of 100 rows, and controls to turn it, to sort and to filter. `str()` and
    `repr()` of it, and what a notebook stores, have the first ten rows.

    Attributes:
        title: The table's name, or "statement".
        columns: Names of the columns that are shown, as the server has them; names may repeat.
    """

    def __init__(self, opened: Open, source: Source, columns: Sequence[ViewColumn], first: Page) -> None:
        self.title = source.title
        self.columns = [column.name for column in columns]
        self._opened = opened
        self._source = source
        self._shown = columns
        self._first = first
        self._live: LiveView | None = None  # where it was shown last

    async def page(
        self,
        *,
        sort: int | None = None,
        descending: bool = False,
        filters: dict[int, str] | None = None,
        first: int = 0,
    ) -> Page:
        """Read a page, as the controls do.

        Args:
            sort: The position of the column to sort by, from 0 on; NULLs come last. None is the order of the source.
            descending: Whether to begin with the largest.
            filters: Texts by position. A plain one is looked for in the server's text of a value, in any case of
                letters; one that begins with `=`, `!=`, `<`, `<=`, `>` or `>=` compares values; `= null` finds NULL.
            first: How many rows to pass over.

        Raises:
            ValueError: There is no such column, or no such row.
            sqlalchemy.exc.SQLAlchemyError: The server refused it, or it took too long.
        """
        return await self._page(self._asked(sort, descending, filters or {}, first))

    async def count(self, filters: dict[int, str] | None = None) -> int:
        """Count the rows, or those that filters leave."""
        query = Query(self._source, self._shown, self._asked(None, False, filters or {}, 0))
        async with self._opened() as session:
            found = await _read(session, query, query.count)
        return int(found.rows[0][0])

    async def _page(self, asked: Asked) -> Page:
        async with self._opened() as session:
            return await _read_page(session, Query(self._source, self._shown, asked))

    def _asked(self, sort: Any, descending: Any, filters: dict[Any, Any], first: Any) -> Asked:
        """Check what is asked for: it comes from a browser."""
        for position in (*filters, *([] if sort is None else [sort])):
            if type(position) is not int or not 0 <= position < len(self._shown):
                if position in self.columns:
                    number = self.columns.index(position)
                    raise ValueError(f"Columns are given by their number, from 0 on. Type {number} for {position!r}.")
                raise ValueError(f"There is no column {position!r}: the {len(self._shown)} columns are counted from 0.")
        if wrong := [wanted for wanted in filters.values() if not isinstance(wanted, str)]:
            raise ValueError(f"A filter is a text, not {wrong[0]!r}.")
        if type(first) is not int or not 0 <= first < 2**63:
            raise ValueError(f"first={first!r}: it is a number of rows, 0 or more.")
        kept = tuple((position, wanted) for position, wanted in sorted(filters.items()) if wanted.strip())
        return Asked(None if sort is None else (sort, bool(descending)), kept, first)

    def __repr__(self) -> str:
        rows = [self.columns, *([_in_a_line(value) for value in row] for row in self._first.rows[:FIRST])]
        widths = [max(len(row[place]) for row in rows) for place in range(len(self.columns))]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows] if self.columns else []
        return "\n".join([self._first.rows_in_words(self.title, FIRST), *lines])

    def _repr_html_(self) -> str:
        # the same in each run of a notebook from its beginning, whose outputs may be compared
        mark = hashlib.sha256(f"{next(_shown)} {self!r}".encode()).hexdigest()[:16]
        self._live = live(self, mark)  # for this place alone: who shows it twice has two to look through
        return self._html(mark)

    def _html(self, mark: str) -> str:
        sides = ["right" if _NUMBERS.match(column.type) else "left" for column in self._shown]
        heads = "".join(
            f'<th style="{_HEAD}{side}">{escape(column.name)}<br><small style="font-weight:normal;opacity:.7">'
            f"{escape(column.type)}</small></th>"
            for column, side in zip(self._shown, sides, strict=True)
        )
        rows = "".join(
            "<tr>"
            + "".join(f'<td style="{_CELL}{side}">{_cell(value)}</td>' for value, side in zip(row, sides, strict=True))
            + "</tr>"
            for row in self._first.rows[:FIRST]
        )
        table = f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>" if self._shown else ""
        words = escape(self._first.rows_in_words(self.title, FIRST))
        return f'<div id="asyncdb-view-{mark}"><p><b>{words}</b></p>{table}</div>'


async def _read_page(session: AsyncSession, query: Query) -> Page:
    found = await _read(session, query, query.page)
    rows = [list(row[:-1]) for row in found.rows]
    return Page(query.asked, rows[:PAGE], len(rows) > PAGE)


async def _read(session: AsyncSession, query: Query, rewrite: Rewrite) -> Result:
    await session.execute(own(SETTINGS))
    return await read_rewritten(session, query.source.statement, query.source.params, rewrite, query.values)


def cut(value: str) -> str:
    """Cut a text that is longer than what is shown, and say so."""
    return value if len(value) <= CUT else f"{value[:CUT]}…"


def _in_a_line(value: str | None) -> str:
    if value is None:
        return "NULL"
    line = "".join(each if each.isprintable() else repr(each)[1:-1] for each in value[: _WIDEST + 1])
    return line if len(line) <= _WIDEST else f"{line[: _WIDEST - 1]}…"


def _cell(value: str | None) -> str:
    return '<i style="opacity:.55">NULL</i>' if value is None else escape(cut(value))
