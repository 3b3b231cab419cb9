"""The command `asyncdb-nb`: what it prints, and the exit status that scripts rely on."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import psycopg
import pytest

from asyncdb_nb import cli
from asyncdb_nb.cli import command_line
from asyncdb_nb.server import EmbeddedServer


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home for the shared server that its system user can enter."""
    with tempfile.TemporaryDirectory(prefix="adb-") as directory:
        Path(directory).chmod(0o711)
        monkeypatch.setenv("ASYNCDB_NB_HOME", directory)
        yield Path(directory)
        EmbeddedServer(Path(directory) / "server").stop()


def asyncdb_nb(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, as strictly as Python can be run."""
    command = [sys.executable, "-X", "dev", "-W", "error", "-m", "asyncdb_nb.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.mark.second_tier
def test_a_started_server_runs_on_until_it_is_stopped(home: Path) -> None:
    """`server start` leaves a server behind that no process uses; `status` says so; `stop` ends it."""
    started = asyncdb_nb("server", "start")
    assert (started.returncode, started.stderr) == (0, "")
    url = started.stdout.split()[1]
    with psycopg.connect(url) as connection:
        connection.execute("select 1")

    status = asyncdb_nb("server", "status")
    assert (status.returncode, status.stderr) == (0, "")
    assert url in status.stdout
    assert str(home / "server") in status.stdout
    assert "Kept until `asyncdb-nb server stop`." in status.stdout
    assert "Used by" not in status.stdout

    stopped = asyncdb_nb("server", "stop")
    assert (stopped.returncode, stopped.stdout, stopped.stderr) == (0, "Stopped.\n", "")
    assert asyncdb_nb("server", "status").returncode == 3


def test_status_names_the_processes_that_use_the_server(home: Path) -> None:
    """A process is listed with its pid and what it runs."""
    code = "import sys; from asyncdb_nb.server import embedded_server as e; e(); print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, "analysis.ipynb"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()

        status = asyncdb_nb("server", "status")

        assert f"Used by process {process.pid}: " in status.stdout
        assert "analysis.ipynb" in status.stdout
        assert "It stops with its last user." in status.stdout
        process.communicate()


def test_an_error_is_one_line_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of ours goes to stderr as a sentence, with exit status 1."""
    monkeypatch.setenv("ASYNCDB_NB_HOME", "/etc/passwd/no/directory")

    done = asyncdb_nb("server", "start")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("asyncdb-nb: The directory '/etc/passwd/no/directory/server'")
    assert done.stderr.count("\n") == 1


def test_it_tells_its_version() -> None:
    done = asyncdb_nb("--version")

    assert (done.returncode, done.stdout) == (0, f"asyncdb-nb {metadata.version('asyncdb_nb')}\n")


@pytest.mark.parametrize(
    ("typed", "path", "shown"),
    [
        (".venv/bin/asyncdb-nb", "", ".venv/bin/asyncdb-nb"),
        (".venv/bin/asyncdb-nb", "bin", "asyncdb-nb"),
        ("/x/asyncdb_nb/cli.py", "", "asyncdb-nb"),
    ],
    ids=["a path", "on the path", "python -m"],
)
def test_what_to_type_next_can_be_typed_here(
    typed: str, path: str, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The README calls it by a path, in an environment that is not activated."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "asyncdb-nb").touch(0o755)
    monkeypatch.setattr(sys, "argv", [typed])
    monkeypatch.setenv("PATH", str(tmp_path / path))

    assert command_line.as_typed() == shown


@pytest.mark.parametrize("arguments", [[], ["server"], ["server", "explode"], ["nonsense"]], ids=" ".join)
def test_a_wrong_command_line_shows_the_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """As with any command: usage on stderr, exit status 2."""
    with pytest.raises(SystemExit) as exit_:
        cli.main(arguments)

    assert exit_.value.code == 2
    assert capsys.readouterr().err.startswith("usage: asyncdb-nb")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://postgres@/postgres?host=/a/b", "postgresql://postgres@/postgres?host=/a/b"),
        ("postgresql://postgres:s3cret@127.0.0.1:5000/postgres", "postgresql://postgres:***@127.0.0.1:5000/postgres"),
    ],
    ids=["socket", "loopback"],
)
def test_no_password_is_printed(url: str, shown: str) -> None:
    """A password of a URL that was typed stays out of what the command prints."""
    assert command_line.shown(url) == shown
