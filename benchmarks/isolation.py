"""
What it costs to keep tests apart: ratios of whole suites, run by pytest in turns in one go.

    python benchmarks/isolation.py [URL]

`rollback` is compared with a savepoint fixture written by hand, `clone` with a fixture that makes and drops a database
on the spot. Figures are medians over tests; the suites take turns, so that a
noisy machine disturbs all of them alike. Without a URL the embedded server is used.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from asyncdb_nb import LoopBoundPool
from asyncdb_nb.pytest_plugin.leaks.detector import LeakDetector
from asyncdb_nb.pytest_plugin.leaks.who_opened_what import Owner
from asyncdb_nb.server import EmbeddedServer

ROUNDS = 3

CONFTEST = """
import asyncio
import itertools
import json
import os
from collections import defaultdict

import asyncpg
import pytest
import pytest_asyncio
from sqlalchemy import Column, Integer, MetaData, Table, Text, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from asyncdb_nb import Database, run

metadata = MetaData()
for number in range(20):
    Table(f"table_{number}", metadata, Column("id", Integer, primary_key=True), Column("name", Text, index=True))

seconds = defaultdict(dict)

def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.callspec.params["number"])  # so that two ways take turns in one suite

def pytest_runtest_logreport(report):
    seconds[report.nodeid][report.when] = report.duration

def pytest_sessionfinish(session):
    with open(os.environ["FIGURES"], "w") as file:
        json.dump(seconds, file)

@pytest.fixture(scope="session")
def asyncdb_schema():
    return metadata

# the same by hand

URL = os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+asyncpg://")

@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def engine():
    engine = create_async_engine(URL)
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    yield engine
    async with engine.begin() as connection:
        await connection.run_sync(metadata.drop_all)
    await engine.dispose()

@pytest_asyncio.fixture(loop_scope="session")
async def by_hand(engine):
    async with engine.connect() as connection:
        transaction = await connection.begin()
        async with AsyncSession(connection, join_transaction_mode="create_savepoint") as session:
            yield session
        await transaction.rollback()

@pytest.fixture(scope="session")
def template():
    async def make():
        admin = await asyncpg.connect(os.environ["DATABASE_URL"])
        await admin.execute("drop database if exists by_hand_template")
        await admin.execute("create database by_hand_template")
        await admin.close()
        engine = create_async_engine(URL.replace("/postgres?", "/by_hand_template?"))
        async with engine.begin() as connection:
            await connection.run_sync(metadata.create_all)
        await engine.dispose()
    asyncio.run(make())
    return "by_hand_template"

numbers = itertools.count()

@pytest_asyncio.fixture(loop_scope="session")
async def on_the_spot(template):
    name = f"on_the_spot_{next(numbers)}"
    admin = await asyncpg.connect(os.environ["DATABASE_URL"])
    await admin.execute(f"create database {name} template {template}")
    async with Database(URL.replace("/postgres?", f"/{name}?")) as database:
        yield database
    await admin.execute(f"drop database {name}")
    await admin.close()
"""

SESSIONS = """
import pytest
from sqlalchemy import text

async def work(session):
    await session.execute(text("insert into table_1 (name) values ('x')"))
    await session.commit()

@pytest.mark.parametrize("number", range(150))
async def test_by_hand(by_hand, number):
    await work(by_hand)

@pytest.mark.parametrize("number", range(150))
async def test_rollback(asyncdb_session, number):
    await work(asyncdb_session)
"""

DATABASE = """
import asyncio
import pytest
from sqlalchemy import text

@pytest.mark.parametrize("number", range(40))
async def test_it({fixture}, number):
    async with {fixture}.session() as session:
        await session.execute(text("insert into table_1 (name) values ('x')"))
    {body}
"""


def run(url: str, suite: str, *options: str) -> dict[str, list[dict[str, float]]]:
    """Seconds of set-up, call and teardown of each test, by the name of its function, without the first three."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "conftest.py").write_text(CONFTEST)
        Path(folder, "test_it.py").write_text(suite)
        figures = Path(folder, "figures")
        scopes = [f"asyncio_default_{what}_loop_scope=session" for what in ("test", "fixture")]
        settings = [part for setting in ("asyncio_mode=auto", *scopes) for part in ("-o", setting)]
        subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:anyio", *settings, *options],
            cwd=folder,
            env=os.environ | {"DATABASE_URL": url, "FIGURES": str(figures)},
            check=True,
            stdout=subprocess.PIPE,
        )
        found: dict[str, list[dict[str, float]]] = {}
        for test, phases in json.loads(figures.read_text()).items():
            found.setdefault(test.split("::")[1].split("[")[0].removeprefix("test_"), []).append(phases)
        return {name: tests[3:] for name, tests in found.items()}


def measure(url: str) -> dict[str, float]:
    """Milliseconds a test: medians of what a test waits for its fixtures, and of the whole test."""
    clone = ("-o", "asyncdb_isolation=clone")
    suites = {
        "": (SESSIONS,),
        "clone, 80 ms of body": (DATABASE.format(fixture="asyncdb", body="await asyncio.sleep(0.08)"), *clone),
        "clone, empty body": (DATABASE.format(fixture="asyncdb", body=""), *clone),
        "made on the spot, empty body": (DATABASE.format(fixture="on_the_spot", body=""),),
    }
    found: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for title, (suite, *options) in suites.items():
            for name, tests in run(url, suite, *options).items():
                label = title or name.replace("_", " ")
                found.setdefault(f"{label}: waiting", []).append(median(t["setup"] + t["teardown"] for t in tests))
                found.setdefault(f"{label}: whole test", []).append(median(sum(t.values()) for t in tests))
    return {name: 1000 * median(rounds) for name, rounds in found.items()}


async def cost_of_the_watch(url: str) -> float:
    """Milliseconds that the watch adds to a session with one statement; rounds with and without it take turns."""
    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://"), poolclass=LoopBoundPool)

    async def sessions() -> float:
        begun = time.perf_counter()
        for _ in range(50):
            async with AsyncSession(engine) as session:
                await session.execute(text("select 1"))
        return (time.perf_counter() - begun) / 50

    await sessions()
    without, watched = [], []
    for _ in range(31):
        without.append(await sessions())
        detector = LeakDetector()
        detector.checkouts.owner = Owner(None, "benchmark")
        stop = detector.start()
        watched.append(await sessions())
        stop()
    await engine.dispose()
    return 1000 * (median(watched) - median(without))


def main() -> None:
    given = sys.argv[1] if len(sys.argv) > 1 else None
    if given:
        figures, watch = measure(given), asyncio.run(cost_of_the_watch(given))
    else:
        with EmbeddedServer.start() as server:
            figures, watch = measure(server.url), asyncio.run(cost_of_the_watch(server.url))
    for name, milliseconds in figures.items():
        print(f"{name:45} {milliseconds:7.2f} ms a test")
    print(f"the watch adds {watch:.2f} ms to a session with one statement")
    for ours, theirs in (("rollback", "by hand"), ("clone, empty body", "made on the spot, empty body")):
        ratio = figures[f"{ours}: whole test"] / figures[f"{theirs}: whole test"]
        print(f"{ours} / {theirs}: {ratio:.2f}")


if __name__ == "__main__":
    main()
