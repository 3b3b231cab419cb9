"""
Say at the top of a run what is tested on, how tests are kept apart, and what was done to the suite's engines.

Under pytest-xdist, what only the workers know is said at the end of the run.
"""

from __future__ import annotations

from typing import Any

import pytest

from asyncdb_nb.pytest_plugin import options
from asyncdb_nb.pytest_plugin._pytest import fixture_of

CURE = pytest.StashKey[Any]()  # a `Cure`, whose module imports SQLAlchemy
SHOWN = pytest.StashKey[int]()
LINES = pytest.StashKey[list[str]]()
KEY = "asyncdb_nb header"  # of what a worker of pytest-xdist tells the process that started it


def before_collection(config: pytest.Config) -> list[str]:
    """Return the lines about the cure."""
    cure = config.stash.get(CURE, None)
    if cure is None:
        return []
    config.stash[SHOWN] = len(cure.engines)
    return ["asyncdb_nb: every async engine of this process gets LoopBoundPool", *_indented(cure.engines)]


def after_collection(config: pytest.Config, items: list[pytest.Item]) -> list[str]:
    """Return the line about the server, when a test asks for one; and the engines that the test modules made."""
    lines = []
    cure = config.stash.get(CURE, None)
    if cure is not None and len(cure.engines) > config.stash.get(SHOWN, 0):
        lines += ["asyncdb_nb: these get it, too", *_indented(cure.engines[config.stash.get(SHOWN, 0) :])]
    users = [item for item in items if options.uses_fixtures([item])]
    if users and not config.option.collectonly:
        lines.append(
            f"asyncdb_nb: {_server(users[0])}, isolation {config.getini('asyncdb_isolation')}, "
            f"leaks {options.leaks(config) or 'error'}"
        )
    return lines


def tell_from_a_worker(session: pytest.Session) -> None:
    """Have the first worker of pytest-xdist, whose own header nobody sees, tell its lines."""
    worker: Any = session.config
    if getattr(worker, "workerinput", {}).get("workerid") == "gw0":
        worker.workeroutput[KEY] = after_collection(session.config, session.items)


def hear_from_a_worker(config: pytest.Config, output: dict[str, Any]) -> None:
    """Keep the lines for the end of the run: pytest-xdist passes them on when the worker has ended."""
    if KEY in output:
        config.stash[LINES] = output[KEY]


def at_the_end(config: pytest.Config) -> list[str]:
    """Return the lines that a worker has told."""
    return config.stash.get(LINES, [])


def _server(item: Any) -> str:
    """Name the server and its version, by asking it."""
    fixture = fixture_of(item, "asyncdb_url")
    if fixture is not None and fixture.func.__module__ != f"{__package__}.fixtures":
        return f"the server that the fixture asyncdb_url of {fixture.baseid or 'a plugin'} names"
    from asyncdb_nb.aio.portal import run
    from asyncdb_nb.database.database import Database
    from asyncdb_nb.errors import AsyncDBError

    async def ask() -> str:
        async with Database(url) as database, database.engine.connect() as connection:
            version = (await connection.exec_driver_sql("show server_version")).scalar_one()
            return f"PostgreSQL {version.split()[0]} at {_place(url, item.config)}"

    try:
        url = options.url(item.config)
        return run(ask())
    except AsyncDBError as error:
        return f"no server ({error})"


def _place(url: str, config: pytest.Config) -> str:
    from asyncdb_nb.engine.conninfo.resolve import resolve

    target = resolve(url)
    if not options.named_url(config) or target is None:
        return "the embedded server"
    return target.server


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]
