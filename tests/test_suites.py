"""
Whole test suites on one module-level engine, each run by pytest in a process of its own.

Nothing of the package is used but `poolclass=LoopBoundPool`. Every run is under `-X dev -W error`; `server` checks
afterwards that no backend is left and that every connection was closed gracefully.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from server_checks import ServerWatch

pytestmark = pytest.mark.second_tier

ENGINE = """
import os
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from asyncdb_nb import LoopBoundPool

url = os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+asyncpg://")
engine = create_async_engine(url, poolclass=LoopBoundPool, pool_pre_ping=True)

async def one():
    async with AsyncSession(engine) as session:
        return await session.scalar(text("select 1"))
"""

RunSuite = Callable[..., str]


@pytest.fixture
def run_suite(database_url: str, tmp_path: Path) -> RunSuite:
    """Run test files by pytest and return its closing line; the suite must pass and say nothing else."""

    def run(*options: str, **files: str) -> str:
        for name, text in {"shared": ENGINE, **files}.items():
            (tmp_path / f"{name}.py").write_text(text)
        command = [sys.executable, "-X", "dev", "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
        environment = os.environ | {"DATABASE_URL": database_url, "PYTHONPATH": str(tmp_path)}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout[-5000:] + done.stderr
        return done.stdout.splitlines()[-1]

    return run


ASYNCIO = ("-p", "no:anyio", "-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function")
ANYIO = (
    "-p",
    "no:asyncio",
)
TWO_HUNDRED = """
import asyncio
import pytest
from shared import engine, one

{decoration}
@pytest.mark.parametrize("number", range(200))
async def test_three_sessions_at_once(number{argument}):
    assert await asyncio.gather(one(), one(), one()) == [1, 1, 1]
"""
BACKENDS = """
@pytest.fixture(params=["asyncio", pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop")])
def anyio_backend(request):
    return request.param

@pytest.mark.anyio
"""


def test_scenario_02_two_hundred_tests_on_two_hundred_loops_with_sessions_in_parallel(run_suite: RunSuite) -> None:
    ending = run_suite(*ASYNCIO, test_it=TWO_HUNDRED.format(decoration="", argument=""))

    assert ending.startswith("200 passed in")


def test_the_same_under_anyio_and_uvloop(run_suite: RunSuite) -> None:
    ending = run_suite(*ANYIO, test_it=TWO_HUNDRED.format(decoration=BACKENDS, argument=", anyio_backend"))

    assert ending.startswith("400 passed in")


def test_scenario_03_six_modules_import_one_engine(run_suite: RunSuite) -> None:
    module = "from shared import one\n\n" + "".join(
        f"async def test_{n}():\n    assert await one() == 1\n" for n in "abc"
    )

    ending = run_suite(*ASYNCIO, **{f"test_module_{number}": module for number in range(6)})

    assert ending.startswith("18 passed in")


def test_scenario_04_a_session_scoped_engine_serves_tests_with_loops_of_their_own(run_suite: RunSuite) -> None:
    suite = """
import pytest, pytest_asyncio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from asyncdb_nb import WrongLoopError
from shared import engine, one

@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_engine():
    await one()
    yield engine
    await engine.dispose()

@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_session(shared_engine):
    async with AsyncSession(shared_engine) as session:
        await session.execute(text("select 1"))
        yield session

@pytest.mark.parametrize("number", range(20))
async def test_engine(shared_engine, number):
    assert await one() == 1

async def test_a_session_that_crosses_loops_is_told_so(shared_session):
    with pytest.raises(WrongLoopError, match="opened on event loop"):
        await shared_session.execute(text("select 1"))
"""
    assert run_suite(*ASYNCIO, test_it=suite).startswith("21 passed in")


@pytest.mark.parametrize("scope", ["class", "module", "session"])
def test_scenario_05_any_loop_scope(run_suite: RunSuite, scope: str) -> None:
    suite = f"""
import pytest
from shared import one

@pytest.mark.asyncio(loop_scope="{scope}")
class TestIt:
    @pytest.mark.parametrize("number", range(50))
    async def test_one(self, number):
        assert await one() == 1
"""
    assert run_suite(*ASYNCIO, test_it=suite).startswith("50 passed in")


def test_scenario_14_synchronous_tests_with_asyncio_run_between_asynchronous_ones(run_suite: RunSuite) -> None:
    suite = """
import asyncio
from shared import one

def test_sync():
    assert asyncio.run(one()) == 1

async def test_async():
    assert await one() == 1

def test_sync_again():
    assert asyncio.run(one()) == 1
"""
    assert run_suite(*ASYNCIO, test_it=suite).startswith("3 passed in")


def test_scenario_06_and_07_loops_that_end_without_disposal(
    run_script: Callable[..., subprocess.CompletedProcess[str]], clean_server: ServerWatch
) -> None:
    """The second loop works on its first call, and the first one's backend is gone."""
    run_script(
        ENGINE
        + """
import asyncio
for _ in range(2):
    loop = asyncio.new_event_loop()
    assert loop.run_until_complete(one()) == 1
    loop.close()
    async def backends():
        async with engine.connect() as connection:
            return await connection.scalar(text(
                "select count(*) from pg_stat_activity where application_name = 'six' and pid <> pg_backend_pid()"))
    assert asyncio.run(backends()) == 0
""",
        env={"PGAPPNAME": "six"},
    )
    clean_server.assert_clean()


def test_scenario_13_a_database_can_be_dropped_right_after_dispose(
    run_script: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    run_script(
        ENGINE
        + """
import asyncio
from sqlalchemy import make_url

async def main():
    admin = engine.execution_options(isolation_level="AUTOCOMMIT")
    async with admin.connect() as connection:
        for number in range(50):
            await connection.execute(text("create database dropped strategy wal_log"))
            other = create_async_engine(make_url(url).set(database="dropped"), poolclass=LoopBoundPool)
            async with AsyncSession(other) as session:
                await session.execute(text("select 1"))
            await other.dispose()
            await connection.execute(text("drop database dropped"))

asyncio.run(main())
"""
    )
