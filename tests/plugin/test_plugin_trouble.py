"""What goes wrong before or between the tests: servers, rights, schemas, Ctrl-C."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from server_checks import ServerWatch
from sqlalchemy import make_url
from suites import RunSuite

from asyncdb_nb.server import EmbeddedServer

pytestmark = pytest.mark.usefixtures("clean_server")

ASKS = """
import pytest

async def test_one(asyncdb):
    pass

@pytest.mark.asyncdb(isolation="clone")
async def test_two(asyncdb):
    pass
"""
MISREAD = """
import pytest

@pytest.mark.asyncdb
def test_bare(asyncdb):
    pass

@pytest.mark.asyncdb(isolation="clon")
def test_misspelt(asyncdb):
    pass

@pytest.mark.parametrize("anyio_backend", ["trio", ("trio", {})])
def test_on_trio(asyncdb, anyio_backend):
    pass
"""
ON_ANOTHER_SERVER = """
import pytest

@pytest.fixture(scope="session")
def asyncdb_url():
    return {url!r}
"""
FAILING_MIGRATION = """

@pytest.fixture(scope="session")
def asyncdb_schema():
    from alembic.config import Config

    return Config()  # which knows no folder of migrations
"""
FAILING_SCHEMA = """
import os
import pytest

@pytest.fixture(scope="session")
def asyncdb_url():
    return os.environ["DATABASE_URL"]

@pytest.fixture(scope="session")
def asyncdb_schema():
    def make(database):
        {}["no such key"]

    return make
"""


@pytest.fixture
def poor_user(clean_server: ServerWatch) -> Iterator[str]:
    """A user who may not create databases."""
    clean_server.query("create role poor login")
    yield "poor"
    clean_server.query("drop role poor")


def test_trouble_is_told_in_a_line_and_without_the_password(
    run_suite: RunSuite, server: EmbeddedServer, poor_user: str, guest_url: str
) -> None:
    """Where nothing can be tested on, each test says what to type, and no driver's traceback is shown.

    Each folder has a trouble of its own, and so has each test that is marked in a way that cannot be read. A schema
    that fails shows its line, and is not run again for every test.
    """
    here = make_url(server.url).set(password="hush")
    urls = {
        "no_host": make_url("postgresql://me:hush@no-such-host.invalid/shop"),
        "no_server": make_url("postgresql://me:hush@127.0.0.1:1/shop"),
        "no_user": here.set(username="nobody"),
        "no_database": here.set(database="shop"),
        "no_right": here.set(username=poor_user),
        "no_password": make_url(guest_url)._replace(password=None),
        "wrong_password": make_url(guest_url).set(password="hush"),
    }
    files = {
        f"{folder}/conftest": ON_ANOTHER_SERVER.format(url=url.render_as_string(hide_password=False))
        for folder, url in urls.items()
    }
    files |= {f"{folder}/test_{folder}": ASKS for folder in (*urls, "no_postgres", "no_schema")}

    result = run_suite(
        "--asyncdb-url=mysql://me:hush@localhost/shop",
        files=files | {"no_schema/conftest": FAILING_SCHEMA, "test_misread": MISREAD},
        errors=22,
    )

    result.stdout.fnmatch_lines_random(
        [
            "The host of no-such-host.invalid:5432 is not known * Type another host name, *",
            "No PostgreSQL listens at 127.0.0.1:1 * Start it, or type another host or port.",
            "*has no user 'nobody'. Type another one: *",
            "*has no database 'shop'. Type another name *",
            "The user 'poor' may not create databases, * type `alter role \"poor\" createdb`; or name another user: *",
            "The server at * asks for the password of user 'guest', and none was given. Type it in the URL, *",
            "The password for user 'guest' is wrong, * Type the right one; *",
            "mysql:// is not PostgreSQL, * Type postgresql://*",
            "The marker takes isolation=... and other_engines=..., by their names. Type, for example, *",
            "@pytest.mark.asyncdb(isolation=...): 'clon' is not one of rollback, clone, truncate, none.",
            "no_schema/conftest.py:*: KeyError",
            "asyncdb_schema has failed (KeyError: 'no such key'). The first test that asked for it shows where.",
        ]
    )
    result.stdout.no_fnmatch_line("*hush*")
    told = [line for line in result.outlines if "this test on trio. Type in conftest.py a fixture" in line]
    assert len([line for line in told if not line.startswith("ERROR ")]) == 2  # on CI the summary has them, too
    assert sum(line.startswith("E  ") for line in result.outlines) == 1, "a driver's traceback is shown"


@pytest.mark.second_tier
def test_no_option_of_pytest_prints_the_password(
    run_suite: RunSuite, server: EmbeddedServer, guest_url: str, pytester: pytest.Pytester
) -> None:
    """Neither on the terminal nor in a report: not of a URL that a suite overrides, nor of the one for migrations."""
    pytest.importorskip("alembic")
    right = make_url(server.url).set(password="hush").render_as_string(hide_password=False)
    wrong = make_url(guest_url).set(password="hush").render_as_string(hide_password=False)
    test = "async def test_one(asyncdb):\n    pass\n"
    files = {
        "wrong_password/conftest": ON_ANOTHER_SERVER.format(url=wrong),
        "wrong_password/test_password": test,
        "migration/conftest": ON_ANOTHER_SERVER.format(url=right) + FAILING_MIGRATION,
        "migration/test_migration": test,
    }

    result = run_suite("-vv", "--showlocals", "--full-trace", "--junitxml=report.xml", files=files, errors=2)

    report = (pytester.path / "report.xml").read_text()
    for printed in (result.stdout.str(), report):
        assert "asyncdb_url = <URL postgresql+asyncpg://guest@" in printed.replace("&lt;", "<")
        assert re.search(r"\btext += (<|&lt;)URL .*_unfinished", printed)
        assert "hush" not in printed


@pytest.mark.second_tier
def test_ctrl_c_leaves_no_database_and_no_connection(run_suite: RunSuite, clean_server: ServerWatch) -> None:
    """In the middle of a test with a clone, while the next ones are being made."""
    suite = """
import os
import signal
import pytest
from sqlalchemy import event, text

@pytest.mark.asyncdb(isolation="clone")
@pytest.mark.parametrize("number", range(3))
async def test_one(asyncdb, number):
    if number == 1:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
        sync_engine = asyncdb.engine.sync_engine
        event.listen(sync_engine, "before_cursor_execute", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    async with asyncdb.session() as session:
        await session.execute(text("select pg_sleep(0.1)"))
"""
    result = run_suite(files={"test_it": suite}, passed=1)

    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert clean_server.query("select datname from pg_database where datname like 'asyncdb_test_%'") == []
    assert not clean_server.backends()
