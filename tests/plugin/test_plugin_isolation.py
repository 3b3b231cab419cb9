"""Scenarios 8 to 13: what a test commits, leaves behind or is stopped in does not reach the next one."""

from __future__ import annotations

import re

import pytest
from server_checks import ServerWatch
from suites import CONFTEST, NO_BACKEND_AFTER_EACH_TEST, NO_BUSY_BACKEND_AFTER_EACH_TEST, RunSuite

pytestmark = pytest.mark.usefixtures("clean_server")  # which also looks for connections without a Terminate message

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
            await session.execute(text("select pg_sleep(600)"))

    global task
    begun = asyncio.Event()
    task = asyncio.create_task(work())
    await begun.wait()

async def test_is_clean_as_well(asyncdb):
    assert task.cancelled()
    assert await count(asyncdb) == 0
"""


@pytest.mark.parametrize(
    "mode", ["asyncio", *(pytest.param(mode, marks=pytest.mark.second_tier) for mode in ("session loop", "anyio"))]
)
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
            f"test_leaves_a_query* left a query*, opened at test_it.py:{query_line} in work;*'select pg_sleep(600)'*",
        ]
    )


@pytest.mark.second_tier
def test_scenario_10_a_test_that_raises_or_times_out_in_mid_query(run_suite: RunSuite) -> None:
    """What it did is undone, and no backend is left of it; where it hung, that is named."""
    suite = """
import asyncio
import os
import signal
import sys
import threading
import psycopg
import pytest
from sqlalchemy import text
from things import add, count

def send_the_signal_of_the_timeout():
    asleep = "select 1 from pg_stat_activity where state = 'active' and query = 'select pg_sleep(600)'"
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as look:
        while not look.execute(asleep).fetchone():
            pass
    while sys._current_frames()[threading.main_thread().ident].f_code.co_name != "select":
        pass  # the loop has not yet come back from sending the statement
    os.kill(os.getpid(), signal.SIGALRM)

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
                await session.execute(text("select pg_sleep(600)"))

    @pytest.mark.timeout(600, method="signal")
    async def test_is_timed_out_by_a_signal(self, asyncdb, isolation):
        await add(asyncdb)
        async with asyncdb.session() as session:
            threading.Thread(target=send_the_signal_of_the_timeout).start()
            await session.execute(text("select pg_sleep(600)"))

    async def test_is_clean(self, asyncdb, isolation):
        assert await count(asyncdb) == 0
"""
    files = {"conftest": CONFTEST + NO_BACKEND_AFTER_EACH_TEST, "test_it": suite}

    result = run_suite(quiet=False, files=files, passed=3, failed=9, errors=3)

    result.stdout.fnmatch_lines(
        ["*timed_out_by_a_signal* left a query that is still running, *'select pg_sleep(600)'*"]
    )


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
    kept.append(asyncio.create_task(asyncdb.frame("select pg_sleep(600)")))  # LINE
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
            f"test_leaves_a_call_for_a_frame* left a query *, opened at test_it.py:{lines[1]} in *pg_sleep(600)'*",
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
    [("asyncio", CONFTEST), pytest.param("anyio", CONFTEST + SHUFFLED_ON_UVLOOP, marks=pytest.mark.second_tier)],
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


@pytest.mark.second_tier
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


@pytest.mark.second_tier
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
