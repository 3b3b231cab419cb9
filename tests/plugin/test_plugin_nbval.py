"""A user's notebooks under nbval: their outputs are compared, and their kernels leave nothing on the server."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output
from server_checks import ServerWatch
from suites import PLUGINS

from asyncdb_nb.pytest_plugin import nbval
from asyncdb_nb.pytest_plugin.nbval import HEADER
from asyncdb_nb.server import EmbeddedServer

pytestmark = [pytest.mark.second_tier, pytest.mark.usefixtures("clean_server")]

STABLE = {
    "from asyncdb_nb import connect\ndb = await connect()": "",
    "async with db.session() as session:\n    print((await session.connection()).dialect.name)": "postgresql\n",
}
KEPT_STABLE = {
    "import os\nprint(os.environ.get('TQDM_DISABLE'))": "1\n",
    "print(object())": "<object object at 0x7f1234567890>\n",
    "print('(Background on this error at: https://sqlalche.me/e/21/f405)')": (
        "(Background on this error at: https://sqlalche.me/e/20/f405)\n"
    ),
    "print('(sqlalchemy.dialects.postgresql.asyncpg.Error) division')": (
        "(sqlalchemy.dialects.postgresql.asyncpg.Error) <class 'asyncpg.exceptions.DivisionByZeroError'>: division\n"
    ),
    "print('DETAIL: Process 71 waits for ShareLock on transaction 735; blocked by process 72.')": (
        "DETAIL: Process 5 waits for ShareLock on transaction 9; blocked by process 6.\n"
    ),
}

RunNotebooks = Callable[..., pytest.RunResult]


@pytest.fixture
def run_notebooks(pytester: pytest.Pytester, server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> RunNotebooks:
    """Run a folder of notebooks by nbval: `run_notebooks(*options, notebooks=[cells, cells, …])`.

    Cells are given with their stored outputs. The plugins are named, unless `by_entry_point` has pytest find them.
    """
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_TESTRUNUID", "PYTEST_ADDOPTS", "TQDM_DISABLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATABASE_URL", server.url)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def run(*options: str, notebooks: list[dict[str, str]], by_entry_point: bool = False) -> pytest.RunResult:
        for number, cells in enumerate(notebooks):
            nbformat.write(notebook(cells), Path(pytester.path, f"report_{number}.ipynb"))
        pytester.makeini("[pytest]")
        plugins = (*PLUGINS, "-p", "nbval.plugin")
        if by_entry_point:
            monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
            plugins = ("-p", "no:asyncio")  # it would warn of a setting that is not given here
        command = ("-m", "pytest", "-p", "no:cacheprovider", *plugins, "--nbval-current-env")
        return pytester.run(sys.executable, *command, *options, timeout=300)

    return run


def notebook(cells: dict[str, str]) -> nbformat.NotebookNode:
    return new_notebook(
        cells=[
            new_code_cell(code, execution_count=1, outputs=[new_output("stream", text=shown)] if shown else [])
            for code, shown in cells.items()
        ]
    )


def test_notebooks_pass_and_close_gracefully(run_notebooks: RunNotebooks, clean_server: ServerWatch) -> None:
    """What differs by its nature is not compared, and no more than that; nothing is left, and nothing has vanished."""
    wrong = {"print(0x7f1234567890, 'Process 71')": "1 Process 72\n"}

    result = run_notebooks("--nbval", notebooks=[STABLE | KEPT_STABLE | wrong])

    result.assert_outcomes(passed=7, failed=1)
    result.stdout.fnmatch_lines([HEADER])
    assert result.errlines == []
    assert not clean_server.backends()
    assert not clean_server.unclean_ends()


def test_nothing_has_to_be_set_up(run_notebooks: RunNotebooks, clean_server: ServerWatch) -> None:
    """pytest finds the plugin by its entry point, and `--nbval-lax` is served as well."""
    result = run_notebooks("--nbval-lax", by_entry_point=True, notebooks=[STABLE])

    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines([HEADER])
    assert not clean_server.backends()
    assert not clean_server.unclean_ends()


@pytest.mark.keeps_connections
def test_turned_off_it_leaves_nbval_as_it_is(run_notebooks: RunNotebooks, clean_server: ServerWatch) -> None:
    """Then each of the outputs differs, and the connection vanishes."""
    result = run_notebooks("--nbval", "-o", "asyncdb_nbval=false", notebooks=[STABLE | KEPT_STABLE])

    result.assert_outcomes(passed=2, failed=5)
    result.stdout.no_fnmatch_line(HEADER)
    clean_server.wait_for_backends(0)
    assert clean_server.unclean_ends()


def test_two_workers_run_a_notebook_each(run_notebooks: RunNotebooks, clean_server: ServerWatch) -> None:
    """The cells of a notebook stay together."""
    result = run_notebooks("--nbval", "-n", "2", "--dist", "loadfile", notebooks=[STABLE, STABLE])

    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines([HEADER])
    assert not clean_server.backends()
    assert not clean_server.unclean_ends()


def test_spreading_the_cells_of_a_notebook_is_refused(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_inprocess("-p", "no:asyncio", "--nbval", "-n", "2")

    result.stderr.fnmatch_lines(["ERROR: --nbval with --dist load *: `--dist loadfile`."])


def test_without_nbval_the_option_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nbval, "find_spec", lambda name: None)

    nbval.refuse_without_nbval(["-q", "notebooks/"])
    with pytest.raises(
        pytest.UsageError, match=r"--nbval-lax: nbval is not installed\. Install it: `pip install nbval`"
    ):
        nbval.refuse_without_nbval(["-q", "--nbval-lax"])
