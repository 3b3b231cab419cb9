"""Scenario 66: a test that asks for a clean database commits to no other one."""

from __future__ import annotations

import pytest
from server_checks import ServerWatch
from suites import RunSuite

from asyncdb_nb.pytest_plugin.leaks import unisolated_engines

pytestmark = [pytest.mark.usefixtures("clean_server"), pytest.mark.second_tier, pytest.mark.timeout(600)]

SHOP = """
import os
from asyncdb_nb import LoopBoundPool
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

def url(driver):
    return os.environ["DATABASE_URL"].replace("postgresql://", f"postgresql+{driver}://")

Session = async_sessionmaker(
    create_async_engine(url("asyncpg"), poolclass=LoopBoundPool)  # LINE
)
engine = Session.kw["bind"]
plain_engine = create_engine(url("psycopg"))  # PLAIN

async def order():
    async with Session.begin() as session:
        await session.execute(text("create table orders (id int)"))
"""
START = """
import asyncio
import pytest
from asyncdb_nb import Database
from shop import Session, engine, order, plain_engine
from things import add, count, text

@pytest.fixture(autouse=True)
def no_connection_is_left():
    yield
    plain_engine.dispose()
"""

REFUSED = """
async def test_forgets_the_override(asyncdb):
    await order()

async def test_has_a_session_of_its_own(asyncdb_session):
    await order()

def test_knows_the_server_only(asyncdb_url):
    asyncio.run(order())

async def test_catches_the_error(asyncdb):
    with pytest.raises(Exception):
        await order()

async def test_commits_every_statement(asyncdb):
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        await connection.execute(text("create table orders (id int)"))

@pytest.mark.parametrize("statement", ["select lo_create(0)", "explain analyze create table orders as select 1 as id"])
async def test_commits_what_does_not_look_like_a_write(asyncdb, statement):
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        await connection.execute(text(statement))

def test_commits_every_statement_of_a_plain_engine(asyncdb):
    with plain_engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text("select 1 as id into orders"))

async def test_commits_by_a_statement(asyncdb):
    async with engine.connect() as connection:
        await connection.execute(text("create table orders (id int)"))
        await connection.exec_driver_sql("-- of the application\\ncommit")

def test_commits_by_the_last_of_several_statements(asyncdb):
    with plain_engine.connect() as connection:
        connection.exec_driver_sql("create table orders (id int); commit")

async def test_writes_by_a_function(asyncdb):
    async with Session.begin() as session:
        await session.execute(text("select lo_create(0)"))

def test_uses_a_plain_engine(asyncdb):
    with plain_engine.begin() as connection:
        connection.execute(text("create table orders (id int)"))

async def test_writes_beside_the_transaction(asyncdb):
    async with Database(asyncdb.url) as beside:  # BESIDE
        await add(beside)

@pytest.fixture
async def order_by_fixture():
    await order()

async def test_has_a_fixture_that_writes(asyncdb, order_by_fixture):
    pass
"""

ALLOWED = """
async def test_reads(asyncdb):
    async with Session.begin() as session:
        assert await session.scalar(text("with one as (select 1 as n) select n from one")) == 1

at_once = engine.execution_options(isolation_level="AUTOCOMMIT")
READ_ONLY = "show default_transaction_read_only"

async def test_reads_at_once(asyncdb):
    async with at_once.connect() as connection:
        await connection.execute(text("select pg_advisory_lock(1), pg_advisory_unlock(1), pg_notify('orders', '')"))
        await connection.execute(text("set application_name = 'reader'"))
        await connection.exec_driver_sql("begin")
        with pytest.raises(Exception, match="division by zero"):
            await connection.exec_driver_sql("select 1 / 0")
        await connection.exec_driver_sql("rollback")

async def test_later_writes_at_once():
    async with at_once.connect() as connection:
        assert (await connection.exec_driver_sql(READ_ONLY)).scalar() == "off"
        await connection.execute(text("create table orders (id int)"))
        await connection.execute(text("drop table orders"))

async def test_rolls_back(asyncdb):
    async with Session() as session:
        await session.execute(text("create table orders (id int)"))
        await session.execute(text("do $$ begin insert into orders values (1); end; $$"))

async def test_commits_what_has_failed(asyncdb):
    async with engine.connect() as connection:
        with pytest.raises(Exception, match="nowhere"):
            await connection.execute(text("select * from nowhere"))
        await connection.commit()

async def test_commits_through_sessions_of_asyncdb(asyncdb, asyncdb_session):
    await add(asyncdb)
    await asyncdb_session.execute(text("insert into things (name) values ('two')"))
    await asyncdb_session.commit()
    assert await count(asyncdb) == 2

@pytest.mark.parametrize("isolation", [
    pytest.param(name, marks=pytest.mark.asyncdb(isolation=name)) for name in ("clone", "truncate", "none")
])
async def test_has_an_engine_on_a_database_that_is_cleaned(asyncdb, isolation):
    async with Database(asyncdb.url) as beside:
        await add(beside)
    assert await count(asyncdb) == 1

@pytest.mark.asyncdb(other_engines="allow")
async def test_means_that_database(asyncdb):
    await order()
    async with Session.begin() as session:
        await session.execute(text("drop table orders"))

async def test_does_not_ask_for_a_clean_database():
    await order()
    async with Session.begin() as session:
        await session.execute(text("drop table orders"))

@pytest.fixture(scope="module")
def lasting():
    with plain_engine.begin() as connection:
        connection.execute(text("create table lasting (id serial)"))
    yield
    with plain_engine.begin() as connection:
        connection.execute(text("drop table lasting"))

async def test_has_a_fixture_of_the_module_that_writes(asyncdb, lasting):
    async with at_once.connect() as connection:
        await connection.execute(text("select nextval('lasting_id_seq')"))
        await connection.execute(text("select * from lasting for update skip locked"))
"""


WRITING = [
    "insert into t values (1)",
    "/* of the\napplication */ UPDATE t set a = 1",
    "-- of the application\n(delete from t)",
    "with new as (insert into t values (1) returning a)\nselect a from new",
    "WITH old AS (select 1) update t set a = 2",
    "call post()",
    "explain (analyze) create table t as select 1",
    "do $$ begin end $$",
]
READING = [
    "select 1",
    "(select 'insert into t')",
    "with one as (select 1) select * from one for update",
    "-- insert\nselect 1",
    "/* update */ show all",
    "document",
    "explain analyze select 1",
]


@pytest.mark.parametrize("statement", WRITING)
def test_a_statement_that_writes_is_known_without_the_server(statement: str) -> None:
    """Where each statement is committed at once, it has to be refused before it runs."""
    assert unisolated_engines._WRITES.match(statement)


@pytest.mark.parametrize("statement", READING)
def test_a_statement_that_reads_is_known_without_the_server(statement: str) -> None:
    assert not unisolated_engines._WRITES.match(statement)


@pytest.mark.parametrize("statement", ["/* a */ " * 100, "-- a\n" * 100, " " * 50_000, "select 1;" + "/* b */ " * 100])
def test_a_statement_behind_many_blanks_is_looked_at_at_once(statement: str) -> None:
    """Every statement of every engine is; a pattern that tries all ways to read comments would take years."""
    patterns = unisolated_engines._WRITES, unisolated_engines._COMMITS, unisolated_engines._KEEPS_NO_ROW

    assert not any(pattern.search(f"{statement}x") for pattern in patterns[2:])
    assert not any(pattern.match(f"{statement}x") for pattern in patterns[:2])


def line_of(text: str, mark: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), 1) if line.endswith(f"# {mark}"))


def test_scenario_66_a_commit_elsewhere_is_refused_with_the_line_of_the_engine(
    run_suite: RunSuite, clean_server: ServerWatch
) -> None:
    """Before it is committed; also where the code under test catches the error, and for an engine that is not async."""
    result = run_suite(files={"shop": SHOP, "test_it": START + REFUSED}, failed=13, errors=1)

    told = [line for line in result.outlines if "commits through an engine that is not isolated" in line]
    assert sum(f"made at shop.py:{line_of(SHOP, 'LINE')} in <module>." in line for line in told) >= 7
    assert sum(f"made at shop.py:{line_of(SHOP, 'PLAIN')} in <module>." in line for line in told) >= 1
    beside = line_of(START + REFUSED, "BESIDE")
    assert sum(f"made at test_it.py:{beside} in test_writes_beside_the_transaction." in line for line in told) >= 1
    assert clean_server.query("select 1 from pg_class where relname = 'orders'") == []


def test_what_is_not_committed_or_meant_is_let_through(run_suite: RunSuite) -> None:
    """Reads, rollbacks, databases that are cleaned otherwise, wider fixtures, and whatever the marker allows."""
    run_suite(files={"shop": SHOP, "test_it": START + ALLOWED}, passed=12)


def test_a_suite_can_allow_it(run_suite: RunSuite, clean_server: ServerWatch) -> None:
    """`asyncdb_other_engines = allow`; a marker is nearer."""
    suite = """
async def test_orders(asyncdb):
    await order()

@pytest.mark.asyncdb(other_engines="refuse")
async def test_orders_no_more(asyncdb):
    async with Session.begin() as session:
        await session.execute(text("drop table orders"))
"""
    run_suite("-o", "asyncdb_other_engines=allow", files={"shop": SHOP, "test_it": START + suite}, passed=1, failed=1)

    clean_server.query("drop table orders")
