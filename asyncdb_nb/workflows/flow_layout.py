"""
Place the steps of a flow in layers, so that most arrows lead downward and few cross.

The method is Sugiyama's: find the arrows that go back, put each node below those before it, give long arrows a place in
each layer that they pass, order each layer by where its neighbours are, then shift nodes as near to these as their
widths allow. It needs no library, is quick for some hundred arrows, and gives the same picture for the same flow.

Source: Sugiyama, Tagawa, Toda: Methods for Visual Understanding of Hierarchical System Structures, 1981;
Eades, Lin, Smyth: A Fast and Effective Heuristic for the Feedback Arc Set Problem, 1993.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass

Node = Hashable
Edge = tuple[Node, Node]
Place = tuple[float, int]
Neighbours = dict[Node, list[tuple[Node, float]]]

_SWEEPS = 24
_STRAIGHT = 4  # how much more a long arrow's own places pull at each other


@dataclass(frozen=True)
class Layout:
    """Where nodes are.

    Attributes:
        at: The place of each node: x, in the unit of the widths, and its layer, from 0 at the top.
        routes: For each edge that is no loop, the places that it leads through, from its source to its target.
        back: The edges that lead upward.
    """

    at: dict[Node, Place]
    routes: dict[Edge, list[Place]]
    back: set[Edge]


def place(weights: Mapping[Edge, int], first: Node, last: Node, width: float, gap: float) -> Layout:
    """Place all nodes of the edges.

    Args:
        weights: How often each edge is taken.
        first: The node at the top.
        last: The node at the bottom.
        width: Of a node.
        gap: Between two neighbours.
    """
    edges = {edge: weight for edge, weight in weights.items() if edge[0] != edge[1]}
    rank = {node: i for i, node in enumerate(_sequence(weights, first, last))}
    back = {edge for edge in edges if rank[edge[0]] > rank[edge[1]]}
    downward = list(dict.fromkeys(_reversed(edge) if edge in back else edge for edge in edges))
    layer = _layers(downward, list(rank), last)
    chains = {edge: _chain(edge, layer) for edge in downward}
    above, below = _neighbours(chains, edges)
    rows = _ordered(layer, chains, above, below)
    x = _shifted(rows, above, below, lambda node: width if node in rank else width / 4, gap)
    at = {node: (x[node], depth) for depth, row in enumerate(rows) for node in row}
    routes = {}
    for edge in edges:
        chain = chains[_reversed(edge)][::-1] if edge in back else chains[edge]
        routes[edge] = [at[node] for node in chain]
    return Layout({node: at[node] for node in rank}, routes, back)


def _reversed(edge: Edge) -> Edge:
    return edge[1], edge[0]


def _sequence(weights: Mapping[Edge, int], first: Node, last: Node) -> list[Node]:
    """Put nodes in a sequence in which few weights go back and the heavy edges are short."""
    sequence = [first, *_greedy(weights, first, last), last]
    touching: dict[Node, dict[Edge, int]] = {node: {} for node in sequence}
    for edge, weight in weights.items():
        if edge[0] != edge[1]:
            touching[edge[0]][edge] = touching[edge[1]][edge] = weight
    for _ in range(_SWEEPS):
        before = list(sequence)
        for node in before[1:-1]:
            sequence.remove(node)
            sequence.insert(_best_place(node, sequence, touching), node)
        if sequence == before:
            break
    return sequence


def _best_place(node: Node, others: list[Node], touching: Mapping[Node, Mapping[Edge, int]]) -> int:
    """Let a node change places with each of the others, from the front on, and say where the tension is least."""
    at = {other: place for place, other in enumerate([others[0], node, *others[1:]])}
    tension, best = 0, (0, 1)
    for place, other in enumerate(others[1:-1], 2):
        changed = {**touching[node], **touching[other]}
        tension -= _tension(changed, at)
        at[node], at[other] = place, place - 1
        tension += _tension(changed, at)
        best = min(best, (tension, place))
    return best[1]


def _greedy(weights: Mapping[Edge, int], first: Node, last: Node) -> list[Node]:
    """Take sources from the front, sinks from the end, and else the node that leads to more than leads to it."""
    left = dict.fromkeys(node for edge in weights for node in edge if node not in (first, last))
    head: list[Node] = []
    tail: list[Node] = []
    while left:
        out, into = dict.fromkeys(left, 0), dict.fromkeys(left, 0)
        for (a, b), weight in weights.items():
            if a != b and a in left and b in left:
                out[a] += weight
                into[b] += weight
        sources, sinks = [node for node in left if not into[node]], [node for node in left if not out[node]]
        best = max(left, key=lambda node: out[node] - into[node] + weights.get((first, node), 0))
        for node in sources or sinks or [best]:
            del left[node]
            (head if sources or not sinks else tail).append(node)
    return [*head, *reversed(tail)]


def _tension(edges: Mapping[Edge, int], at: Mapping[Node, int]) -> int:
    """Weigh how long edges are; one that goes back counts as if it were longer than all."""
    lengths = ((at[b] - at[a], weight) for (a, b), weight in edges.items())
    return sum(weight * (length if length > 0 else len(at) - length) for length, weight in lengths)


def _layers(downward: Iterable[Edge], sequence: list[Node], last: Node) -> dict[Node, int]:
    """Put each node one layer below the lowest of those before it, or above what follows; the last one below all."""
    layer = dict.fromkeys(sequence, 0)
    into: dict[Node, list[Node]] = defaultdict(list)
    onward: dict[Node, list[Node]] = defaultdict(list)
    for a, b in downward:
        into[b].append(a)
        onward[a].append(b)
    for node in sequence[1:]:
        layer[node] = 1 + max((layer[a] for a in into[node]), default=0)
    for node in reversed(sequence[1:-1]):
        if not into[node]:
            layer[node] = max(1, min((layer[b] for b in onward[node]), default=1) - 1)
    layer[last] = max(layer[last], *(1 + layer[node] for node in sequence[:-1]))
    return layer


def _chain(edge: Edge, layer: Mapping[Node, int]) -> list[Node]:
    """Name the nodes of an edge and its place in each layer between."""
    a, b = edge
    return [a, *((a, b, depth) for depth in range(layer[a] + 1, layer[b])), b]


def _neighbours(chains: Mapping[Edge, list[Node]], weights: Mapping[Edge, int]) -> tuple[Neighbours, Neighbours]:
    """Tell of each node those in the layer above and below it that it is joined to, and how strongly."""
    above: Neighbours = defaultdict(list)
    below: Neighbours = defaultdict(list)
    for edge, chain in chains.items():
        weight = float(weights.get(edge, 0) + weights.get(_reversed(edge), 0))
        for i, (upper, lower) in enumerate(itertools.pairwise(chain)):
            pull = weight * (_STRAIGHT if 0 < i < len(chain) - 2 else 1)
            above[lower].append((upper, pull))
            below[upper].append((lower, pull))
    return above, below


def _ordered(
    layer: Mapping[Node, int], chains: Mapping[Edge, list[Node]], above: Neighbours, below: Neighbours
) -> list[list[Node]]:
    """Order the nodes of each layer by the mean place of their neighbours, down and up again; keep the best."""
    rows: list[list[Node]] = [[] for _ in range(max(layer.values()) + 1)]
    for node, depth in layer.items():
        rows[depth].append(node)
    for (a, _), chain in chains.items():
        for i, node in enumerate(chain[1:-1], layer[a] + 1):
            rows[i].append(node)
    best, fewest = [list(row) for row in rows], _crossings(rows, below)
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        for i in range(1, len(rows)) if down else range(len(rows) - 2, -1, -1):
            fixed = {node: place for place, node in enumerate(rows[i - 1 if down else i + 1])}
            side = above if down else below
            now = {node: place for place, node in enumerate(rows[i])}
            rows[i].sort(key=lambda node: _mean(side[node], fixed, now[node]))
        crossings = _crossings(rows, below)
        if crossings < fewest:
            best, fewest = [list(row) for row in rows], crossings
    return best


def _crossings(rows: list[list[Node]], below: Neighbours) -> int:
    """Count how often lines between two layers cross."""
    count = 0
    for upper, lower in itertools.pairwise(rows):
        place_of = {node: place for place, node in enumerate(lower)}
        passed: list[int] = []
        for node in upper:
            ends = [place_of[other] for other, _ in below[node]]
            count += sum(len(passed) - bisect_right(passed, end) for end in ends)
            passed = sorted(passed + ends)
    return count


def _mean(neighbours: list[tuple[Node, float]], at: Mapping[Node, float], otherwise: float) -> float:
    total = sum(weight for _, weight in neighbours)
    return sum(at[node] * weight for node, weight in neighbours) / total if total else otherwise


def _shifted(
    rows: list[list[Node]], above: Neighbours, below: Neighbours, width: Callable[[Node], float], gap: float
) -> dict[Node, float]:
    """Shift the nodes of each layer to their neighbours, as near as order and widths allow."""
    x: dict[Node, float] = {}
    for row in rows:
        x |= _spread(row, dict.fromkeys(row, 0.0), dict.fromkeys(row, 1.0), width, gap)
    for sweep in range(_SWEEPS):
        side = above if sweep % 2 == 0 else below
        for row in rows if sweep % 2 == 0 else rows[::-1]:
            wanted = {node: _mean(side[node], x, x[node]) for node in row}
            pull = {node: 1 + sum(weight for _, weight in side[node]) for node in row}
            x |= _spread(row, wanted, pull, width, gap)
    return x


def _spread(
    row: list[Node],
    wanted: Mapping[Node, float],
    pull: Mapping[Node, float],
    width: Callable[[Node], float],
    gap: float,
) -> dict[Node, float]:
    """Put nodes beside each other, with the least squares of the shifts: those that would overlap move as a block."""
    offsets: list[float] = []
    for node in row:
        previous = offsets[-1] + (width(row[len(offsets) - 1]) + width(node)) / 2 + gap if offsets else 0.0
        offsets.append(previous)
    blocks: list[tuple[float, float, int]] = []  # where, how strongly pulled, how many nodes
    for node, offset in zip(row, offsets, strict=True):
        where, weight, size = wanted[node] - offset, pull[node], 1
        while blocks and blocks[-1][0] >= where:
            before, pulled, many = blocks.pop()
            where = (before * pulled + where * weight) / (pulled + weight)
            weight, size = weight + pulled, size + many
        blocks.append((where, weight, size))
    starts = [where for where, _, size in blocks for _ in range(size)]
    return {node: start + offset for node, start, offset in zip(row, starts, offsets, strict=True)}
