"""
The projects of docs/examples: each suite passes with our pool, and fails with SQLAlchemy's usual one.

The suites run as a user runs them, by pytest in a process of its own under `-X dev -W error`, alone and by two workers.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from failover import Pair
from server_checks import ServerWatch
from waiting import wait_until

from asyncdb_nb.server import EmbeddedServer
from asyncdb_nb.server.binaries import Programs
from asyncdb_nb.server.embedded import home_directory

pytestmark = [pytest.mark.second_tier, pytest.mark.timeout(600)]

EXAMPLES = Path(__file__).parents[1] / "docs/examples"
NEEDS = {"celery_app": "celery", "sqlmodel_app": "sqlmodel", "fastapi_app": "fastapi", "alembic_app": "alembic"}
STRICT = ("-X", "dev", "-W", "error")
LEAVE_OUT = [f"-pno:{name}" for name in ("cacheprovider", "hypothesispytest", "nbval", "platformdirs", "time_machine")]
"""What these projects have no use for, and takes seconds to import."""

OURS = ", poolclass=LoopBoundPool"
"""What each project has in one place, and what cures it."""

SYMPTOMS = re.compile("attached to a different loop|another operation is in progress|Event loop is closed")

Run = Callable[..., "subprocess.CompletedProcess[str]"]

each_project = pytest.mark.parametrize(
    "name", ["fastapi_app", "alembic_app", "sqlmodel_app", "celery_app", "read_write", "passwords"]
)


@pytest.fixture
def asking_server(server: EmbeddedServer, server_watch: ServerWatch) -> Iterator[str]:
    """The URL of the server, which meanwhile asks everyone but `postgres` for a password."""
    [[hba]] = server_watch.query("show hba_file")
    file, rules = Path(hba), Path(hba).read_text()
    file.write_text(f"local all postgres trust\nlocal all all scram-sha-256\n{rules}")
    server_watch.query("select pg_reload_conf()")
    wait_until(lambda: "password" in refusal(server.url.replace("//postgres@", "//nobody@")))
    yield server.url
    file.write_text(rules)
    server_watch.query("select pg_reload_conf()")


@pytest.fixture
def run_suite(asking_server: str, tmp_path: Path) -> Run:
    """Run a project's suite, on a copy of the examples; `stock`: without the argument that cures it."""

    def run(name: str, *options: str, stock: bool = False, **environment: str) -> subprocess.CompletedProcess[str]:
        if name in NEEDS:
            pytest.importorskip(NEEDS[name], reason=f"the example is about it: pip install {NEEDS[name]}")
        folder = Path(tempfile.mkdtemp(dir=tmp_path)) / "examples"
        shutil.copytree(EXAMPLES, folder, ignore=shutil.ignore_patterns("__pycache__"))
        if stock:
            take_out_the_cure(folder / name)
        return subprocess.run(
            [sys.executable, *STRICT, "-m", "pytest", "-q", *LEAVE_OUT, *options, name],
            cwd=folder,
            env=os.environ | {"DATABASE_URL": asking_server} | environment,
            capture_output=True,
            text=True,
        )

    return run


def refusal(url: str) -> str:
    """What the server says to a user whom it does not let in."""
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError as error:
        return str(error)
    return ""


def take_out_the_cure(project: Path) -> None:
    """Change the one line."""
    [file] = [file for file in project.rglob("*.py") if OURS in file.read_text()]
    text = file.read_text()
    assert text.count(OURS) == 1
    file.write_text(text.replace(OURS, ""))


@each_project
@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "two workers"])
def test_scenario_68_a_project_passes_with_our_pool(name: str, workers: tuple[str, ...], run_suite: Run) -> None:
    """Nothing is skipped; `server` sees afterwards that every connection was closed gracefully."""
    done = run_suite(name, *workers)

    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert re.search(r"^\d+ passed in", done.stdout, re.MULTILINE), done.stdout


@each_project
@pytest.mark.keeps_connections
def test_a_project_fails_with_the_usual_pool(name: str, run_suite: Run) -> None:
    """With the line changed, and for the reason that the pool is about.

    Once, on a busy machine, it was a segmentation fault of the interpreter instead.
    """
    done = run_suite(name, stock=True)

    if done.returncode == -signal.SIGSEGV:
        assert "Segmentation fault" in done.stderr, done.stderr[-5000:]
    else:
        assert done.returncode == 1, done.stdout[-5000:] + done.stderr[-2000:]
        assert SYMPTOMS.search(done.stdout), done.stdout[-5000:]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A primary and its standby."""
    with tempfile.TemporaryDirectory(prefix="adb-") as directory:
        pair = Pair(Path(directory), Programs.find(home_directory()))
        yield pair
        pair.stop()


@pytest.mark.keeps_connections
def test_scenario_69_the_project_on_failover_passes_before_and_after_one(pair: Pair, run_suite: Run) -> None:
    """The standby stands first in the URL; it is promoted when the primary has crashed."""
    url = f"postgresql+asyncpg://postgres@/postgres?{pair.standby_first}&target_session_attrs=read-write"
    before = [run_suite("failover", *workers, CLUSTER_URL=url) for workers in ((), ("-n", "2"))]
    stock = run_suite("failover", stock=True, CLUSTER_URL=url)
    pair.fail_over()
    after = run_suite("failover", CLUSTER_URL=url)

    for done in (*before, after):
        assert re.search(r"^4 passed in", done.stdout, re.MULTILINE), done.stdout[-5000:] + done.stderr[-2000:]
    assert SYMPTOMS.search(stock.stdout), stock.stdout[-5000:]
