"""
The pytest plugin: a clean PostgreSQL database for every test, and the leaking test is named.

It is loaded by its entry point, so it is loaded by suites that do not use it as well: these pay for a few options. The
rest of the package, SQLAlchemy and the driver are imported by the first test that asks for a fixture.
"""

from __future__ import annotations

from typing import Any

import pytest

from asyncdb_nb.pytest_plugin import header, loop_errors, nbval, options
from asyncdb_nb.pytest_plugin.fixtures import _asyncdb_isolations, asyncdb, asyncdb_schema, asyncdb_session, asyncdb_url
from asyncdb_nb.pytest_plugin.leaks import where_engines_are_made

__all__ = ["_asyncdb_isolations", "asyncdb", "asyncdb_schema", "asyncdb_session", "asyncdb_url"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    options.add(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config, args: list[str]) -> None:
    """Cure engines, and see where they are made, before the first of them is."""
    nbval.refuse_without_nbval(args)
    early_config.add_cleanup(where_engines_are_made.follow())
    if options.cure(early_config):
        from asyncdb_nb.pytest_plugin.patch_engines import Cure

        cure = early_config.stash[header.CURE] = Cure()
        early_config.add_cleanup(cure.stop)


def pytest_configure(config: pytest.Config) -> None:
    """Check them, and begin to watch where the suite asks for it."""
    options.check(config)
    options.show_warnings(config)
    nbval.begin(config)
    if options.leaks(config) not in (None, "off"):
        _watch(config)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begin to watch where a test asks for a fixture."""
    if options.uses_fixtures(session.items) and not session.config.option.collectonly:
        _watch(session.config)
    header.tell_from_a_worker(session)


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say that engines are cured."""
    return header.before_collection(config)


def pytest_report_collectionfinish(config: pytest.Config, items: list[pytest.Item]) -> list[str]:
    """Say what is tested on, and which engines are cured."""
    return header.after_collection(config, items)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Hear from a worker of pytest-xdist what it is that all of them test on."""
    header.hear_from_a_worker(node.config, getattr(node, "workeroutput", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say at the end what under pytest-xdist nobody could say before, and which option would have helped."""
    for line in (*header.at_the_end(terminalreporter.config), *loop_errors.advice(terminalreporter)):
        terminalreporter.write_line(line)


def _watch(config: pytest.Config) -> None:
    from asyncdb_nb.pytest_plugin.leaks.hooks import begin

    begin(config)
