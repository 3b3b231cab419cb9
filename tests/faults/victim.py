"""A server that tests may freeze, fill and restart."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg
from server_checks import TEST_SETTINGS

from asyncdb_nb.server import EmbeddedServer

SETTINGS = {**TEST_SETTINGS, "max_connections": "12", "superuser_reserved_connections": "2", "fsync": "off"}


class Victim:
    """A server to do things to."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._server = EmbeddedServer.start(directory, SETTINGS)

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def socket(self) -> str:
        return parse_qs(urlsplit(self.url).query)["host"][0] + "/.s.PGSQL.5432"

    def query(self, statement: str, *params: Any) -> list[Any]:
        """Run a statement on a connection of its own."""
        with psycopg.connect(self.url, autocommit=True, application_name="victim") as connection:
            cursor = connection.execute(statement, params or None)
            return cursor.fetchall() if cursor.description else []

    def backends(self) -> list[int]:
        found = self.query(
            "select pid from pg_stat_activity where backend_type = 'client backend' and application_name <> 'victim'"
        )
        return [pid for (pid,) in found]

    def freeze(self) -> list[int]:
        """Stop every backend in its tracks, without a word to its client."""
        pids = self.backends()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        return pids

    def thaw(self, pids: list[int]) -> None:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)

    async def restart(self, how: signal.Signals) -> None:
        """Restart: SIGINT is a fast shutdown, SIGQUIT an immediate one, which is a crash."""
        pid = self._server.status().pid
        assert pid is not None
        os.kill(pid, how)
        while self._server.status().running:
            await asyncio.sleep(0.02)
        self._server = await asyncio.to_thread(EmbeddedServer.start, self._directory, SETTINGS)

    def stop(self) -> None:
        self._server.stop()
