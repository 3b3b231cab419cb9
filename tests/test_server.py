"""The embedded server: started on first use, shared, private, and stopped with its last user, however that ended."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest
from waiting import HANG

import asyncdb_nb
from asyncdb_nb.errors import ServerError
from asyncdb_nb.server import EmbeddedServer, binaries, embedded_server

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="these tests are about Unix sockets and signals")

USE = """
import sys
from asyncdb_nb.server import embedded_server
print(embedded_server().status().pid, flush=True)
sys.stdin.read()
"""

MAKE_USER = """
import multiprocessing, pathlib, sys
from asyncdb_nb.server import binaries

def find_user():
    at_once.wait()
    found.put(binaries.Programs.find(pathlib.Path("/nonexistent")).owner)

binaries.SYSTEM_USER = sys.argv[1]
multiprocessing.set_start_method("fork")
at_once, found = multiprocessing.Barrier(3), multiprocessing.Queue()
processes = [multiprocessing.Process(target=find_user) for _ in range(3)]
for process in processes:
    process.start()
print(len({found.get(timeout=60) for _ in processes}))
for process in processes:
    process.join()
"""


class UserProcess:
    """A process that uses the shared server until `end()`; anything on its stderr is an error."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-X", "dev", "-W", "error", "-c", USE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid

    def server_pid(self) -> int:
        """The pid of the server that it uses, once it does."""
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def end(self) -> None:
        assert self._process.communicate()[1] == ""

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home for shared servers, with a short path that the server's system user can enter."""
    with tempfile.TemporaryDirectory(prefix="adb-") as directory:
        Path(directory).chmod(0o711)
        monkeypatch.setenv("ASYNCDB_NB_HOME", directory)
        yield Path(directory)
        EmbeddedServer(Path(directory) / "server").stop()


@pytest.fixture
def shared(home: Path) -> EmbeddedServer:
    """The shared server of that home, looked at from a process that does not use it."""
    return EmbeddedServer(home / "server")


@pytest.mark.second_tier
def test_a_server_in_a_temporary_directory_leaves_nothing() -> None:
    """It answers inside the `with`, and directory and processes are gone after it."""
    with EmbeddedServer.start() as server:
        assert query(server, "select 1") == "1"
        pid = server.status().pid
        assert os.getsid(pid or 0) != os.getsid(0), "Ctrl-C in this terminal would reach the server"

    assert not server.directory.exists()
    assert wait_until(lambda: not is_running(pid))


@pytest.mark.second_tier
def test_processes_share_one_server_and_the_last_one_stops_it(shared: EmbeddedServer) -> None:
    """Two processes get the same server; it outlives the first and not the second."""
    first, second = UserProcess(), UserProcess()
    assert first.server_pid() == second.server_pid() == shared.status().pid
    assert {user.pid for user in shared.status().users} == {first.pid, second.pid}

    first.end()
    assert [user.pid for user in shared.status().users] == [second.pid]
    assert query(shared, "select 1") == "1"

    second.end()
    assert wait_until(lambda: not shared.status().running)


@pytest.mark.second_tier
def test_four_first_starts_at_once_make_one_server(shared: EmbeddedServer) -> None:
    """Processes that race for the first start, with no data directory yet, end up on one server."""
    processes = [UserProcess() for _ in range(4)]

    assert len({process.server_pid() for process in processes}) == 1
    for process in processes:
        process.end()


@pytest.mark.second_tier
def test_a_killed_user_does_not_keep_the_server(shared: EmbeddedServer) -> None:
    """The server stops when its only user is killed, and the next start finds what was committed."""
    user = UserProcess()
    user.server_pid()
    query(shared, "create table kept as select 42 as answer")

    user.kill()
    assert wait_until(lambda: not shared.status().running)

    assert query(embedded_server(), "select answer from kept") == "42"


@pytest.mark.second_tier
def test_a_killed_server_is_started_again(shared: EmbeddedServer) -> None:
    """After a SIGKILL of the server, stale pid files that name a living process of its user are no obstacle."""
    embedded_server()
    query(shared, "create table kept as select 42 as answer")
    data, killed = shared.directory / "data", shared.status().pid
    kill(killed)
    assert wait_until(lambda: not shared.status().running)

    with subprocess.Popen(["sleep", "60"], user=data.stat().st_uid) as innocent:
        for stale in (data / "postmaster.pid", shared.directory / "socket" / ".s.PGSQL.5432.lock"):
            stale.write_text(stale.read_text().replace(str(killed), str(innocent.pid), 1))
        assert query(embedded_server(), "select answer from kept") == "42"
        innocent.kill()


@pytest.mark.second_tier
def test_a_killed_reaper_is_replaced(shared: EmbeddedServer) -> None:
    """The next process that joins brings a new reaper, so the server still stops with its last user."""
    first = UserProcess()
    first.server_pid()
    kill(reaper_pid(shared))
    assert wait_until(lambda: reaper_pid(shared) is None)

    second = UserProcess()
    second.server_pid()
    first.end()
    second.end()

    assert wait_until(lambda: not shared.status().running)


@pytest.mark.second_tier
def test_a_half_made_data_directory_is_made_anew(shared: EmbeddedServer) -> None:
    """What a killed initdb left behind is not taken for data."""
    unfinished = shared.directory / "data.new"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n")

    assert query(embedded_server(), "select 1") == "1"


@pytest.mark.second_tier
def test_a_stopped_server_starts_again_in_the_same_process(home: Path) -> None:
    """`embedded_server()` after somebody stopped the server gives a running one."""
    embedded_server().stop()

    status = embedded_server().status()
    assert status.running
    assert [user.pid for user in status.users] == [os.getpid()]


def test_nobody_else_can_connect(server: EmbeddedServer) -> None:
    """No network address, no rule for one, and a socket behind directories that others cannot enter."""
    assert query(server, "show listen_addresses") == ""
    assert query(
        server, "select string_agg(distinct auth_method, ' ') from pg_hba_file_rules where type <> 'local'"
    ) in (
        "reject",
        "None",
    )
    for name in ("socket", "data"):
        assert stat.S_IMODE((server.directory / name).stat().st_mode) == 0o700
    assert stat.S_IMODE(server.directory.stat().st_mode) & 0o007 == 0
    if os.geteuid() == 0:
        socket_path = server.directory / "socket" / ".s.PGSQL.5432"
        assert subprocess.run(["/usr/bin/test", "-e", socket_path], user="nobody", extra_groups=[]).returncode == 1


@pytest.mark.second_tier
def test_an_ordinary_user_gets_a_server(tmp_path: Path) -> None:
    """A user who is not root starts and stops a server in their own home, cleanly under `-X dev -W error`."""
    python = interpreter_for_nobody() if os.geteuid() == 0 else sys.executable
    if python is None:
        pytest.skip("every Python here is in a directory that only root can enter")
    with tempfile.TemporaryDirectory(prefix="adb-") as user_home:
        done = run_as_nobody(
            [python, "-X", "dev", "-W", "error", "-c", ORDINARY], {"HOME": user_home, "PYTHONPATH": package_path()}
        )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split()[-1] == "stopped"


ORDINARY = """
import os, stat
from asyncdb_nb.server import embedded_server, home_directory
server = embedded_server()
assert home_directory().is_relative_to(os.environ["HOME"]), home_directory()
assert server.status().running
for directory in (home_directory(), server.directory, server.directory / "socket", server.directory / "data"):
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700, directory
    assert directory.stat().st_uid == os.geteuid()
server.stop()
print("stopped" if not server.status().running else "running")
"""


@pytest.mark.second_tier
def test_a_long_path_gets_a_short_socket(home: Path) -> None:
    """A directory too deep for a socket's path (107 bytes) still has a server that answers, in private."""
    directory = home / ("d" * 60) / ("e" * 60)

    with EmbeddedServer.start(directory, {"fsync": "off"}) as server:
        assert query(server, "select 1") == "1"
        socket_directory = Path(query(server, "show unix_socket_directories").strip('"'))

    assert len(os.fsencode(socket_directory)) < 90
    assert stat.S_IMODE(socket_directory.stat().st_mode) == 0o700
    shutil.rmtree(socket_directory)


def test_a_missing_wheel_names_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the wheel the error is the `pip install` line."""
    monkeypatch.setattr(binaries, "WHEEL", "a_wheel_that_is_not_here")

    with pytest.raises(ServerError, match=r'pip install "asyncdb_nb\[server\]"'):
        EmbeddedServer.start()


def test_a_throwaway_server_that_does_not_start_leaves_no_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What was made for a server in a temporary directory is removed when it does not start."""
    tmp_path.chmod(0o711)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    with pytest.raises(ServerError):
        EmbeddedServer.start(settings={"shared_buffers": "a lot"})

    assert list(tmp_path.iterdir()) == []


@pytest.mark.second_tier
def test_a_server_that_does_not_start_shows_its_log(home: Path) -> None:
    """A setting that PostgreSQL refuses is named, in its own words, and the process is no user afterwards."""
    with pytest.raises(ServerError, match='invalid value for parameter "shared_buffers": "a lot"'):
        EmbeddedServer.start(home / "broken", {"shared_buffers": "a lot"})

    assert EmbeddedServer(home / "broken").status().users == ()


@pytest.mark.second_tier
def test_data_of_another_postgresql_are_refused(shared: EmbeddedServer) -> None:
    """Data that another major version made are left alone, and the error says which version that was."""
    embedded_server().stop()
    (shared.directory / "data" / "PG_VERSION").write_text("16\n")

    with pytest.raises(ServerError, match="made by PostgreSQL 16"):
        embedded_server()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as another user")
def test_root_is_told_when_the_servers_user_cannot_enter(home: Path) -> None:
    """A directory below one that only root may enter is refused with what to type; nobody's rights are widened."""
    closed = home / "closed"
    closed.mkdir(mode=0o700)

    with pytest.raises(ServerError, match="export ASYNCDB_NB_HOME="):
        EmbeddedServer.start(closed / "server")

    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as another user")
@pytest.mark.skipif(shutil.which("useradd") is None, reason="nothing here makes a user")
def test_processes_that_start_at_once_make_one_user() -> None:
    """On a fresh machine pytest's workers start servers at the same time: all must run as one and the same user."""
    name = f"asyncdb{os.getpid()}"
    try:
        found = subprocess.run(
            [sys.executable, "-W", "error", "-c", MAKE_USER, name], capture_output=True, text=True, check=True
        )
        assert found.stdout.strip() == "1"
        assert [line.split(":")[0] for line in Path("/etc/passwd").read_text().splitlines()].count(name) == 1
    finally:
        subprocess.run(["userdel", name], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as another user")
@pytest.mark.second_tier
def test_root_runs_a_copy_of_programs_that_the_servers_user_cannot_reach(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A wheel in a place that only root may enter (a virtual environment in /root) works, and stays closed."""
    installed = Path(find_spec(binaries.WHEEL).origin).parent  # type: ignore[union-attr, arg-type]
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    for name in (installed.name, f"{installed.name}.libs"):
        if (installed.parent / name).exists():
            shutil.copytree(installed.parent / name, closed / name, symlinks=True)
    monkeypatch.syspath_prepend(closed)

    with EmbeddedServer.start() as server:
        assert query(server, "select 1") == "1"

    assert len(list(home.glob("programs-*"))) == 1
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


def query(server: EmbeddedServer, statement: str) -> str:
    """The first value of a statement as text, through a connection of its own; DDL is committed."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        cursor = connection.execute(statement)
        row = cursor.fetchone() if cursor.description else None
    return str(row[0]) if row else ""


def wait_until(condition: Callable[[], bool], timeout: float = HANG) -> bool:
    """Wait for a condition, at most `timeout` seconds; say whether it came."""
    end = time.monotonic() + timeout
    while not (true := condition()) and time.monotonic() < end:
        time.sleep(0.02)
    return true


def is_running(pid: int | None) -> bool:
    """Whether the process is there and no zombie."""
    found = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    return found != "" and not found.startswith("Z")


def kill(pid: int | None) -> None:
    """SIGKILL a process, which must be known: 0 would be this whole process group."""
    assert pid
    os.kill(pid, signal.SIGKILL)


def reaper_pid(server: EmbeddedServer) -> int | None:
    """The pid of the server's reaper, if there is one."""
    for line in subprocess.run(["ps", "-axwwo", "pid=,args="], capture_output=True, text=True).stdout.splitlines():
        if "reaper.py" in line and str(server.directory) in line:
            return int(line.split()[0])
    return None


def interpreter_for_nobody() -> str | None:
    """A Python that the user nobody may run."""
    test = "import sys; assert sys.version_info >= (3, 11); import asyncdb_nb.server.embedded, platformdirs"
    for python in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        try:
            if run_as_nobody([python, "-c", test], {"PYTHONPATH": package_path()}).returncode == 0:
                return python
        except OSError:
            continue
    return None


def run_as_nobody(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command as the user nobody (as ourselves if we are not root), who owns their `HOME`."""
    options = {"user": "nobody", "extra_groups": []} if os.geteuid() == 0 else {}
    if os.geteuid() == 0 and "HOME" in environment:
        shutil.chown(environment["HOME"], "nobody")
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        cwd="/",
        env={"PATH": os.defpath, "PYTHONDONTWRITEBYTECODE": "1", **environment},
        **options,  # type: ignore[arg-type]
    )


def package_path() -> str:
    """Where another interpreter finds this package, the wheel, and what else the server needs."""
    homes = [Path(asyncdb_nb.__file__).parents[1]]
    homes += [Path(find_spec(name).origin).parents[1] for name in (binaries.WHEEL, "platformdirs")]  # type: ignore[union-attr, arg-type]
    return os.pathsep.join(map(str, homes))
