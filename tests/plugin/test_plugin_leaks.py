"""Every kind of leak is pinned on its test and its line, and clean tests are never blamed."""

from __future__ import annotations

import re

import pytest
from suites import RunSuite

pytestmark = pytest.mark.usefixtures("clean_server")

START = """
import asyncio
import os
import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

url = os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+asyncpg://")
kept = []

async def doze(db, statement):
    async with db.session() as session:  # LINE of task and query
        await session.execute(text(statement))
        await asyncio.sleep(60)
"""

LEAVE = {
    "session": """
    session = AsyncSession(asyncdb.engine)  # LINE
    await session.execute(text("select 1"))
    kept.append(session)""",
    "connection": """
    kept.append(await asyncdb.engine.connect())  # LINE""",
    "transaction": """
    connection = await asyncdb.engine.connect()  # LINE
    await connection.execute(text("select 1"))
    kept.append(connection)""",
    "query": """
    kept.append(asyncio.create_task(doze(asyncdb, "select pg_sleep(60)")))
    await asyncio.sleep(0.1)""",
    "task": """
    kept.append(asyncio.create_task(doze(asyncdb, "select 1")))
    await asyncio.sleep(0.1)""",
    "engine": """
    engine = create_async_engine(url)  # LINE
    kept.append(engine)
    async with engine.connect() as connection:
        await connection.execute(text("select 1"))""",
}
WORDS = {
    "session": "a session with an open transaction,",
    "connection": "a connection,",
    "transaction": "a connection with an open transaction,",
    "query": "a query that is still running,",
    "task": "a task that holds a connection,",
    "engine": "an engine with connections to a loop that has ended,",
}
MANNERS = {
    "forgotten": """
async def test_{kind}_forgotten(asyncdb):{leave}
""",
    "raised": """
async def test_{kind}_raised(asyncdb):{leave}
    raise LookupError
""",
    "cancelled": """
async def test_{kind}_cancelled(asyncdb):
    async def work():{indented}
        await asyncio.sleep(60)

    try:
        async with asyncio.timeout(0.5):
            await work()
    except TimeoutError:
        pass
""",
    "fixture": """
@pytest_asyncio.fixture
async def {kind}_of_a_fixture(asyncdb):{leave}

async def test_{kind}_fixture({kind}_of_a_fixture):
    pass
""",
}
CLEAN = """
async def test_{kind}_{manner}_leaves_the_next_one_clean(asyncdb):
    async with asyncdb.session() as session:
        assert await session.scalar(text("select 1")) == 1
"""


def a_suite_of_all_leaks() -> tuple[list[str], dict[str, range]]:
    """A suite of 24 leaking tests, each followed by a clean one: its lines, and those in which each test opens."""
    lines = START.splitlines()
    opened = {}
    doze = range(len(lines))
    for kind, leave in LEAVE.items():
        for manner, test in MANNERS.items():
            part = test.format(kind=kind, leave=leave, indented=leave.replace("\n", "\n    ")).splitlines()
            place = range(len(lines), len(lines) + len(part))
            opened[f"{kind}_{manner}"] = doze if kind in ("task", "query") else place
            lines += [*part, *CLEAN.format(kind=kind, manner=manner).splitlines()]
    return lines, opened


def blamed(result: pytest.RunResult) -> dict[str, str]:
    """What each test that was blamed is told."""
    return dict(re.findall(r"_ ERROR at teardown of test_(\w+) _+\n(.*)", "\n".join(result.outlines)))


@pytest.mark.parametrize(("mode", "isolation"), [("asyncio", "rollback"), ("session loop", "none")])
def test_each_kind_of_leak_is_pinned_on_its_test_and_line(run_suite: RunSuite, mode: str, isolation: str) -> None:
    """Six resources: forgotten, left by an error, by a cancellation, by a fixture. The tests between them are clean.

    On a loop that lasts as long as the session, the engines are found when it ends.
    """
    lines, opened = a_suite_of_all_leaks()
    files = {"test_it": "\n".join(lines)}
    lasting = mode == "session loop"
    outcomes = {"passed": 42, "failed": 6, "errors": 21 if lasting else 24}

    result = run_suite("-o", f"asyncdb_isolation={isolation}", mode=mode, files=files, **outcomes)

    told = blamed(result)
    for name, place in opened.items():
        kind, manner = name.split("_")
        if kind == "engine" and lasting:
            assert name not in told
            continue
        who = f"The fixture '{kind}_of_a_fixture'" if manner == "fixture" else f"test_{name}"
        assert told[name].startswith(f"{who} left {WORDS[kind]}"), told[name]
        number = int(re.search(r"opened at test_it\.py:(\d+) in ", told[name])[1]) - 1
        assert number in place, told[name]
        assert "# LINE" in lines[number], told[name]
    if lasting:
        told_at_the_end = {
            line for line in result.outlines if line.startswith(("test_", "The ")) and "left an engine" in line
        }
        assert len(told_at_the_end) == 4  # where the summary is not cut (CI is set), each is told twice


def test_a_thousand_clean_tests_are_not_blamed(run_suite: RunSuite) -> None:
    """Also not with a task in the background that a fixture of the session keeps busy with queries."""
    suite = """
import asyncio
import os
import pytest
import pytest_asyncio
from sqlalchemy import text
from asyncdb_nb import Database
from things import add, count

@pytest_asyncio.fixture(scope="session", loop_scope="session", autouse=True)
async def busy():
    async def work():
        while True:
            async with database.session() as session:
                await session.execute(text("select pg_sleep(0.001)"))
            await asyncio.sleep(0)

    async with Database(os.environ["DATABASE_URL"]) as database:
        task = asyncio.create_task(work())
        yield
        task.cancel()
        await asyncio.wait([task])

@pytest.mark.parametrize("number", range(250))
class TestClean:
    async def test_session(self, asyncdb, number):
        await add(asyncdb)

    async def test_fixture(self, asyncdb_session, number):
        await asyncdb_session.execute(text("select 1"))

    async def test_tasks(self, asyncdb, number):
        await asyncio.gather(count(asyncdb), count(asyncdb))

    async def test_connection(self, asyncdb, number):
        async with asyncdb.engine.connect() as connection:
            await connection.execute(text("select 1"))
"""
    run_suite(mode="session loop", files={"test_it": suite}, passed=1000)


def test_a_warning_names_the_test_and_off_says_nothing(run_suite: RunSuite) -> None:
    suite = START + MANNERS["forgotten"].format(kind="session", leave=LEAVE["session"])

    warned = run_suite("--asyncdb-leaks=warn", "-W", "default", files={"test_it": suite}, passed=1)
    silent = run_suite("--asyncdb-leaks=off", files={"test_it": suite}, passed=1)

    warned.stdout.fnmatch_lines(["*LeakWarning: test_session_forgotten left a session*test_it.py:*"])
    silent.stdout.no_fnmatch_line("*left a session*")


def test_a_suite_without_the_fixtures_is_left_alone_unless_it_asks(run_suite: RunSuite) -> None:
    """Any engine of the process is watched then, with any pool."""
    suite = (
        START
        + """
from sqlalchemy.pool import NullPool

async def test_forgets():
    engine = create_async_engine(url, poolclass=NullPool)
    kept.append(await engine.connect())
"""
    )
    free = "import sys\n\nasync def test_it():\n    assert 'sqlalchemy' not in sys.modules\n"

    result = run_suite("--asyncdb-leaks=error", files={"test_it": suite}, passed=1, errors=1)
    run_suite(files={"conftest": "", "things": "", "test_it": free}, passed=1)

    assert blamed(result)["forgets"].startswith("test_forgets left a connection, opened at test_it.py:")
