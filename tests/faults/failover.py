"""A primary and its standby, of which the second is promoted when the first has crashed."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import psycopg

from asyncdb_nb.server.binaries import Programs

OPTIONS = "-c fsync=off -c max_connections=60 -c unix_socket_directories= -c listen_addresses=127.0.0.1"
ACKNOWLEDGED = "-c synchronous_standby_names=* -c synchronous_commit=on"


class Pair:
    """Two servers on loopback; a commit on the first is acknowledged when the second has it.

    Args:
        directory: An empty directory that the servers' user can enter.
        programs: PostgreSQL's programs.
    """

    def __init__(self, directory: Path, programs: Programs) -> None:
        self._programs = programs
        self._primary, self._standby = (Node(directory / name, programs) for name in ("primary", "standby"))
        programs.give(directory)
        self._primary.run(
            "initdb", "--auth=trust", "--username=postgres", "--no-sync", "--pgdata", str(self._primary.data)
        )
        self._primary.start(ACKNOWLEDGED)
        self._standby.run("pg_basebackup", "-R", "-D", str(self._standby.data), "-h", "127.0.0.1",
                          "-p", str(self._primary.port), "-U", "postgres")  # fmt: skip
        self._standby.start()

    @property
    def url(self) -> str:
        """Of whichever of the two takes writes."""
        hosts = f"127.0.0.1:{self._primary.port},127.0.0.1:{self._standby.port}"
        return f"postgresql://postgres@{hosts}/postgres?target_session_attrs=read-write&connect_timeout=5"

    @property
    def standby_first(self) -> str:
        """Both addresses, as the hosts of SQLAlchemy's URLs."""
        return "&".join(f"host=127.0.0.1:{node.port}" for node in (self._standby, self._primary))

    def fail_over(self) -> None:
        """Crash the primary, and promote the standby."""
        self._primary.stop("immediate")
        self._standby.run("pg_ctl", "promote", "-w", "-D", str(self._standby.data))

    def query(self, statement: str) -> list[Any]:
        """Run a statement on the server that takes writes."""
        with psycopg.connect(self.url, autocommit=True, application_name="failover") as connection:
            cursor = connection.execute(statement)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []

    def stop(self) -> None:
        """Stop both."""
        for node in (self._standby, self._primary):
            node.stop("immediate")


class Node:
    """One server of a pair."""

    def __init__(self, data: Path, programs: Programs) -> None:
        self.data = data
        self._programs = programs
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    def run(self, program: str, *arguments: str) -> None:
        """Run a program as the servers' user."""
        self._programs.run(program, *arguments, cwd=self.data.parent, check=True, capture_output=True)

    def start(self, more: str = "") -> None:
        """Start, and wait until it answers."""
        options = f"{OPTIONS} -c port={self.port} {more}"
        self.run("pg_ctl", "start", "-w", "-D", str(self.data), "-l", str(self.data) + ".log", "-o", options)

    def stop(self, mode: str) -> None:
        """Stop, if it runs."""
        self._programs.run(
            "pg_ctl", "stop", "-m", mode, "-D", str(self.data), cwd=self.data.parent, capture_output=True
        )
