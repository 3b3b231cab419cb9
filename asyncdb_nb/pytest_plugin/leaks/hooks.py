"""
Tell the watch who opens things, and have it look when a test has ended.

Registered only when a suite uses the fixtures or asks for the watch, so that other suites pay nothing.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from asyncdb_nb.errors import LeakWarning
from asyncdb_nb.pytest_plugin import options
from asyncdb_nb.pytest_plugin.forked_children import ForkHooks
from asyncdb_nb.pytest_plugin.leaks.detector import LeakDetector
from asyncdb_nb.pytest_plugin.leaks.report import Leak, report
from asyncdb_nb.pytest_plugin.leaks.unisolated_engines import OtherEngines
from asyncdb_nb.pytest_plugin.leaks.who_opened_what import Owner
from asyncdb_nb.pytest_plugin.secret_url import SecretHooks

NAME = "asyncdb_nb watch"


def begin(config: pytest.Config) -> LeakHooks:
    """Begin to watch, if that has not begun yet."""
    hooks = config.pluginmanager.get_plugin(NAME)
    if hooks is None:
        hooks = LeakHooks(options.leaks(config) or "error")
        config.pluginmanager.register(hooks, NAME)
        config.pluginmanager.register(SecretHooks())
        config.pluginmanager.register(ForkHooks())
    return hooks


class LeakHooks:
    """The hooks, as a plugin of its own.

    Args:
        mode: `error` fails the test that left something, `warn` warns of it, `off` closes it in silence.
    """

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.detector = LeakDetector()
        self.other_engines = OtherEngines(self.detector.checkouts)
        self._stop: list[Callable[[], None]] = [self.detector.start(), self.other_engines.start()]

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Whatever is opened from now on is this test's."""
        self.detector.checkouts.owner = Owner(item, f"{item.name}")
        self.other_engines.test_has_ended = False
        try:
            return (yield)
        finally:
            self.detector.checkouts.owner = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Refuse a marker that would have no effect."""
        try:
            options.reject_unused_marker(item)
        except pytest.UsageError as error:
            raise pytest.fail.Exception(str(error), pytrace=False) from None

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self) -> Iterator[None]:
        """Fail a test that has committed elsewhere, also where the code under test has caught the error."""
        try:
            result = yield
        except BaseException as error:
            refused = self.other_engines.take_refused()
            if refused is not None and refused is not error:
                error.add_note(str(refused))
            raise
        refused = self.other_engines.take_refused()
        if refused is not None:
            pytest.fail(str(refused), pytrace=False)
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any, request: Any) -> Iterator[None]:
        """What a fixture opens is the fixture's, for as long as it lasts."""
        before = self.detector.checkouts.owner
        self.detector.checkouts.owner = Owner(request.node, f"The fixture {fixturedef.argname!r}")
        try:
            return (yield)
        finally:
            self.detector.checkouts.owner = before

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
        """Look when every fixture that ends with this test has ended."""
        self.other_engines.test_has_ended = True
        try:
            result = yield
        except BaseException as error:
            if leaks := self._look(nextitem):
                error.add_note(report(leaks))
            raise
        leaks = self._look(nextitem)
        if leaks and self.mode == "error":
            pytest.fail(report(leaks), pytrace=False)
        if leaks and self.mode == "warn":
            warnings.warn(report(leaks), LeakWarning, stacklevel=1)
        return result

    def _look(self, nextitem: pytest.Item | None) -> list[Leak]:
        lasting = nextitem.listchain() if nextitem is not None else []  # what pytest does not tear down yet
        self.detector.close_forgotten(lambda checkout: checkout.owner.node not in lasting)
        leaks, self.detector.leaks = self.detector.leaks, []
        return leaks

    def pytest_unconfigure(self) -> None:
        """End the watch."""
        for stop in self._stop:
            stop()
