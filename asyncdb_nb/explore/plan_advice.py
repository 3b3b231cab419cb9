"""
What is wrong with a plan that was measured, in a sentence for each node that it is wrong with.

The limits are such that a plan which does its work well gets no advice: a fault is named where the node took a good
part of the time, and not where it is only unusual.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from asyncdb_nb.explore.plan_nodes import Node
from asyncdb_nb.explore.plan_text import count, jit_ms, size, spilled_kb

MOST = 3  # sentences

_MANY = 10_000  # rows, or runs
_SHARE = 0.2  # of the statement's time
_SLOW = 5  # milliseconds; what takes less is not worth a sentence
_VERY_SLOW = 50  # milliseconds, for what is only a fault when it is slow
_WRONG = 100  # times
_LITTLE = 1024  # kilobytes
_THROWN_AWAY = 0.8  # of the rows
_WITHIN = re.compile(r"\((?!.* (?:AND|OR) )[^~]*(?<!!)~~\*? '[%_]")  # `like '%…'` alone, as EXPLAIN writes it
_ONE_COLUMN = re.compile(  # compared with a value, as EXPLAIN writes it: `(t.status = 'open'::text)`
    r"""\(+(?:(?:"[^"]+"|\w+)\.)?("[^"]+"|[a-z_]\w*)\)?(?:::text)?"""
    r"""[ ](?:=|<|>|<=|>=)[ ](?:'[^']*'|-?[\d.]+|\$\d+)(?:::[\w ]+)?\)+"""
)
_STOPS_EARLY = ("Limit", "Merge Join")


def advice_on(nodes: Sequence[Node], explained: dict[str, Any]) -> list[str]:
    """Say what is wrong, at most three times, about the slowest nodes first.

    Args:
        nodes: The nodes of a plan that was measured.
        explained: What EXPLAIN wrote.
    """
    whole = max(nodes[0].total_ms, 1e-9)
    found = [(cost, said) for node in nodes if node.loops for cost, said in _faults(node, whole)]
    jit = jit_ms(explained)
    if jit > max(explained["Execution Time"] / 2, _VERY_SLOW):
        said = (
            f"{nodes[0].label}: compiling the statement (JIT) took {jit:,.0f} of {explained['Execution Time']:,.0f} ms"
        )
        found.append((jit, f"{said}; `set jit = off` does without."))
    return [said for _, said in sorted(found, key=lambda each: -each[0])[:MOST]]


def is_misjudged(node: Node) -> bool:
    """Say whether an estimate is wrong by 100 times or more, over rows that are many."""
    if node.rows is None or max(node.rows, node.estimated) * (node.loops or 1) < _MANY / 10:
        return False
    if node.rows >= _WRONG * max(node.estimated, 1):
        return True
    return node.estimated >= _WRONG * max(node.rows, 1) and not _may_stop_early(node)


def _faults(node: Node, whole: float) -> Iterator[tuple[float, str]]:
    """Give at most one sentence of a node, and the milliseconds that are at stake."""
    for check in (_spills, _throws_away, _joins_few, _repeats, _rechecks, _visits_the_table, _misjudges):
        cost, said = check(node)
        if said and cost >= max(_SHARE * whole, _SLOW):
            yield cost, f"{node.label}{said}"
            return


def _spills(node: Node) -> tuple[float, str]:
    kilobytes = spilled_kb(node)
    if kilobytes < _LITTLE:
        return 0, ""
    more = "a larger `work_mem` for this session, or fewer rows and columns, keeps it in memory"
    return node.own_ms + sum(child.own_ms for child in node.children), f" spilled {size(kilobytes)} to disk: {more}."


def _throws_away(node: Node) -> tuple[float, str]:
    """A scan that reads many rows and keeps few of them."""
    removed = node.raw.get("Rows Removed by Filter", 0) * (node.loops or 0)
    read = removed + (node.rows or 0) * (node.loops or 0)
    if node.relation is None or removed < _MANY or removed < _THROWN_AWAY * read:
        return 0, ""
    if "Relation Name" not in node.raw:
        return node.own_ms, f" reads {count(read)} rows and throws {count(removed)} away: filter earlier."
    sentence = f" reads {count(read)} rows and throws {count(removed)} away"
    if _WITHIN.match(str(node.raw.get("Filter"))):
        return node.own_ms, f"{sentence}: a text within a text is found by an index of `pg_trgm`, and by no other."
    wanted = str(node.raw.get("Filter"))
    column = _ONE_COLUMN.fullmatch(wanted)
    typed = f": `create index on {node.relation} ({column[1]})`" if column else ""
    return node.own_ms, f"{sentence}: an index for {wanted} would find the others{typed}."


def _joins_few(node: Node) -> tuple[float, str]:
    """A scan of all rows of a table for a join that needs few of them."""
    join = next((above for above in node.above if above.kind != "Hash"), None)
    if node.raw.get("Node Type") != "Seq Scan" or "Filter" in node.raw or join is None or join.kind != "Hash Join":
        return 0, ""
    read, kept = _all_rows(node), _all_rows(join)
    others = max(_all_rows(side) for side in join.children if side is not node and node not in side.children)
    if read < _MANY or _WRONG * max(kept, others) > read:
        return 0, ""
    cost = node.own_ms + join.own_ms
    wanted = join.raw.get("Hash Cond")
    return (
        cost,
        f" reads {count(read)} rows, of which a join keeps {count(kept)}: an index for {wanted} would find those.",
    )


def _all_rows(node: Node) -> float:
    return (node.rows or 0) * (node.loops or 0)


def _repeats(node: Node) -> tuple[float, str]:
    """A nested loop, or a sub-plan, that runs again and again."""
    is_subplan = node.raw.get("Parent Relationship") == "SubPlan"
    if is_subplan and (node.loops or 0) >= _MANY / 100 and node.total_ms >= _VERY_SLOW:
        return node.total_ms, f" ran {node.loops:,} times, once for each row: a join would run once."
    if node.kind != "Nested Loop":
        return 0, ""
    inner = node.children[-1]
    runs, compared = inner.loops or 0, node.raw.get("Rows Removed by Join Filter", 0) * (node.loops or 0)
    if (runs >= _MANY or compared >= 100 * _MANY) and inner.total_ms + node.own_ms >= _VERY_SLOW:
        outer = node.children[0]
        wrong = f", where the planner expected {count(outer.estimated)}" if is_misjudged(outer) else ""
        how = f" runs its inner side ({inner.label}) {runs:,} times{wrong}"
        return (
            inner.total_ms + node.own_ms,
            f"{how}: a join on equal, indexed columns, or better estimates, avoid that.",
        )
    return 0, ""


def _rechecks(node: Node) -> tuple[float, str]:
    """A bitmap that had room for pages alone, not for rows."""
    again = node.raw.get("Rows Removed by Index Recheck", 0) * (node.loops or 0)
    if again < _MANY or not node.raw.get("Lossy Heap Blocks"):
        return 0, ""
    return node.own_ms, f" looks at {count(again)} rows in vain, for lack of memory: a larger `work_mem` helps."


def _visits_the_table(node: Node) -> tuple[float, str]:
    """A scan of an index alone that has to look into the table."""
    visits = node.raw.get("Heap Fetches", 0)
    if visits < _MANY:
        return 0, ""
    return node.own_ms, f" looks {count(visits)} rows up in the table as well: `vacuum {node.relation}` spares it that."


def _misjudges(node: Node) -> tuple[float, str]:
    """An estimate that is far off, where those of the nodes below are not."""
    if not is_misjudged(node) or any(is_misjudged(child) for child in node.children):
        return 0, ""
    told = f" gave {count(node.rows or 0)} rows, and the planner expected {count(node.estimated)}"
    if "Relation Name" in node.raw:
        remedy = f"`analyze {node.relation}`, or `create statistics` on columns that depend on each other, corrects it"
    else:
        remedy = "`analyze` of the tables below it, or `create statistics` on the columns it uses, may correct it"
    at_stake = next((above.total_ms for above in node.above), node.total_ms)
    return max(at_stake, node.total_ms), f"{told}: {remedy}."


def _may_stop_early(node: Node) -> bool:
    """Say whether something above may have had enough before all rows had come."""
    below = node
    for above in node.above:
        join = above.raw.get("Join Type", "Inner")
        inner = above.children[-1] is below
        if above.kind in _STOPS_EARLY or (inner and (join in ("Semi", "Anti") or above.raw.get("Inner Unique"))):
            return True
        below = above
    return any(each.raw.get("Parent Relationship") in ("SubPlan", "InitPlan") for each in (node, *node.above))
