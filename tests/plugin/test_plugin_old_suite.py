"""The old team's suite of sixty tests: with the default pool, with the old recipe, and with one line of the plugin."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from server_checks import ServerWatch
from suites import MODES, PLUGINS

pytestmark = pytest.mark.second_tier

SUITE = Path(__file__).parent / "old_suite"


@dataclass
class Outcome:
    """What came of a run: numbers of tests, and lines of the server's log about clients that vanished."""

    passed: int
    failed: int
    warnings: int
    vanished: int
    output: str


Run = Callable[..., Outcome]


@pytest.fixture
def run_old_suite(
    pytester: pytest.Pytester,
    fresh_database_url: str,
    clean_server: ServerWatch,
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    """Run the suite with one of its set-ups: `run_old_suite("old_recipe", ini="…")`."""

    def run(setup: str, ini: str = "") -> Outcome:
        folder = Path(pytester.path, setup + ini[:8])
        for part in ("common", setup):
            shutil.copytree(SUITE / part, folder, dirs_exist_ok=True)
        folder.joinpath("pytest.ini").write_text(f"[pytest]\n{ini}\n")
        monkeypatch.chdir(folder)
        monkeypatch.setenv("DATABASE_URL", fresh_database_url)
        monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        clean_server.mark()
        options = (*PLUGINS, *MODES["asyncio"], "-p", "no:cacheprovider", "--tb=line")
        result = pytester.run(sys.executable, "-m", "pytest", *options, timeout=300)
        clean_server.wait_for_backends(0)
        counts = result.parseoutcomes()
        return Outcome(
            *(counts.get(name, 0) for name in ("passed", "failed", "warnings")),
            vanished=len(clean_server.unclean_ends()),
            output="\n".join(result.outlines),
        )

    return run


@pytest.mark.keeps_connections  # the first two runs leave connections that vanish
def test_the_old_suite_three_ways(run_old_suite: Run) -> None:
    """The default pool and the old recipe fail all but the first tests; one line of the plugin makes sixty pass.

    Both leave clients that vanish in the server's log.
    """
    default_pool = run_old_suite("default_pool")
    old_recipe = run_old_suite("old_recipe")
    plugin = run_old_suite("default_pool", ini="asyncdb_cure = true")

    assert (default_pool.passed, default_pool.failed) == (4, 56)
    assert "attached to a different loop" in default_pool.output
    assert (old_recipe.passed, old_recipe.failed) == (4, 56)
    assert "another operation is in progress" in old_recipe.output
    assert default_pool.vanished > 0
    assert old_recipe.vanished > 0
    assert (plugin.passed, plugin.failed, plugin.warnings, plugin.vanished) == (60, 0, 0, 0), plugin.output
    assert "asyncdb_nb: every async engine of this process gets LoopBoundPool" in plugin.output
