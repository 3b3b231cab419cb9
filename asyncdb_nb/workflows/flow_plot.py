"""Draw a flow: steps as boxes in layers, arrows between them. matplotlib is imported when something is drawn."""

from __future__ import annotations

import itertools
from io import BytesIO
from math import sqrt
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from asyncdb_nb.errors import MissingExtraError
from asyncdb_nb.explore.palette import Palette, palette_on
from asyncdb_nb.workflows.flow_arrow import Arrow, duration
from asyncdb_nb.workflows.flow_layout import Layout, place

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BEGIN, END = 0, 1  # nodes that are no steps, whose names are texts
WIDTH, HEIGHT, GAP, LAYER = 1.5, 0.5, 0.3, 1.02  # inches
_NOTE = "Numbers: how often, and the median time between two tasks. Dashed: back to an earlier step."


def draw(flow: Any, ax: Axes | None, coverage: float | None, title: str, dark: bool | None) -> Axes:
    """Draw a flow; `flow` is a `Flow`, and the arguments are those of its `plot`.

    Raises:
        MissingExtraError: matplotlib is not installed.
        TypeError: `ax` is a number.
    """
    if isinstance(ax, int | float):
        raise TypeError(f"Where to draw are matplotlib's axes, not {ax!r}. Type: plot(coverage={ax!r})")
    with MissingExtraError.instead("the picture of a flow", "lab"):
        import matplotlib.pyplot as plt

    picture = _Picture(flow, coverage)
    if ax is None:
        ax = plt.subplots(figsize=picture.size, layout="constrained")[1]
    picture.draw(ax, palette_on(ax.get_facecolor(), dark), title)
    return ax


def png(flow: Any) -> bytes | None:
    """Draw a flow as a notebook shows it, or nothing where matplotlib is not installed."""
    try:
        from matplotlib import rcParams
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        return None
    picture = _Picture(flow, None)
    figure = Figure(figsize=picture.size, layout="constrained")
    ax = figure.add_subplot()
    picture.draw(ax, palette_on(rcParams["axes.facecolor"], None), "Which step follows which")
    file = BytesIO()
    figure.savefig(file, format="png", dpi=rcParams["figure.dpi"])
    return file.getvalue()


class _Picture:
    """One drawing: what is shown, and where."""

    def __init__(self, flow: Any, coverage: float | None) -> None:
        self.flow, self.caption = flow, flow.caption(coverage)
        self.arrows = {_ends(arrow): arrow for arrow in flow.shown(coverage)}
        times = {ends: arrow.times for ends, arrow in self.arrows.items()}
        self.most = max(times.values(), default=1)
        self.layout: Layout = place(times, BEGIN, END, WIDTH, GAP)
        across = [x for route in [self.layout.at.values(), *self.layout.routes.values()] for x, _ in route]
        middle, wide = (min(across) + max(across)) / 2, max(max(across) - min(across) + WIDTH + 1.2, 6.8)
        self.left, self.right = middle - wide / 2, middle + wide / 2
        self.depth = max(depth for _, depth in self.layout.at.values())
        self.taken: list[tuple[float, float, float, float]] = []  # where something is written already

    @property
    def size(self) -> tuple[float, float]:
        """In inches."""
        return self.right - self.left + 0.2, LAYER * self.depth + 1.9

    def draw(self, ax: Axes, colours: Palette, title: str) -> None:
        self.ax, self.colours = ax, colours
        for ends, arrow in sorted(self.arrows.items(), key=lambda item: item[1].times):
            self._arrow(ends, arrow)
        self._boxes()
        for ends, arrow in sorted(self.arrows.items(), key=lambda item: -item[1].times):
            self._number(ends, arrow)
        self._dress(title)

    def _arrow(self, ends: tuple[Any, Any], arrow: Arrow) -> None:
        from matplotlib.patches import FancyArrowPatch
        from matplotlib.path import Path

        part = sqrt(arrow.times / self.most)
        points = self._curve(ends)
        codes = [Path.MOVETO, *[Path.CURVE4] * (len(points) - 1)]
        self.ax.add_patch(
            FancyArrowPatch(
                path=Path(points, codes), arrowstyle="-|>,head_length=5,head_width=2.4", mutation_scale=1 + 0.4 * part,
                color=_mixed(self.colours.paper, self.colours.loop, 0.55 + 0.45 * part), lw=0.8 + 3.4 * part,
                ls=(0, (4, 2)) if ends in self.layout.back else "-", fill=True, zorder=1 + part, shrinkA=0, shrinkB=0,
                joinstyle="miter", capstyle="butt",
            )
        )  # fmt: skip

    def _curve(self, ends: tuple[Any, Any]) -> list[tuple[float, float]]:
        """Give the points of Bézier curves that leave and reach boxes, and pass layers, upright."""
        if ends[0] == ends[1]:
            return self._loop(ends[0])
        up = ends in self.layout.back
        side = 0.16 if up else -0.16 if ends[::-1] in self.layout.routes else 0.0
        half = -HEIGHT / 2 if up else HEIGHT / 2
        places = [(x + side, depth * LAYER) for x, depth in self.layout.routes[ends]]
        places[0] = places[0][0], places[0][1] + half
        places[-1] = places[-1][0], places[-1][1] - half
        points = places[:1]
        for (x0, y0), (x1, y1) in itertools.pairwise(places):
            middle = (y0 + y1) / 2
            points += [(x0, middle), (x1, middle), (x1, y1)]
        return points

    def _loop(self, node: Any) -> list[tuple[float, float]]:
        x, depth = self.layout.at[node]
        edge, y = x + WIDTH / 2, depth * LAYER
        return [(edge, y - 0.13), (edge + 0.36, y - 0.2), (edge + 0.36, y + 0.2), (edge, y + 0.13)]

    def _boxes(self) -> None:
        from matplotlib.patches import FancyBboxPatch

        tasks = self.flow.steps
        most = max(tasks.values(), default=1)
        for node, (x, depth) in self.layout.at.items():
            y = depth * LAYER
            outside = node in (BEGIN, END)
            part = 1 if outside else tasks[str(node)] / most
            fill = self.colours.loop if outside else _mixed(self.colours.faint, self.colours.open, part)
            box = FancyBboxPatch(
                (x - WIDTH / 2, y - HEIGHT / 2), WIDTH, HEIGHT, boxstyle="round,pad=0,rounding_size=0.1",
                facecolor=fill, edgecolor=self.colours.loop, lw=0.8, zorder=3,
            )  # fmt: skip
            self.ax.add_patch(box)
            self.taken.append((x - WIDTH / 2, y - HEIGHT / 2, x + WIDTH / 2, y + HEIGHT / 2))
            colour = self.colours.paper if outside else self.colours.ink
            self._write(x, y, self._name(node), 8, colour, fontweight="bold" if outside else "normal")

    def _name(self, node: Any) -> str:
        if node in (BEGIN, END):
            ends = (arrow.times for arrow in self.flow.arrows if (arrow.source, arrow.target)[node] is None)
            return f"{('begin', 'end')[node]}\n{sum(ends):,}"
        lines = wrap(node, 22, max_lines=2, placeholder=" …") or [""]
        return "\n".join(
            [*(line if len(line) <= 24 else f"{line[:23]}…" for line in lines), f"{self.flow.steps[node]:,}"]
        )

    def _number(self, ends: tuple[Any, Any], arrow: Arrow) -> None:
        """Write an arrow's numbers where nothing else is written, or not at all."""
        text = f"{arrow.times:,}" + (f"\n{duration(arrow.median)}" if arrow.median is not None else "")
        wide = 0.065 * max(len(line) for line in text.split("\n")) / 2
        high = 0.065 * len(text.split("\n"))
        points = self._curve(ends)
        segments = range(0, len(points) - 1, 3)
        middle_out = sorted(segments, key=lambda start: abs(start - (len(points) - 4) / 2))
        for start in middle_out:
            for t in (0.5, 0.4, 0.6, 0.3, 0.7, 0.22, 0.78):
                x, y = _at(points[start : start + 4], t)
                x += wide if ends[0] == ends[1] else 0
                box = (x - wide, y - high, x + wide, y + high)
                if not any(_overlap(box, other) for other in self.taken):
                    self.taken.append(box)
                    patch = {"facecolor": self.colours.paper, "edgecolor": "none", "pad": 0.8, "alpha": 0.85}
                    self._write(x, y, text, 7, self.colours.ink, bbox=patch)
                    return

    def _write(self, x: float, y: float, text: str, size: float, colour: str, **style: Any) -> None:
        centred: dict[str, Any] = {"ha": "center", "va": "center", "linespacing": 1.1, "parse_math": False}
        self.ax.text(x, y, text, fontsize=size, color=colour, zorder=4, **centred, **style)

    def _dress(self, title: str) -> None:
        ax, colours = self.ax, self.colours
        ax.figure.set_facecolor(colours.paper)
        ax.set_facecolor(colours.paper)
        ax.set_xlim(self.left, self.right)
        ax.set_ylim(LAYER * self.depth + HEIGHT / 2 + 0.1, -HEIGHT / 2 - 0.1)
        ax.set_xticks([])
        ax.set_yticks([])
        for side in ax.spines.values():
            side.set_visible(False)
        ax.set_title(title, color=colours.ink, loc="left", fontweight="bold", parse_math=False)
        note = f"\n{_NOTE}" if self.arrows else ""
        ax.set_xlabel(f"{self.caption}{note}", color=colours.ink, loc="left", linespacing=1.5)


def _ends(arrow: Arrow) -> tuple[Any, Any]:
    return BEGIN if arrow.source is None else arrow.source, END if arrow.target is None else arrow.target


def _at(curve: list[tuple[float, float]], t: float) -> tuple[float, float]:
    """Where a cubic Bézier curve is at `t` of its length."""
    parts = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3)
    return sum(p * x for p, (x, _) in zip(parts, curve, strict=True)), sum(
        p * y for p, (_, y) in zip(parts, curve, strict=True)
    )


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _mixed(ground: str, colour: str, part: float) -> tuple[float, ...]:
    from matplotlib.colors import to_rgb

    return tuple(a + (b - a) * part for a, b in zip(to_rgb(ground), to_rgb(colour), strict=True))
