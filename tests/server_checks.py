"""
Ask the server what a test left behind: backends that are still there, and connections that ended without Terminate.

`log_min_messages = debug1` is needed: PostgreSQL reports an idle client that vanished only at that level.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import namedtuple_row
from waiting import HANG

from asyncdb_nb.server import EmbeddedServer

UNCLEAN_ENDS = (
    "unexpected EOF on client connection",
    "Connection reset by peer",
    "connection to client lost",
    "Broken pipe",
)

TEST_SETTINGS = {
    "max_connections": "200",
    "max_prepared_transactions": "4",
    "log_min_messages": "debug1",
    "log_line_prefix": "%m [%p] %a: ",
}

SECRET = "hunter2-sesame"  # the password of the user `guest`


@dataclass(frozen=True)
class Backend:
    """One client's connection, as the server sees it."""

    pid: int
    application_name: str
    database: str
    state: str | None
    query: str


class ServerWatch:
    """The server's view of its clients, from one connection of its own. `mark()` is where a test begins."""

    def __init__(self, server: EmbeddedServer) -> None:
        self._log = server.log
        self._url = server.url
        self._connection = self._connect()
        self._mark = 0
        self.exempt = False  # whether the test that runs keeps connections on purpose

    def _connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self._url, autocommit=True, application_name="server watch", row_factory=namedtuple_row)

    def close(self) -> None:
        self._connection.close()

    def mark(self) -> None:
        """What the log holds so far is no concern of the test that begins, nor what is still at work for another."""
        end = time.monotonic() + HANG
        while any(one.state == "active" for one in self.backends()) and time.monotonic() < end:
            time.sleep(0.01)  # its client has vanished, in a test that is exempt: so it will say
        self._mark = self._log.stat().st_size

    def log_since_mark(self) -> str:
        """What the server has logged since `mark()`."""
        with self._log.open(errors="replace") as file:
            file.seek(self._mark)
            return file.read()

    def unclean_ends(self) -> list[str]:
        """The log's lines since `mark()` about clients that vanished."""
        return [line for line in self.log_since_mark().splitlines() if any(text in line for text in UNCLEAN_ENDS)]

    def backends(self, application_name: str | None = None) -> list[Backend]:
        """The clients that are connected now, but for this watch; with a name, those of that name."""
        rows = self.query(
            "select pid, application_name, coalesce(datname, '') as database, state, query from pg_stat_activity "
            "where backend_type = 'client backend' and pid <> pg_backend_pid() order by pid"
        )
        found = [Backend(*row) for row in rows]
        return [one for one in found if application_name is None or one.application_name == application_name]

    def wait_for_backends(
        self, number: int, application_name: str | None = None, timeout: float = HANG
    ) -> list[Backend]:
        """Wait until that many clients are connected, at most `timeout` seconds; return those there are."""
        end = time.monotonic() + timeout
        while len(found := self.backends(application_name)) != number and time.monotonic() < end:
            time.sleep(0.01)
        return found

    def assert_clean(self, application_name: str | None = None, timeout: float = HANG) -> None:
        """Fail if a client is left after `timeout` seconds, or if one vanished since `mark()` without Terminate."""
        left = self.wait_for_backends(0, application_name, timeout)
        assert not left, f"backends are left: {left}"
        assert not self.unclean_ends(), self.log_since_mark()[-6000:]

    def end_backends(self) -> None:
        """End every client's connection but this one."""
        for backend in self.backends():
            self.query("select pg_terminate_backend(%s, 5000)", backend.pid)

    def query(self, statement: str, *params: Any) -> list[Any]:
        """Rows (named tuples) of a statement on the watch's own connection; each runs in a transaction of its own."""
        if self._connection.info.transaction_status == TransactionStatus.ACTIVE:  # a timeout ended a test in here
            self._connection.close()
            self._connection = self._connect()
        cursor = self._connection.execute(statement, params or None)
        return cursor.fetchall() if cursor.description else []
