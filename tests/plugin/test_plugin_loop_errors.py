"""A suite that one engine on several loops makes fail is told of the option that cures it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from suites import RunSuite

CONFTEST = "collect_ignore = ['things.py']\n"
ENGINE = """
import os
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

engine = create_async_engine(os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+asyncpg://"))

async def one():
    async with engine.connect() as connection:
        return await connection.scalar(text("select 1"))
"""
SUITE = """
import pytest
from shared import one

pytestmark = pytest.mark.filterwarnings("default")

@pytest.mark.parametrize("number", range(3))
async def test_one(number):
    assert await one() == 1
"""
OTHERS = """
def test_fails_otherwise():
    assert 1 == 2

def test_has_no_database():
    raise RuntimeError("Event loop is closed")
"""
ADVICE = "asyncdb_nb: * of the failures above * one engine on several event loops *`pytest --asyncdb-cure`*"


@pytest.mark.keeps_connections  # what the errors leave is not ended as ours are
@pytest.mark.parametrize("options", [("--tb=no",), pytest.param(("-n1",), marks=pytest.mark.second_tier)], ids=" ".join)
def test_it_is_told_once_of_the_option(run_suite: RunSuite, options: tuple[str, ...]) -> None:
    """Whatever is shown of the tracebacks, and also where workers run the tests."""
    files = {"conftest": CONFTEST, "shared": ENGINE, "test_it": SUITE, "test_others": OTHERS}

    result = run_suite(*options, quiet=False, files=files, passed=1, failed=4)

    assert sum("--asyncdb-cure" in line for line in result.outlines) == 1
    result.stdout.fnmatch_lines([ADVICE])


@pytest.mark.second_tier
def test_the_option_helps_and_is_not_named_any_more(run_suite: RunSuite) -> None:
    """Nor is it to those whose tests fail for other reasons."""
    files = {"conftest": CONFTEST, "shared": ENGINE, "test_it": SUITE, "test_others": OTHERS}

    result = run_suite("--asyncdb-cure", files=files, passed=3, failed=2)
    others = run_suite(
        files={"conftest": CONFTEST, "test_it": "def test():\n    pass\n", "test_others": OTHERS}, passed=1, failed=2
    )

    for each in (result, others):
        each.stdout.no_fnmatch_line("*pytest --asyncdb-cure*")


def test_the_plugin_does_not_import_sqlalchemy() -> None:
    """Nor the driver, for a suite that uses neither; and it leaves the import system as it was."""
    program = """
import sys
import pytest

class Look:
    def pytest_sessionfinish(self):
        print([name for name in ("sqlalchemy", "asyncpg", "greenlet", "pandas") if name in sys.modules])

before = sys.meta_path[:]
pytest.main(["-q", "-p", "asyncdb_nb.pytest_plugin", "-p", "no:cacheprovider", "--co", "nowhere"], plugins=[Look()])
print([finder for finder in sys.meta_path if finder not in before and "asyncdb" in repr(finder)])
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, env={"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"})

    assert [line for line in done.stdout.splitlines() if line.startswith("[")] == ["[]", "[]"]
