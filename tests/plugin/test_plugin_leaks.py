"""Every kind of leak is pinned on its test and its line."""

from __future__ import annotations

import asyncio
import re

import pytest
from sqlalchemy.ext.asyncio import create_async_engine
from suites import CONFTEST, OWN_ENGINES, RunSuite
from tiers import few_of

from asyncdb_nb.aio.call_site import CallSite, here
from asyncdb_nb.pytest_plugin.leaks.detector import LeakDetector
from asyncdb_nb.pytest_plugin.leaks.report import Leak
from asyncdb_nb.pytest_plugin.leaks.where_engines_are_made import call_site_of
from asyncdb_nb.pytest_plugin.leaks.who_opened_what import Checkout, Owner

pytestmark = pytest.mark.usefixtures("clean_server")

START = (
    OWN_ENGINES
    + """
async def leave_behind(db, in_a_query):
    async def doze():
        async with db.session() as session:  # LINE of task and query
            await session.execute(text("select 1"))
            begun.set()
            await (session.execute(text("select pg_sleep(600)")) if in_a_query else asyncio.sleep(60))

    begun = asyncio.Event()
    kept.append(asyncio.create_task(doze()))
    await begun.wait()
"""
)
IN_NO_HURRY = """
from asyncdb_nb.pytest_plugin.leaks import detector

detector.GRACE_SECONDS = 0.02  # what these suites leave does not end by itself
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
    await leave_behind(asyncdb, in_a_query=True)""",
    "task": """
    await leave_behind(asyncdb, in_a_query=False)""",
    "engine": """
    engine = create_async_engine(url)  # LINE
    kept.append(engine)
    second_object = engine.execution_options(logging_token="second")
    async with engine.connect() as connection, second_object.connect() as another:
        await connection.execute(text("select 1"))
        await another.execute(text("select 1"))""",
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
        reached.set()
        await asyncio.sleep(60)

    reached = asyncio.Event()
    task = asyncio.create_task(work())
    await reached.wait()
    task.cancel()
    await asyncio.wait([task])
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


@pytest.mark.parametrize(("mode", "isolation"), few_of([("asyncio", "rollback"), ("session loop", "none")], 1))
def test_each_kind_of_leak_is_pinned_on_its_test_and_line(run_suite: RunSuite, mode: str, isolation: str) -> None:
    """Six resources: forgotten, left by an error, by a cancellation, by a fixture. The tests between them are clean.

    On a loop that lasts as long as the session, the engines are found when it ends; who left them is known then, too.
    """
    lines, opened = a_suite_of_all_leaks()
    files = {"conftest": CONFTEST + IN_NO_HURRY, "test_it": "\n".join(lines)}
    lasting = mode == "session loop"
    outcomes = {"passed": 42, "failed": 6, "errors": 21 if lasting else 24}

    result = run_suite("-o", f"asyncdb_isolation={isolation}", mode=mode, files=files, **outcomes)

    told = blamed(result) | engines_told_at_the_end(result)
    for name, place in opened.items():
        kind, manner = name.split("_")
        who = f"The fixture '{kind}_of_a_fixture'" if manner == "fixture" else f"test_{name}"
        assert told[name].startswith(f"{who} left {WORDS[kind]}"), told[name]
        number = int(re.search(r"opened at test_it\.py:(\d+) in ", told[name])[1]) - 1
        assert number in place, told[name]
        assert "# LINE" in lines[number], told[name]
    errors = "\n".join(result.outlines).split("short test summary info")[0]
    assert errors.count(" left an engine ") == 4, "each is told once, though it has two connections"


def engines_told_at_the_end(result: pytest.RunResult) -> dict[str, str]:
    """Of a suite with one loop: what the last teardown says about each test that left an engine."""
    found = {}
    for line in result.outlines:
        if who := re.match(r"(?:test_engine_(\w+)|The fixture 'engine_of_a_(fixture)') left an engine", line):
            found[f"engine_{who[1] or who[2]}"] = line
    return found


def test_the_lines_that_led_to_a_leak_are_few_and_end_at_the_loop() -> None:
    """What runs the loop is another matter; nor does a long statement fill the screen."""

    def deep(levels: int) -> CallSite:
        return deep(levels - 1) if levels else here()

    async def opens() -> tuple[CallSite, CallSite]:
        return here(), deep(9)

    shallow, deeper = asyncio.run(opens())
    leak = Leak("connection", "test_it", shallow, statement="select " + 50 * "1, " + "1")

    assert [function for _, _, function in shallow] == ["opens"]
    assert [function for _, _, function in deeper] == ["deep"] * 4
    assert f"the last statement was 'select {24 * '1, '}…'" in str(leak)


def test_an_engine_takes_all_its_options_beside_the_plugin() -> None:
    """SQLAlchemy looks at the signatures of its classes for the options of an engine."""
    options = {"echo": False, "hide_parameters": True, "logging_name": "a", "query_cache_size": 3, "pool_size": 2}

    engine = create_async_engine("postgresql+asyncpg://me@db.example.org/shop", **options)

    assert engine.sync_engine.hide_parameters
    assert call_site_of(engine.dialect)[0][0] == __file__


def test_what_was_left_on_a_loop_that_closed_unseen_is_told_once() -> None:
    """Nothing can be closed on such a loop, but whose it was is known."""
    loop = asyncio.new_event_loop()
    loop.close()
    record = type("Record", (), {"dbapi_connection": None})()
    detector = LeakDetector()
    detector.checkouts.out[record] = Checkout(
        None, record, loop, None, Owner(None, "test_it"), (("test_it.py", 3, "opens"),)
    )

    detector.close_forgotten(lambda checkout: True)
    detector.close_forgotten(lambda checkout: True)

    assert [f"{leak.owner} left {leak}" for leak in detector.leaks] == [
        "test_it left a connection, opened at test_it.py:3 in opens. Type `async with engine.connect() as connection:`."
    ]


@pytest.mark.second_tier
def test_a_warning_names_the_test_and_off_says_nothing(run_suite: RunSuite) -> None:
    suite = START + MANNERS["forgotten"].format(kind="session", leave=LEAVE["session"])

    warned = run_suite("--asyncdb-leaks=warn", files={"test_it": suite}, passed=1)
    silent = run_suite("--asyncdb-leaks=off", files={"test_it": suite}, passed=1)

    warned.stdout.fnmatch_lines(["*LeakWarning: test_session_forgotten left a session*test_it.py:*"])
    silent.stdout.no_fnmatch_line("*left a session*")


@pytest.mark.second_tier
def test_a_suite_without_the_fixtures_is_left_alone_unless_it_asks(run_suite: RunSuite) -> None:
    """Any engine of the process is watched then, with any pool, and each test on a lasting loop when it ends."""
    suite = (
        START
        + """
from sqlalchemy.pool import NullPool

async def test_forgets():
    engine = create_async_engine(url, poolclass=NullPool)
    kept.append(await engine.connect())

@pytest.fixture
def fails_as_well():
    yield
    raise LookupError("as well")

async def test_forgets_beside_a_fixture_that_fails(fails_as_well):
    engine = create_async_engine(url, poolclass=NullPool)
    kept.append(await engine.connect())

async def test_leaves_a_task_that_fails_when_it_is_cancelled():
    async def work():
        async with create_async_engine(url, poolclass=NullPool).connect():
            begun.set()
            try:
                await asyncio.sleep(60)
            finally:
                raise LookupError

    begun = asyncio.Event()
    task = asyncio.create_task(work())
    await begun.wait()
"""
    )
    free = "import sys\n\nasync def test_it():\n    assert 'sqlalchemy' not in sys.modules\n"

    result = run_suite("--asyncdb-leaks=error", mode="session loop", files={"test_it": suite}, passed=3, errors=3)
    run_suite(files={"conftest": "", "things": "", "test_it": free}, passed=1)

    assert blamed(result)["forgets"].startswith("test_forgets left a connection, opened at test_it.py:")
    assert "left a task that holds a connection" in blamed(result)["leaves_a_task_that_fails_when_it_is_cancelled"]
    result.stdout.fnmatch_lines(
        ["E*LookupError: as well", "E*test_forgets_beside_a_fixture_that_fails left a connection,*"]
    )
    result.stdout.no_fnmatch_line("*never retrieved*")
