"""The first fifteen scenarios: suites as people have them, each run from outside."""

from __future__ import annotations

import re

import pytest
from server_checks import ServerWatch
from suites import CONFTEST, NO_BACKEND_AFTER_EACH_TEST, NO_BUSY_BACKEND_AFTER_EACH_TEST, RunSuite

pytestmark = pytest.mark.usefixtures("clean_server")  # which also looks for connections without a goodbye

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


def test_scenario_01_two_hundred_tests_on_two_hundred_loops(run_suite: RunSuite) -> None:
    """No warning, no sleep, and after each test no backend is left on the databases of the run."""
    files = {"conftest": CONFTEST + NO_BACKEND_AFTER_EACH_TEST, "test_it": TWO_HUNDRED}

    run_suite(files=files, passed=200)


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
        end = time.monotonic() + 1
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


LEAKS = """
import asyncio
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from things import add, count

async def test_forgets_a_session(asyncdb):
    global forgotten
    forgotten = AsyncSession(asyncdb.engine)
    await forgotten.execute(text("insert into things (name) values ('forgotten')"))

async def test_is_clean(asyncdb):
    assert not forgotten.in_transaction()
    assert await count(asyncdb) == 0

async def test_leaves_a_query(asyncdb):
    async def work():
        async with asyncdb.session() as session:
            await session.execute(text("select 1"))
            begun.set()
            await session.execute(text("select pg_sleep(60)"))

    global task
    begun = asyncio.Event()
    task = asyncio.create_task(work())
    await begun.wait()

async def test_is_clean_as_well(asyncdb):
    assert task.cancelled()
    assert await count(asyncdb) == 0
"""


@pytest.mark.parametrize("mode", ["asyncio", "session loop", "anyio"])
def test_scenario_08_and_09_what_a_test_leaves_is_its_own_fault(run_suite: RunSuite, mode: str) -> None:
    """The session and the query are named with their lines; the task is cancelled, and no backend is left of it.

    That is so at once, and the tests after them are clean. On a loop that goes on, the connection may stay, idle.
    """
    look = NO_BUSY_BACKEND_AFTER_EACH_TEST if mode == "session loop" else NO_BACKEND_AFTER_EACH_TEST
    suite = LEAKS.replace("async def test_", "@pytest.mark.anyio\nasync def test_") if mode == "anyio" else LEAKS
    line = dict(enumerate(suite.splitlines(), 1))
    session_line = next(number for number, text in line.items() if "= AsyncSession(" in text)
    query_line = next(number for number, text in line.items() if "with asyncdb.session()" in text)

    result = run_suite(mode=mode, files={"conftest": CONFTEST + look, "test_it": suite}, passed=4, errors=2)

    result.stdout.fnmatch_lines(
        [
            f"test_forgets_a_session* left a session*, opened at test_it.py:{session_line} in test_forgets_a_session;*",
            f"test_leaves_a_query* left a query*, opened at test_it.py:{query_line} in work;*'select pg_sleep(60)'*",
        ]
    )


def test_scenario_10_a_test_that_raises_or_times_out_in_mid_query(run_suite: RunSuite) -> None:
    """What it did is undone, in less than a second, and no backend is left of it; where it hung, that is named."""
    suite = """
import asyncio
import pytest
from sqlalchemy import text
from things import add, count

@pytest.mark.parametrize("isolation", [
    pytest.param(name, marks=pytest.mark.asyncdb(isolation=name)) for name in ("rollback", "clone", "truncate")
])
class TestEach:
    async def test_raises(self, asyncdb, isolation):
        async with asyncdb.session() as session:
            await add(asyncdb, "kept") if isolation == "clone" else await session.execute(text("select 1"))
            await session.execute(text("insert into things (name) values ('lost')"))
            raise LookupError

    async def test_times_out(self, asyncdb, isolation):
        await add(asyncdb)
        async with asyncio.timeout(0.1):
            async with asyncdb.session() as session:
                await session.execute(text("select pg_sleep(30)"))

    @pytest.mark.timeout(0.3, method="signal")
    async def test_is_timed_out_by_a_signal(self, asyncdb, isolation):
        await add(asyncdb)
        async with asyncdb.session() as session:
            await session.execute(text("select pg_sleep(30)"))

    async def test_is_clean(self, asyncdb, isolation):
        assert await count(asyncdb) == 0
"""
    files = {"conftest": CONFTEST + NO_BACKEND_AFTER_EACH_TEST, "test_it": suite}

    result = run_suite("--durations=0", quiet=False, files=files, passed=3, failed=9, errors=3)

    result.stdout.fnmatch_lines(["*timed_out_by_a_signal* left a query that is still running, *'select pg_sleep(30)'*"])
    seconds = [float(line.split("s")[0]) for line in result.outlines if re.match(r"\d+\.\d\ds teardown ", line)]
    assert seconds
    assert max(seconds) < 1


COMMITS = """
import asyncio
import pytest
from sqlalchemy import event
from things import add, count, things

pytestmark = [{mark}pytest.mark.parametrize("number", [
    pytest.param(f"{{isolation}}-{{number}}", marks=pytest.mark.asyncdb(isolation=isolation))
    for isolation in {isolations}
    for number in range({number})
])]
kept = []

async def test_in_sessions_of_its_own(asyncdb, number):
    assert await count(asyncdb) == 0
    await add(asyncdb)
    await add(asyncdb, "two")
    assert await count(asyncdb) == 2

async def test_in_the_session_of_the_fixture(asyncdb_session, asyncdb, number):
    await asyncdb_session.execute(things.insert().values(name="one"))
    await asyncdb_session.commit()
    await asyncdb_session.execute(things.insert().values(name="two"))
    await asyncdb_session.rollback()
    assert await count(asyncdb) == 1

async def test_and_rolls_back(asyncdb, number):
    with pytest.raises(LookupError):
        async with asyncdb.session() as session:
            await session.execute(things.insert().values(name="one"))
            raise LookupError
    assert await count(asyncdb) == 0

async def test_by_core_and_sees_it_in_a_frame(asyncdb, number):
    async with asyncdb.engine.begin() as connection:
        await connection.execute(things.insert().values(name="one"))
    assert (await asyncdb.frame("select name from things"))["name"].tolist() == ["one"]

async def test_leaves_the_session_of_the_fixture_in_a_transaction(asyncdb_session, number):
    await asyncdb_session.execute(things.insert().values(name="one"))

async def test_leaves_a_frame_half_read(asyncdb, number):
    await add(asyncdb)
    frames = asyncdb.frames("select generate_series(1, 100000) as n")
    kept.append(frames)
    await anext(frames)  # LINE

async def test_leaves_a_call_for_a_frame(asyncdb, number):
    await add(asyncdb)
    begun = asyncio.Event()
    event.listen(asyncdb.engine.sync_engine, "before_cursor_execute", lambda *_: begun.set())
    kept.append(asyncio.create_task(asyncdb.frame("select pg_sleep(60)")))  # LINE
    await begun.wait()

async def test_sees_nothing_of_it(asyncdb, number):
    assert await count(asyncdb) == 0
"""


def check_commits(result: pytest.RunResult) -> None:
    """What the tests of `COMMITS` leave behind is told, with the lines that are marked there."""
    lines = [number for number, line in enumerate(COMMITS.splitlines(), 1) if line.endswith("# LINE")]
    result.stdout.fnmatch_lines_random(
        [
            f"test_leaves_a_frame_half_read* left a session *, opened at test_it.py:{lines[0]} in test_leaves_*",
            f"test_leaves_a_call_for_a_frame* left a query *, opened at test_it.py:{lines[1]} in *pg_sleep(60)'*",
        ]
    )


SHUFFLED_ON_UVLOOP = """
import asyncio
import random
import uvloop

@pytest.fixture
def anyio_backend():
    return "asyncio", {"use_uvloop": True}

@pytest.fixture(autouse=True)
async def on_uvloop(anyio_backend):
    assert isinstance(asyncio.get_running_loop(), uvloop.Loop)

def pytest_collection_modifyitems(items):
    random.Random(11).shuffle(items)
"""


@pytest.mark.parametrize(
    ("mode", "conftest"),
    [("asyncio", CONFTEST), ("anyio", CONFTEST + SHUFFLED_ON_UVLOOP)],
    ids=["in order", "shuffled, on uvloop"],
)
def test_scenario_11_code_under_test_commits_and_the_next_test_sees_nothing(
    run_suite: RunSuite, mode: str, conftest: str
) -> None:
    """Through sessions, Core and frames, in every isolation; also not of what a test does not give back."""
    if "uvloop" in conftest:
        pytest.importorskip("uvloop")
    mark = "pytest.mark.anyio, " if mode == "anyio" else ""
    suite = COMMITS.format(mark=mark, isolations=("rollback", "clone", "truncate"), number=1)

    result = run_suite(mode=mode, files={"conftest": conftest, "test_it": suite}, passed=24, errors=6)

    check_commits(result)


@pytest.mark.parametrize("mode", ["asyncio", "anyio"])
def test_scenario_12_the_same_under_xdist_and_with_anyio(
    run_suite: RunSuite, clean_server: ServerWatch, mode: str
) -> None:
    """The workers build one template, and the last of them leaves no database behind. The header is there once."""
    suite = COMMITS.format(mark="pytest.mark.anyio, " if mode == "anyio" else "", isolations=["rollback"], number=4)

    result = run_suite("-n", "4", mode=mode, files={"test_it": suite}, passed=32, errors=8)

    check_commits(result)
    headers = [line for line in result.outlines if line.startswith("asyncdb_nb: ")]
    assert len(headers) == 1
    assert re.fullmatch(r"asyncdb_nb: PostgreSQL \S+ at .+, isolation rollback, leaks error", headers[0])
    assert clean_server.query("select datname from pg_database where datname like 'asyncdb_test_%'") == []


def test_scenario_13_fifty_databases_are_dropped(run_suite: RunSuite, clean_server: ServerWatch) -> None:
    """Never "being accessed by other users", and none is left."""
    suite = """
import pytest
from things import add, count

@pytest.mark.parametrize("number", range(50))
async def test_in_a_database_of_its_own(asyncdb, number):
    await add(asyncdb)
"""
    run_suite("-o", "asyncdb_isolation=clone", files={"test_it": suite}, passed=50)

    assert clean_server.query("select datname from pg_database where datname like 'asyncdb_test_%'") == []
    assert "being accessed by other users" not in clean_server.log_since_mark()


def test_scenario_15_a_test_that_forks(run_suite: RunSuite) -> None:
    """Child and parent both go on: the child with connections of its own, the parent with its transaction."""
    suite = """
import asyncio
import os
import pytest
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
    thread.join(10)
    return bool(done)

@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # Python 3.12: a fork beside threads, on purpose
@pytest.mark.parametrize("isolation", [
    pytest.param(name, marks=pytest.mark.asyncdb(isolation=name)) for name in ("rollback", "clone")
])
async def test_forks(asyncdb, isolation):
    await parent(asyncdb)

async def test_is_clean(asyncdb):
    assert await count(asyncdb) == 0
"""
    run_suite(files={"test_it": suite}, passed=3)
