"""Write a plan as text: the numbers on the left, where they can be compared, and the tree on the right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from asyncdb_nb.explore.plan_nodes import Node

_BAR = 10
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_MOST = 150  # characters of a condition


def text_of(nodes: Sequence[Node], explained: dict[str, Any], advice: Sequence[str], *, times: bool) -> str:
    """Write a tree, and below it what holds for the whole statement.

    Args:
        nodes: The nodes of the plan.
        explained: What EXPLAIN wrote.
        advice: Sentences for the end.
        times: Whether to say what differs from run to run.
    """
    ran = "Execution Time" in explained
    head, cells = (_measured if ran else _planned)(nodes, times)
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    lines = ["  ".join([*_aligned(head, widths), "node"])]
    gap = " " * (sum(widths) + 2 * len(widths))
    for node, cell, (branch, below) in zip(nodes, cells, _branches(nodes[0]), strict=True):
        lines.append("  ".join([*_aligned(cell, widths), branch + node.label]).rstrip())
        lines += [f"{gap}{below}{condition}" for condition in conditions_of(node)]
    whole = summary_of(explained) if times else ""
    return "\n".join([*lines, *([whole] if whole else []), *(advice if times else [])])


def summary_of(explained: dict[str, Any]) -> str:
    """Say what holds for the whole statement."""
    if "Execution Time" not in explained:
        return "Estimates of the planner. To run the statement and measure it: analyze=True, or `%%asql --analyze`."
    parts = [f"Execution {explained['Execution Time']:,.1f} ms", f"planning {explained['Planning Time']:,.1f} ms"]
    if jit := jit_ms(explained):
        parts.append(f"JIT {jit:,.1f} ms of it")
    return ", ".join(parts) + "."


def jit_ms(explained: dict[str, Any]) -> float:
    """Milliseconds that compiling took, which nodes are not charged with but in which they begin."""
    return float(explained.get("JIT", {}).get("Timing", {}).get("Total", 0.0))


def conditions_of(node: Node) -> list[str]:
    """What a node compares, sorts and groups by, and what it did away with or spilled, in a line each."""
    removed = {"filter": "Rows Removed by Filter", "join filter": "Rows Removed by Join Filter"}
    lines = []
    for name, condition in node.conditions:
        line = f"{name}: {_shortened(condition)}"
        if (away := node.raw.get(removed.get(name, ""))) and node.loops:
            line += f"  ({count(away * node.loops)} rows removed)"
        lines.append(line)
    if spill := spilled_kb(node):
        lines.append(f"spilled {size(spill)} to disk")
    return lines


def spilled_kb(node: Node) -> float:
    """Kilobytes that a node had no memory for, all processes together."""
    raw = node.raw
    parts = [raw, *raw.get("Workers", ())]
    sorts = sum(part.get("Sort Space Used", 0) for part in parts if part.get("Sort Space Type") == "Disk")
    return float(max(sorts, raw.get("Disk Usage", 0), node.own_spill * 8))


def count(number: float) -> str:
    """Write a number of rows: PostgreSQL 18 has fractions of them, which matter for few rows alone."""
    return f"{number:,.0f}" if number >= 10 or number == int(number) else f"{number:,.1f}"


def size(kilobytes: float) -> str:
    """Write a size."""
    return f"{kilobytes:,.0f} kB" if kilobytes < 10_240 else f"{kilobytes / 1024:,.0f} MB"


def rows_of(node: Node) -> str:
    """Write the rows of one run, and how often it ran if more than once."""
    if node.rows is None:
        return "never ran"
    return count(node.rows) + (f" × {node.loops:,}" if node.loops != 1 else "")


def _measured(nodes: Sequence[Node], times: bool) -> tuple[list[str], list[list[str]]]:
    most = max(node.own_ms for node in nodes)
    cells = [[rows_of(node), count(node.estimated)] for node in nodes]
    if not times:
        return ["rows", "estimated"], cells
    timed = [[f"{node.own_ms:,.2f}", _bar(node.own_ms, most), *cell] for node, cell in zip(nodes, cells, strict=True)]
    return ["own ms", " " * _BAR, "rows", "estimated"], timed


def _planned(nodes: Sequence[Node], times: bool) -> tuple[list[str], list[list[str]]]:
    return ["cost", "estimated"], [[f"{node.raw['Total Cost']:,.0f}", count(node.estimated)] for node in nodes]


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    """Put numbers to the right, and a bar to the left."""
    return [
        cell.ljust(width) if cell[:1] in (" ", *_EIGHTHS[1:]) else cell.rjust(width)
        for cell, width in zip(cells, widths, strict=True)
    ]


def _bar(value: float, most: float) -> str:
    eighths = math.ceil(value / most * _BAR * 8) if most else 0
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8]).ljust(_BAR)


def _branches(root: Node) -> list[tuple[str, str]]:
    """For each node, in order: what stands before its name, and what before the lines below that."""
    found = []

    def walk(node: Node, branch: str, below: str) -> None:
        found.append((branch, below + ("│    " if node.children else "     ")))
        for child in node.children:
            last = child is node.children[-1]
            walk(child, f"{below}{'└─ ' if last else '├─ '}", f"{below}{'   ' if last else '│  '}")

    walk(root, "", "")
    return found


def _shortened(condition: str) -> str:
    condition = " ".join(condition.split())
    return condition if len(condition) <= _MOST else f"{condition[:_MOST]}…"
