"""
A real PostgreSQL without an installation, started on first use and stopped with its last user.

    url = embedded_server().url                      # the user's own server: shared by all their processes, data kept

    with EmbeddedServer.start() as server:           # one in a temporary directory, gone afterwards
        ...

The programs come from a wheel (`binaries`), run one cluster in a directory that nobody else can enter (`cluster`);
locks that the kernel frees say who uses it, and a process stops it after the last of them (`reaper`).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from asyncdb_nb.errors import ServerError
from asyncdb_nb.server import reaper
from asyncdb_nb.server.binaries import Programs
from asyncdb_nb.server.cluster import START_TIMEOUT, Cluster
from asyncdb_nb.server.directory import home_directory, usable
from asyncdb_nb.server.reaper import FileLock, User

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

_uses: dict[Path, FileLock] = {}
"""The servers that this process uses. The locks are held until the process ends: that is what the reapers wait for."""


def embedded_server() -> EmbeddedServer:
    """
    Start the user's own embedded server, or join it if it runs. Blocks, for one or two seconds on a first start.

    Its data stay, in `home_directory()`. The server lives until the last process that used it has ended.

    Raises:
        ServerError: The server is not installed or cannot start; the message has the end of its log.
    """
    return EmbeddedServer.start(home_directory() / "server")


@dataclass(frozen=True)
class ServerStatus:
    """What `EmbeddedServer.status()` found. A stopped server has no `url` and no `pid`."""

    url: str | None
    pid: int | None
    version: str
    directory: Path
    kept: bool
    users: tuple[User, ...]

    @property
    def running(self) -> bool:
        """Whether the server runs."""
        return self.pid is not None


class EmbeddedServer:
    """
    A PostgreSQL server in a directory of its own.

    Attributes:
        directory: Where all of it is; the data are in `data/`.
        log: The server's log since it was started. The one before is beside it, as `log.old`.
    """

    def __init__(self, directory: Path) -> None:
        """
        Name the server in `directory`, without starting anything.

        Raises:
            ServerError: The server is not installed.
        """
        home = home_directory()
        with usable(home):
            self._programs = Programs.find(home)
        self.directory = directory.expanduser().absolute()
        self._cluster = Cluster(self.directory, self._programs)
        self.log = self._cluster.log

    @classmethod
    def start(cls, directory: Path | None = None, settings: Mapping[str, str] | None = None) -> EmbeddedServer:
        """
        Start the server in `directory`, or join it if it runs. Blocks until it accepts connections.

        Safe to call from several processes and threads at once: one starts the server, the others wait and join. The
        server lives until `stop()`, or until the last process that joined it has ended.

        Args:
            directory: Where its data, socket and log are; made if missing. None: a temporary directory, removed when
                the server stops, and settings that trade durability for speed.
            settings: Further PostgreSQL settings (`{"work_mem": "64MB"}`); a server that runs already keeps its own.

        Raises:
            ServerError: The server is not installed or cannot start; the message has the end of its log.
        """
        if directory is None:
            return cls._start_throwaway(settings or {})
        server = cls(directory)
        server._start({**DEFAULT_SETTINGS, **(settings or {})})
        return server

    @property
    def url(self) -> str:
        """`postgresql://postgres@/postgres?host=…&port=…`, as SQLAlchemy, asyncpg and psycopg take it."""
        return self._cluster.url

    def status(self) -> ServerStatus:
        """Look whether the server runs and who uses it."""
        version = self._programs.version
        if not _is_there(self.directory):
            return ServerStatus(None, None, version, self.directory, False, ())
        with usable(self.directory), _StartLock(self.directory):
            users = tuple(reaper.live_users(self.directory))
            if not self._cluster.is_alive():
                return ServerStatus(None, None, version, self.directory, False, users)
            pid, kept = reaper.server_pid(self.directory), (self.directory / "keep").exists()
            return ServerStatus(self.url, pid, version, self.directory, kept, users)

    def keep(self) -> None:
        """Let the server run on after its last user, until `stop()` or the machine's end."""
        with usable(self.directory):
            (self.directory / "keep").touch()

    def stop(self) -> None:
        """
        Stop the server now, whoever uses it; their connections end with an error. Stopped already: nothing happens.

        Raises:
            ServerError: It would not stop.
        """
        if not _is_there(self.directory):
            return
        with usable(self.directory), _StartLock(self.directory):
            if not reaper.stop_server(self.directory):
                end = self._cluster.log_end()
                raise ServerError(f"The embedded PostgreSQL in {str(self.directory)!r} does not stop. {end}")
            (self.directory / "keep").unlink(missing_ok=True)
            if use := _uses.pop(self.directory, None):
                use.release()
            reaper.remove_if_throwaway(self.directory)

    def __enter__(self) -> EmbeddedServer:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<EmbeddedServer in {str(self.directory)!r}>"

    @classmethod
    def _start_throwaway(cls, settings: Mapping[str, str]) -> EmbeddedServer:
        with usable(Path(tempfile.gettempdir())):
            directory = Path(tempfile.mkdtemp(prefix="asyncdb_nb-"))
        try:
            server = cls(directory)
            (directory / "throwaway").write_text(str(server._cluster.socket_directory))
            server._start({**DEFAULT_SETTINGS, **THROWAWAY_SETTINGS, **settings}, "--no-sync")
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            raise
        return server

    def _start(self, settings: Mapping[str, str], *initdb_options: str) -> None:
        with usable(self.directory):
            self._start_there(settings, *initdb_options)

    def _start_there(self, settings: Mapping[str, str], *initdb_options: str) -> None:
        self._programs.make_private(self.directory)
        self._programs.close_to_others(self.directory)
        self._programs.check_reach(self.directory)
        (self.directory / "users").mkdir(exist_ok=True, mode=0o700)
        with _StartLock(self.directory):
            joined = self._join()
            try:
                self._cluster.ensure_data(*initdb_options)
                self._cluster.ensure_running(settings)
                self._ensure_reaper()
            except BaseException:
                if joined:
                    _uses.pop(self.directory).release()
                raise

    def _join(self) -> bool:
        """Make this process a user of the server; say whether it was none before."""
        use = _uses.get(self.directory)
        if use is not None and use.path.exists():  # it does not when somebody removed the directory meanwhile
            return False
        _uses[self.directory] = reaper.join(self.directory)
        return True

    def _ensure_reaper(self) -> None:
        if not FileLock(self.directory / reaper.LOCK).is_free():
            return
        command = [sys.executable, "-I", "-S", reaper.__file__, str(self.directory)]
        nothing = subprocess.DEVNULL
        subprocess.run(command, cwd="/", stdin=nothing, stdout=nothing, stderr=nothing, check=True)


def _is_there(directory: Path) -> bool:
    with usable(directory):
        return directory.is_dir()  # which raises where somebody else's directory is above


class _StartLock(FileLock):
    """The lock under which a server is started, stopped, joined and looked at."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory / "start.lock", create=True)

    def __enter__(self) -> _StartLock:
        if not self.acquire(2 * START_TIMEOUT):
            raise ServerError(
                f"Another process has been starting or stopping the embedded PostgreSQL for {2 * START_TIMEOUT:.0f} s "
                f"and holds {str(self.path)!r}. End it, then try again."
            )
        return self
