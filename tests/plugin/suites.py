"""What the suites of these tests are made of, and the modes they run in."""

from __future__ import annotations

from collections.abc import Callable

import pytest

RunSuite = Callable[..., pytest.RunResult]

STRICT = ("-X", "dev", "-W", "error")
PLUGINS = ("-p", "asyncdb_nb.pytest_plugin", "-p", "pytest_timeout", "-p", "xdist.plugin")
MODES = {
    "asyncio": (
        *("-p", "pytest_asyncio.plugin", "-o", "asyncio_mode=auto"),
        *("-o", "asyncio_default_fixture_loop_scope=function"),
    ),
    "session loop": (
        *("-p", "pytest_asyncio.plugin", "-o", "asyncio_mode=auto"),
        *("-o", "asyncio_default_fixture_loop_scope=session"),
    ),
    "anyio": ("-p", "anyio.pytest_plugin"),
    "plain": (),
}
"""The plugins are named, and not loaded by their entry points: a second less for each process."""

THINGS = """
from sqlalchemy import Column, Integer, MetaData, Table, Text, func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncSession

metadata = MetaData()
things = Table("things", metadata, Column("id", Integer, primary_key=True), Column("name", Text, unique=True))

async def add(db, name="one"):
    async with db.session() as session:
        await session.execute(insert(things).values(name=name))

async def count(db):
    async with db.session() as session:
        return await session.scalar(select(func.count()).select_from(things))
"""

OWN_ENGINES = """
import asyncio
import os
import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

url = os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+asyncpg://")
kept = []
"""
"""For suites with engines of their own; what is `kept` outlives its test."""

CONFTEST = """
import pytest
from things import metadata

@pytest.fixture(scope="session")
def asyncdb_schema():
    return metadata

@pytest.fixture
def anyio_backend():
    return "asyncio"

def pytest_collection_modifyitems(config, items):
    if "asyncio_default_fixture_loop_scope=session" in (config.getoption("override_ini") or ()):
        import pytest_asyncio  # whose versions before 1.0 have no setting for this

        for item in filter(pytest_asyncio.is_async_test, items):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
"""

LOOK_AFTER_EACH_TEST = """
import os
import time
import psycopg
import pytest

def pytest_configure(config):
    config.look = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True, application_name="look")

def pytest_unconfigure(config):
    config.look.close()

@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item, nextitem):
    result = yield
    statement = (
        "select state, query from pg_stat_activity "
        "where datname like 'asyncdb_test_%' and application_name <> 'asyncdb_nb: pytest' and {what}"
    )
    end = time.monotonic() + 90
    while left := item.config.look.execute(statement).fetchall():
        assert time.monotonic() < end, f"backends are left: {{left}}"
    return result
"""
NO_BACKEND_AFTER_EACH_TEST = LOOK_AFTER_EACH_TEST.format(what="true")
NO_BUSY_BACKEND_AFTER_EACH_TEST = LOOK_AFTER_EACH_TEST.format(what="state <> 'idle'")
"""Where tests share a loop, they share its idle connections as well. The plugin itself connects under its own name."""
