"""Draw a diagram with matplotlib: the same boxes and lines. matplotlib is imported when something is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asyncdb_nb.errors import MissingExtraError
from asyncdb_nb.explore.diagram_layout import HEAD, LINE, Box, Line, count_of, layout_of, lines_of, title_of
from asyncdb_nb.explore.diagram_svg import arrow_of, path_of
from asyncdb_nb.explore.diagram_tables import Content
from asyncdb_nb.explore.palette import Palette, palette_on

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_INCH = 96.0  # pixels
_FONT: dict[str, Any] = {"family": "monospace", "fontsize": 8.6, "va": "center"}


def draw(content: Content, ax: Axes | None, title: str | None, dark: bool | None) -> Axes:
    """Draw a diagram; the arguments are those of `Diagram.plot`.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    with MissingExtraError.instead("the picture of a diagram", "lab"):
        import matplotlib.pyplot as plt

    picture = layout_of(content)
    if ax is None:
        size = (max(picture.width / _INCH, 3.0), max(picture.height / _INCH, 0.5) + 0.5)
        ax = plt.subplots(figsize=size, layout="constrained")[1]
    colours = palette_on(ax.get_facecolor(), dark)
    for line in picture.lines:
        _draw_line(ax, line, colours)
    for box in picture.boxes:
        _draw_box(ax, box, colours)
    if not picture.boxes:
        ax.text(16, 16, content.counted, color=colours.ink)
    ax.figure.set_facecolor(colours.paper)
    ax.set(xlim=(0, picture.width), ylim=(picture.height, 0), aspect="equal")
    ax.set_axis_off()
    ax.set_title(title or content.counted, color=colours.ink, loc="left", fontweight="bold")
    return ax


def _draw_line(ax: Axes, line: Line, colours: Palette) -> None:
    from matplotlib.patches import PathPatch, Polygon
    from matplotlib.path import Path

    codes, points = [], []
    for command, places in path_of(line):
        codes += [{"M": Path.MOVETO, "L": Path.LINETO, "C": Path.CURVE4}[command]] * len(places)
        points += places
    style = "-" if line.key.required else (0, (5, 3))
    ax.add_patch(PathPatch(Path(points, codes), fill=False, edgecolor=colours.loop, lw=1.2, ls=style, zorder=1))
    ax.add_patch(Polygon(arrow_of(line), facecolor=colours.loop, lw=0, zorder=1))
    ax.plot(*line.points[0], "o", color=colours.loop, markersize=3.5, zorder=1)


def _draw_box(ax: Axes, box: Box, colours: Palette) -> None:
    from matplotlib.patches import Rectangle

    table = box.table
    assert table is not None, "a box is a table's"  # noqa: S101
    for height, colour in ((box.height, colours.paper), (HEAD, colours.open)):
        ax.add_patch(Rectangle((box.x, box.y), box.width, height, facecolor=colour, lw=0, zorder=2))
    edge: dict[str, Any] = {"facecolor": "none", "edgecolor": colours.ink, "lw": 0.8}
    ax.add_patch(Rectangle((box.x, box.y), box.width, box.height, **edge, zorder=2))
    head = box.y + HEAD / 2
    ax.text(box.x + 9, head, _plain(title_of(table)), color=colours.ink, fontweight="bold", zorder=3, **_FONT)
    ax.text(box.x + box.width - 9, head, count_of(table), color=colours.ink, ha="right", zorder=3, **_FONT)
    for n, (mark, name) in enumerate(lines_of(table)):
        y = box.y + HEAD + LINE * (n + 0.5) + 2
        ax.text(box.x + 9, y, mark, color=colours.ink, zorder=3, **{**_FONT, "fontsize": 7.1})
        ax.text(box.x + 50, y, _plain(name), color=colours.ink, zorder=3, **_FONT)


def _plain(text: str) -> str:
    return text.replace("$", r"\$")
