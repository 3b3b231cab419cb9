"""Draw a diagram as SVG: in the colours of the page that it stands in, or on paper of its own."""

from __future__ import annotations

from html import escape
from typing import NamedTuple

from asyncdb_nb.explore.diagram_layout import (
    HEAD,
    LINE,
    Box,
    Line,
    count_of,
    layout_of,
    lines_of,
    title_of,
)
from asyncdb_nb.explore.diagram_tables import Content
from asyncdb_nb.explore.palette import DARK, LIGHT

FONT = "ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace"


class Ink(NamedTuple):
    """What a picture is drawn with."""

    paper: str
    text: str
    head: str
    line: str
    body: str


_OF_THE_PAGE = Ink("none", "currentColor", f"{LIGHT.loop}40", LIGHT.out, "none")


def svg_of(content: Content, dark: bool | None) -> str:
    """Draw a diagram; nothing of its names is taken for markup.

    Args:
        content: What to draw.
        dark: Whether on dark or on light paper; None takes the page's colours.
    """
    palette = DARK if dark else LIGHT
    ink = _OF_THE_PAGE
    if dark is not None:
        ink = Ink(palette.paper, palette.ink, palette.open, palette.loop, palette.paper)
    picture = layout_of(content)
    size = f'width="{picture.width:.0f}" height="{picture.height:.0f}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {picture.width:.0f} {picture.height:.0f}" '
        f'role="img" style="max-width:none" font-family="{FONT}" font-size="11.5" fill="{ink.text}">',
        f"<title>{content.counted}</title>",
        f'<rect width="100%" height="100%" fill="{ink.paper}"/>',
        *(_line(line, ink) for line in picture.lines),
        *(_box(box, ink) for box in picture.boxes),
        "" if picture.boxes else f'<text x="16" y="30">{content.counted}</text>',
        "</svg>",
    ]
    return "".join(parts)


def path_of(line: Line) -> list[tuple[str, list[tuple[float, float]]]]:
    """The commands of a line: M, L and C of SVG, with their points."""
    commands: list[tuple[str, list[tuple[float, float]]]] = [("M", [line.points[0]])]
    for (x, y), (to_x, to_y) in zip(line.points, line.points[1:], strict=False):
        if y == to_y or x == to_x:
            commands.append(("L", [(to_x, to_y)]))
        else:
            middle = (x + to_x) / 2
            commands.append(("C", [(middle, y), (middle, to_y), (to_x, to_y)]))
    return commands


def arrow_of(line: Line) -> list[tuple[float, float]]:
    """The three corners of the arrow's head, at the table that is referred to."""
    (before, _), (x, y) = line.points[-2:]
    back = 8 if before > x or (before == x and line.points[0][0] >= x) else -8
    return [(x, y), (x + back, y - 4), (x + back, y + 4)]


def _line(line: Line, ink: Ink) -> str:
    drawn = " ".join(command + " ".join(f"{x:.1f},{y:.1f}" for x, y in points) for command, points in path_of(line))
    corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in arrow_of(line))
    x, y = line.points[0]
    key = line.key
    said = f"{key.table.title} ({', '.join(key.columns)}) → {key.other.title} ({', '.join(key.other_columns)})"
    dashes = "" if key.required else ' stroke-dasharray="5 3"'
    return (
        f"<g><title>{escape(said)}</title>"
        f'<path d="{drawn}" fill="none" stroke="{ink.line}" stroke-width="1.5"{dashes}/>'
        f'<polygon points="{corners}" fill="{ink.line}"/>'
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{ink.line}"/></g>'
    )


def _box(box: Box, ink: Ink) -> str:
    table = box.table
    assert table is not None, "a box is a table's"  # noqa: S101
    place = f'x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}"'
    right = f'x="{box.x + box.width - 9:.1f}"'
    parts = [
        f"<g><title>{escape(table.title)}</title>",
        f'<rect {place} height="{box.height:.1f}" rx="4" fill="{ink.body}"/>',
        f'<rect {place} height="{HEAD:.0f}" rx="4" fill="{ink.head}"/>',
        f'<rect {place} height="{box.height:.1f}" rx="4" fill="none" stroke="{ink.text}" stroke-opacity="0.55"/>',
        f'<text x="{box.x + 9:.1f}" y="{box.y + 16:.1f}" font-weight="bold">{escape(title_of(table))}</text>',
        f'<text {right} y="{box.y + 16:.1f}" text-anchor="end">{escape(count_of(table))}</text>',
    ]
    for n, (mark, name) in enumerate(lines_of(table)):
        y = box.y + HEAD + LINE * (n + 0.5) + 6
        faint = ' fill-opacity="0.65"'
        parts.append(f'<text x="{box.x + 9:.1f}" y="{y:.1f}" font-size="9.5"{faint}>{mark}</text>')
        shade = "" if mark else faint
        parts.append(f'<text x="{box.x + 50:.1f}" y="{y:.1f}"{shade}>{escape(name)}</text>')
    return "".join([*parts, "</g>"])
