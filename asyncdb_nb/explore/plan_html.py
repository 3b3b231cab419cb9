"""Show a plan in a notebook: a table whose colours are the page's own, so that it suits light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from asyncdb_nb.explore.palette import LIGHT
from asyncdb_nb.explore.plan_nodes import Node
from asyncdb_nb.explore.plan_text import conditions_of, count, rows_of, summary_of

_NUMBER = "text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums"
_HEADS = ("own ms", "rows", "estimated", "node")


def html_of(nodes: Sequence[Node], explained: dict[str, Any], advice: Sequence[str]) -> str:
    """Write a plan as HTML: nothing of what the server wrote is taken for markup.

    Args:
        nodes: The nodes of the plan.
        explained: What EXPLAIN wrote.
        advice: Sentences for the end.
    """
    ran = "Execution Time" in explained
    heads = _HEADS if ran else ("cost", *_HEADS[2:])
    most = max(_weight(node, ran) for node in nodes) or 1
    rows = "".join(f"<tr>{''.join(_cells(node, ran, most))}</tr>" for node in nodes)
    head = "".join(f'<th style="text-align:{"left" if name == "node" else "right"}">{name}</th>' for name in heads)
    notes = "".join(f"<p style='margin:.3em 0'>{escape(line)}</p>" for line in (summary_of(explained), *advice))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{notes}"


def _weight(node: Node, ran: bool) -> float:
    return node.own_ms if ran else float(node.raw["Total Cost"])


def _cells(node: Node, ran: bool, most: float) -> list[str]:
    share = 100 * _weight(node, ran) / most
    bar = f"background:linear-gradient(to left,{LIGHT.out}80 {share:.1f}%,transparent {share:.1f}%)"
    weight = f"{_weight(node, ran):,.2f}" if ran else f"{_weight(node, ran):,.0f}"
    rows = [f'<td style="{_NUMBER}">{rows_of(node)}</td>'] if ran else []
    below = "".join(f"<br><small>{escape(line)}</small>" for line in conditions_of(node))
    style = f"text-align:left;padding-left:{0.5 + 1.4 * node.depth:.1f}em"
    return [
        f'<td style="{_NUMBER};min-width:8em;{bar}">{weight}</td>',
        *rows,
        f'<td style="{_NUMBER}">{count(node.estimated)}</td>',
        f'<td style="{style}">{escape(node.label)}{below}</td>',
    ]
