"""
The nodes of a plan, from the JSON that EXPLAIN writes, each with the time and the pages that are its own.

PostgreSQL counts what a node's children did as the node's own doing, and gives times as the mean of a node's runs
(`loops`). So the time of a node is its mean times its loops. Below a Gather, several processes run the same node at the
same time: there it is divided by their number, so that the times of all nodes add up to that of the statement.

What is a node's own is what its children leave of that. The plan of a CTE or an InitPlan is shown below the node at the
top of its query, but is run by the node that first asks for its result, which can stand anywhere below: it is taken
off there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from asyncdb_nb.explore.table_names import quoted

_GATHERS = ("Gather", "Gather Merge")
_STRATEGIES = {"Plain": "Aggregate", "Sorted": "GroupAggregate", "Hashed": "HashAggregate", "Mixed": "MixedAggregate"}
_CONDITIONS = (
    *("Index Cond", "Recheck Cond", "TID Cond", "Hash Cond", "Merge Cond", "Join Filter", "One-Time Filter"),
    *("Filter", "Sort Key", "Presorted Key", "Group Key", "Cache Key"),
)
_EXPRESSIONS = (
    *_CONDITIONS,
    "Output",
    "Order By",
    "Function Call",
    "Params Evaluated",
    "Run Condition",
    "Grouping Sets",
)


@dataclass(eq=False)
class Node:
    """A node of a plan.

    Attributes:
        raw: What EXPLAIN wrote of it.
        parent: The node it is shown below; None for the first.
        depth: How many nodes it is below.
        processes: How many processes ran it at the same time.
        own_ms: Milliseconds that it took itself.
        own_pages: Pages of 8 kB that it looked at itself, in memory or not.
        own_spill: Pages that it wrote to temporary files itself.
    """

    raw: dict[str, Any]
    parent: Node | None = None
    depth: int = 0
    processes: float = 1.0
    children: list[Node] = field(default_factory=list)
    own_ms: float = 0.0
    own_pages: int = 0
    own_spill: int = 0

    @property
    def kind(self) -> str:
        """The type of the node, as EXPLAIN's JSON has it."""
        return str(self.raw["Node Type"])

    @property
    def loops(self) -> int | None:
        """How often it ran, in all processes together; None without ANALYZE."""
        return self.raw.get("Actual Loops")

    @property
    def estimated(self) -> float:
        """The rows of one run that the planner expected."""
        return float(self.raw["Plan Rows"])

    @property
    def rows(self) -> float | None:
        """The rows of one run, on average; None where it never ran, or without ANALYZE."""
        return float(self.raw["Actual Rows"]) if self.loops else None

    @property
    def total_ms(self) -> float:
        """Milliseconds that it took with all that it called."""
        return float(self.raw.get("Actual Total Time", 0.0)) * (self.loops or 0) / self.processes

    @property
    def is_deferred(self) -> bool:
        """Whether it is the first node of a CTE or an InitPlan."""
        return self.raw.get("Parent Relationship") == "InitPlan"

    @property
    def relation(self) -> str | None:
        """What it reads from, as SQL names it: `schema.table`, a CTE, a function; None for any other node."""
        if "Relation Name" in self.raw:
            return ".".join(quoted(self.raw[key]) for key in ("Schema", "Relation Name") if key in self.raw)
        named = (self.raw.get(key) for key in ("CTE Name", "Function Name", "Table Function Name", "Relations"))
        return next((name for name in named if name), None)

    @property
    def label(self) -> str:
        """What it is and what it reads, in EXPLAIN's words: `Index Scan using run_pkey on workflows.run r`."""
        raw = self.raw
        index = f" using {quoted(raw['Index Name'])}" if "Index Name" in raw and self.relation else ""
        index = index or (f" on {quoted(raw['Index Name'])}" if "Index Name" in raw else "")
        backward = " Backward" if raw.get("Scan Direction") == "Backward" else ""
        relation, alias = self.relation, raw.get("Alias")
        where = f" on {relation}" if relation else f" on {quoted(alias)}" if alias else ""
        if relation and alias and alias not in (raw.get("Relation Name"), relation):
            where += f" {quoted(alias)}"
        name = raw.get("Subplan Name")
        return f"{f'{name}: ' if name else ''}{self._what()}{backward}{index}{where}"

    @property
    def conditions(self) -> Iterator[tuple[str, str]]:
        """What it compares, sorts and groups by."""
        for key in _CONDITIONS:
            if value := self.raw.get(key):
                yield key.lower(), ", ".join(value) if isinstance(value, list) else str(value)

    @property
    def within(self) -> Iterator[Node]:
        """It and all nodes below it, in the order of the plan."""
        yield self
        for child in self.children:
            yield from child.within

    @property
    def above(self) -> Iterator[Node]:
        """The nodes it is below, the nearest first."""
        node = self.parent
        while node is not None:
            yield node
            node = node.parent

    def _what(self) -> str:
        raw, kind = self.raw, self.kind
        if kind == "Aggregate":
            kind = _STRATEGIES.get(raw.get("Strategy", ""), kind)
        elif kind == "SetOp":
            kind = f"{'HashSetOp' if raw.get('Strategy') == 'Hashed' else kind} {raw.get('Command', '')}".rstrip()
        elif kind == "ModifyTable":
            kind = str(raw.get("Operation", kind))
        elif kind == "Custom Scan":
            kind = f"{kind} ({raw.get('Custom Plan Provider')})"
        elif (join := raw.get("Join Type", "Inner")) != "Inner":
            kind = f"{kind} {join} Join" if kind == "Nested Loop" else kind.replace(" Join", f" {join} Join")
        if (partial := raw.get("Partial Mode", "Simple")) != "Simple":
            kind = f"{partial} {kind}"
        return f"{'Parallel ' if raw.get('Parallel Aware') else ''}{'Async ' if raw.get('Async Capable') else ''}{kind}"


def nodes_of(explained: dict[str, Any]) -> list[Node]:
    """Make the nodes of a plan, in its order, from the one element of EXPLAIN's JSON."""
    root = _node(explained["Plan"], None)
    nodes = list(root.within)
    times = _own(nodes, lambda node: node.total_ms)
    pages = _own(nodes, _pages)
    spills = _own(nodes, lambda node: node.raw.get("Temp Written Blocks", 0))
    for node in nodes:
        node.own_ms = times[node]
        node.own_pages, node.own_spill = round(pages[node]), round(spills[node])
    return nodes


def _node(raw: dict[str, Any], parent: Node | None) -> Node:
    node = Node(raw, parent, 0 if parent is None else parent.depth + 1)
    if parent is not None:
        node.processes = parent.processes
        if parent.kind in _GATHERS and raw.get("Parent Relationship") == "Outer":
            node.processes = (node.loops or 0) / (parent.loops or 1) or 1.0  # each ran it once each time
    node.children = [_node(child, node) for child in raw.get("Plans", ())]
    return node


def _pages(node: Node) -> float:
    counted = (f"{where} {how} Blocks" for where in ("Shared", "Local") for how in ("Hit", "Read"))
    return float(sum(node.raw.get(name, 0) for name in counted))


def _own(nodes: list[Node], total: Callable[[Node], float]) -> dict[Node, float]:
    """Say how much of a total each node has itself, so that all of them together have that of the first one."""
    own = {node: total(node) for node in nodes}
    deferred = []
    for node in nodes:
        if node.parent is not None and node.is_deferred and (users := _users(node)):
            deferred.append((node, users))
        elif node.parent is not None:
            own[node.parent] -= total(node)
    for node, users in reversed(deferred):  # the later ones ask for the earlier ones
        left = total(node)
        # One of its users ran it, or several had a part of it: they have at least as much as that by now.
        for user in sorted(users, key=lambda user: -own[user]) + _between(users[0], node):
            taken = min(max(own[user], 0), left)
            own[user] -= taken
            left -= taken
    return {node: max(value, 0) for node, value in own.items()}


def _users(deferred: Node) -> list[Node]:
    """Find the nodes that ask for the result of a CTE or an InitPlan."""
    top = deferred.parent
    assert top is not None, "it is below the top of its query"  # noqa: S101
    name = str(deferred.raw.get("Subplan Name", ""))
    outside = [node for node in top.within if node not in set(deferred.within)]
    if name.startswith("CTE "):
        name = name.removeprefix("CTE ")
        return [
            node for node in outside
            if node.kind == "CTE Scan" and node.raw.get("CTE Name") == name and _defines(name, node) is top
        ]  # fmt: skip
    asked = re.compile("|".join([re.escape(f"({name.partition(' (')[0]})"), *_parameters(name)]))
    found = [node for node in outside if asked.search(_expressions(node))]
    gathers = [node for node in found if asked.search(str(node.raw.get("Params Evaluated", "")))]
    return gathers or found


def _parameters(name: str) -> list[str]:
    """Read `InitPlan 1 (returns $0,$1)`, as PostgreSQL 16 and before write it: `$0` in a condition is its result."""
    return [rf"\${number}(?!\d)" for number in re.findall(r"\$(\d+)", name)]


def _expressions(node: Node) -> str:
    return "\n".join(str(node.raw[key]) for key in _EXPRESSIONS if key in node.raw)


def _defines(name: str, scan: Node) -> Node | None:
    """Find the node below which the CTE is shown that a CTE Scan reads: the nearest one of that name."""
    wanted = f"CTE {name}"
    tops = (node for node in scan.above if any(child.raw.get("Subplan Name") == wanted for child in node.children))
    return next(tops, None)


def _between(user: Node, deferred: Node) -> list[Node]:
    """The nodes above a user, up to the one that the deferred plan is shown below."""
    found = []
    for node in user.above:
        found.append(node)
        if node is deferred.parent:
            break
    return found
