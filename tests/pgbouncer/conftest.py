"""PgBouncers before the tests' server: each installed program, in each mode that sessions can use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from bouncer import KEEPS_PREPARED, Bouncer, Start, programs, version_of
from server_checks import ServerWatch

MODES: list[tuple[str, dict[str, Any]]] = [("session", {}), ("transaction", {})]
NEWER_MODES = [("session", {}), ("transaction", {"max_prepared_statements": 0}), ("transaction", {})]  # with 200
Configuration = tuple[str, str, dict[str, Any]]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test of `configuration` with each program and mode, and one of `program` with each program."""
    if "configuration" in metafunc.fixturenames:
        metafunc.parametrize("configuration", list(_configurations()))
    elif "program" in metafunc.fixturenames:
        metafunc.parametrize("program", [pytest.param(one, id=_label(one)) for one in programs()] or [None])


def _configurations() -> Iterator[Any]:
    for program in programs():
        newer = version_of(program) >= KEEPS_PREPARED
        for mode, settings in NEWER_MODES if newer else MODES:
            label = "-".join([_label(program), mode, *map(str, settings.values())])
            yield pytest.param((program, mode, settings), id=label)
    if not programs():
        yield None


def _label(program: str) -> str:
    return ".".join(map(str, version_of(program)[:2]))


@pytest.fixture
def start(database_url: str, server_watch: ServerWatch) -> Iterator[Start]:
    """Start a PgBouncer before the tests' database: `start(program, pool_mode, **settings)`."""
    with ExitStack() as running:

        def start(program: str | None, pool_mode: str, **settings: Any) -> Bouncer:
            if program is None:
                _go_without()
            directory = running.enter_context(TemporaryDirectory(prefix="pgbouncer-"))  # pytest's are for root alone
            return running.enter_context(Bouncer(program, Path(directory), database_url, pool_mode, **settings))

        yield start
    assert not server_watch.wait_for_backends(0)


@pytest.fixture
def bouncer(start: Start, configuration: Configuration | None) -> Bouncer:
    """A PgBouncer of this configuration."""
    program, mode, settings = configuration or (None, "", {})
    return start(program, mode, **settings)


@pytest.fixture
def forgetful(start: Start, program: str | None) -> Bouncer:
    """One that gives each transaction any server connection, and keeps no prepared statements."""
    newer = program is not None and version_of(program) >= KEEPS_PREPARED
    return start(program, "transaction", **({"max_prepared_statements": 0} if newer else {}))


def _go_without() -> None:
    """Skip where there is no PgBouncer, which pip cannot install; CI has to have one, or it would test nothing here."""
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(
        "PgBouncer is not installed: `apt-get install pgbouncer`, or name programs in PGBOUNCERS"
    )
