"""A user for each worker, whose password the server asks for."""

import asyncio
import os
import tempfile
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest
from example_server import on_server, url

USER = f"accounts_{os.getpid()}"
FIRST = "the-first"


def pytest_configure(config: pytest.Config) -> None:
    handle, name = tempfile.mkstemp()
    os.close(handle)
    Path(name).write_text(FIRST)
    os.environ |= {"PASSWORD_FILE": name, "ACCOUNTS_URL": url(username=USER, password="")}
    asyncio.run(on_server(f"create role {USER} login password '{FIRST}'"))


def pytest_unconfigure(config: pytest.Config) -> None:
    Path(os.environ["PASSWORD_FILE"]).unlink()
    asyncio.run(on_server(f"drop role {USER}"))


@pytest.fixture(scope="session", autouse=True)
def server_asks() -> None:
    """Skip where anybody is let in, as the embedded server does."""
    plain = url(username=USER, password="wrong").replace("+asyncpg", "")

    async def try_a_wrong_one() -> None:
        connection = await asyncpg.connect(plain)
        await connection.close()

    with suppress(asyncpg.InvalidPasswordError):
        asyncio.run(try_a_wrong_one())
        pytest.skip("the server asks for no password, so that none can be wrong: see pg_hba.conf")
