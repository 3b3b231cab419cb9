"""Advice names the node of a planted fault, and is silent about a plan that does its work well."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import text
from tiers import few_of

from asyncdb_nb import Database
from asyncdb_nb.explore.plan import Plan, read_plan

TABLES = """
create table advice_big as
  select g as id, g % 1000 as kind, (g % 1000) / 10 as group_of_kind, md5(g::text) as code,
         case when g % 1000 = 7 then 'open' else 'done' end as status
  from generate_series(1, 200000) as g;
create table advice_few as select g as id, g % 1000 as kind from generate_series(1, 2000) as g;
create table advice_grown (id int, kind int);
alter table advice_grown set (autovacuum_enabled = off);
insert into advice_grown select g, 1 from generate_series(1, 5) as g;
create table advice_dirty as select g as id, g % 10 as kind from generate_series(1, 100000) as g;
alter table advice_dirty set (autovacuum_enabled = off);
create table advice_wide as select g as id, g::int8 * 7919 % 1000 as kind, repeat(md5(g::text), 8) as code
  from generate_series(1, 200000) as g;
create index on advice_wide (kind);
create index advice_big_id on advice_big (id);
create index advice_big_kind on advice_big (kind);
create index advice_dirty_id on advice_dirty (id);
create index advice_few_id on advice_few (id);
analyze advice_big, advice_few, advice_grown, advice_dirty, advice_wide;
insert into advice_grown select g, 2 from generate_series(6, 100000) as g
"""
ALONE = ("max_parallel_workers_per_gather = 0", "jit = off")


@pytest.fixture(scope="module")
def url(database_url: str) -> Any:
    with psycopg.connect(database_url, autocommit=True) as connection:
        for statement in TABLES.split(";"):
            connection.execute(statement)
    yield database_url
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("drop table advice_big, advice_few, advice_grown, advice_dirty, advice_wide")


@pytest.fixture
async def db(url: str) -> AsyncIterator[Database]:
    async with Database(url) as db:
        yield db


async def explained(db: Database, statement: str, settings: tuple[str, ...]) -> Plan:
    async with db.session() as session:
        for setting in (*ALONE, *settings):
            await session.execute(text(f"set local {setting}"))
        return await read_plan(session, statement, analyze=True)


FAULTS = {
    "no index": (
        "select * from advice_big where status = 'open'", (),
        "Seq Scan on public.advice_big reads 200,000 rows and throws 199,800 away: an index for (advice_big.status = "
        "'open'::text) would find the others: `create index on public.advice_big (status)`.",
    ),
    "a function hides the column from the index": (
        "select * from advice_big where id + 0 = 5", (),
        "Seq Scan on public.advice_big reads 200,000 rows and throws 199,999 away: an index for "
        "((advice_big.id + 0) = 5) would find the others.",
    ),
    "a text within a text": (
        "select * from advice_big where code like '%zzzz%'", (),
        "throws 200,000 away: a text within a text is found by an index of `pg_trgm`, and by no other.",
    ),
    "a join without an index": (
        "select * from advice_few f join advice_big b on b.code = md5(f.id::text) where f.kind = 7", (),
        "Seq Scan on public.advice_big b reads 200,000 rows, of which a join keeps",
    ),
    "parallel, no index": (
        "select count(*) from advice_big where md5(md5(md5(code))) = 'x'",  # which takes any machine a while
        ("max_parallel_workers_per_gather = 2", "parallel_setup_cost = 0", "min_parallel_table_scan_size = 0",
         "parallel_tuple_cost = 0"),
        "Parallel Seq Scan on public.advice_big reads 200,00",
    ),
    "an index of little use": (
        "select * from advice_big where id > 0 and code = 'x'", ("enable_seqscan = off", "enable_bitmapscan = off"),
        "Index Scan using advice_big_id on public.advice_big reads 200,000 rows",
    ),
    "statistics are old": (
        "select count(*) from advice_grown g join advice_few f on f.id = g.id where g.kind = 2",
        ("enable_hashjoin = off", "enable_mergejoin = off", "enable_memoize = off"),
        "Seq Scan on public.advice_grown g gave 99,995 rows, and the planner expected",
    ),
    "columns that depend on each other": (
        "select count(*) from (select * from advice_big where kind < 100 and group_of_kind < 10 "
        "and kind / 10 = group_of_kind and kind / 10 = (id % 1000) / 10 offset 0) s, advice_few f "
        "where f.kind = s.kind",
        ("enable_mergejoin = off", "enable_hashjoin = off"),
        "advice_big",
    ),
    "a sort spills": (
        "select * from advice_big order by code", ("work_mem = '256kB'",), "Sort spilled",
    ),
    "a hash spills": (
        "select count(*) from advice_big x join advice_big y on x.code = y.code",
        ("work_mem = '256kB'", "enable_mergejoin = off"), "spilled",
    ),
    "groups spill": (
        "select code, count(*) from advice_big group by code", ("work_mem = '256kB'", "enable_sort = off"),
        "HashAggregate spilled",
    ),
    "a nested loop of many": (
        "select count(*) from advice_few x join advice_few y on x.id + 0 = y.id * 1",
        ("enable_hashjoin = off", "enable_mergejoin = off", "enable_memoize = off", "enable_material = off",
         "enable_indexscan = off", "enable_bitmapscan = off", "enable_indexonlyscan = off"),
        "Nested Loop runs its inner side",
    ),
    "a sub-plan for each row": (
        "select id, (select count(*) from advice_big b where b.kind = f.kind) from advice_few f",
        ("enable_indexonlyscan = off",), "ran 2,000 times, once for each row",
    ),
    "pages that hold no room for rows": (
        "select count(code) from advice_wide where kind < 100",
        ("work_mem = '64kB'", "enable_seqscan = off", "enable_indexscan = off", "enable_hashagg = off"),
        "Bitmap Heap Scan on public.advice_wide looks at",
    ),
    "a table that was never vacuumed": (
        "select count(id) from advice_dirty where id > 0", ("enable_seqscan = off", "enable_bitmapscan = off"),
        "`vacuum public.advice_dirty` spares it that",
    ),
}  # fmt: skip

HEALTHY = {
    "by key": ("select * from advice_big where id = 5", ()),
    "some by key": ("select * from advice_big where id between 100 and 300", ()),
    "all of a table": ("select * from advice_big", ()),
    "a count": ("select count(*) from advice_big", ()),
    "groups": ("select kind, count(*) from advice_big group by kind", ()),
    "half of a table": ("select * from advice_big where kind >= 500", ()),
    "a small table with a filter": ("select * from advice_few where kind = 5", ()),
    "a join": ("select count(*) from advice_big join advice_few using (id)", ()),
    "a join of few": ("select b.* from advice_few f join advice_big b on b.id = f.id where f.id < 100", ()),
    "the first of many": ("select * from advice_big order by id limit 10", ()),
    "a limit that is soon reached": ("select * from advice_big where status = 'done' limit 20", ()),
    "a sort in memory": ("select * from advice_few order by kind desc", ()),
    "exists": ("select count(*) from advice_few f where exists (select 1 from advice_big b where b.id = f.id)", ()),
    "parallel": (
        "select count(*) from advice_big",
        ("max_parallel_workers_per_gather = 2", "parallel_setup_cost = 0", "min_parallel_table_scan_size = 0"),
    ),
    "nothing": ("select * from advice_big where false", ()),
}


@pytest.mark.parametrize("fault", few_of(FAULTS, 5))
async def test_scenario_76_a_planted_fault_is_named(db: Database, fault: str) -> None:
    statement, settings, named = FAULTS[fault]

    plan = await explained(db, statement, settings)

    assert any(named in sentence for sentence in plan.advice), f"{plan}\n{plan.advice}"
    assert len(plan.advice) <= 3
    labels = plan.frame()["node"].tolist()
    assert all(any(sentence.startswith(label) for label in labels) for sentence in plan.advice)
    assert all(sentence in str(plan) for sentence in plan.advice)


@pytest.mark.parametrize("query", HEALTHY)
async def test_scenario_76_nothing_is_said_of_a_healthy_plan(db: Database, query: str) -> None:
    statement, settings = HEALTHY[query]

    plan = await explained(db, statement, settings)

    assert plan.advice == [], str(plan)


async def test_the_advice_works(db: Database, url: str) -> None:
    """The index that is proposed for the condition ends the complaint."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create index advice_status on advice_big (status) where status <> 'done'")
        connection.execute("create index advice_open on advice_big (status)")
    statement, settings, _ = FAULTS["no index"]

    plan = await explained(db, statement, settings)

    assert plan.advice == []
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("drop index advice_status, advice_open")
