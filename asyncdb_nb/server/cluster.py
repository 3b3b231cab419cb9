"""
One PostgreSQL cluster in a directory: made, configured, started, asked.

Whoever calls holds the directory's `start.lock`, so nothing here runs twice at once. The server listens on a Unix
socket in a directory that only its owner can enter, and on no network; within that, everybody is `postgres`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from asyncdb_nb.errors import ServerError
from asyncdb_nb.server.binaries import Programs
from asyncdb_nb.server.directory import essence_of, remedy_for
from asyncdb_nb.server.reaper import POLL, FileLock, server_is_alive

START_TIMEOUT = 60.0
"""Seconds that a start may take; recovery after a crash is the only one that takes more than two."""

_SOCKET = ".s.PGSQL.5432"
_LONGEST_SOCKET_PATH = 103 if sys.platform == "darwin" else 107  # bytes, without the final NUL


class Cluster:
    """The data, socket, configuration and log of one server."""

    def __init__(self, directory: Path, programs: Programs) -> None:
        self.directory = directory
        self.programs = programs
        self.data = directory / "data"
        self.log = directory / "log"

    @property
    def url(self) -> str:
        """The URL of its database `postgres`, as SQLAlchemy, asyncpg and psycopg take it."""
        return f"postgresql://postgres@/postgres?host={quote(str(self.socket_directory))}&port=5432"

    @property
    def socket_directory(self) -> Path:
        """`socket/`, or a directory with a short path where the operating system's limit demands it."""
        directory = self.directory / "socket"
        if len(os.fsencode(directory / _SOCKET)) <= _LONGEST_SOCKET_PATH:
            return directory
        name = hashlib.sha256(os.fsencode(self.directory)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"asyncdb_nb-{name}"

    def ensure_data(self, *options: str) -> None:
        """
        Make the data directory if there is none, with further `options` of initdb.

        Raises:
            ServerError: initdb failed, or the data there are of another PostgreSQL.
        """
        if self.data.is_dir():
            self._check_version()
            return
        unfinished = self.directory / "data.new"  # renamed when complete: a killed initdb leaves nothing half-made
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        self.programs.give(unfinished)
        done = self.programs.run(
            "initdb",
            *("--pgdata", unfinished, "--username=postgres", "--encoding=UTF8", "--no-instructions"),
            *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            *("--auth-local=trust", "--auth-host=reject"),  # the socket's directory lets nobody else in
            *options,
            cwd=self.directory,
            capture_output=True,
        )
        if done.returncode != 0:
            shutil.rmtree(unfinished, ignore_errors=True)  # it may be what keeps the disk full
            raise ServerError(
                f"The embedded PostgreSQL could not make its data in {str(self.data)!r}: {essence_of(done.stderr)}. "
                f"{remedy_for(done.stderr)}"
            )
        unfinished.rename(self.data)

    def ensure_running(self, settings: Mapping[str, str]) -> None:
        """
        Start the server if it does not run, and wait until it accepts connections.

        Raises:
            ServerError: It does not start, or not in time; the message has the end of its log.
        """
        self._ensure_socket_directory()
        end = time.monotonic() + START_TIMEOUT
        while not self._accepts():
            if time.monotonic() > end:
                raise ServerError(
                    f"The embedded PostgreSQL in {str(self.directory)!r} accepted no connection for "
                    f"{START_TIMEOUT:.0f} s. Stop it: `asyncdb-nb server stop`. {self.log_end()}"
                )
            if not self.is_alive():
                self._start(settings)
            time.sleep(POLL)

    def is_alive(self) -> bool:
        """Whether any process of the server is there, ready or not."""
        return server_is_alive(self.directory)

    def log_end(self) -> str:
        """The last lines of the log, for an error message."""
        lines = self.log.read_text(errors="replace").splitlines()[-8:] if self.log.exists() else []
        return "\n".join([f"Its log, {str(self.log)!r}, ends with:", *lines] if lines else ["Its log is empty."])

    def _check_version(self) -> None:
        made_by, ours = (self.data / "PG_VERSION").read_text().strip(), self.programs.version
        if made_by != ours.partition(".")[0]:
            raise ServerError(
                f"The data in {str(self.data)!r} were made by PostgreSQL {made_by}, and this is PostgreSQL {ours}. "
                f"Dump them with PostgreSQL {made_by} if you need them, then move that directory away."
            )

    def _ensure_socket_directory(self) -> None:
        directory = self.socket_directory
        with suppress(FileExistsError):
            directory.mkdir(mode=0o700)
            self.programs.give(directory)
        found, owner = directory.lstat(), self.programs.owner[0] if self.programs.owner else os.geteuid()
        if directory.is_symlink() or found.st_uid != owner or found.st_mode & 0o077:
            raise ServerError(f"{str(directory)!r} is for the server's socket, but is open to other users. Remove it.")

    def _accepts(self) -> bool:
        asked = self.programs.run(
            *("pg_isready", "--quiet", "--host", self.socket_directory, "--port", "5432"),
            cwd=self.directory,
            capture_output=True,
        )
        return asked.returncode == 0

    def _start(self, settings: Mapping[str, str]) -> None:
        """Start the server, which is not alive: what is left of one before is stale, whatever its pid file says."""
        sockets = self.socket_directory.glob(f"{_SOCKET}*")  # and its own lock file
        for stale in (self.data / "postmaster.pid", self.directory / "keep", *sockets):
            stale.unlink(missing_ok=True)
        if self.log.exists():
            self.log.replace(self.log.with_name("log.old"))
        self.log.touch(mode=0o600)
        self.programs.give(self.log)
        configuration = self._configure(settings)
        alive = FileLock(self.directory / "alive.lock", create=True)
        alive.acquire()
        try:
            done = self.programs.run(
                "pg_ctl",
                *("start", "--pgdata", self.data, "--wait", f"--timeout={START_TIMEOUT:.0f}", "--log", self.log),
                *("--options", f'-c config_file="{configuration}"'),
                cwd=self.directory,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[alive.fileno()],
            )
        finally:
            alive.hand_over()  # to the server's processes, if there are any
        if done.returncode != 0:
            end = self.log_end()
            remedy = remedy_for(end)
            raise ServerError(f"The embedded PostgreSQL in {str(self.directory)!r} does not start. {remedy} {end}")

    def _configure(self, settings: Mapping[str, str]) -> Path:
        where = {
            "listen_addresses": "",
            "port": "5432",
            "unix_socket_directories": f'"{self.socket_directory}"',
            "unix_socket_permissions": "0700",
        }
        configuration = self.directory / "server.conf"
        configuration.write_text(
            "".join(f"{name} = {_quoted(value)}\n" for name, value in {**settings, **where}.items())
        )
        self.programs.give(configuration)
        return configuration


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
