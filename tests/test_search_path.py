"""Nothing that others have put into the search path takes part in the package's own statements."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import pandas as pd
import psycopg
import pytest
from psycopg import sql
from server_checks import ServerWatch
from sqlalchemy import text

from asyncdb_nb import Database
from asyncdb_nb.dataframes.types.catalog import column_types
from asyncdb_nb.diagnostics.check_server import look_at_server
from asyncdb_nb.errors import AsyncDBError, WriteError
from asyncdb_nb.jupyter.known_names import KnownNames
from asyncdb_nb.pytest_plugin.isolation import truncate
from asyncdb_nb.pytest_plugin.isolation.databases import Databases
from asyncdb_nb.server import EmbeddedServer
from asyncdb_nb.workflows import WorkflowRepository, load_event_log, seed_workflows, unload_event_log

pytestmark = [pytest.mark.second_tier, pytest.mark.timeout(900)]

# fmt: off
TYPES = [
    "name", "text", "varchar", '"char"', "oid", "regclass", "int2", "int4", "int8", "float4", "float8", "numeric",
    "bool", "timestamptz", "interval", "jsonb", "text[]", "name[]", "varchar[]", "oid[]", "int2[]", '"char"[]',
    "anyelement",
]
# fmt: on
THREE = ["text", "varchar", "int4", "int8", "bool"]

PREPARE = """
create type mood as enum ('fine');
create type pair as (a int, b text);
create domain positive as int check (value > 0);
create table kinds (id int primary key, mood mood, number positive, price money, label varchar unique);
insert into kinds values (1, 'fine', 1, 1, 'one');
create table kept (id int references kinds);
create table looked as select g as i, g::float8 as f, g::numeric as n, g::text as t, date '2020-01-01' + g as d,
    now() + g * interval '1 h' as z, jsonb_build_object('a', g) as j, array[g] as a, g % 2 = 0 as b, 'fine'::mood as m,
    gen_random_uuid() as u, g::text::bytea as y, g * interval '1 h' as v, time '01:00' as c, g::text::name as s,
    ('10.0.0.' || g % 9)::cidr as k, g::text::json as o from generate_series(1, 300) as g;
create table plain as select i, f, t, d, u from looked;
create role planter;
grant create on schema public to planter;
"""

OPERATORS = """
do $do$ declare made record; begin for made in
    with pairs as (select row_number() over () as number, l, r
                   from unnest({types}::text[]) l, unnest({types}::text[]) r)
    select 0 as step, format('create function public.planted_%s(%s, %s) {body}', number, l, r) as statement from pairs
    union all
    select 1, format('create operator public.%s (leftarg = %s, rightarg = %s, function = public.planted_%s)',
                     name, l, r, number)
    from (select distinct oprname as name from pg_operator where oprname = any ({names}::text[])) names, pairs
    order by step
loop execute made.statement; end loop; end $do$
"""

FUNCTIONS = """
do $do$ declare made record; begin for made in
    select format('create function public.%I(%s) {body}', name, arguments) as statement
    from (select distinct proname as name, case when provariadic <> 0 then 3 else pronargs end as number
          from pg_proc where pronamespace = 'pg_catalog'::regnamespace and proname = any ({names}::text[])) names,
         lateral (select '' where number = 0
                  union select a from unnest({types}::text[]) a where number >= 1
                  union select concat_ws(',', a, b) from unnest({types}::text[]) a, unnest({types}::text[]) b
                        where number >= 2
                  union select concat_ws(',', a, b, c) from unnest({three}::text[]) a, unnest({three}::text[]) b,
                                                            unnest({three}::text[]) c
                        where number >= 3) as shapes(arguments)
    group by 1
loop execute made.statement; end loop; end $do$
"""

BODY = "returns bool language plpgsql as ''begin raise log $$PLANTED$$; return null; end''"


async def workflows(db: Database) -> None:
    """Load, ask and unload."""
    await seed_workflows(db, runs=20, workflows=2)
    await seed_workflows(db, runs=20, workflows=2, replace=True)
    with TemporaryDirectory() as folder:
        plain, paired = Path(folder) / "plain.csv", Path(folder) / "paired.csv"
        plain.write_text("case,activity,timestamp\n1,a,2024-01-01\n1,b,2024-01-02\n")
        paired.write_text(
            "case,activity,timestamp,lifecycle\n"
            "1,a,2024-01-01,start\n1,a,2024-01-02,complete\n1,b,2024-01-03,complete\n"
        )
        for file in (plain, paired):
            await load_event_log(db, file, failed=["b"])
            await load_event_log(db, file, replace=True)
            await unload_event_log(db, file.stem)


async def questions(db: Database) -> None:
    await seed_workflows(db, runs=20, workflows=2)
    async with db.session(readonly=True) as session:
        ask = WorkflowRepository(session)
        for name in ("overview", "failures", "durations", "throughput", "time_lost", "retries", "busiest_hours"):
            await getattr(ask, name)()
        for name in ("slowest_runs", "variants", "transitions", "flow", "bottlenecks", "handovers"):
            await getattr(ask, name)()


async def catalog(db: Database) -> None:
    await db.tables()
    for name in ("kinds", "public.kept"):
        await db.describe(name)
    for attempt in (db.describe("kind"), db.frame("select * from kindz")):
        with pytest.raises(Exception, match="kinds"):
            await attempt
    assert KnownNames().of(db, 60).tables


async def doctor(db: Database) -> None:
    async with db.engine.connect():
        found = await look_at_server(db)
    assert len(found) > 4, found


async def sessions(db: Database) -> None:
    async with db.session(readonly=True, timeout=5) as session:
        await session.execute(text("select"))
    await db._check()


async def frames(db: Database) -> None:
    """And what asyncpg asks about types that are not built in, and about arrays."""
    await db.frame("select id, label, price from kinds")
    await db.frame("select mood, number, array[mood] as moods, row(1, 'x')::pair as pair from kinds")
    await db.frame("select array[1] as a, array['x'::varchar] as b, int4range(1, 2) as c")
    async with db.session() as session:
        await session.execute(text("select mood, number, row(1, 'x')::pair, array[number] from kinds"))
    await db.frame("select id from kinds where id = :id", {"id": 1})
    await db.frame("select id from kinds", max_rows=1, truncate=True)
    await db.frame("select pg_catalog.generate_series(1, 5000) as n")
    async for _ in db.frames("select id, label from kinds"):
        pass
    async with db.engine.connect() as connection:
        types = "select 'mood'::regtype::oid, 'positive'::regtype::oid, 'kinds'::regtype::oid"
        found = await connection.execute(text(types))
        driver = (await connection.get_raw_connection()).driver_connection
        await column_types(driver, [(oid, -1) for oid in found.one()])


async def explored(db: Database) -> None:
    """The statements of a profile, a plan and a diagram, over columns of many families; of a sample, too."""
    some = "select i, f, n, t, d, z, j, b, u, y, v, c, s, k, o from looked"
    for source in ("kinds", "looked", some, "select * from looked"):
        for sample in (None, 100):
            await db.profile(source, sample=sample)
    await db.explain("select id from kinds", analyze=True)
    await db.diagram()
    await db.diagram("public")


async def written(db: Database) -> None:
    """The statements of a write, each way; an upsert compares and casts in the server."""
    rows = pd.DataFrame({"i": range(300, 310), "f": 1.5, "t": "a", "d": dt.date(2024, 1, 1), "b": True})
    await db.write(rows, "written", if_exists="replace", key="i")
    for if_exists in ("append", "truncate"):
        await db.write(rows.assign(i=rows.i + 100), "written", if_exists=if_exists)
    for change in (1.5, 2.5):
        await db.write(rows.assign(f=change), "written", if_exists="upsert", key="i")
    kinds = pd.DataFrame({"id": [1, 2], "mood": "fine", "label": ["one", "two"]})
    await db.write(kinds, "kinds", if_exists="upsert", key="id")
    with pytest.raises(WriteError):
        await db.write(pd.DataFrame({"id": [None]}), "kinds")
    await db.execute("drop table written")


async def in_parts(db: Database) -> None:
    """A snapshot, what cuts a table and a statement, and what reads them."""
    async with db.snapshot("plain") as snap:
        assert await snap.blocks("plain", 2)
        for how in ("percentile", "width"):
            for key in ("i", "d", "f"):
                assert await snap.ranges("select i, d, f from plain", key, 3, how=how)
        assert await snap.ranges("select t, u from plain", "t", 3)
    await db.frame("plain", parallel=2)
    await db.frame("select i, t from plain", parallel=2, key="i")
    async for _ in db.frames("plain", parallel=2):
        pass


async def viewed(db: Database) -> None:
    """A page in each order, with each kind of filter over each column."""
    for source in ("kinds", "looked"):
        view = await db.view(source)
        for place in range(len(view.columns)):
            await view.page(sort=place, descending=True)
            for wanted in ("1", "= null", "!= null"):
                await view.page(filters={place: wanted})
                await view.count(filters={place: wanted})
    for comparison in ("= 5", "!= 5", "< 5", "<= 5", "> 5", ">= 5"):
        await (await db.view("looked")).page(filters={0: comparison, 3: comparison})


async def exported(db: Database) -> None:
    with TemporaryDirectory() as folder:
        for ending in ("csv", "parquet"):
            await db.export("select i, f, t from looked", Path(folder) / f"a.{ending}")


async def emptying(db: Database) -> None:
    with pytest.raises(AsyncDBError, match="kinds"):
        await truncate.refuse_seeds(db)
    await truncate.truncate(db)
    async with db.session() as session:
        await session.execute(text(truncate._OTHERS))


def test_databases(url: str) -> None:
    databases = Databases(url)
    databases.open()
    try:

        async def build(url: Any) -> None:
            pass

        databases.drop(databases.clone(databases.template("planted", build)))
        databases.version()
    finally:
        databases.close()


test_databases.__test__ = False  # type: ignore[attr-defined]


PATHS = [
    catalog,
    explored,
    written,
    in_parts,
    viewed,
    exported,
    doctor,
    sessions,
    frames,
    emptying,
    workflows,
    questions,
    test_databases,
]


@pytest.fixture(scope="module")
def watched(server: EmbeddedServer, server_watch: ServerWatch) -> Iterator[str]:
    """A database of which the server logs each statement, and what each name in it was taken for."""
    server_watch.query("create database watched")
    url = urlsplit(server.url)._replace(path="/watched").geturl()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(PREPARE)
        for setting in ("log_statement = 'all'", "debug_print_parse = on", "debug_pretty_print = off"):
            connection.execute(f"alter database watched set {setting}")
    yield url
    server_watch.query("drop database watched with (force)")
    server_watch.query("drop role planter")


@pytest.fixture(scope="module")
def planted(watched: str, server_watch: ServerWatch) -> dict[int, str]:
    """What a role that may create in `public` has planted there, for every name that the statements use."""
    server_watch.mark()
    for path in PATHS:
        run(path, watched)
    statements = statements_in(server_watch.log_since_mark())
    assert "pg_catalog" in statements
    return plant(watched, statements)


def run(path: Callable[[Any], Any], url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("set log_statement = 'none'; set debug_print_parse = off")
        connection.execute("drop schema if exists workflows cascade")
        connection.execute("truncate kinds, kept; insert into kinds values (1, 'fine', 1, 1, 'one')")
    if path is test_databases:
        path(url)
        return

    async def use() -> None:
        async with Database(url) as db:
            await path(db)

    asyncio.run(use())


def plant(url: str, statements: str) -> dict[int, str]:
    """Plant, as a plain role, whatever has the name of an operator or a function in statements; return it by oid."""
    operators = sorted(set(re.findall(r"[-+*/<>=~!@#%^&|`?]+", statements)))
    names = sorted(set(re.findall(r"\b([a-z_][a-z0-9_]*)\s*\(", statements.lower())))
    with psycopg.connect(url) as connection:
        for setting in ("log_statement = 'none'", "debug_print_parse = off", "check_function_bodies = off"):
            connection.execute(f"set {setting}")
        connection.execute("set log_min_messages = error; set role planter")
        types, three = (sql.Literal(kinds) for kinds in (TYPES, THREE))
        for template, wanted in ((OPERATORS, operators), (FUNCTIONS, names)):
            connection.execute(
                sql.SQL(template).format(types=types, three=three, names=sql.Literal(wanted), body=sql.SQL(BODY))
            )
        connection.execute("reset role")
        found = connection.execute(
            """
            select oid::int8, oid::regoperator::text from pg_operator where oprowner = 'planter'::regrole
            union all select oid::int8, oid::regprocedure::text from pg_proc where proowner = 'planter'::regrole
            """
        )
        return dict(found.fetchall())


def taken_for(log: str) -> set[int]:
    """The operators and functions that the names in the logged statements were taken for."""
    return {int(oid) for oid in re.findall(r":(?:opno|opfuncid|funcid|aggfnoid|winfnoid) (\d+)", log)}


def statements_in(log: str) -> str:
    return "\n".join(re.findall(r"(?:statement|execute [^:]*): (.*?)(?=\n\d{4}-|\Z)", log, re.DOTALL))


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.__name__)
def test_scenario_63_what_was_planted_is_never_called(
    path: Callable[[Any], Any], planted: dict[int, str], watched: str, server_watch: ServerWatch
) -> None:
    """Nothing of it is what a name in a statement of ours is taken for, though a superuser runs them all."""
    server_watch.mark()

    run(path, watched)

    log = server_watch.log_since_mark()
    called = {planted[oid] for oid in taken_for(log) & planted.keys()}
    assert len(planted) > 900
    assert taken_for(log)
    assert not called
    assert "PLANTED" not in log
