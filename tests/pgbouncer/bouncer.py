"""A real PgBouncer before a server, in the mode that a test asks for."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

KEEPS_PREPARED = (1, 21)  # the first version that keeps prepared statements in transaction mode
START_SECONDS = 60  # a bound for a hang; it takes a tenth of a second


def programs() -> list[str]:
    """The PgBouncers of this machine: `PGBOUNCERS`, separated like `PATH`, else the installed one."""
    if given := os.environ.get("PGBOUNCERS"):
        return given.split(os.pathsep)
    found = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    return [found] if found else []


def version_of(program: str) -> tuple[int, ...]:
    """`1.18.0` as (1, 18, 0)."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(map(int, said.split()[1].split(".")))


class Bouncer:
    """One PgBouncer before the server at a URL, stopped at the end of a `with` block.

    Args:
        program: The executable.
        directory: Where its files go.
        url: The server's URL: its Unix socket and a database.
        pool_mode: "session", "transaction" or "statement".
        **settings: Further lines of its configuration.
    """

    def __init__(self, program: str, directory: Path, url: str, pool_mode: str, **settings: object) -> None:
        parts = urlsplit(url)
        self._program, self._directory = program, directory
        self._database = parts.path.lstrip("/")
        server = Path(parse_qs(parts.query)["host"][0])
        self._owner = server.owner()
        self.port = _free_port()
        self._settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": self.port,
            "unix_socket_dir": "",
            "auth_type": "trust",
            "auth_file": directory / "users",
            "logfile": directory / "log",
            "pool_mode": pool_mode,
            "default_pool_size": 10,
        } | settings
        self._databases = f"* = host={server} port={parse_qs(parts.query).get('port', ['5432'])[0]}"

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{self._database}"

    @property
    def log(self) -> str:
        return (self._directory / "log").read_text()

    def __enter__(self) -> Self:
        lines = [f"{name} = {value}" for name, value in self._settings.items()]
        (self._directory / "users").write_text('"postgres" ""\n')
        (self._directory / "log").touch()
        config = self._directory / "pgbouncer.ini"
        config.write_text("\n".join(["[databases]", self._databases, "[pgbouncer]", *lines, ""]))
        command = [self._program, "-q", str(config)]
        if os.getuid() == 0:  # which it refuses to run as; the server's own user can get to the socket
            for path in (self._directory, *self._directory.iterdir()):
                shutil.chown(path, self._owner)
            command[1:1] = ["-u", self._owner]
        with (self._directory / "log").open("a") as log:  # where it says what it cannot read
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        self._wait_until_it_listens()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.send_signal(signal.SIGINT)  # which ends its connections to the server one by one
        try:
            self._process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise

    def _wait_until_it_listens(self) -> None:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.01)
            else:
                return
        raise RuntimeError(f"PgBouncer does not start: {self.log}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


Start = Callable[..., Bouncer]
