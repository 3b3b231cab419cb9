"""Scenarios 1 to 7, 14 and 15: suites as people have them, whose tests have loops of their own, or one for all."""

from __future__ import annotations

import pytest
from suites import CONFTEST, NO_BACKEND_AFTER_EACH_TEST, RunSuite

pytestmark = pytest.mark.usefixtures("clean_server")  # which also looks for connections without a Terminate message

TWO_HUNDRED = """
import pytest
from things import add, count

@pytest.mark.parametrize("number", range(200))
async def test_commits(asyncdb, number):
    await add(asyncdb)
    assert await count(asyncdb) == 1
"""

ENGINE = """
import os
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

url = os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+asyncpg://")
engine = create_async_engine(url, pool_pre_ping=True)

async def one(bind=engine):
    async with AsyncSession(bind) as session:
        return await session.scalar(text("select 1"))
"""


@pytest.mark.second_tier
def test_scenario_01_two_hundred_tests_on_two_hundred_loops(run_suite: RunSuite) -> None:
    """No warning, no sleep, and after each test no backend is left on the databases of the run."""
    files = {"conftest": CONFTEST + NO_BACKEND_AFTER_EACH_TEST, "test_it": TWO_HUNDRED}

    run_suite(files=files, passed=200)


@pytest.mark.second_tier
def test_scenario_02_five_connections_in_parallel_in_each_test(run_suite: RunSuite) -> None:
    """The same two hundred loops, with the pool as it is by default: a thousand connections, and none is left."""
    suite = """
import asyncio
import pytest

@pytest.mark.asyncdb(isolation="none")
@pytest.mark.parametrize("number", range(200))
async def test_five(asyncdb, number):
    async def pid(barrier):
        async with asyncdb.engine.connect() as connection:
            await barrier.wait()
            return (await connection.exec_driver_sql("select pg_backend_pid()")).scalar()

    barrier = asyncio.Barrier(5)
    assert len(set(await asyncio.gather(*(pid(barrier) for _ in range(5))))) == 5
"""
    run_suite(files={"conftest": CONFTEST + NO_BACKEND_AFTER_EACH_TEST, "test_it": suite}, passed=200)


def test_scenario_03_six_modules_share_one_engine_that_cannot_be_changed(run_suite: RunSuite) -> None:
    """The cure: the engine has the default pool in the code, and works on every loop."""
    module = "from shared import one\n\n" + "".join(
        f"async def test_{n}():\n    assert await one() == 1\n" for n in "abc"
    )
    files = {f"test_module_{number}": module for number in range(6)}

    result = run_suite("--asyncdb-cure", "--asyncdb-leaks=error", files={"shared": ENGINE, **files}, passed=18)

    result.stdout.fnmatch_lines(
        ["asyncdb_nb: every async engine of this process gets LoopBoundPool", "*postgresql+asyncpg://*shared.py:*"]
    )


def test_scenario_04_a_session_scoped_engine_serves_tests_with_loops_of_their_own(run_suite: RunSuite) -> None:
    suite = """
import pytest, pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy import text
from asyncdb_nb import WrongLoopError
import shared

@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def engine():
    engine = shared.create_async_engine(shared.url)
    await shared.one(engine)
    yield engine
    await engine.dispose()

@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def session(engine):
    async with AsyncSession(engine) as session:
        await session.execute(text("select 1"))
        yield session

@pytest.mark.parametrize("number", range(20))
async def test_engine(engine, number):
    assert await shared.one(engine) == 1

async def test_a_session_that_crosses_loops_is_told_so(session):
    with pytest.raises(WrongLoopError, match="opened on event loop"):
        await session.execute(text("select 1"))
"""
    run_suite("--asyncdb-cure", "--asyncdb-leaks=error", files={"shared": ENGINE, "test_it": suite}, passed=21)


ONE_LOOP = """
import os
import time
import psycopg
import pytest
import shared
from shared import text
from things import add, count

LEFT = "select count(*) from pg_stat_activity where application_name = 'theirs'"
pids = set()

{engine_fixture}
async def engine({backend}):
    settings = dict(server_settings=dict(application_name="theirs"))
    engine = shared.create_async_engine(shared.url, connect_args=settings)
    yield engine
    await engine.dispose()
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        end = time.monotonic() + 90
        while connection.execute(LEFT).fetchone()[0]:
            assert time.monotonic() < end, "backends are left"

{mark}
@pytest.mark.parametrize("number", range({number}))
async def test_one(engine, asyncdb, number):
    await add(asyncdb)
    assert await count(asyncdb) == 1
    for bind in (engine, asyncdb.engine):
        async with bind.connect() as connection:
            pids.add((await connection.execute(text("select pg_backend_pid()"))).scalar())
    assert len(pids) == 2
"""
ONE_LOOP_BY = {
    "session loop": {
        "engine_fixture": 'import pytest_asyncio\n\n@pytest_asyncio.fixture(scope="session", loop_scope="session")',
        "backend": "",
        "mark": "",
    },
    "anyio": {
        "engine_fixture": """
@pytest.fixture(scope="session")
def anyio_backend():
    return "asyncio"

@pytest.fixture(scope="session")""",
        "backend": "anyio_backend",
        "mark": "@pytest.mark.anyio",
    },
}


@pytest.mark.parametrize(("mode", "number"), [("session loop", 200), ("anyio", 20)])
@pytest.mark.second_tier
def test_scenario_05_two_hundred_tests_on_one_loop(run_suite: RunSuite, mode: str, number: int) -> None:
    """An engine of the suite's own, with its default pool, has one connection in all; one dispose() closes it.

    The same holds for the plugin's database, each of whose states is clean.
    """
    suite = ONE_LOOP.format(number=number, **ONE_LOOP_BY[mode])

    run_suite(mode=mode, files={"shared": ENGINE, "test_it": suite}, passed=number)


def test_scenario_06_07_and_14_loops_that_end_one_after_another(run_suite: RunSuite) -> None:
    """Synchronous tests with `asyncio.run`, loops closed by hand, async tests: one engine serves them all."""
    suite = """
import asyncio
from shared import one

def test_sync():
    assert asyncio.run(one()) == 1
    assert asyncio.run(one()) == 1

async def test_async():
    assert await one() == 1

def test_by_hand():
    loop = asyncio.new_event_loop()
    assert loop.run_until_complete(one()) == 1
    loop.close()

async def test_async_again():
    assert await one() == 1
"""
    run_suite("--asyncdb-cure", "--asyncdb-leaks=error", files={"shared": ENGINE, "test_it": suite}, passed=4)


@pytest.mark.second_tier
@pytest.mark.keeps_connections  # the child ends by `os._exit`, and its transaction's connection with it
def test_scenario_15_a_test_that_forks(run_suite: RunSuite) -> None:
    """Child and parent both go on: the child with connections of its own, the parent with its transaction.

    A child that comes back from the test ends there: it neither runs the next tests nor drops the parent's databases.
    """
    suite = """
import asyncio
import os
import sys
import pytest
from asyncdb_nb import run
from things import add, count

async def parent(db):
    await add(db)
    child = os.fork()
    if not child:
        os._exit(0 if use_in_child(db) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert await count(db) >= 1

def use_in_child(db):
    import threading
    done = []
    thread = threading.Thread(target=lambda: done.append(asyncio.run(count(db))))
    thread.start()
    thread.join(90)
    return bool(done)

pytestmark = [
    # From 3.12 on Python warns of any fork beside threads, and the plugin has one. Such a child is what is tested here.
    pytest.mark.filterwarnings("ignore:This process:DeprecationWarning"),
    pytest.mark.timeout(300),
    pytest.mark.parametrize("isolation", [
        pytest.param(name, marks=pytest.mark.asyncdb(isolation=name)) for name in ("rollback", "clone")
    ]),
]

async def test_forks(asyncdb, isolation):
    await parent(asyncdb)

@pytest.mark.parametrize(("end", "status"), [("pass", 0), ("sys.exit(3)", 3), ("1 / 0", 1)])
def test_the_child_comes_back(asyncdb, isolation, end, status):
    child = os.fork()
    if not child:
        exec(end)
        return
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == status
    assert run(count(asyncdb)) == 0

async def test_is_clean(asyncdb, isolation):
    assert await count(asyncdb) == 0
"""
    run_suite(files={"test_it": suite}, passed=10)
