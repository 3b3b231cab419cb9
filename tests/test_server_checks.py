"""The check that every test of the server goes through sees what it is there to see."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable

import asyncpg
import psycopg
import pytest
from server_checks import ServerWatch

from asyncdb_nb.server import EmbeddedServer

VANISH = """
import os, sys, psycopg
connection = psycopg.connect(sys.argv[1])
connection.execute(sys.argv[2])
os._exit(0)
"""


def test_a_connection_that_is_left_open_is_found(server: EmbeddedServer, clean_server: ServerWatch) -> None:
    """A backend that stays is an error, which names its application."""
    with (
        psycopg.connect(server.url, application_name="the culprit"),
        pytest.raises(AssertionError, match=r"backends are left.*the culprit"),
    ):
        clean_server.assert_clean(timeout=0.1)

    clean_server.assert_clean()


@pytest.mark.keeps_connections
@pytest.mark.parametrize("statement", ["", "select 1"], ids=["idle", "in a transaction"])
def test_a_client_that_vanishes_is_found_in_the_log(
    server: EmbeddedServer, clean_server: ServerWatch, statement: str
) -> None:
    """A process that ends without a Terminate message leaves no backend, but a line in the log."""
    subprocess.run([sys.executable, "-c", VANISH, server.url, statement], check=True)

    clean_server.wait_for_backends(0)

    assert "unexpected EOF on client connection" in clean_server.unclean_ends()[0]
    with pytest.raises(AssertionError):
        clean_server.assert_clean()


async def test_asyncpg_closes_gracefully(server: EmbeddedServer, clean_server: ServerWatch) -> None:
    """Connections that are closed properly pass, though the client does not wait for the server to end them."""
    connections = await asyncio.gather(*(asyncpg.connect(server.url) for _ in range(5)))
    for connection in connections:
        connection.terminate() if connection is connections[0] else await connection.close()

    clean_server.assert_clean()


def test_a_script_that_warns_is_found(run_script: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    """`run_script` gives the URL, and takes a resource that is left open for an error."""
    assert run_script("import os; print(os.environ['DATABASE_URL'])").stdout.startswith("postgresql://")

    with pytest.raises(AssertionError, match="ResourceWarning"):
        run_script("open('file', 'w')")
