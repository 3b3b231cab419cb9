"""The fixtures: synchronous ones, so that they serve every async plugin in every mode, and plain tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from asyncdb_nb.pytest_plugin import options
from asyncdb_nb.pytest_plugin._pytest import place_of_fixture
from asyncdb_nb.pytest_plugin.secret_url import SecretURL

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from asyncdb_nb.database.database import Database
    from asyncdb_nb.pytest_plugin.isolation.modes import Isolations


@pytest.fixture(scope="session")
def asyncdb_url(request: pytest.FixtureRequest) -> str:
    """The server to test on: `--asyncdb-url`, else `$DATABASE_URL`, else the embedded server. Override it at will.

    The tests run in databases of their own on that server; the one that is named here is not touched.
    """
    return SecretURL(options.url(request.config))


@pytest.fixture(scope="session")
def asyncdb_schema() -> Any:
    """What the databases hold before each test. Override it; it runs once, into a template.

    Return a `MetaData` or a declarative base, the path of an .sql file or of alembic.ini, an Alembic `Config`, a
    function (plain or `async`) that is given a `Database`, or a list of these. Relative paths count from the rootdir.
    """
    return None


@pytest.fixture(scope="session")
def _asyncdb_isolations(request: pytest.FixtureRequest) -> Iterator[Isolations]:
    from asyncdb_nb.pytest_plugin.isolation.modes import Isolations
    from asyncdb_nb.pytest_plugin.leaks.hooks import begin

    isolations = Isolations(begin(request.config), request.config.rootpath)
    yield isolations
    isolations.close()


@pytest.fixture(scope=options.scope)
def asyncdb(
    request: pytest.FixtureRequest, asyncdb_url: str, asyncdb_schema: Any, _asyncdb_isolations: Isolations
) -> Iterator[Database]:
    """A `Database` on a clean state: what `asyncdb_schema` made, and nothing of any other test.

    How it is kept clean: `asyncdb_isolation` in the ini file, or `@pytest.mark.asyncdb(isolation="clone")`.
    """
    place = place_of_fixture(request, "asyncdb_schema")
    with _said_plainly():
        options.refuse_trio(request.node)
        isolation = options.isolation(request.node)
        with _asyncdb_isolations.at(asyncdb_url).database(isolation, asyncdb_schema, place) as database:
            yield database


@pytest.fixture(scope=options.scope)
def asyncdb_session(asyncdb: Database) -> Iterator[AsyncSession]:
    """A session in `asyncdb`. What the test does not commit is rolled back; entities stay usable after a commit."""
    from asyncdb_nb.pytest_plugin.leaks.borrowed_session import BorrowedSession

    borrowed = BorrowedSession(asyncdb)
    yield borrowed.session
    borrowed.close()


@contextmanager
def _said_plainly() -> Iterator[None]:
    """Show an error of ours as what it says, not as two hundred lines of traceback for every test."""
    from asyncdb_nb.errors import AsyncDBError

    try:
        yield
    except (AsyncDBError, pytest.UsageError) as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None
