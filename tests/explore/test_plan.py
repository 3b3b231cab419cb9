"""A plan says what the server's JSON says: own times, rows, loops, whatever the node; and nothing is left behind."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import matplotlib as mpl
import pandas as pd
import psycopg
import pytest
from plans import PARALLEL, STATEMENTS, TABLES, is_simple, nodes_by_hand, own_by_hand
from sqlalchemy import event, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import ORMExecuteState, Session, with_loader_criteria

from asyncdb_nb import Database
from asyncdb_nb.errors import AnalyzeWritesError
from asyncdb_nb.explore.plan import Plan, read_plan
from asyncdb_nb.workflows import Workflow, create_tables

mpl.use("agg")


@pytest.fixture(scope="module")
def url(database_url: str) -> Any:
    with psycopg.connect(database_url, autocommit=True) as connection:
        for statement in TABLES.split(";"):
            connection.execute(statement)
    yield database_url
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("drop table plan_big, plan_small, plan_parts, plan_boxes cascade")


@pytest.fixture
async def db(url: str) -> AsyncIterator[Database]:
    async with Database(url) as db:
        yield db


async def explained(db: Database, statement: str, settings: tuple[str, ...] = ()) -> Plan:
    async with db.session() as session:
        for setting in settings:
            await session.execute(text(f"set local {setting}"))
        if "for update" not in statement:
            return await read_plan(session, statement, analyze=True)
        analyzed = text(f"explain (analyze, buffers, verbose, format json) {statement}")  # it wants to write
        return Plan((await session.execute(analyzed)).scalar_one()[0])


@pytest.mark.parametrize(
    ("statement", "settings", "kind"), STATEMENTS, ids=[f"{i}-{each[2]}" for i, each in enumerate(STATEMENTS)]
)
async def test_every_node_has_the_times_and_rows_of_the_servers_json(
    db: Database, statement: str, settings: tuple[str, ...], kind: str
) -> None:
    plan = await explained(db, statement, settings)
    frame, nodes = plan.frame(), nodes_by_hand(plan.json["Plan"])

    assert kind in ("", *(node["Node Type"] for node in nodes))
    assert frame["loops"].tolist() == [node["Actual Loops"] for node in nodes]
    assert frame["estimated_rows"].tolist() == [node["Plan Rows"] for node in nodes]
    rows = [node["Actual Rows"] if node["Actual Loops"] else pd.NA for node in nodes]
    assert [value is pd.NA or value for value in frame["actual_rows"]] == [value is pd.NA or value for value in rows]
    rounded = sum(0.001 * node["Actual Loops"] for node in nodes) + 1e-6  # each time is rounded to a microsecond
    assert frame["own_ms"].sum() == pytest.approx(frame["total_ms"][0], abs=rounded)
    assert frame["total_ms"][0] == pytest.approx(nodes[0]["Actual Total Time"])
    assert (frame["own_ms"] >= 0).all()
    if is_simple(plan.json["Plan"]):
        assert frame["own_ms"].tolist() == pytest.approx([max(own_by_hand(node), 0) for node in nodes], abs=rounded)
    pages = sum(nodes[0][f"{where} {how} Blocks"] for where in ("Shared", "Local") for how in ("Hit", "Read"))
    assert frame["buffers"].sum() == pages
    assert frame["spills"].sum() == nodes[0]["Temp Written Blocks"]


SLOW = "select pg_sleep(0.2)::text as s, 1 as one"


@pytest.mark.parametrize(
    ("statement", "slowest"),
    [
        (f"with x as materialized ({SLOW}) select x.* from x join x y using (one)", "CTE x: Result"),
        (f"select a, (select s from ({SLOW}) z) from plan_small", r"InitPlan|Result"),
        (f"select y.b from plan_small x join plan_small y using (a) where x.b < (select one from ({SLOW} offset 0) z)",
         r"Result|Subquery Scan"),
        (f"with x as materialized ({SLOW}), y as materialized (select one from x) "
         "select count(*) from plan_small where a > (select one from y)", "CTE x: Result"),
        (f"select * from plan_small where a = 1 and b = (select one from ({SLOW}) z where z.one = plan_small.a)",
         r"SubPlan \S+: Result|Result|Subquery Scan"),
    ],
    ids=["cte", "initplan in the target list", "initplan of a scan", "a cte of a cte of an initplan", "subplan"],
)  # fmt: skip
async def test_the_node_that_sleeps_is_the_one_that_takes_the_time(db: Database, statement: str, slowest: str) -> None:
    """Wherever PostgreSQL shows it, and whatever else counts it as its own doing."""
    frame = (await explained(db, statement)).frame()

    assert re.search(slowest, frame["node"][frame["own_ms"].idxmax()]), frame.to_string()
    assert frame["own_ms"].max() > 190


def node(kind: str, ms: float, loops: int = 1, *below: dict[str, Any], **more: Any) -> dict[str, Any]:
    counted = {f"{a} {b} Blocks": 0 for a in ("Shared", "Local") for b in ("Hit", "Read")}
    times = {"Actual Total Time": ms, "Actual Loops": loops, "Actual Rows": 1, "Plan Rows": 1, "Total Cost": 1.0}
    return {"Node Type": kind, "Parent Relationship": "Outer", **times, **counted, "Plans": list(below), **more}


def own(root: dict[str, Any]) -> list[float]:
    return Plan({"Plan": root, "Planning Time": 0.1, "Execution Time": 1000.0}).frame()["own_ms"].tolist()


def test_parallel_times_are_the_mean_of_the_processes() -> None:
    """Two workers and the leader: 90 ms of the scan in each; the InitPlan of the Gather ran once, in the leader."""
    scan = node("Seq Scan", 90.0, 3)
    first = node("Result", 5.0, 1, **{"Parent Relationship": "InitPlan", "Subplan Name": "InitPlan 1 (returns $0)"})
    gather = node("Gather", 100.0, 1, first, scan, **{"Params Evaluated": ["$0"], "Workers Launched": 2})
    scan["Filter"] = "(a > $0)"

    assert own(gather) == pytest.approx([5.0, 5.0, 90.0])


def test_what_workers_share_out_among_themselves_counts_once() -> None:
    """Below a parallel Append, each part ran in one of the two processes."""
    parts = [node("Seq Scan", 40.0, 1), node("Seq Scan", 60.0, 1)]
    gather = node("Gather", 55.0, 1, node("Append", 50.0, 2, *parts))

    assert own(gather) == pytest.approx([5.0, 0.0, 20.0, 30.0])


def test_an_initplan_is_taken_off_where_it_is_asked_for() -> None:
    """As PostgreSQL 14 to 16 write it: `$0` here, and `$01` or `$10` are others."""
    first = node("Result", 50.0, 1, **{"Parent Relationship": "InitPlan", "Subplan Name": "InitPlan 1 (returns $1)"})
    asking = node("Seq Scan", 60.0, 1, Filter="(a > $1)")
    other = node("Seq Scan", 55.0, 1, Filter="(a > $10)")

    assert own(node("Hash Join", 120.0, 1, first, asking, other)) == pytest.approx([5.0, 50.0, 10.0, 55.0])


def test_a_cte_is_taken_off_where_it_is_read_and_not_from_one_of_the_same_name() -> None:
    below = {"Parent Relationship": "InitPlan", "Subplan Name": "CTE x"}
    inner = node("Sort", 35.0, 1, node("Seq Scan", 30.0, 1, **below), node("CTE Scan", 31.0, 1, **{"CTE Name": "x"}))
    outer = node("Append", 100.0, 1, node("Seq Scan", 50.0, 1, **below), node("CTE Scan", 60.0, **{"CTE Name": "x"}))
    outer["Plans"].append(inner)

    assert own(outer) == pytest.approx([5.0, 50.0, 10.0, 4.0, 30.0, 1.0])


async def test_a_node_that_never_ran_says_so(db: Database) -> None:
    plan = await explained(db, "select * from plan_small where false and a in (select a from plan_big)")
    joined = await explained(db, "select * from (select 1 where current_date < 'epoch') x, plan_big limit 1")

    assert plan.frame()["loops"].tolist() == [1]
    assert joined.frame()["actual_rows"].isna().any()
    assert "never ran" in str(joined)


async def test_rows_are_of_one_run(db: Database) -> None:
    plan = await explained(db, "select * from plan_big x join plan_small y using (a)", ("enable_hashjoin = off",))
    server = await db.frame("select version()")

    assert plan.frame().dtypes.astype(str).tolist() == [
        *("str", "int64", "str", "Float64", "Float64", "Int64", "Float64", "Float64", "Int64", "Int64", "float64")
    ], server


async def test_without_analyze_nothing_runs_and_nothing_is_measured(db: Database) -> None:
    plan = await db.explain("select pg_sleep(600)")

    assert plan.execution_ms is None
    assert plan.advice == []
    assert plan.frame()[["actual_rows", "loops", "own_ms", "total_ms", "buffers", "spills"]].isna().all(axis=None)
    assert str(plan).endswith("To run the statement and measure it: analyze=True, or `%%asql --analyze`.")


async def test_a_select_of_the_orm_is_explained_as_its_session_would_send_it(url: str) -> None:
    """With the criteria that a hook of the session adds, and without what the session flushes first."""

    class Tenant(AsyncSession):
        pass

    class Filtered(Session):
        pass

    Tenant.sync_session_class = Filtered

    @event.listens_for(Filtered, "do_orm_execute")
    def filter_by_owner(state: ORMExecuteState) -> None:
        state.statement = state.statement.options(with_loader_criteria(Workflow, Workflow.owner == "me"))

    async with Database(url) as db, db.engine.begin() as connection:
        await create_tables(connection)
    async with Database(url, sessionmaker=Tenant) as db:
        plan = await db.explain(select(Workflow).where(Workflow.priority < 3).order_by(Workflow.name))
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("drop schema workflows cascade")

    assert any("workflows.workflow" in label for label in plan.frame()["node"])
    assert "workflow.priority <" in str(plan)
    assert "owner" in str(plan)


@pytest.mark.parametrize(
    ("statement", "params"),
    [
        ("select * from plan_big where a = :a", {"a": 5}),
        ("select * from plan_big where a = any(:a) and c <> ':a'", {"a": [5, 6]}),
        (text("select * from plan_big where a = :a"), {"a": 5}),
        ("select * from plan_big where c = E'\\\\:a' and a = :a; ", {"a": 5}),
    ],
)
async def test_values_are_bound(db: Database, statement: Any, params: Any) -> None:
    plan = await db.explain(statement, params, analyze=True)

    assert "Index Scan" in plan.frame()["node"][0]
    assert "$1" not in str(plan)


@pytest.mark.parametrize(
    ("statement", "measured"),
    [
        ("explain select 1", False),
        ("EXPLAIN ANALYZE select 1", True),
        ("explain (analyze, costs off) select 1", True),
        ("explain (analyze off, format json) (select 1)", False),
        ("/* why */ explain analyze verbose -- now\nselect 1", True),
        ("explain (select 1)", False),
    ],
)
async def test_a_statement_may_say_explain_itself(db: Database, statement: str, measured: bool) -> None:
    assert (await db.explain(statement)).analyzed is measured


WRITES = [
    "insert into plan_small values (1, 1)",
    "with gone as (delete from plan_small returning *) select count(*) from gone",
    "update plan_small set a = 1",
    "create table plan_made as select 1 as one",
    "select 1 as one into plan_made",
    "select nextval('plan_numbers')",
    "select * from plan_small for update",
    "/* */ merge into plan_small using plan_big on false when not matched then do nothing",
]


@pytest.mark.parametrize("statement", WRITES)
@pytest.mark.parametrize("own_session", [True, False], ids=["db", "in a transaction that may write"])
async def test_analyze_refuses_what_writes_and_nothing_is_written(
    db: Database, url: str, statement: str, own_session: bool
) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create sequence if not exists plan_numbers")

        if own_session:
            with pytest.raises(AnalyzeWritesError, match=r"await db\.explain\(statement\)"):
                await db.explain(statement, analyze=True)
        else:
            async with db.session() as session:
                with pytest.raises(AnalyzeWritesError):
                    await read_plan(session, statement, analyze=True)
                await session.execute(text("create table plan_after (a int)"))  # it may still write
            connection.execute("drop table plan_after")

        assert connection.execute("select count(*) from plan_small").fetchone() == (500,)
        assert connection.execute("select to_regclass('plan_made'), last_value from plan_numbers").fetchone() == (
            None,
            1,
        )


async def test_what_writes_has_a_plan_without_analyze(db: Database) -> None:
    assert (await db.explain("insert into plan_small values (1, 1)")).frame()["node"][
        0
    ] == "Insert on public.plan_small"


async def test_the_transaction_is_as_it_was_before(db: Database) -> None:
    async with db.session(timeout=33) as session:
        await session.execute(text("insert into plan_small values (-1, -1)"))
        plan = await read_plan(session, "select * from plan_small where a = -1", analyze=True)

        assert plan.frame()["actual_rows"].max() == 1
        assert (await session.execute(text("show statement_timeout"))).scalar_one() == "33s"
        assert (await session.execute(text("show transaction_read_only"))).scalar_one() == "off"
        await session.rollback()


async def test_a_statement_that_takes_too_long_is_ended(db: Database) -> None:
    with pytest.raises(DBAPIError, match="statement timeout") as caught:
        await db.explain("select pg_sleep(600)", analyze=True, timeout=0.1)
    assert "It took longer than timeout=0.1 seconds" in caught.value.__notes__[-1]
    with pytest.raises(ValueError, match="timeout is a number of seconds above 0; got 0"):
        await db.explain("select 1", timeout=0)


@pytest.mark.parametrize("analyze", [True, False])
async def test_a_mistake_is_the_servers_to_name(db: Database, analyze: bool) -> None:
    with pytest.raises(DBAPIError, match='syntax error at or near "selec"'):
        await db.explain("selec 1", analyze=analyze)
    with pytest.raises(DBAPIError, match="cannot insert multiple commands"):
        await db.explain("select 1; select 2", analyze=analyze)


async def test_names_are_quoted_and_markup_is_text(db: Database, url: str) -> None:
    name = 'Plan "<b>$x$</b>" & ' + "é" * 20
    with psycopg.connect(url, autocommit=True) as connection:
        quoted = '"' + name.replace('"', '""') + '"'
        connection.execute(f"create table {quoted} (a int)")
        try:
            plan = await db.explain(f'select * from {quoted} as "<i>" where a = 1', analyze=True)
        finally:
            connection.execute(f"drop table {quoted}")

    assert plan.frame()["relation"][0] == f"public.{quoted}"
    assert plan.frame()["node"][0] == f'Seq Scan on public.{quoted} "<i>"'
    assert "<b>" not in plan._repr_html_()
    assert "&lt;b&gt;" in plan._repr_html_()
    plan.plot().figure.canvas.draw()


async def test_the_text_without_times_is_the_same_in_every_run(db: Database) -> None:
    statement = "select b, count(*) from plan_big where a < 30000 group by b order by b limit 3"
    first, second = [(await db.explain(statement, analyze=True)).text(times=False) for _ in range(2)]

    assert first == second
    assert " ms" not in first


async def test_the_picture_has_a_bar_for_each_node_as_long_as_its_time(db: Database) -> None:
    plan = await explained(db, "select b, count(*) from plan_big group by b", PARALLEL)

    for dark in (False, True):
        ax = plan.plot(title="Why", dark=dark)
        assert [bar.get_width() for bar in ax.patches] == plan.frame()["own_ms"].tolist()
        assert [label.get_text().strip() for label in ax.get_yticklabels()] == plan.frame()["node"].tolist()
        assert ax.get_title(loc="left") == "Why"
        assert "milliseconds" in ax.get_xlabel()
    one = await explained(db, "select 1")
    assert [said.get_text() for said in one.plot().texts] == ["1 row, 1 estimated"]


async def test_a_plan_keeps_what_the_server_wrote(db: Database) -> None:
    plan = await db.explain("select 1")

    assert json.loads(json.dumps(plan.json))["Plan"]["Node Type"] == "Result"
    assert repr(db.explain("select 1")) == "Nothing was read yet. Type: await db.explain(...)"
