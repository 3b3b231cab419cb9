"""The count of scenarios that hold counts what has passed, and nothing else."""

from __future__ import annotations

from typing import Literal

import pytest
from scenario_count import NUMBERS, ScenarioCount, numbers_in


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("tests/a.py::test_scenario_23_stop_ends_the_cell[main-5]", {23}),
        ("test_scenario_42a_terminated_backends", {42}),
        ("test_scenario_06_and_07_loops_that_end", {6, 7}),
        ("test_scenario_06_07_and_14_loops_that_end", {6, 7, 14}),
        ("tests/a.py::test_another[test_scenario_23_a]", set()),
    ],
)
def test_a_name_has_its_numbers(name: str, numbers: set[int]) -> None:
    assert numbers_in(name) == numbers


def test_one_holds_when_a_test_of_it_passed_and_none_failed() -> None:
    count = ScenarioCount()
    for number in NUMBERS:
        if number not in (2, 9):
            count.pytest_runtest_logreport(report(f"test_scenario_{number:02}_a", "passed"))
    count.pytest_runtest_logreport(report("test_scenario_03_b", "failed", "teardown"))
    count.pytest_runtest_logreport(report("test_scenario_09_a", "skipped"))

    assert count.line() == "scenarios: 80 of 83 hold; failed: 03; not run: 02, 09"


def report(
    name: str,
    outcome: Literal["passed", "failed", "skipped"],
    when: Literal["setup", "call", "teardown"] = "call",
) -> pytest.TestReport:
    return pytest.TestReport(name, ("", None, ""), {}, outcome, None, when)
