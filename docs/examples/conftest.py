"""
A database of its own for each run, and for each worker of pytest-xdist, before an application is imported.

`$DATABASE_URL` names the server, as a user who may create databases; without it, the embedded server is started.
"""

import asyncio
import os

import pytest
from example_server import on_server, url

NAME = f"example_{os.getpid()}"
SERVER = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    if not os.environ.get("DATABASE_URL"):
        from asyncdb_nb.server import embedded_server

        os.environ["DATABASE_URL"] = embedded_server().url
    config.stash[SERVER] = os.environ["DATABASE_URL"]
    asyncio.run(on_server(f"create database {NAME}"))
    os.environ["DATABASE_URL"] = url(database=NAME)


def pytest_unconfigure(config: pytest.Config) -> None:
    os.environ["DATABASE_URL"] = config.stash[SERVER]
    asyncio.run(on_server(f"drop database {NAME} with (force)"))
