"""Notebooks that nbval runs: with the plugin their kernels say goodbye to the server, which every test here checks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from asyncdb_nb.pytest_plugin.nbval import HEADER


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    """Two cells that query, the second of which stores what is different in every run: an address."""
    shown = new_output("stream", name="stdout", text="1\n")
    address = new_output("stream", name="stdout", text="<object object at 0x7f0000000000>\n")
    cells = [
        new_code_cell(
            "import asyncdb_nb, os\ndb = await asyncdb_nb.connect(os.environ['DATABASE_URL'])", execution_count=1
        ),
        new_code_cell("print((await db.frame('select 1 as one')).loc[0, 'one'])", execution_count=2, outputs=[shown]),
        new_code_cell("print(object())", execution_count=3, outputs=[address]),
    ]
    path = tmp_path / "asks.ipynb"
    nbformat.write(new_notebook(cells=cells), path)
    return path


def test_a_notebook_that_queries_passes_and_says_goodbye(notebook: Path, database_url: str) -> None:
    done = run_nbval(notebook, database_url)

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert HEADER in done.stdout
    assert "3 passed" in done.stdout


def test_what_is_not_the_same_is_still_compared(notebook: Path, database_url: str) -> None:
    notebook.write_text(notebook.read_text().replace('"1\\n"', '"2\\n"'))

    done = run_nbval(notebook, database_url)

    assert "1 failed, 2 passed" in done.stdout


def test_cells_of_a_notebook_are_not_given_to_several_workers(notebook: Path, database_url: str) -> None:
    done = run_nbval(notebook, database_url, "-n", "2", "-p", "xdist")

    assert "--dist loadfile" in done.stderr


def run_nbval(notebook: Path, database_url: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env", "-p", "no:cacheprovider", *options]
    command += ["-p", "no:asyncio"]  # it would warn of a setting that is not given here
    return subprocess.run(
        [*command, "-c", os.devnull, "--rootdir", notebook.parent, notebook],
        capture_output=True,
        text=True,
        env=os.environ | {"DATABASE_URL": database_url},
    )
