"""Statements whose plans have every kind of node that can be provoked, and an account of them by hand."""

from __future__ import annotations

from typing import Any

TABLES = """
create table plan_big as select g as a, g % 100 as b, md5(g::text) as c from generate_series(1, 60000) as g;
create table plan_small as select g as a, g % 10 as b from generate_series(1, 500) as g;
create table plan_parts (a int, b int) partition by range (a);
create table plan_parts_1 partition of plan_parts for values from (0) to (1000);
create table plan_parts_2 partition of plan_parts for values from (1000) to (2000);
insert into plan_parts select g, g % 7 from generate_series(0, 1999) as g;
create table plan_boxes as select point(g, g) as p from generate_series(1, 2000) as g;
create index on plan_big (a);
create index on plan_big (b, a);
create index on plan_small (a);
create index on plan_parts (a);
create index on plan_boxes using gist (p);
create materialized view plan_view as select b, count(*) as n from plan_big group by b;
vacuum analyze plan_big, plan_small, plan_parts, plan_boxes
"""

NO = {
    "hash": "enable_hashjoin = off",
    "merge": "enable_mergejoin = off",
    "nest": "enable_nestloop = off",
    "hashagg": "enable_hashagg = off",
    "seq": "enable_seqscan = off",
    "bitmap": "enable_bitmapscan = off",
    "index": "enable_indexscan = off",
    "sort": "enable_sort = off",
    "memoize": "enable_memoize = off",
}
PARALLEL = (
    *("parallel_setup_cost = 0", "parallel_tuple_cost = 0", "min_parallel_table_scan_size = 0"),
    *("min_parallel_index_scan_size = 0", "max_parallel_workers_per_gather = 2", "max_parallel_workers = 8"),
)
JIT = ("jit = on", "jit_above_cost = 0")

# a statement, the settings it is planned with, and the node that it is here for
STATEMENTS: list[tuple[str, tuple[str, ...], str]] = [
    ("select 1", (), "Result"),
    ("select 1 where false", (), "Result"),
    ("values (1), (2), (3)", (), "Values Scan"),
    ("select * from plan_big", (), "Seq Scan"),
    ("select * from plan_big where c like 'a%'", (), "Seq Scan"),
    ("select * from plan_big where a = 5", (), "Index Scan"),
    ("select a from plan_big where a < 50", (), "Index Only Scan"),
    ("select * from plan_big where a < 3000 or b = 3", (), "BitmapOr"),
    ("select * from plan_big where b = 3", (), "Bitmap Heap Scan"),
    ("select * from plan_big where a < 9000 and b = 3", (NO["index"],), "Bitmap Heap Scan"),
    ("select * from plan_big where ctid = '(0,1)'", (), "Tid Scan"),
    ("select * from plan_big where ctid < '(3,1)'", (), "Tid Range Scan"),
    ("select * from plan_big tablesample system (10) repeatable (1)", (), "Sample Scan"),
    ("select * from plan_big order by a desc limit 10", (), "Limit"),
    ("select * from plan_big order by c limit 10", (), "Sort"),
    ("select * from plan_big order by c", ("work_mem = '64kB'",), "Sort"),
    ("select * from plan_big order by a, c limit 100", (), "Incremental Sort"),
    ("select count(*) from plan_big", (), "Aggregate"),
    ("select b, count(*) from plan_big group by b", (), "Aggregate"),
    ("select b, count(*) from plan_big group by b", (NO["hashagg"],), "Aggregate"),
    ("select a, c, count(*) from plan_big group by a, c", ("work_mem = '64kB'",), "Aggregate"),
    ("select b, a, count(*) from plan_big group by grouping sets (b, a)", (), "Aggregate"),
    ("select distinct b from plan_big", (NO["hashagg"],), "Unique"),
    ("select a, row_number() over (partition by b order by c) from plan_big", (), "WindowAgg"),
    ("select * from plan_big x join plan_big y using (a)", (), "Hash Join"),
    ("select * from plan_small left join plan_big using (a)", (NO["nest"], NO["merge"]), "Hash Join"),
    ("select * from plan_big x join plan_big y using (a)", ("work_mem = '64kB'", NO["merge"], NO["nest"]), "Hash Join"),
    ("select * from plan_big join plan_small using (a)", (NO["hash"], NO["nest"]), "Merge Join"),
    ("select * from plan_small x full join plan_small y using (a)", (NO["hash"],), "Merge Join"),
    ("select * from plan_big join plan_small using (a)", (NO["hash"], NO["merge"]), "Nested Loop"),
    ("select * from plan_small x, plan_small y where x.a < y.b", (NO["index"], NO["bitmap"]), "Materialize"),
    ("select * from plan_big x join plan_small y on x.a = y.b where x.b < 50",
     (NO["hash"], NO["merge"]), "Nested Loop"),
    ("select y.* from plan_small x join lateral (select * from plan_big z where z.a = x.b) y on true",
     (NO["hash"], NO["merge"]), "Memoize"),
    ("select * from plan_small x where exists (select 1 from plan_big y where y.a = x.b)", (), ""),
    ("select * from plan_small x where not exists (select 1 from plan_big y where y.a = x.a + 1)", (), ""),
    ("select * from plan_small where a not in (select a from plan_big where b = 1)", (), ""),
    ("select a, (select count(*) from plan_big y where y.a < x.b) from plan_small x", (), ""),
    ("select a, (select max(c) from plan_big) from plan_small", (), ""),
    ("select * from plan_small where a > (select avg(b) from plan_big)", (), ""),
    ("with x as materialized (select * from plan_big where b = 1) select count(*) from x", (), "CTE Scan"),
    ("with x as materialized (select * from plan_big where b = 1) select * from x join x y using (a)", (), "CTE Scan"),
    ("with x as materialized (select * from plan_big), y as materialized (select a from x where b = 2) "
     "select * from y join x using (a) where x.a > (select avg(a) from y)", (), "CTE Scan"),
    ("with recursive x(n) as (select 1 union all select n + 1 from x where n < 500) select sum(n) from x",
     (), "Recursive Union"),
    ("select * from plan_small union all select a, b from plan_big", (), "Append"),
    ("select * from plan_small union select a, b from plan_big", (), ""),
    ("select a from plan_small intersect select a from plan_big", (), "SetOp"),
    ("select a from plan_small except all select a from plan_big", (NO["hashagg"],), "SetOp"),
    ("select * from plan_parts where b = 3", (), "Append"),
    ("select * from plan_parts order by a", (NO["seq"],), ""),
    ("select * from plan_parts order by b, a limit 5", (), ""),
    ("select * from plan_parts where a = (select 1500)", (), "Append"),
    ("select * from generate_series(1, 500) as g", (), "Function Scan"),
    ("select g, generate_series(1, 3) from plan_small g", (), "ProjectSet"),
    ("select * from (select a, b from plan_small offset 0) as s where b = 3", (), "Subquery Scan"),
    ("select * from plan_view where n > 1", (), "Seq Scan"),
    ("select * from plan_boxes order by p <-> point '(5,5)' limit 5", (), "Limit"),
    ("select * from plan_small where a in (1, 2, 3)", (), ""),
    ("select * from plan_small for update", (), "LockRows"),
    ("select * from plan_small where false and a in (select a from plan_big)", (), "Result"),
    ("select * from plan_small x left join plan_big y on y.a = x.a and x.a > 1000000", (NO["hash"], NO["merge"]), ""),
    ("select count(*) from plan_big", PARALLEL, "Gather"),
    ("select count(*), b from plan_big group by b order by b", (*PARALLEL, NO["hashagg"]), "Gather Merge"),
    ("select count(*) from plan_big x join plan_big y using (a)", PARALLEL, "Gather"),
    ("select count(*) from plan_big x join plan_small y on x.a = y.b", (*PARALLEL, NO["hash"], NO["merge"]), "Gather"),
    ("select count(*) from plan_big where a > (select avg(a) from plan_small)", PARALLEL, "Gather"),
    ("select count(*) from plan_big", (*PARALLEL, "parallel_leader_participation = off"), "Gather"),
    ("select count(*) from (select a from plan_big union all select a from plan_small) s", PARALLEL, "Gather"),
    ("select sum(a * b) from plan_big", JIT, "Aggregate"),
]  # fmt: skip


def nodes_by_hand(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", ()) for node in nodes_by_hand(child))]


def is_simple(plan: dict[str, Any]) -> bool:
    """Whether every node runs what is shown below it, in one process."""
    nodes = nodes_by_hand(plan)
    return not any(node.get("Parent Relationship") == "InitPlan" or "Gather" in node["Node Type"] for node in nodes)


def own_by_hand(node: dict[str, Any]) -> float:
    """What a simple node took, less what the nodes below it took."""
    children = sum(child["Actual Total Time"] * child["Actual Loops"] for child in node.get("Plans", ()))
    return node["Actual Total Time"] * node["Actual Loops"] - children
