"""A notebook of marimo, as a script and exported: no dependency, as it is larger than all the others."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from server_checks import ServerWatch

pytestmark = pytest.mark.second_tier
pytest.importorskip("marimo", reason="120 MB, so it is not in the extra `test`: pip install marimo")

NOTEBOOK = """
import marimo

app = marimo.App()


@app.cell
async def _():
    from asyncdb_nb import connect

    db = await connect()
    return (db,)


@app.cell
async def _(db):
    frame = await db.frame("select 6 * 7 as answer")
    print(f"The answer is {frame.answer.item()}.")
    return


if __name__ == "__main__":
    app.run()
"""


@pytest.mark.parametrize(
    "command",
    [["notebook.py"], ["-m", "marimo", "export", "html", "notebook.py", "-o", "out.html"]],
    ids=["script", "export"],
)
def test_cells_await_and_the_end_leaves_nothing(
    command: list[str], database_url: str, clean_server: ServerWatch, tmp_path: Path
) -> None:
    (tmp_path / "notebook.py").write_text(NOTEBOOK)
    environment = os.environ | {"DATABASE_URL": f"{database_url}&application_name=marimo"}
    done = subprocess.run(
        [sys.executable, *command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    exported = tmp_path / "out.html"

    assert "The answer is 42." in (exported.read_text() if exported.exists() else done.stdout)
    assert not clean_server.backends("marimo")
    assert not clean_server.unclean_ends()
