"""
Where the boxes and the lines of a diagram go: in columns, so that a line runs from a table to one further left.

The steps are Sugiyama's: take the edges that close a circle the other way round; give each table a column right of
all that it refers to; let a line that passes a column have a place of its own there, so that it crosses no box; order
each column by the middle of its neighbours; and move boxes up and down towards them, as far as the order lets them.

Source: Sugiyama, Tagawa, Toda, "Methods for visual understanding of hierarchical system structures", 1981.
"""

from __future__ import annotations

import itertools
import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from asyncdb_nb.explore.diagram_tables import Content, ForeignKey, Table

LETTER = 6.9  # pixels of a letter of the width font at 11.5 pixels
LINE = 17.0  # pixels of a line
HEAD = 24.0
_PAD = 9.0
_GAP = 22.0  # between boxes of a column
_LANE = 12.0  # for a line that passes a column
_CHANNEL = 54.0  # between columns, at least
_MARGIN = 16.0
_TALLEST = 1000.0  # of a column, if tables can go to the next one
_MOST = 34  # letters of a name
_SWEEPS = 12


@dataclass
class Box:
    """A place in a column: of a table, or of a line that passes."""

    table: Table | None
    width: float = 0.0
    height: float = _LANE
    x: float = 0.0
    y: float = 0.0
    column: int = 0
    left: list[Box] = field(default_factory=list)
    right: list[Box] = field(default_factory=list)

    @property
    def middle(self) -> float:
        """The height of its middle."""
        return self.y + self.height / 2


@dataclass(frozen=True)
class Line:
    """The line of a foreign key: where it begins, at the table that refers; the places it passes; where it ends.

    Each point is (x, y); between two that are not of the same height it is a curve that is level at both.
    """

    key: ForeignKey
    points: list[tuple[float, float]]


@dataclass(frozen=True)
class Layout:
    """A picture: its size in pixels, boxes of tables, lines of foreign keys."""

    width: float
    height: float
    boxes: list[Box]
    lines: list[Line]


def layout_of(content: Content) -> Layout:
    """Lay a diagram out: connected tables first, the largest group on top, then those that stand alone."""
    boxes = {id(table): _box(table) for table in content.tables}
    edges = [(boxes[id(key.table)], boxes[id(key.other)], key) for key in content.foreign_keys]
    groups = _groups(list(boxes.values()), edges)
    width = top = 0.0
    lines: list[Line] = []
    for group in (group for group in groups if len(group) > 1):
        found, right, bottom = _lay_out(group, [edge for edge in edges if edge[0] in group], top)
        lines += found
        width, top = max(width, right), bottom + _GAP
    alone = [group[0] for group in groups if len(group) == 1]
    width, top = _shelve(alone, max(width, 900.0 if len(alone) > 3 else 0.0), top)
    for child, other, key in edges:
        if child is other:
            lines.append(Line(key, _around(child, key)))
    edge = 2 * _MARGIN
    everything = list(boxes.values())
    for box in everything:
        box.x, box.y = box.x + _MARGIN, box.y + _MARGIN
    moved = [Line(line.key, [(x + _MARGIN, y + _MARGIN) for x, y in line.points]) for line in lines]
    rightmost = max([width, *(x - _MARGIN for line in moved for x, _ in line.points)])
    return Layout(rightmost + edge, max(top - _GAP, HEAD) + edge, everything, moved)


def title_of(table: Table) -> str:
    """What stands in the head of a box."""
    return shortened(table.title)


def count_of(table: Table) -> str:
    """What stands on the right of it."""
    if table.rows is None:
        return ""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**4, "k")):
        if table.rows >= size:
            return f"{table.rows / (size if unit != 'k' else 1000):.3g}{unit} rows"
    return f"{table.rows:,} row{'' if table.rows == 1 else 's'}"


def lines_of(table: Table) -> list[tuple[str, str]]:
    """The lines of a box: which key, and the column; at the end, how many columns are in none."""
    marks = [(" ".join(["PK"] * key.is_primary + ["FK"] * key.is_foreign), shortened(key.name)) for key in table.keys]
    others = f"+ {table.others} column{'' if table.others == 1 else 's'}"
    return [*marks, ("", others)] if table.others else marks


def shortened(name: str) -> str:
    """Cut a long name, and show what cannot be printed as a dot."""
    name = "".join(letter if letter.isprintable() else "·" for letter in name)
    return name if len(name) <= _MOST else f"{name[: _MOST - 1]}…"


def width_of(text: str) -> float:
    """Pixels of a text; letters of East Asia are two wide."""
    return LETTER * sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _box(table: Table) -> Box:
    lines = lines_of(table)
    head = width_of(title_of(table)) + width_of(count_of(table)) + 3 * _PAD
    columns = [width_of(name) + 6.4 * LETTER + 2 * _PAD for _, name in lines]
    return Box(table, max([head, *columns]), HEAD + LINE * len(lines) + (6 if lines else 0))


def _groups(boxes: list[Box], edges: Sequence[tuple[Box, Box, ForeignKey]]) -> list[list[Box]]:
    """Put together what is connected; the largest group first."""
    group = {id(box): [box] for box in boxes}
    for child, other, _ in edges:
        one, two = group[id(child)], group[id(other)]
        if one is not two:
            one += two
            group.update((id(box), one) for box in two)
    found = {id(each): each for each in group.values()}
    return sorted(found.values(), key=lambda each: -len(each))


def _lay_out(
    group: list[Box], edges: Sequence[tuple[Box, Box, ForeignKey]], top: float
) -> tuple[list[Line], float, float]:
    """Lay out tables that are connected; give the lines, and how far right and down they go."""
    forward = _without_circles(group, [(child, other) for child, other, _ in edges if child is not other])
    _set_columns(group, forward)
    passes = {}
    places = list(group)
    for child, other, key in edges:
        if child is not other:
            passes[id(key)] = _passed(child, other)
            places += passes[id(key)]
    columns: list[list[Box]] = [[] for _ in range(max(box.column for box in places) + 1)]
    for box in places:
        columns[box.column].append(box)
    _order(columns)
    right = _set_x(columns, len(edges))
    bottom = _set_y(columns, top)
    lines = [Line(key, _points(child, other, key, passes[id(key)], columns))
             for child, other, key in edges if child is not other]  # fmt: skip
    return lines, right, bottom


def _without_circles(group: list[Box], edges: list[tuple[Box, Box]]) -> list[tuple[Box, Box]]:
    """Turn edges round so that no circle is left: those that lead back to where a walk is coming from."""
    state: dict[int, int] = {}
    turned: list[tuple[Box, Box]] = []
    others: dict[int, list[Box]] = {}
    for child, other in edges:
        others.setdefault(id(child), []).append(other)

    def walk(box: Box) -> None:
        state[id(box)] = 1
        for other in others.get(id(box), ()):
            turned.append((other, box) if state.get(id(other)) == 1 else (box, other))
            if id(other) not in state:
                walk(other)
        state[id(box)] = 2

    referred = {id(other) for _, other in edges}
    for box in sorted(group, key=lambda box: id(box) in referred):  # from those that nothing refers to
        if id(box) not in state:
            walk(box)
    return turned


def _set_columns(group: list[Box], edges: list[tuple[Box, Box]]) -> None:
    """Put each table right of those that it refers to, and the rest of a column that is too tall further right."""
    _push_right(edges, len(group))
    for column in range(len(group)):
        inside = [box for box in group if box.column == column]
        height = 0.0
        parents = {id(other) for _, other in edges}
        for box in sorted(inside, key=lambda box: id(box) not in parents):
            height += box.height + _GAP
            if height > _TALLEST and height > box.height + _GAP:
                box.column += 1
                height -= box.height + _GAP
        _push_right(edges, len(group))
    _draw_near(group, edges)


def _draw_near(group: list[Box], edges: list[tuple[Box, Box]]) -> None:
    """Move tables to the right, towards those that refer to them, where the column has room."""
    for box in sorted(group, key=lambda box: -box.column):
        referring = [child.column for child, other in edges if other is box]
        wanted = min(referring, default=box.column + 1) - 1
        height = sum(each.height + _GAP for each in group if each.column == wanted)
        if wanted > box.column and height + box.height < _TALLEST:
            box.column = wanted
    used = sorted({box.column for box in group})
    for box in group:
        box.column = used.index(box.column)


def _push_right(edges: list[tuple[Box, Box]], most: int) -> None:
    for _ in range(most):
        behind = [(child, other) for child, other in edges if child.column <= other.column]
        if not behind:
            return
        for child, other in behind:
            child.column = max(child.column, other.column + 1)


def _passed(child: Box, other: Box) -> list[Box]:
    """Make a place in each column that a line passes, and say what is next to what; from the child on."""
    step = 1 if other.column > child.column else -1
    between = [Box(None, column=column) for column in range(child.column + step, other.column, step)]
    chain = [child, *between, other] if step < 0 else [other, *reversed(between), child]
    for right, left in itertools.pairwise(chain):
        right.left.append(left)
        left.right.append(right)
    return between


def _order(columns: list[list[Box]]) -> None:
    """Order each column by the middle of its neighbours, from left to right and back; keep what crosses least."""
    best, least = [list(column) for column in columns], math.inf
    for sweep in range(_SWEEPS):
        forth = sweep % 2 == 0
        for column in columns if forth else reversed(columns):
            place = {id(box): n for each in columns for n, box in enumerate(each)}
            for n, box in enumerate(list(column)):
                near = [place[id(each)] for each in (box.left if forth else box.right)]
                place[id(box)] = n if not near else place[id(box)]
                box.y = sum(near) / len(near) if near else float(n)
            column.sort(key=lambda box: box.y)
        crossings = _crossings(columns)
        if crossings < least:
            best, least = [list(column) for column in columns], crossings
    columns[:] = best


def _crossings(columns: list[list[Box]]) -> int:
    place = {id(box): n for column in columns for n, box in enumerate(column)}
    count = 0
    for column in columns[1:]:
        pairs = sorted((place[id(box)], place[id(left)]) for box in column for left in box.left)
        count += sum(b[1] < a[1] for n, a in enumerate(pairs) for b in pairs[n + 1 :] if a[0] != b[0])
    return count


def _set_x(columns: list[list[Box]], edges: int) -> float:
    x = 0.0
    for column in columns:
        widest = max(box.width for box in column)
        for box in column:
            box.x = x
            box.width = box.width if box.table else widest
        x += widest + _CHANNEL + min(4.0 * sum(len(box.left) for box in column), 60.0)
    return max(box.x + box.width for column in columns for box in column)


def _set_y(columns: list[list[Box]], top: float) -> float:
    for column in columns:
        _stack(column, [0.0] * len(column))
    for sweep in range(2 * _SWEEPS):
        for column in columns if sweep % 2 == 0 else reversed(columns):
            wanted = []
            for box in column:
                near = [each.middle for each in ((box.left, box.right)[sweep % 2] or box.left or box.right)]
                wanted.append(sum(near) / len(near) - box.height / 2 if near else box.y)
            _stack(column, wanted)
    highest = min(box.y for column in columns for box in column)
    for column in columns:
        for box in column:
            box.y += top - highest
    return max(box.y + box.height for column in columns for box in column)


def _stack(column: list[Box], wanted: Sequence[float]) -> None:
    """Put boxes as near as can be to where they want to be, one below the other: a regression that keeps the order."""
    offsets, whole = [], 0.0
    for box, below in zip(column, [*column[1:], None], strict=True):
        offsets.append(whole)
        gap = _GAP if below is None or box.table or below.table else 0
        whole += box.height + gap
    blocks: list[list[float]] = []  # the sum of what its members want, and how many they are
    for want, offset in zip(wanted, offsets, strict=True):
        blocks.append([want - offset, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            total, count = blocks.pop()
            blocks[-1][0] += total
            blocks[-1][1] += count
    places = [total / count for total, count in blocks for _ in range(int(count))]
    for box, place, offset in zip(column, places, offsets, strict=True):
        box.y = place + offset


def _points(
    child: Box, other: Box, key: ForeignKey, between: list[Box], columns: list[list[Box]]
) -> list[tuple[float, float]]:
    leftward = other.column < child.column
    edge_of = [(column[0].x, column[0].x + max(box.width for box in column)) for column in columns]
    here, there = _port(child, key.columns), _port(other, key.other_columns)
    points = [(child.x if leftward else child.x + child.width, here)]
    if not leftward:
        points.append((edge_of[child.column][1], here))
    for box in between:
        near, far = edge_of[box.column][::-1] if leftward else edge_of[box.column]
        points += [(near, box.middle), (far, box.middle)]
    if leftward:
        points.append((edge_of[other.column][1], there))
    return [*points, (other.x + other.width if leftward else other.x, there)]


def _port(box: Box, columns: Iterable[str]) -> float:
    """The height of the first of some columns in a box; of its head, where none of them is shown."""
    assert box.table is not None, "a line begins and ends at a table"  # noqa: S101
    wanted = set(columns)
    for n, key in enumerate(box.table.keys):
        if key.name in wanted:
            return box.y + HEAD + LINE * (n + 0.5) + 2
    return box.y + HEAD / 2


def _around(box: Box, key: ForeignKey) -> list[tuple[float, float]]:
    """The line of a table that refers to itself: out on the right, and back."""
    here, there = _port(box, key.columns), _port(box, key.other_columns)
    right = box.x + box.width
    return [(right, here), (right + 20, here), (right + 20, there), (right, there)]


def _shelve(boxes: list[Box], width: float, top: float) -> tuple[float, float]:
    """Put boxes in rows, as wide as the picture."""
    x, highest, widest = 0.0, 0.0, width
    for box in sorted(boxes, key=lambda box: box.height):
        if x and x + box.width > width:
            x, top, highest = 0.0, top + highest + _GAP, 0.0
        box.x, box.y = x, top
        x += box.width + _GAP + 20
        highest, widest = max(highest, box.height), max(widest, box.x + box.width)
    return widest, top + highest + _GAP if boxes else top
