"""
The one place that knows what pytest and anyio's plugin have no public name for.

Where a later version has a name no more, what relies on it falls back to something plainer, which each function says;
`tests/test_other_seams.py` fails then, and names it.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

_ANYIO_RUNNER = "_run_tests_and_fixtures"


def place_of_fixture(request: pytest.FixtureRequest, name: str) -> str:
    """Return the folder, file or class of the fixture that a test gets by a name: `_get_active_fixturedef`.

    Without it, the test itself: what is made for a place is then made for each test.
    """
    find = getattr(request, "_get_active_fixturedef", None)
    return str(find(name).baseid if find is not None else request.node.nodeid)


def fixture_of(item: pytest.Item, name: str) -> Any:
    """Return the definition of the fixture that a test will get by a name: `_fixtureinfo`. Without it, None."""
    definitions = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {})
    return definitions.get(name, [None])[-1]


def runs_one_test_after_the_other(task: asyncio.Task[Any]) -> bool:
    """Return whether a task is the one of anyio's plugin, `_run_tests_and_fixtures`, and not a test's own.

    Without it, what an anyio test leaves is called a task's, and the task is cancelled.
    """
    return getattr(task.get_coro(), "__name__", "") == _ANYIO_RUNNER
