"""The databases that are made in the background have an end."""

from __future__ import annotations

import asyncio

import psycopg
from server_checks import ServerWatch
from sqlalchemy import URL
from waiting import wait_until

from asyncdb_nb.aio.portal import run
from asyncdb_nb.pytest_plugin.isolation.clones_made_ahead import READY, Clones
from asyncdb_nb.pytest_plugin.isolation.databases import Databases
from asyncdb_nb.server import EmbeddedServer


async def leave_empty(url: URL) -> None:
    """A schema without tables."""


async def names_of_tasks() -> list[str]:
    return [task.get_name() for task in asyncio.all_tasks()]


def test_nothing_is_being_made_when_the_clones_are_closed(server: EmbeddedServer, clean_server: ServerWatch) -> None:
    """The copy is stopped, so that the databases, which drops everything next, can be sure to have seen everything."""
    being_made = "select query from pg_stat_activity where state = 'active' and query like 'create database%'"
    databases = Databases(server.url)
    databases.open()
    template = databases.template("empty", leave_empty)
    clones = Clones(databases, template)
    clones.take()
    made = f"select datname from pg_database where datname like 'asyncdb_test_{databases.run_id}_main%'"
    wait_until(lambda: len(clean_server.query(made)) == 1 + READY)
    with psycopg.connect(server.url, dbname=template):  # nothing can be copied from it now
        clones.take()
        wait_until(lambda: clean_server.query(being_made))

        clones.close()

        assert "asyncdb_nb clones" not in run(names_of_tasks())
        assert clean_server.query(being_made) == []
    databases.close()
    assert clean_server.query(made) == []
