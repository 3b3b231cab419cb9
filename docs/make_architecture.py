"""
Draw the packages of `asyncdb_nb` and their imports into `docs/images/architecture.svg` and `docs/architecture.md`.

    python docs/make_architecture.py

Both come from the code alone: the sentence of a package is the first line of its docstring.
"""

from __future__ import annotations

import ast
import re
from html import escape
from pathlib import Path
from textwrap import wrap

import asyncdb_nb

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "asyncdb_nb"
PICTURE = ROOT / "docs" / "images" / "architecture.svg"
PAGE = ROOT / "docs" / "architecture.md"

WIDTH, BOX, HEIGHT, GAP = 1000, (196, 96), 96, 52  # of the picture, of a box, and between rows
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #24292f } .name { font-weight: 600; font-size: 14px }
rect { fill: #f6f8fa; stroke: #57606a } .core rect { fill: #ddf4ff; stroke: #0969da }
path { fill: none; stroke: #8c959f; stroke-width: 1.2 } marker path { fill: #8c959f; stroke: none }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } rect { fill: #161b22; stroke: #8b949e } .core rect { fill: #0c2d6b; stroke: #58a6ff }
  svg { background: #0d1117 }
}
"""
CORE = ("errors", "aio", "engine", "dataframes", "database")

Rooms = dict[str, set[str]]  # room → the rooms that it imports


def rooms() -> Rooms:
    """Read what each package, or module at top level, imports of the others."""
    found: Rooms = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        room = _room(file)
        if room:
            found.setdefault(room, set()).update(_imported(file) - {room})
    return found


def sentence(room: str) -> str:
    """Return the first line of a room's docstring."""
    file = PACKAGE / room / "__init__.py"
    tree = ast.parse((file if file.exists() else PACKAGE / f"{room}.py").read_text(encoding="utf-8"))
    return (ast.get_docstring(tree) or "").split("\n")[0]


def levels(graph: Rooms) -> list[list[str]]:
    """Put each room one row above the highest that it imports; the first row imports nothing."""
    level: dict[str, int] = {}
    while len(level) < len(graph):
        ready = [room for room in graph if room not in level and graph[room] <= level.keys()]
        level |= {room: max((level[below] + 1 for below in graph[room]), default=0) for room in ready}
    return [[room for room in graph if level[room] == row] for row in range(max(level.values()) + 1)]


def direct(graph: Rooms) -> Rooms:
    """Leave out an import that follows from others, which the picture has anyway."""
    reach: Rooms = {}
    for row in levels(graph):
        for room in row:
            reach[room] = graph[room].union(*(reach[below] for below in graph[room]))
    return {
        room: {below for below in imported if not any(below in reach[other] for other in imported - {below})}
        for room, imported in graph.items()
    }


def picture(graph: Rooms) -> str:
    """Draw the rooms in rows, with arrows downward."""
    rows = levels(graph)[::-1]
    places: dict[str, tuple[float, float]] = {}
    for number, row in enumerate(rows):
        step = WIDTH / len(row)
        for column, room in enumerate(row):
            places[room] = (step * (column + 0.5), GAP / 2 + number * (HEIGHT + GAP))
    height = len(rows) * (HEIGHT + GAP)
    arrows = [
        _arrow(places[room], places[below]) for room, imported in direct(graph).items() for below in sorted(imported)
    ]
    boxes = [_box(room, *places[room]) for room in graph]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
            "<title>The packages of asyncdb_nb: an arrow means that one imports the other</title>",
            f"<style>{STYLE}</style>",
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
            '<path d="M0 0 L8 4 L0 8 z"/></marker></defs>',
            *arrows,
            *boxes,
            "</svg>\n",
        ]
    )


def page(graph: Rooms) -> str:
    """Return the page with its table of rooms written anew."""
    lines = ["| package | what is in it |", "|---|---|"]
    for row in levels(graph):
        lines += [f"| [`{room}`](../asyncdb_nb/{_path(room)}) | {sentence(room)} |" for room in row]
    text = PAGE.read_text(encoding="utf-8")
    table = "\n".join(["<!-- rooms -->", *lines, "<!-- end -->"])
    return re.sub(r"<!-- rooms -->.*<!-- end -->", lambda _: table, text, flags=re.DOTALL)


def _path(room: str) -> str:
    return room if (PACKAGE / room).is_dir() else f"{room}.py"


def _room(file: Path) -> str:
    first = file.relative_to(PACKAGE).parts[0]
    return "" if first == "__init__.py" else first.removesuffix(".py")


def _imported(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("asyncdb_nb."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.ImportFrom) and node.module == "asyncdb_nb":
            found |= {asyncdb_nb._HOMES.get(alias.name, alias.name).partition(".")[0] for alias in node.names}
    return found - {"__version__"}


def _box(room: str, x: float, y: float) -> str:
    lines = wrap(sentence(room).replace("`", ""), 29)[:5]
    text = "".join(f'<text x="{x:.0f}" y="{y + 36 + 13 * i:.0f}" text-anchor="middle">{escape(line)}</text>'
                   for i, line in enumerate(lines))  # fmt: skip
    left = x - BOX[0] / 2
    return (
        f'<g class="{"core" if room in CORE else "room"}"><rect x="{left:.0f}" y="{y:.0f}" width="{BOX[0]}" '
        f'height="{BOX[1]}" rx="6"/><text class="name" x="{x:.0f}" y="{y + 18:.0f}" text-anchor="middle">{room}</text>'
        f"{text}</g>"
    )


def _arrow(upper: tuple[float, float], lower: tuple[float, float]) -> str:
    (x, y), (u, v) = upper, lower
    start, turned, end = y + HEIGHT, y + HEIGHT + GAP - 12, v - 2  # it turns above the next row
    bend = (start + turned) / 2
    curve = f"M{x:.0f} {start:.0f} C{x:.0f} {bend:.0f} {u:.0f} {bend:.0f} {u:.0f} {turned:.0f}"
    return f'<path d="{curve} V{end:.0f}" marker-end="url(#tip)"/>'


if __name__ == "__main__":
    PICTURE.write_text(picture(rooms()), encoding="utf-8")
    PAGE.write_text(page(rooms()), encoding="utf-8")
