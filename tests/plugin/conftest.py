"""Run whole suites from outside: each in a process of its own, under `-X dev -W error`, on the tests' server."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from suites import CONFTEST, MODES, PLUGINS, STRICT, THINGS

from asyncdb_nb.server import EmbeddedServer

collect_ignore = ["old_suite"]  # material of `test_plugin_old_suite.py`

SLOW = "Executing <"  # asyncio's debug mode says so of everything that takes 0.1 s, on a busy machine of anything


@pytest.fixture(autouse=True)
def _no_worker_of_this_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tested is a run of its own, also where this run has workers."""
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_TESTRUNUID", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def run_suite(
    pytester: pytest.Pytester, server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., pytest.RunResult]:
    """
    Run a suite by pytest, and return what came of it.

    `run_suite(*options, mode="asyncio", files={…}, passed=…, failed=…, errors=…)`: what is not counted must not occur,
    and nothing may be written to stderr (unless `quiet=False`: pytest-timeout writes there what every thread does).
    """
    monkeypatch.setenv("DATABASE_URL", server.url)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", str(pytester.path))

    def run(
        *options: str,
        mode: str = "asyncio",
        quiet: bool = True,
        seconds: float = 280,  # less than the timeout of a test
        files: dict[str, str],
        **outcomes: int,
    ) -> pytest.RunResult:
        for name, content in {"things": THINGS, "conftest": CONFTEST, **files}.items():
            file = Path(pytester.path, *name.split("/")).with_suffix(".py")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        pytester.makeini("[pytest]")
        command = (*STRICT, "-m", "pytest", "-p", "no:cacheprovider", *PLUGINS, *MODES[mode], *options)
        result = pytester.run(sys.executable, *command, timeout=seconds)
        assert result.parseoutcomes().keys() - {"warnings"}, result.outlines[-5:]
        result.assert_outcomes(**outcomes)
        assert not quiet or [line for line in result.errlines if not line.startswith(SLOW)] == []
        return result

    return run
