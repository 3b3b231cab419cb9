"""
End a child process that a test has forked where the test ends.

A child whose code comes back from the test, by an exception as a rule, would go on with the parent's run: it would run
the tests that follow a second time, and drop the databases that the parent still uses.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from typing import Any

import pytest


class ForkHooks:
    """The hook, as a plugin of its own."""

    @pytest.hookimpl(wrapper=True, trylast=True)  # within the capturing of its output
    def pytest_runtest_call(self) -> Iterator[None]:
        """Look afterwards whether this is still the process that began the test."""
        process = os.getpid()
        try:
            result: Any = yield
        except BaseException as error:
            if os.getpid() != process:
                _exit(error)
            raise
        if os.getpid() != process:
            _exit(None)
        return result  # type: ignore[no-any-return]


def _exit(error: BaseException | None) -> None:
    """Exit as Python would, without what pytest and others want to do at the end: that is the parent's."""
    match error:
        case None | SystemExit(code=None):
            status = 0
        case SystemExit(code=int(code)):
            status = code
        case _:
            status = 1
            traceback.print_exception(error)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
