"""Users without a name or a home, homes that are shared, read-only or full: one sentence each, and nothing is left."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import asyncdb_nb

pytestmark = pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() != 0, reason="only root can run a program as another user"
)

STRANGER = 12345  # has no entry in the system's user database

REPORT = """
from asyncdb_nb import Database
from asyncdb_nb.server import EmbeddedServer, embedded_server
from asyncdb_nb.engine.conninfo.resolve import resolve

try:
    print("done", {call})
except Exception as error:
    print(type(error).__name__, error)
"""


def a_python() -> str | None:
    """A Python of this version that every user may run."""
    mine = f"import sys; assert sys.version_info[:2] == {sys.version_info[:2]}"
    for python in (sys.executable, shutil.which("python3", path=os.defpath)):
        try:
            if python and subprocess.run([python, "-c", mine], user=STRANGER, extra_groups=[]).returncode == 0:
                return python
        except OSError:
            continue
    return None


@pytest.fixture(scope="module")
def python() -> str:
    """The interpreter that the stranger runs."""
    found = a_python()
    if found is None:
        pytest.skip("every Python of this version is in a directory that only root can enter")
    return found


@pytest.fixture
def home() -> Iterator[Path]:
    """A home of the stranger's."""
    with tempfile.TemporaryDirectory(prefix="adb-") as name:
        os.chown(name, STRANGER, STRANGER)
        yield Path(name)


def said(python: str, call: str, uid: int = STRANGER, **environment: str) -> str:
    """What a call says to a user who has no HOME, unless one is given."""
    path = [str(Path(asyncdb_nb.__file__).parents[1]), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    done = subprocess.run(
        [python, "-c", REPORT.format(call=call)],
        user=uid,
        group=uid,
        extra_groups=[],
        cwd="/",
        env={"PATH": os.defpath, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": os.pathsep.join(path), **environment},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_scenario_64_a_user_without_a_name_is_told_to_name_one(python: str) -> None:
    """Where the URL has no user, the system knows none either."""
    answer = said(python, "Database('postgresql://h/d')")

    assert answer.startswith("DatabaseURLError No user is named")
    assert "export PGUSER=user" in answer
    assert "as user 'me'" in said(python, "Database('postgresql://h/d')", PGUSER="me")


@pytest.mark.parametrize("call", ["Database('postgresql://u@h/d')", "resolve() or 'nothing'"])
def test_a_home_is_needed_for_its_files_alone(call: str, python: str) -> None:
    """Without one there is no password file and no service file."""
    assert said(python, call).startswith("done")


def test_a_service_without_a_home_is_told_where_to_look(python: str) -> None:
    """There is no service file then, unless a variable names one."""
    assert "The service 'prod' is not in a service file" in said(python, "resolve(service='prod')")


def test_a_server_without_a_home_is_told_what_to_type(python: str) -> None:
    """Nothing is made in a directory called `~`."""
    answer = said(python, "embedded_server()")

    assert answer.startswith("ServerError There is no home directory for the embedded PostgreSQL")
    assert "export ASYNCDB_NB_HOME=DIRECTORY" in answer


def test_a_server_for_a_user_without_a_name_is_told_what_to_type(python: str, home: Path) -> None:
    """PostgreSQL's own programs want a name; what was begun is removed."""
    answer = said(python, "embedded_server()", ASYNCDB_NB_HOME=str(home))

    assert "PostgreSQL does not run for a user without a name (uid 12345)" in answer
    assert re.search(r"Type, as root: echo 'me:x:12345:12345::/tmp:/bin/sh' >> /etc/passwd", answer)
    assert not [*home.rglob("data*")]


@pytest.mark.parametrize("call", ["embedded_server()", "EmbeddedServer(Path(HOME) / 'server').status()", "stop"])
def test_a_second_user_of_one_home_is_told_whose_it_is(call: str, python: str, home: Path) -> None:
    """Each user needs a server of their own: nobody else may enter the first one's."""
    (home / "server").mkdir(mode=0o700)
    os.chown(home / "server", STRANGER, STRANGER)
    home.chmod(0o755)
    server = f"EmbeddedServer(__import__('pathlib').Path({str(home / 'server')!r}))"
    calls = {"stop": f"{server}.stop()", "embedded_server()": call}

    answer = said(python, calls.get(call, f"{server}.status()"), uid=STRANGER + 1, ASYNCDB_NB_HOME=str(home))

    assert answer.startswith("ServerError")
    assert "belongs to user 12345, and each user needs a server of their own" in answer
    assert "export ASYNCDB_NB_HOME=" in answer


def test_a_home_that_nobody_may_write_to_is_told(python: str, home: Path) -> None:
    """As in an image whose files belong to root."""
    os.chown(home, 0, 0)
    home.chmod(0o755)

    answer = said(python, "embedded_server()", HOME=str(home))

    assert answer.startswith(f"ServerError The directory '{home}/.local/share/asyncdb_nb")
    assert "export ASYNCDB_NB_HOME=" in answer


@pytest.fixture
def small_disk(home: Path) -> Iterator[Path]:
    """A disk of 20 MB: less than a cluster's 40."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size=20m,mode=0711,uid={os.geteuid()}", "tmpfs", str(home)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this machine does not let root mount a file system")
    home.chmod(0o711)
    yield home
    subprocess.run(["umount", "--lazy", str(home)], check=True)


def test_a_full_disk_is_told_and_not_kept_full(small_disk: Path) -> None:
    """What was begun is removed, so that there is room again."""
    from asyncdb_nb.errors import ServerError
    from asyncdb_nb.server import EmbeddedServer

    before = shutil.disk_usage(small_disk).free

    with pytest.raises(ServerError, match=r"could not .*[.] Free some space on that disk"):
        EmbeddedServer.start(small_disk / "server")

    assert not [*small_disk.rglob("data*")]
    assert before - shutil.disk_usage(small_disk).free < 1_000_000


def test_a_read_only_disk_is_told(small_disk: Path) -> None:
    """Where there was a server before."""
    from asyncdb_nb.errors import ServerError
    from asyncdb_nb.server import EmbeddedServer

    (small_disk / "server").mkdir()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)

    with pytest.raises(ServerError, match=r"Read-only file system\. Type in a shell: export ASYNCDB_NB_HOME="):
        EmbeddedServer.start(small_disk / "server")
