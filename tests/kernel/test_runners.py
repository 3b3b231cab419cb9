"""Whatever runs a notebook without a person (nbclient, papermill, nbval), its end leaves nothing on the server."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from kernels import SET_UP
from server_checks import ServerWatch
from test_ending import IN_USE

pytestmark = pytest.mark.second_tier

NAME = "runner"
UNTIL_ASLEEP = """
async def asleep():
    return await db.frame("select from pg_stat_activity where wait_event = 'PgSleep' and application_name = 'runner'")

while not len(await asleep()):
    await asyncio.sleep(0.01)
"""
LAST_CELLS = {
    "everything open": "len(await asleep())",
    "a cell that fails": "1 / 0",
    "a query that takes too long": "await query()",
}
NBVAL = (
    "-m pytest --nbval-lax --nbval-cell-timeout={seconds} -q -p no:asyncio -p no:cacheprovider "
    "-c /dev/null notebook.ipynb"
)
GRACEFUL = {
    "nbclient": "-m jupyter execute --timeout={seconds} notebook.ipynb",
    "nbconvert": "-m nbconvert --execute --to html --ExecutePreprocessor.timeout={seconds} notebook.ipynb",
    "papermill": "-m papermill --no-progress-bar --execution-timeout {seconds} -k python3 notebook.ipynb out.ipynb",
    "nbval": NBVAL,  # by the plugin
}

Runner = Callable[[str, str], subprocess.CompletedProcess[str]]


@pytest.fixture
def run_notebook(database_url: str, tmp_path: Path) -> Runner:
    """Have a program run a notebook that opens all that can be open, and has one more cell."""

    def run(command: str, last: str) -> subprocess.CompletedProcess[str]:
        command = command.format(seconds=20 if last == "a query that takes too long" else 300)  # for each cell
        cells = [nbformat.v4.new_code_cell(code) for code in (SET_UP, IN_USE, UNTIL_ASLEEP, LAST_CELLS[last])]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "notebook.ipynb")
        environment = os.environ | {"DATABASE_URL": f"{database_url}&application_name={NAME}"}
        return subprocess.run(
            [sys.executable, *command.split()], cwd=tmp_path, env=environment, capture_output=True, text=True
        )

    return run


@pytest.mark.parametrize("last", LAST_CELLS)
@pytest.mark.parametrize("program", GRACEFUL)
def test_a_program_that_shuts_its_kernel_down(
    run_notebook: Runner, clean_server: ServerWatch, program: str, last: str
) -> None:
    """The kernel closes every connection before the program itself has ended."""
    done = run_notebook(GRACEFUL[program], last)

    assert (done.returncode == 0) is (last == "everything open"), done.stdout + done.stderr
    assert not clean_server.backends(NAME)
    assert not clean_server.unclean_ends()


@pytest.mark.keeps_connections
@pytest.mark.parametrize("last", ["everything open", "a query that takes too long"])
def test_scenario_31_nbval_alone_kills_its_kernel(run_notebook: Runner, clean_server: ServerWatch, last: str) -> None:
    """Nothing of ours can run then: the server looks every second whether its client still lives."""
    done = run_notebook(f"{NBVAL} -o asyncdb_nbval=false", last)

    assert (done.returncode == 0) is (last == "everything open"), done.stdout + done.stderr
    assert not clean_server.wait_for_backends(0, NAME)
    assert clean_server.unclean_ends(), "it was closed gracefully: this tests nothing"
