"""
The flow of a process: which step follows which, as a picture, a text and a frame.

    flow = await WorkflowRepository(session).flow(workflow="invoices-import")
    flow.plot(coverage=0.9)     # the fewest arrows along which nine runs in ten go, and how many that are

What is hidden is said: a run counts as shown when every one of its arrows is there, from its begin to its end. So each
arrow that is drawn belongs to a run that is seen whole.
"""

from __future__ import annotations

from math import floor
from typing import TYPE_CHECKING

from asyncdb_nb.workflows.flow_arrow import Arrow, duration

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


class Flow:
    """Which step follows which; made by `WorkflowRepository.flow()`. It needs no session.

    In a notebook, a cell that ends in it shows its picture where matplotlib is installed; `str()` of it is a text.
    """

    def __init__(self, transitions: pd.DataFrame) -> None:
        self._frame = transitions
        columns = ["from_step", "to_step", "times", "p50_seconds", "coverage"]
        rows = transitions[columns].astype(object)
        rows = rows.where(rows.notna(), None)
        self.arrows = [Arrow(*row) for row in rows.itertuples(index=False, name=None)]

    @property
    def runs(self) -> int:
        """How many runs it is made of: those with at least one task."""
        return sum(arrow.times for arrow in self.arrows if arrow.source is None)

    @property
    def steps(self) -> dict[str, int]:
        """How many tasks each step has, the commonest first."""
        tasks: dict[str, int] = {}
        for arrow in self.arrows:
            if arrow.target is not None:
                tasks[arrow.target] = tasks.get(arrow.target, 0) + arrow.times
        return dict(sorted(tasks.items(), key=lambda item: (-item[1], item[0])))

    def frame(self) -> pd.DataFrame:
        """Give all of it as a DataFrame, one row for each pair of steps.

        Returns:
            What `WorkflowRepository.transitions()` gives, whose docstring has the columns. Where runs begin,
            `from_step` is missing; where they end, `to_step`.
        """
        return self._frame.copy()

    def shown(self, coverage: float | None = None) -> list[Arrow]:
        """Choose the arrows that a picture shows, the commonest first.

        Args:
            coverage: The share of runs that is to be seen whole, at least: `1` gives all arrows, `0.9` the fewest for
                nine runs in ten. None takes as many as can be read.

        Raises:
            ValueError: `coverage` is not above 0 and at most 1.
        """
        if coverage is not None and not 0 < coverage <= 1:
            raise ValueError(f"coverage is a share of the runs, above 0 and at most 1, such as 0.9; not {coverage!r}.")
        levels = sorted({arrow.coverage for arrow in self.arrows})
        if coverage is None:
            readable = 10 + 1.5 * len(self.steps)
            fitting = [level for level in levels if sum(arrow.coverage <= level for arrow in self.arrows) <= readable]
            level = max(fitting, default=levels[0] if levels else 1)
        else:
            level = next((level for level in levels if level >= coverage - 1e-12), 1)
        return [arrow for arrow in self.arrows if arrow.coverage <= level]

    def caption(self, coverage: float | None = None) -> str:
        """Say how much of the runs is shown: `92.3 % of runs shown (2,769 of 3,000): 34 of 120 arrows, 9 of 10 steps`.

        Args:
            coverage: As in `shown`.
        """
        if not self.arrows:
            return "No run has a task."
        arrows, runs = self.shown(coverage), self.runs
        whole = round(max(arrow.coverage for arrow in arrows) * runs)
        steps = {arrow.target for arrow in arrows} - {None}
        share = floor(1000 * whole / runs) / 10
        return (
            f"{f'{share:g}' if share else 'less than 0.1'} % of runs shown ({whole:,} of {runs:,}): {len(arrows):,} of "
            f"{len(self.arrows):,} arrows, {len(steps):,} of {len(self.steps):,} steps"
        )

    def text(self, coverage: float | None = None) -> str:
        """Write the arrows line by line, the commonest first, below the caption.

        Args:
            coverage: As in `shown`.
        """
        width = max((len(f"{arrow.times:,}") for arrow in self.arrows), default=0)
        lines = [
            f"{arrow.times:>{width},}  {arrow.source if arrow.source is not None else '(begin)'} → "
            f"{arrow.target if arrow.target is not None else '(end)'}"
            + (f"  {duration(arrow.median)}" if arrow.median is not None else "")
            for arrow in self.shown(coverage)
        ]
        return "\n".join([self.caption(coverage), *lines])

    def plot(
        self,
        ax: Axes | None = None,
        *,
        coverage: float | None = None,
        title: str | None = None,
        dark: bool | None = None,
    ) -> Axes:
        """Draw the steps as boxes, from the begin of runs at the top to their end, and what follows what as arrows.

        A box says how many tasks the step has, an arrow how often it is taken and the median time between the two
        tasks, where there is room. The wider, the oftener. Dashed arrows go back to an earlier step. Below the picture
        stands how much of the runs it shows; steps without an arrow are left out.

        Args:
            ax: Where to draw; None makes a figure that is large enough.
            coverage: The share of runs that is to be seen whole, at least: `1` shows all arrows, `0.9` the fewest for
                nine runs in ten. None shows as many as can be read.
            title: Of the axes.
            dark: Whether the background is dark; None looks at matplotlib's style.

        Returns:
            The axes, to be changed further or saved: `flow.plot().figure.savefig("flow.png")`.

        Raises:
            MissingExtraError: matplotlib is not installed.
            ValueError: `coverage` is not above 0 and at most 1.
        """
        from asyncdb_nb.workflows.flow_plot import draw

        return draw(self, ax, coverage, title or "Which step follows which", dark)

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return (
            f"<Flow: {self.runs:,} runs, {len(self.steps):,} steps, {len(self.arrows):,} arrows. "
            "Next: .plot(), .frame(), print()>"
        )

    def _repr_png_(self) -> bytes | None:
        from asyncdb_nb.workflows.flow_plot import png

        return png(self)
