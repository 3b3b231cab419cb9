"""Draw a plan: a bar for each node, in the order of the tree. matplotlib is imported when something is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from asyncdb_nb.errors import MissingExtraError
from asyncdb_nb.explore.palette import Palette, palette_on
from asyncdb_nb.explore.plan_advice import is_misjudged
from asyncdb_nb.explore.plan_nodes import Node
from asyncdb_nb.explore.plan_text import count, rows_of, spilled_kb, summary_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LONGEST = 70  # characters of a label


def draw(
    nodes: Sequence[Node], explained: dict[str, Any], ax: Axes | None, title: str | None, dark: bool | None
) -> Axes:
    """Draw nodes; the arguments are those of `Plan.plot`.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    with MissingExtraError.instead("the picture of a plan", "lab"):
        import matplotlib.pyplot as plt

    if ax is None:
        ax = plt.subplots(figsize=(11, 1.6 + 0.34 * len(nodes)), layout="constrained")[1]
    colours = palette_on(ax.get_facecolor(), dark)
    ran = "Execution Time" in explained
    values = [node.own_ms if ran else float(node.raw["Total Cost"]) for node in nodes]
    wrong = [ran and (is_misjudged(node) or bool(spilled_kb(node))) for node in nodes]
    bars = ax.barh(range(len(nodes)), values, height=0.62, color=colours.loop, zorder=2)
    for bar, is_wrong in zip(bars, wrong, strict=True):
        if is_wrong:
            bar.set(facecolor=colours.astray, edgecolor=colours.paper, hatch="////")
    for row, (node, value) in enumerate(zip(nodes, values, strict=True)):
        ax.annotate(
            _said(node, ran), (value, row), (5, 0), textcoords="offset points",
            va="center", fontsize=8.5, color=colours.ink, zorder=3,
        )  # fmt: skip
    _dress(ax, nodes, colours)
    ax.set_xlim(0, max(*values, 1e-6) * 1.45)
    title = title or ("Where the time goes" if ran else "What the planner expects")
    ax.set_title(title, color=colours.ink, loc="left", fontweight="bold")
    hatched = "  Hatched: spilled to disk, or an estimate wrong by 100 times." if any(wrong) else ""
    unit = "milliseconds that the node took itself" if ran else "cost with all that is below, in the planner's unit"
    ax.set_xlabel(f"{unit}\n{summary_of(explained)}{hatched}", color=colours.ink, loc="left", linespacing=1.5)
    return ax


def _said(node: Node, ran: bool) -> str:
    if not ran:
        return f"{count(node.estimated)} rows"
    spill = ", spilled" if spilled_kb(node) else ""
    if node.rows is None:
        return "never ran"
    rows = rows_of(node)
    return f"{rows} row{'' if rows == '1' else 's'}, {count(node.estimated)} estimated{spill}"


def _dress(ax: Axes, nodes: Sequence[Node], colours: Palette) -> None:
    figure: Any = ax.get_figure(root=True)
    figure.set_facecolor(colours.paper)
    ax.set_facecolor(colours.paper)
    ax.set_yticks(range(len(nodes)), [_label(node) for node in nodes], color=colours.ink, fontsize=9)
    widths = [label.get_window_extent().width for label in ax.get_yticklabels()]
    ax.tick_params(axis="y", pad=4 + max(widths) * 72 / figure.dpi)
    for label in ax.get_yticklabels():
        label.set_horizontalalignment("left")  # the indentation is the tree
    ax.set_ylim(len(nodes) - 0.4, -0.6)
    ax.grid(axis="x", color=colours.faint, zorder=0)
    ax.tick_params(colors=colours.ink, length=0)
    for side in ax.spines.values():
        side.set_visible(False)


def _label(node: Node) -> str:
    label = "   " * node.depth + node.label
    return (label if len(label) <= _LONGEST else f"{label[: _LONGEST - 1]}…").replace("$", r"\$")
