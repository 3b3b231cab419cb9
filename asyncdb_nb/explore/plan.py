"""
Why a statement is slow: its plan, as a tree with the time and the rows of each node, and what to do about it.

    plan = await db.explain("select * from orders where status = 'open'", analyze=True)
    print(plan)         # a tree; at the end, at most three sentences of advice
    plan.frame()        # one row a node
    plan.plot()

Without `analyze` the statement is only planned. With it, it runs: in a read-only savepoint, which is rolled back.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import Executable
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from asyncdb_nb.dataframes import libraries
from asyncdb_nb.dataframes.sql.statement import Params
from asyncdb_nb.engine.history import own
from asyncdb_nb.errors import AnalyzeWritesError
from asyncdb_nb.explore.explained_statement import changes_something, without_explain
from asyncdb_nb.explore.plan_advice import advice_on
from asyncdb_nb.explore.plan_html import html_of
from asyncdb_nb.explore.plan_nodes import nodes_of
from asyncdb_nb.explore.plan_text import text_of
from asyncdb_nb.explore.rewriting import read_rewritten

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_READ_ONLY, _TIMED_OUT = "25006", "57014"
_LIMITS = own(
    "SELECT pg_catalog.set_config('transaction_read_only', 'on', true), "
    "pg_catalog.set_config('statement_timeout', :milliseconds, true)"
)


async def read_plan(
    session: AsyncSession,
    statement: str | Executable,
    params: Params = None,
    *,
    analyze: bool = False,
    timeout: float = 30,
) -> Plan:
    """Ask for the plan of a statement, in the session's transaction; see `Database.explain`.

    A savepoint is rolled back afterwards, so that the transaction is as it was before.
    """
    if not (isinstance(timeout, int | float) and timeout > 0):
        raise ValueError(f"timeout is a number of seconds above 0; got {timeout!r}.")
    if isinstance(statement, str):
        statement, asked = without_explain(statement)
        analyze = analyze or asked
    if analyze and changes_something(statement):
        raise AnalyzeWritesError
    options = "FORMAT JSON, VERBOSE, ANALYZE, BUFFERS" if analyze else "FORMAT JSON, VERBOSE"
    try:
        async with session.begin_nested() as savepoint:
            await session.execute(_LIMITS, {"milliseconds": str(max(round(timeout * 1000), 1))})
            found = await read_rewritten(session, statement, params, lambda sql: f"EXPLAIN ({options}) {sql}")
            await savepoint.rollback()
    except DBAPIError as error:
        if analyze and getattr(error.orig, "sqlstate", None) == _READ_ONLY:
            raise AnalyzeWritesError from error
        if getattr(error.orig, "sqlstate", None) == _TIMED_OUT:
            error.add_note(f"It took longer than timeout={timeout:g} seconds: `await db.explain(..., timeout=600)`.")
        raise
    [[explained]] = found.rows
    return Plan((json.loads(explained) if isinstance(explained, str) else explained)[0])


class Plan:
    """The plan of a statement; made by `db.explain`.

    `str()` and `repr()` of it are the tree, with a bar for what each node took, the rows of one run beside the estimate
    of the planner, and how often it ran. In a notebook it is a table.

    Attributes:
        json: What the server wrote: the one element of EXPLAIN's JSON.
    """

    def __init__(self, explained: dict[str, Any]) -> None:
        self.json = explained
        self._nodes = nodes_of(explained)

    @property
    def analyzed(self) -> bool:
        """Whether the statement ran, so that there are times and actual rows."""
        return "Execution Time" in self.json

    @property
    def execution_ms(self) -> float | None:
        """Milliseconds that the statement took on the server, measuring included; None where it did not run."""
        return self.json.get("Execution Time")

    @property
    def advice(self) -> list[str]:
        """At most three sentences, the one about the slowest node first; each begins with its node.

        Empty where nothing is wrong, and where the statement did not run: estimates prove nothing.
        """
        return advice_on(self._nodes, self.json) if self.analyzed else []

    def frame(self) -> pd.DataFrame:
        """Give the nodes as a DataFrame, one row each, in the order of the tree.

        Returns:
            A frame with these columns, whose dtypes do not depend on the plan:

            - `node` (str): what it is, in EXPLAIN's words
            - `depth` (int64): how many nodes it is below
            - `relation` (str): what it reads, as SQL names it; NA for none
            - `estimated_rows`, `actual_rows` (Float64): of one run, on average; `actual_rows` is NA for a node that
              never ran
            - `loops` (Int64): how often it ran, in all parallel processes together
            - `own_ms`, `total_ms` (Float64): milliseconds that it took in all its runs, without and with what it
              called; of parallel processes, the mean, so that `own_ms` adds up to the `total_ms` of the first node
            - `buffers` (Int64): pages of 8 kB that it looked at itself, in the server's memory or not
            - `spills` (Int64): pages of 8 kB that it wrote to temporary files itself
            - `cost` (float64): the planner's, with what it calls

            Without `analyze`, all that is measured is NA.
        """
        libraries.load()
        import pandas as pd

        ran, nodes = self.analyzed, self._nodes
        columns: dict[str, tuple[str, list[Any]]] = {
            "node": ("str", [node.label for node in nodes]),
            "depth": ("int64", [node.depth for node in nodes]),
            "relation": ("str", [node.relation for node in nodes]),
            "estimated_rows": ("Float64", [node.estimated for node in nodes]),
            "actual_rows": ("Float64", [node.rows for node in nodes]),
            "loops": ("Int64", [node.loops for node in nodes]),
            "own_ms": ("Float64", [node.own_ms if ran else None for node in nodes]),
            "total_ms": ("Float64", [node.total_ms if ran else None for node in nodes]),
            "buffers": ("Int64", [node.own_pages if ran else None for node in nodes]),
            "spills": ("Int64", [node.own_spill if ran else None for node in nodes]),
            "cost": ("float64", [node.raw["Total Cost"] for node in nodes]),
        }
        return pd.DataFrame({name: pd.Series(values, dtype=dtype) for name, (dtype, values) in columns.items()})

    def text(self, *, times: bool = True) -> str:
        """Write the tree.

        Args:
            times: Whether to say what differs from run to run: times, and the advice that follows from them. Without,
                the text suits a notebook's stored output.
        """
        return text_of(self._nodes, self.json, self.advice, times=times)

    def plot(self, ax: Axes | None = None, *, title: str | None = None, dark: bool | None = None) -> Axes:
        """Draw a bar for each node, in the order of the tree: its own milliseconds.

        On the right of each bar stand the rows of one run and the planner's estimate. Without `analyze`, the bars are
        the planner's cost. An estimate that is wrong by 100 times or more, and a node that spilled, is hatched as well
        as red.

        Args:
            ax: Where to draw; None makes a figure of its own.
            title: Of the axes.
            dark: Whether the background is dark; None looks at matplotlib's style.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        from asyncdb_nb.explore.plan_plot import draw

        return draw(self._nodes, self.json, ax, title, dark)

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        return html_of(self._nodes, self.json, self.advice)
