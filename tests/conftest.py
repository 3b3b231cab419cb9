"""
What every test stands on: a real PostgreSQL, and the check that a test leaves nothing behind on it.

A test that uses `server` (or a fixture built on it) fails when it leaves a backend, or when one of its connections
ended without a Terminate message. The check runs after all of the test's own fixtures are torn down. A test whose
connections live longer on purpose says so: `@pytest.mark.keeps_connections`.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
from proxy import slow_link
from scenario_count import ScenarioCount
from server_checks import SECRET, TEST_SETTINGS, ServerWatch
from waiting import HANG

from asyncdb_nb.server import EmbeddedServer

STRICT = ("-X", "dev", "-W", "error")
SLOWNESS = re.compile(r"^Executing <.* took [\d.]+ seconds\n", re.MULTILINE)  # of a busy machine: timings are not tests
WATCH = pytest.StashKey[ServerWatch]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "keeps_connections: connections outlive this test on purpose; do not check")
    config.pluginmanager.register(ScenarioCount())
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # what a shell's `pytest &` brings, and every child inherits
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedServer]:
    """A private server for this run (one for each xdist worker), with a log that tells all; `.url`, `.log`."""
    with EmbeddedServer.start(settings=TEST_SETTINGS) as server:
        yield server


@pytest.fixture(scope="session")
def server_watch(server: EmbeddedServer) -> Iterator[ServerWatch]:
    """The server's view of its clients."""
    watch = ServerWatch(server)
    yield watch
    if not watch.exempt:
        watch.assert_clean()  # after the last test, whose teardown is this one
    watch.close()


@pytest.fixture(autouse=True)
def _mark_the_log(request: pytest.FixtureRequest) -> None:
    """Where a test that uses the server begins; `pytest_runtest_teardown` looks from there."""
    if "server" in request.fixturenames:
        watch: ServerWatch = request.getfixturevalue("server_watch")
        watch.mark()
        watch.exempt = request.node.get_closest_marker("keeps_connections") is not None
        request.node.stash[WATCH] = watch


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    watch = item.stash.get(WATCH, None)
    result = yield
    if watch is not None and not watch.exempt and nextitem is not None:
        try:
            watch.assert_clean()
        finally:
            watch.end_backends()  # the next test is not to be blamed for them
    return result


@pytest.fixture
def clean_server(server: EmbeddedServer, server_watch: ServerWatch) -> ServerWatch:
    """The watch, for a test that asks in its middle: `.backends()`, `.log_since_mark()`, `.assert_clean()`."""
    return server_watch


@pytest.fixture(scope="session")
def database_url(server: EmbeddedServer, server_watch: ServerWatch) -> str:
    """The URL of the database `tests`, shared by the tests of this run: use table names of your own."""
    server_watch.query("create database tests")
    return _url_of(server, "tests")


@pytest.fixture(scope="session")
def far_database_url(server: EmbeddedServer, database_url: str) -> Iterator[str]:
    """The same database, 100 ms away: between a request and its answer there is time for anything."""
    with slow_link(parse_qs(urlsplit(server.url).query)["host"][0] + "/.s.PGSQL.5432", 0.1) as port:
        yield f"postgresql://postgres@127.0.0.1:{port}/tests"


@pytest.fixture(params=["near", pytest.param("100 ms away", marks=pytest.mark.second_tier)])
def near_and_far(request: pytest.FixtureRequest, database_url: str) -> str:
    """The URL of the database `tests`, first without a network, then over the slow link: for all that is cancelled."""
    return database_url if request.param == "near" else str(request.getfixturevalue("far_database_url"))


@pytest.fixture
def fresh_database_url(server: EmbeddedServer, server_watch: ServerWatch) -> Iterator[str]:
    """The URL of an empty database that only this test uses; about 50 ms."""
    name = f"test_{next(_numbers)}"
    server_watch.query(f"create database {name}")
    yield _url_of(server, name)
    server_watch.wait_for_backends(0)
    server_watch.query(f"drop database {name} with (force)")


@pytest.fixture(scope="module")
def guest_url(database_url: str, server_watch: ServerWatch) -> Iterator[str]:
    """The URL of a user whom the server asks for a password (every other user it lets in without one)."""
    [[hba]] = server_watch.query("show hba_file")
    file, rules = Path(hba), Path(hba).read_text()
    server_watch.query(f"create role guest login password '{SECRET}'")
    file.write_text(f"local all guest scram-sha-256\n{rules}")
    server_watch.query("select pg_reload_conf()")
    url = database_url.replace("//postgres@", "//guest@")
    _wait_until_refused(url)
    yield url.replace("//guest@", f"//guest:{SECRET}@")
    file.write_text(rules)
    server_watch.query("select pg_reload_conf()")
    server_watch.query("drop role guest")


@pytest.fixture(scope="session")
def learner() -> Iterator[dict[str, str]]:
    """The environment of a person who has set up nothing: an embedded server of their own, and no DATABASE_URL."""
    with _home_of_a_learner() as environment:
        yield environment


@pytest.fixture(scope="session")
def two_learners() -> Iterator[list[dict[str, str]]]:
    """Two more, who can be at work at the same time, and may leave on their servers what they load."""
    with _home_of_a_learner() as one, _home_of_a_learner() as other:
        yield [one, other]


@contextmanager
def _home_of_a_learner() -> Iterator[dict[str, str]]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "DATABASE_URL"))}
    with tempfile.TemporaryDirectory(prefix="adb-") as home:
        Path(home).chmod(0o711)  # the server's system user must get through
        yield ours | {"ASYNCDB_NB_HOME": home}
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ASYNCDB_NB_HOME", home)
            EmbeddedServer(Path(home) / "server").stop()


@pytest.fixture
def run_script(server: EmbeddedServer, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """
    Run Python code in a process of its own, under `-X dev -W error`, with the server's URL as `DATABASE_URL`.

    `run_script(code, *flags, clean=True, env={…})`: further interpreter flags; `clean` asserts that it exits with 0 and
    writes nothing to stderr.
    """

    def run(
        code: str, *flags: str, clean: bool = True, env: dict[str, str] | None = None, timeout: float = HANG
    ) -> subprocess.CompletedProcess[str]:
        script = tmp_path / "script.py"
        script.write_text(code)
        done = subprocess.run(
            [sys.executable, *STRICT, *flags, str(script)],
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=tmp_path,
            env=os.environ | {"DATABASE_URL": server.url} | (env or {}),
        )
        done.stderr = SLOWNESS.sub("", done.stderr)
        if clean:
            assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
        return done

    return run


_numbers = count(1)


def _url_of(server: EmbeddedServer, database: str) -> str:
    return urlsplit(server.url)._replace(path=f"/{database}").geturl()


def _wait_until_refused(url: str) -> None:
    """Wait until the server has read its rules: the postmaster does so when it gets round to it."""
    end = time.monotonic() + HANG
    while time.monotonic() < end:
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            return
    pytest.fail(f"the server lets in without a password: {url}")
