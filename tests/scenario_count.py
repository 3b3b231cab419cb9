"""
Count the scenarios that hold: `pytest -m "not soak" -k scenario` ends with the line "scenarios: 83 of 83 hold".

A scenario is a situation that users of async SQLAlchemy, asyncpg and notebooks have reported, by its number. Its tests
are named for it: `test_scenario_07_…`, or `test_scenario_06_and_07_…` for several. It holds when one of them has
passed and none has failed.
"""

from __future__ import annotations

import re

import pytest

NUMBERS = (*range(1, 67), *range(68, 85))  # 67 is that all of them hold with other versions, too
_NAME = re.compile(r"(?:^|::)test_scenario((?:_(?:and_)?\d\d[a-z]?)+)_")


class ScenarioCount:
    """A pytest plugin that sees every report of a run."""

    def __init__(self) -> None:
        self._passed: set[int] = set()
        self._failed: set[int] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        numbers = numbers_in(report.nodeid)
        if report.failed:
            self._failed |= numbers
        elif report.passed and report.when == "call":
            self._passed |= numbers

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        options = terminalreporter.config.option
        if "scenario" in options.keyword and not options.collectonly:
            terminalreporter.write_line(self.line())

    def line(self) -> str:
        """Say how many hold, and which do not."""
        seen = self._passed | self._failed
        others = {"failed": self._failed, "not run": set(NUMBERS) - seen}
        told = "".join(f"; {what}: {_listed(numbers)}" for what, numbers in others.items() if numbers)
        return f"scenarios: {len(self._passed - self._failed)} of {len(NUMBERS)} hold{told}"


def numbers_in(nodeid: str) -> set[int]:
    """Return the scenarios that a test shows."""
    found = _NAME.search(nodeid.partition("[")[0])
    return {int(number) for number in re.findall(r"\d\d", found[1])} if found else set()


def _listed(numbers: set[int]) -> str:
    return ", ".join(f"{number:02}" for number in sorted(numbers))
