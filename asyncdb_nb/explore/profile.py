"""
What a table or a result holds, column by column, computed on the server in three statements.

    profile = await db.profile("workflows.task")
    print(profile)          # a line for each column
    profile.frame()         # all figures
    profile.sources()       # of each, whether it is exact or from a sample, and of how many rows

Rows, missing values, the smallest, the largest, the mean and the deviation are exact, in one pass over all rows. What
needs them sorted or grouped is exact up to 100,000 rows; beyond, it comes from a sample that is the same each time.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sqlalchemy import Executable
from sqlalchemy.ext.asyncio import AsyncSession

from asyncdb_nb.dataframes import libraries
from asyncdb_nb.dataframes.sql.statement import Params
from asyncdb_nb.explore import profile_statements as statements
from asyncdb_nb.explore.profile_figures import ColumnProfile, Figures, Sample, column_profile
from asyncdb_nb.explore.profile_html import html_of
from asyncdb_nb.explore.profile_source import Source, find_source
from asyncdb_nb.explore.profile_text import text_of
from asyncdb_nb.explore.table_names import always_quoted

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

EXACT = 100_000  # rows that are sorted and grouped
SAMPLE = 30_000  # of more


async def read_profile(
    session: AsyncSession,
    source: str | Executable,
    params: Params = None,
    *,
    sample: int | None = None,
    timeout: float | None = None,
) -> Profile:
    """Profile a table or a statement, in the session's transaction; see `Database.profile`.

    Args:
        session: Any AsyncSession on PostgreSQL through asyncpg. For figures that are all of one moment, its transaction
            is REPEATABLE READ.
        source: As for `Database.profile`; a table's name as SQL would take it.
        params: Values for the binds of a statement.
        sample: As for `Database.profile`.
        timeout: Seconds for each statement, until the transaction ends; None leaves that as it is.
    """
    if sample is not None and not (isinstance(sample, int) and sample > 0):
        raise ValueError(f"sample={sample!r}: it is a number of rows above 0, or None.")
    found = await find_source(session, source, params, timeout)
    rows, *counted = await found.read(session, statements.of_all_rows(found.readable))
    all_rows = [json.loads(column, parse_float=Decimal) for column in counted]
    most = EXACT if sample is None else sample
    some: list[Any] = []
    taken: Sample | None = None
    if found.readable:
        some, taken = await _some_rows(session, found, all_rows, rows, None if rows <= most else sample or SAMPLE)
    profiled = zip(found.readable, all_rows, some, strict=True)
    figures = {id(column): column_profile(column, rows, first, second, None if taken is None else taken.rows)
               for column, first, second in profiled}  # fmt: skip
    columns = [
        figures.get(id(column)) or ColumnProfile(column.name, column.type or "", rows) for column in found.columns
    ]
    return Profile(found.title, found.kind, rows, columns, taken)


async def _some_rows(
    session: AsyncSession, source: Source, counted: list[Any], rows: int, wanted: int | None
) -> tuple[list[Any], Sample | None]:
    columns = source.readable
    spans = [_span(column[6]) for column in counted]
    instead: Callable[[str], str] | None = None
    if wanted is not None and source.relation is not None:
        names = ", ".join(always_quoted(column.name) for column in columns)
        some_of_it = statements.sampled(source.relation, columns, names, min(100 * wanted / rows, 100))
        instead = lambda sql: some_of_it  # noqa: E731
    elif wanted is not None:
        share = wanted / rows
        instead = lambda sql: statements.thinned(sql, columns, share)  # noqa: E731
    taken, *some = await source.read(session, statements.of_some_rows(columns, spans), instead)
    sample = None if wanted is None else Sample(taken, rows)
    return [json.loads(column, parse_float=Decimal) for column in some], sample


def _span(edges: list[Any] | None) -> tuple[float, float] | None:
    """Give the edges of a histogram, where there is something between them."""
    if edges is None or edges[0] is None or float(edges[0]) == float(edges[1]):
        return None
    return float(edges[0]), float(edges[1])


class Profile:
    """Figures on each column of a table or a result; made by `db.profile`.

    `str()` and `repr()` of it have a line for each column, in which `~` marks what comes from a sample. In a notebook
    it is a table.

    Attributes:
        title: The table's name, or "statement".
        rows: How many rows there are, counted.
        sample: The rows that the figures of a sample come from, as text says it; None where every figure is exact.
    """

    def __init__(self, title: str, kind: str, rows: int, columns: list[ColumnProfile], sample: Sample | None) -> None:
        self.title = title
        self.kind = kind
        self.rows = rows
        self.columns = columns
        self.sample = sample
        self._figures = Figures(title, kind, rows, columns, sample)

    def frame(self) -> pd.DataFrame:
        """Give the figures as a DataFrame, one row a column, in the table's order.

        Returns:
            A frame with these columns, whose dtypes do not depend on the data:

            - `column`, `type` (str): as the server names them
            - `rows`, `missing`, `distinct` (Int64): `missing` counts NULLs, `distinct` leaves them out. From a sample,
              `distinct` is an estimate for all rows
            - `min`, `q05`, `q25`, `median`, `q75`, `q95`, `max` (object): values of the column, as Python has them
              (`Decimal`, `datetime` in UTC, text where it has none: infinity, the year 9999); None where there is no
              order, and of an all-NULL column. A quantile is the first value that at least that share of the values
              does not exceed. NaN is left out of all of them; infinity is not
            - `mean`, `deviation` (Float64): of numbers and booleans; of intervals, in seconds. The deviation is the
              sample's (n - 1). NaN is left out; with infinity they are infinity or NA, and with numbers beyond 1e150 NA
            - `nan`, `infinite` (Int64): of numbers
            - `top` (object): the most frequent values, five at most, as a list of pairs: the value, and its share among
              those that are not missing. Long texts are cut after 200 characters
            - `shortest`, `longest` (Int64), `length` (Float64, the mean): characters of a text, elements of an array,
              bytes of bytea
            - `gap`, `usual_gap` (Float64, seconds), `gap_after` (object): of dates and time stamps, the longest time
              between two values that follow each other, the median of those times, and the value before the longest
            - `keys` (object): of json, the keys of its objects, twenty at most, as pairs: the key, and its share among
              the values that are not missing

            Of a column that the user may not read, all but its type are NA.
        """
        libraries.load()
        import pandas as pd

        dtypes = ColumnProfile.DTYPES
        return pd.DataFrame(
            {
                name: pd.Series([getattr(column, name) for column in self.columns], dtype=dtype)
                for name, dtype in dtypes.items()
            }
        )

    def sources(self) -> pd.DataFrame:
        """Say where each figure comes from.

        Returns:
            A frame like that of `frame()`. In place of each figure it has "exact", or "sample of 30,112 rows"; NA where
            there is no figure.
        """
        libraries.load()
        import pandas as pd

        return pd.DataFrame(
            {name: pd.Series([column.source(name) for column in self.columns], dtype="str")
             for name in ColumnProfile.DTYPES}
        )  # fmt: skip

    def plot(self, *, title: str | None = None, dark: bool | None = None) -> Figure:
        """Draw a small picture of each column: how often which numbers or times occur, or the most frequent values.

        Args:
            title: Of the figure.
            dark: Whether the background is dark; None looks at matplotlib's style.

        Returns:
            The figure, to be saved: `profile.plot().savefig("profile.png")`.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        from asyncdb_nb.explore.profile_plot import draw

        return draw(self._figures, title, dark)

    def __str__(self) -> str:
        return text_of(self._figures)

    def __repr__(self) -> str:
        return text_of(self._figures)

    def _repr_html_(self) -> str:
        return html_of(self._figures)
