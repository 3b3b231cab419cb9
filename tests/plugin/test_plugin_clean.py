"""Clean tests are never blamed, in whatever style they are written."""

from __future__ import annotations

import pytest
from suites import CONFTEST, OWN_ENGINES, RunSuite

pytestmark = [pytest.mark.second_tier, pytest.mark.usefixtures("clean_server")]

CLEAN_SUITE = """
import asyncio
import os
import pytest
from sqlalchemy import text
from asyncdb_nb import Database
from things import add, count

{busy}
pytestmark = [{mark}pytest.mark.parametrize("isolation", [
    pytest.param(f"{{isolation}}-{{number}}", marks=pytest.mark.asyncdb(isolation=isolation))
    for isolation, numbers in {numbers}.items()
    for number in range(numbers)
])]

async def test_session(asyncdb, isolation):
    await add(asyncdb, isolation)

async def test_fixture(asyncdb_session, isolation):
    await asyncdb_session.execute(text("select 1"))

async def test_tasks(asyncdb, isolation):
    await asyncio.gather(count(asyncdb), count(asyncdb))

async def test_connection(asyncdb, isolation):
    async with asyncdb.engine.connect() as connection:
        await connection.execute(text("select 1"))
"""
BUSY = """
import pytest_asyncio

@pytest_asyncio.fixture(scope="session", loop_scope="session", autouse=True)
async def busy():
    async def work():
        while True:
            async with database.session() as session:
                await session.execute(text("select pg_sleep(0.001)"))
            await asyncio.sleep(0)

    async with Database(os.environ["DATABASE_URL"]) as database, database.session() as lasting:
        await lasting.execute(text("select 1"))
        task = asyncio.create_task(work())
        yield
        task.cancel()
        await asyncio.wait([task])
"""


@pytest.mark.parametrize(
    ("mode", "workers", "numbers"),
    [
        ("session loop", 0, {"rollback": 30, "clone": 1, "truncate": 3, "none": 6}),
        ("asyncio", 2, {"rollback": 10, "clone": 1, "truncate": 2, "none": 3}),
        ("anyio", 0, {"rollback": 10, "clone": 1, "truncate": 2, "none": 3}),
        *(
            pytest.param(
                *(mode, workers, dict.fromkeys(("rollback", "clone", "truncate", "none"), 250)),
                marks=[pytest.mark.soak, pytest.mark.timeout(1800)],
            )
            for mode, workers in (("session loop", 0), ("asyncio", 2), ("anyio", 0))
        ),
    ],
    ids=lambda value: f"{4 * sum(value.values())} tests" if isinstance(value, dict) else None,
)
def test_clean_tests_are_not_blamed(run_suite: RunSuite, mode: str, workers: int, numbers: dict[str, int]) -> None:
    """In every isolation; on one loop also beside a fixture of the session with a task of its own and a transaction.

    With `-m soak` each style has a thousand of them.
    """
    suite = CLEAN_SUITE.format(
        busy=BUSY if mode == "session loop" else "",
        mark="pytest.mark.anyio, " if mode == "anyio" else "",
        numbers=numbers,
    )

    run_suite("-n", str(workers), mode=mode, files={"test_it": suite}, seconds=1700, passed=4 * sum(numbers.values()))


BEFORE_THE_TESTS = """
import os
from asyncdb_nb import Database, run

database = Database(os.environ["DATABASE_URL"])
before = database.engine.connect()

def pytest_runtestloop():
    run(before.start())

def pytest_sessionfinish():
    run(before.close())
    run(database.aclose())
"""
GIVEN_BACK = """
from asyncdb_nb import run

@pytest.mark.asyncio(loop_scope="session")
async def test_a_task_that_is_about_to_give_its_connection_back(asyncdb):
    async def linger():
        async with asyncdb.engine.connect():
            begun.set()
            await asyncio.sleep(0.05)

    begun = asyncio.Event()
    kept.append(asyncio.create_task(linger()))
    await begun.wait()

async def test_detached():
    engine = create_async_engine(url)
    async with engine.connect() as connection:
        await connection.run_sync(lambda sync_connection: sync_connection.detach())
    await engine.dispose()

async def test_invalidated():
    engine = create_async_engine(url)
    kept.append(engine)
    async with engine.connect() as connection:
        await connection.invalidate()

async def test_disposed():
    engine = create_async_engine(url)
    async with engine.connect() as connection:
        await connection.execute(text("select 1"))
    await engine.dispose()

@pytest.fixture(scope="module")
def memory():
    engine = create_async_engine("sqlite+aiosqlite://")
    yield engine
    run(engine.dispose())

@pytest.mark.parametrize("number", range(2))
async def test_sqlite_whose_connections_serve_any_loop(memory, number):
    async with memory.connect() as connection:
        await connection.execute(text("select 1"))
"""

IN_THE_BACKGROUND = """
import psycopg

pytestmark = [pytest.mark.asyncdb(isolation="clone"), pytest.mark.timeout(300)]

def rows(statement, number):
    while len(found := look.execute(statement).fetchall()) != number:
        pass
    return found

def test_the_next_databases_are_ready(asyncdb):
    global look, guest
    look = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)
    _, _, run_id, worker, number = asyncdb.url.database.split("_")
    rows(f"select from pg_database where datname = 'asyncdb_test_{run_id}_{worker}_{int(number) + 2}'", 1)
    [[template]] = rows(f"select datname from pg_database where datname like '%{run_id}_template%'", 1)
    guest = psycopg.connect(os.environ["DATABASE_URL"], dbname=template)  # so nothing can be copied from it

def test_one_more_is_being_made(asyncdb):
    rows("select from pg_stat_activity where state = 'active' and query like 'create database%'", 1)

def test_it_can_be_made():
    guest.close()
    look.close()
"""


def test_what_is_given_back_in_another_way_is_no_leak(run_suite: RunSuite) -> None:
    """Nor is what was opened before the tests, by whom nobody can know; nor what the plugin does meanwhile."""
    pytest.importorskip("aiosqlite")
    files = {
        "conftest": CONFTEST + BEFORE_THE_TESTS,
        "test_it": OWN_ENGINES + GIVEN_BACK,
        "test_meanwhile": OWN_ENGINES + IN_THE_BACKGROUND,
    }

    run_suite(files=files, passed=9)
