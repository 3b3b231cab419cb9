"""
A real PostgreSQL without an installation, started on first use and stopped with its last user.

    url = embedded_server().url                      # the user's own server: shared by all their processes, data kept

    with EmbeddedServer.start() as server:           # one of your own in a temporary directory, gone afterwards
        ...

The programs come from a wheel (`server_programs`); locks that the kernel frees say who uses a server, and a guard stops
it after the last of them (`server_guard`). A server listens on a Unix socket in a directory that only its owner can
enter, and on no network. On Windows, which has no such sockets for asyncpg, it listens on the loopback address with a
random password; that branch follows PostgreSQL's manual and has not been run by us.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

from asyncdb_nb import server_guard
from asyncdb_nb.errors import ServerError
from asyncdb_nb.server_guard import POLL, FileLock, User, live_users, server_is_alive, server_pid, stop_server
from asyncdb_nb.server_programs import Programs

DEFAULT_SETTINGS: Mapping[str, str] = {
    "max_connections": "100",
    "shared_buffers": "64MB",
    "max_wal_size": "256MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
    "log_line_prefix": "%m [%p] %a: ",
}
"""What every embedded server starts with: small enough for a laptop, durable, and the same on every machine."""

THROWAWAY_SETTINGS: Mapping[str, str] = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
"""Added for a server in a temporary directory, whose data need not survive a power cut."""

START_TIMEOUT = 60.0
"""Seconds that a start may take; the first one also makes the cluster, which takes one or two."""

_SOCKET = ".s.PGSQL.5432"
_LONGEST_SOCKET_PATH = 103 if sys.platform == "darwin" else 107  # bytes, without the final NUL

_uses: dict[Path, FileLock] = {}
"""The servers that this process uses. The locks are held until the process ends: that is what the guards wait for."""


def embedded_server() -> EmbeddedServer:
    """
    Start the user's own embedded server, or join it if it runs. Blocks, for one or two seconds on a first start.

    Its data stay in the user's data directory (`$ASYNCDB_NB_HOME`, else what the platform calls that). The server
    lives until the last process that used it has ended.

    Raises:
        ServerError: The server is not installed or cannot start; the message has the end of its log.
    """
    return EmbeddedServer.start(home_directory() / "server")


def home_directory() -> Path:
    """Where this user's embedded server is: `$ASYNCDB_NB_HOME`, else the platform's place for a user's data."""
    if named := os.environ.get("ASYNCDB_NB_HOME"):
        return Path(named).expanduser().absolute()
    if sys.platform != "win32" and os.geteuid() == 0:
        return Path("/var/lib/asyncdb_nb")  # the server does not run as root, and could not enter root's home
    from platformdirs import user_data_path

    return user_data_path("asyncdb_nb", appauthor=False)


@dataclass(frozen=True)
class ServerStatus:
    """What `EmbeddedServer.status()` found; `pid` is None and `users` may be empty when the server is stopped."""

    running: bool
    url: str
    pid: int | None
    version: str
    directory: Path
    kept: bool
    users: tuple[User, ...]


class EmbeddedServer:
    """
    A PostgreSQL server in a directory of its own.

    Attributes:
        directory: Where all of it is; the data are in `data/`.
        log: The server's log since it was started. The one before is beside it, as `log.old`.
    """

    def __init__(self, directory: Path) -> None:
        """Name the server in `directory`, without starting anything."""
        self.directory = directory.expanduser().absolute()
        self.log = self.directory / "log"
        self._data = self.directory / "data"
        self._programs = Programs.find(home_directory())

    @classmethod
    def start(cls, directory: Path | None = None, settings: Mapping[str, str] | None = None) -> EmbeddedServer:
        """
        Start the server in `directory`, or join it if it runs. Blocks until it accepts connections.

        Safe to call from several processes and threads at once: one starts the server, the others wait and join.

        Args:
            directory: Where its data, socket and log are; made if missing. None: a temporary directory, removed when
                the server stops, and settings that trade durability for speed.
            settings: Further PostgreSQL settings (`{"work_mem": "64MB"}`); a server that runs already keeps its own.

        Raises:
            ServerError: The server is not installed or cannot start; the message has the end of its log.
        """
        throwaway = directory is None
        server = cls(Path(tempfile.mkdtemp(prefix="asyncdb_nb-")) if directory is None else directory)
        server._make_directories(throwaway)
        with _starting(server.directory):
            if not server._in_use_here():
                _uses[server.directory] = server_guard.join(server.directory)
            try:
                wanted = {**DEFAULT_SETTINGS, **(THROWAWAY_SETTINGS if throwaway else {}), **(settings or {})}
                server._ensure_running(wanted)
                server._ensure_guard()
            except BaseException:
                _uses.pop(server.directory).release()
                raise
        return server

    @property
    def url(self) -> str:
        """`postgresql://postgres@/postgres?host=…&port=…`, as SQLAlchemy, asyncpg and psycopg take it."""
        if sys.platform == "win32":
            password = (self.directory / "password").read_text()
            return f"postgresql://postgres:{password}@127.0.0.1:{_port_of(self._data)}/postgres"
        return f"postgresql://postgres@/postgres?host={quote(str(self._socket_directory))}&port=5432"

    def status(self) -> ServerStatus:
        """Look whether the server runs and who uses it."""
        if not self.directory.is_dir():
            return ServerStatus(False, self.url, None, self._programs.version, self.directory, False, ())
        with _starting(self.directory):
            running = self._is_alive()
            pid = server_pid(self.directory) if running else None
            users = tuple(live_users(self.directory))
        kept = running and (self.directory / "keep").exists()
        return ServerStatus(running, self.url, pid, self._programs.version, self.directory, kept, users)

    def keep(self) -> None:
        """Let the server run on after its last user, until `stop()` or the machine's end."""
        (self.directory / "keep").touch()

    def stop(self) -> None:
        """
        Stop the server now, whoever uses it; their connections end with an error. Stopped already: nothing happens.

        Raises:
            ServerError: It would not stop.
        """
        if not self.directory.is_dir():
            return
        with _starting(self.directory):
            if not stop_server(self.directory, self._programs.path("pg_ctl")):
                raise ServerError(f"The embedded PostgreSQL in {str(self.directory)!r} does not stop. {self._log_end()}")
            if use := _uses.pop(self.directory, None):
                use.release()
            if (self.directory / "throwaway").exists():
                shutil.rmtree(self._socket_directory, ignore_errors=True)
                shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> EmbeddedServer:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<EmbeddedServer in {str(self.directory)!r}>"

    def _make_directories(self, throwaway: bool) -> None:
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for directory in (self.directory.parent,) if self.directory.parent == home_directory() else ():
            self._programs.let_through(directory)
        self._programs.let_through(self.directory)
        self._programs.check_reach(self.directory)
        (self.directory / "users").mkdir(exist_ok=True, mode=0o700)
        if throwaway:
            (self.directory / "throwaway").touch()

    def _in_use_here(self) -> bool:
        use = _uses.get(self.directory)
        return use is not None and use.path.exists()  # it does not when somebody removed the directory meanwhile

    def _ensure_running(self, settings: Mapping[str, str]) -> None:
        self._ensure_cluster()
        self._ensure_socket_directory()
        end = time.monotonic() + START_TIMEOUT
        while not self._accepts():
            if not self._is_alive():
                self._start(settings)
            elif time.monotonic() > end:
                raise ServerError(
                    f"The embedded PostgreSQL in {str(self.directory)!r} runs, but has accepted no connection for "
                    f"{START_TIMEOUT:.0f} s. Stop it: `asyncdb-nb server stop`. {self._log_end()}"
                )
            time.sleep(POLL)

    def _ensure_cluster(self) -> None:
        if self._data.is_dir():
            self._check_version()
            return
        unfinished = self.directory / "data.new"  # renamed when complete: a killed initdb leaves nothing half-made
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        self._programs.give(unfinished)
        done = self._programs.run(
            "initdb",
            *("--pgdata", unfinished, "--username=postgres", "--encoding=UTF8", "--no-instructions"),
            *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            *self._authentication(),
            *(["--no-sync"] if (self.directory / "throwaway").exists() else []),
            cwd=self.directory,
            capture_output=True,
        )
        if done.returncode != 0:
            raise ServerError(
                f"The embedded PostgreSQL could not make its data directory in {str(self.directory)!r}: "
                f"{done.stderr.strip()}"
            )
        unfinished.rename(self._data)

    def _authentication(self) -> list[str]:
        if sys.platform != "win32":
            return ["--auth-local=trust", "--auth-host=reject"]  # the socket's directory lets nobody else in
        password = self.directory / "password"
        password.write_text(secrets.token_urlsafe(24))
        return ["--auth=scram-sha-256", f"--pwfile={password}"]

    def _check_version(self) -> None:
        made_by, ours = (self._data / "PG_VERSION").read_text().strip(), self._programs.version
        if made_by != ours.partition(".")[0]:
            raise ServerError(
                f"The data in {str(self._data)!r} were made by PostgreSQL {made_by}, and this is PostgreSQL {ours}. "
                f"Take a dump with PostgreSQL {made_by} if you need them, then move that directory away."
            )

    @property
    def _socket_directory(self) -> Path:
        directory = self.directory / "socket"
        if len(os.fsencode(directory / _SOCKET)) <= _LONGEST_SOCKET_PATH:
            return directory
        name = hashlib.sha256(os.fsencode(self.directory)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"asyncdb_nb-{name}"

    def _ensure_socket_directory(self) -> None:
        if sys.platform == "win32":
            return
        directory = self._socket_directory
        with suppress(FileExistsError):
            directory.mkdir(mode=0o700)
            self._programs.give(directory)
        found, owner = directory.lstat(), self._programs.owner[0] if self._programs.owner else os.geteuid()
        if directory.is_symlink() or found.st_uid != owner or found.st_mode & 0o077:
            raise ServerError(
                f"{str(directory)!r}, the directory of the server's socket, is not private to its user. Remove it."
            )

    def _start(self, settings: Mapping[str, str]) -> None:
        """Start the server, which nobody else can be doing. What a killed one left behind is removed first."""
        for stale in (self._data / "postmaster.pid", self._socket_directory / _SOCKET, self.directory / "keep"):
            stale.unlink(missing_ok=True)
        if self.log.exists():
            self.log.replace(self.log.with_name("log.old"))
        self.log.touch(mode=0o600)
        self._programs.give(self.log)
        configuration = self.directory / "server.conf"
        configuration.write_text("".join(f"{name} = {_quoted(value)}\n" for name, value in self._all(settings).items()))
        self._programs.give(configuration)
        alive = FileLock(self.directory / "alive.lock")
        if not alive.try_acquire():
            return
        try:
            done = self._programs.run(
                "pg_ctl",
                *("start", "--pgdata", self._data, "--wait", f"--timeout={START_TIMEOUT:.0f}", "--log", self.log),
                *("--options", f'-c config_file="{configuration}"'),
                cwd=self.directory,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                **({} if sys.platform == "win32" else {"pass_fds": [alive.fileno()]}),
            )
        finally:
            alive.hand_over()  # the server's processes hold it from now on, if there are any
        if done.returncode != 0:
            raise ServerError(f"The embedded PostgreSQL in {str(self.directory)!r} does not start. {self._log_end()}")

    def _all(self, settings: Mapping[str, str]) -> dict[str, str]:
        if sys.platform == "win32":
            where = {"listen_addresses": "127.0.0.1", "port": str(_free_port())}
        else:
            where = {
                "listen_addresses": "",
                "port": "5432",
                "unix_socket_directories": str(self._socket_directory),
                "unix_socket_permissions": "0700",
            }
        return {**settings, **where}

    def _accepts(self) -> bool:
        host = "127.0.0.1" if sys.platform == "win32" else str(self._socket_directory)
        port = str(_port_of(self._data) or 5432) if sys.platform == "win32" else "5432"
        done = self._programs.run(
            "pg_isready", "--host", host, "--port", port, "--quiet", cwd=self.directory, capture_output=True
        )
        return done.returncode == 0

    def _is_alive(self) -> bool:
        return server_is_alive(self.directory, self._programs.path("pg_ctl"))

    def _ensure_guard(self) -> None:
        guard = FileLock(self.directory / "guard.lock")
        if not guard.try_acquire():
            return
        guard.release()
        command = [sys.executable, "-I", "-S", server_guard.__file__, str(self.directory), self._programs.path("pg_ctl")]
        silent = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        if sys.platform == "win32":
            subprocess.Popen(command, creationflags=subprocess.DETACHED_PROCESS, **silent)
        else:
            subprocess.run(command, cwd="/", check=True, **silent)

    def _log_end(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-8:] if self.log.exists() else []
        return "\n".join([f"Its log, {str(self.log)!r}, ends with:", *lines] if lines else ["Its log is empty."])


class _starting(FileLock):
    """The lock under which a server is started, stopped, joined and looked at."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory / "start.lock")

    def __enter__(self) -> _starting:
        if not self.acquire(2 * START_TIMEOUT):
            raise ServerError(
                f"Another process has been starting or stopping the embedded PostgreSQL for {2 * START_TIMEOUT:.0f} s "
                f"and holds {str(self.path)!r}. End it, then try again."
            )
        return self


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def _port_of(data: Path) -> int | None:
    """The TCP port in `postmaster.pid`, its fourth line."""
    try:
        return int((data / "postmaster.pid").read_text().splitlines()[3])
    except (FileNotFoundError, IndexError, ValueError):
        return None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
