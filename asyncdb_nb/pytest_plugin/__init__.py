"""
The pytest plugin: a clean PostgreSQL database for every test, and the leaking test is named.

It is loaded by its entry point, so it is loaded by suites that do not use it as well: these pay for a few options. The
rest of the package, SQLAlchemy and the driver are imported by the first test that asks for a fixture.
"""

from __future__ import annotations

import pytest

from asyncdb_nb.pytest_plugin import options
from asyncdb_nb.pytest_plugin.fixtures import _asyncdb_stagehand, asyncdb, asyncdb_schema, asyncdb_session, asyncdb_url

__all__ = ["_asyncdb_stagehand", "asyncdb", "asyncdb_schema", "asyncdb_session", "asyncdb_url"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    options.add(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Check them."""
    options.check(config)
