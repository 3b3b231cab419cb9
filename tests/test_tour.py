"""`asyncdb-nb tour`, run as a person runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from asyncdb_nb.cli import main
from asyncdb_nb.errors import NoSuchLessonError
from asyncdb_nb.lessons import notebooks as lessons_module
from asyncdb_nb.lessons.notebooks import lessons

pytestmark = pytest.mark.second_tier


def command(*arguments: str, env: dict[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "asyncdb_nb.cli", "tour", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=env | {"DATABASE_URL": "postgresql://nobody@nowhere.invalid/nothing"},
    )


def test_runs_a_notebook_on_the_embedded_server_and_keeps_the_copy(learner: dict[str, str], tmp_path: Path) -> None:
    """One line for the notebook, its executed copy where it was asked for, and nothing on stderr."""
    done = command("--only", "01", "--output", "copies", env=learner, cwd=tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    first, where, following = done.stdout.splitlines()
    assert first.startswith("01  ok ")
    assert "Open a session (" in first
    assert "frames, 1 figure, 3 errors on purpose): Connect to a real PostgreSQL" in first
    assert where == "The executed notebooks are in copies"
    assert following.startswith("Next: asyncdb-nb lab opens them in JupyterLab")
    copy = nbformat.read(tmp_path / "copies" / "01_open_a_session.ipynb", as_version=4)
    assert any(cell.get("outputs") for cell in copy.cells)


def test_lists_what_there_is_and_runs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """`--list` says what each lesson is about."""
    assert main(["tour", "--list"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("01  Open a session: Connect to a real PostgreSQL")
    assert len(lines) == len(lessons())


def test_a_notebook_that_is_not_there_is_named() -> None:
    """The message lists those that are."""
    with pytest.raises(NoSuchLessonError, match=r"No notebook has 'zz' in its name\. There are: 01_open_a_session, "):
        lessons("zz")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        pytest.param("answer = 42\n1 / 0", "(`answer = 42`): ZeroDivisionError: division by zero", id="an error"),
        pytest.param("import os\nos._exit(1)", "(`import os`): DeadKernelError: Kernel died", id="a dead kernel"),
    ],
)
def test_a_failure_names_notebook_cell_and_error_and_the_others_still_run(
    source: str,
    message: str,
    learner: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The exit status is 1, and the notebook after the broken one has its line too."""
    for name, second_cell in ("01_broken", source), ("02_whole", "6 * 7"):
        parts = [
            new_markdown_cell("# Try\n\n**What you'll do**\n\nTry."),
            new_code_cell("1"),
            new_code_cell(second_cell),
        ]
        nbformat.write(new_notebook(cells=parts), tmp_path / f"{name}.ipynb")
    monkeypatch.setattr(lessons_module, "originals", lambda: tmp_path)
    monkeypatch.setenv("ASYNCDB_NB_HOME", learner["ASYNCDB_NB_HOME"])

    status = main(["tour", "--output", str(tmp_path / "copies")])

    out, err = capsys.readouterr()
    assert status == 1
    assert [line[:10] for line in out.splitlines()[:2]] == ["01  FAILED", "02  ok    "]
    assert f"01_broken.ipynb, code cell 2 {message}" in err
    assert "on purpose" not in out
    assert "Next:" not in out
