"""The lessons, their solutions and the alternatives: their stored outputs are true, and their form is the house's."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import nbformat
import pytest
from server_checks import ServerWatch

from asyncdb_nb.lessons.exercises import EXERCISES
from asyncdb_nb.server import embedded_server

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
SOLUTIONS = sorted((ROOT / "notebooks/solutions").glob("*.ipynb"))
ALTERNATIVES = sorted((ROOT / "notebooks/alternatives").glob("*.ipynb"))
OPENING = ("**What you'll do**", "**What you'll learn**", "**What you'll need**")
CLOSING = ("## On your own", "## In practice")
CHECK = re.compile(r'^await check\("(\d\d\.\d)", db(?:, \w+)+\)$')
LINE = 100
NOT_FOR_EVER = re.compile(r"0x[0-9a-f]{6,}|/home/|/root/|/tmp/|/usr/|site-packages|\d\d:\d\d:\d\d\.\d{6}")

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
each_alternative = pytest.mark.parametrize("path", ALTERNATIVES, ids=lambda path: path.stem)
each_file = pytest.mark.parametrize(
    "path",
    NOTEBOOKS + SOLUTIONS + ALTERNATIVES,
    ids=lambda path: str(path.relative_to(ROOT / "notebooks").with_suffix("")),
)


def cells(path: Path, kind: str) -> list[Any]:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


def exercises(path: Path) -> list[Any]:
    """The cells that check an answer: one call of the package's, which says what is wrong and holds no answer."""
    found = [cell for cell in cells(path, "code") if "check(" in cell.source]
    assert not [cell.source for cell in found if not CHECK.match(cell.source)]
    return found


def number_of(cell: Any) -> str:
    match = CHECK.match(cell.source)
    assert match
    return match[1]


def said(cell: Any) -> str:
    return str(cell.outputs[0].data["text/plain"])


@pytest.mark.second_tier
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("turn", ["first", "scenario 74: again, beside three logs"])
def test_scenario_36_stored_outputs_are_what_the_cells_show(
    turn: str, two_learners: list[dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Each notebook on a fresh kernel, compared strictly, twice; afterwards nobody is connected.

    The second time, each learner has loaded three event logs of their own, whose tasks would be found in every figure.
    """
    if turn != "first":
        for learner in two_learners:
            load_three_logs(learner, tmp_path)
    with ThreadPoolExecutor() as pool:
        done = list(pool.map(partial(compared, tmp_path), [NOTEBOOKS, SOLUTIONS + ALTERNATIVES], two_learners))

    for process in done:
        assert process.returncode == 0, process.stdout[-6000:] + process.stderr[-2000:]
    for learner in two_learners:
        assert_nobody_is_connected(learner, monkeypatch)


@pytest.mark.second_tier
def test_the_first_lesson_shows_what_is_stored(
    learner: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = compared(tmp_path, NOTEBOOKS[:1], learner)

    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert_nobody_is_connected(learner, monkeypatch)


def assert_nobody_is_connected(learner: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASYNCDB_NB_HOME", learner["ASYNCDB_NB_HOME"])
    with closing(ServerWatch(embedded_server())) as watch:
        assert watch.wait_for_backends(0) == []


def load_three_logs(learner: dict[str, str], folder: Path) -> None:
    """With steps and days of the sample, and as names one before its schema, one after, and one of the lesson's."""
    for name in ("a log.csv", "zoll.csv", "permits.csv"):
        days = [f"2024-01-{case % 28 + 1:02}" for case in range(900)]
        rows = [f"{case},enrich,{day} 10:00,{day} 22:00" for case, day in enumerate(days)]
        (path := folder / name).write_text("\n".join(["case,activity,start_timestamp,timestamp", *rows]))
        command = [sys.executable, "-m", "asyncdb_nb.cli", "load", path, "--failed", "enrich", "--replace"]
        subprocess.run(command, env=learner, check=True, capture_output=True)


def compared(folder: Path, paths: list[Path], learner: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run notebooks as a learner does who tests them with nbval."""
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env", "-q", "-p", "no:asyncio"),
            *("-p", "no:cacheprovider", "-o", "addopts="),
            *("--rootdir", ROOT / "notebooks", "-c", os.devnull, *paths),
        ],
        capture_output=True,
        text=True,
        cwd=folder,
        env=learner,
    )


@each_notebook
def test_a_lesson_opens_and_closes_in_the_agreed_form(path: Path) -> None:
    """A verb for a title, then do, learn and need; at the end on your own, then in practice."""
    text = [cell.source for cell in cells(path, "markdown")]

    assert text[0].startswith("# ")
    assert [part for part in OPENING if part in text[0]] == list(OPENING)
    assert [source.splitlines()[0] for source in text if source.startswith(CLOSING)] == list(CLOSING)
    assert text[-1].startswith(CLOSING[1])


@each_notebook
def test_code_cells_are_few_and_short(path: Path) -> None:
    """One step a cell."""
    code = cells(path, "code")

    assert 15 <= len(code) <= 36
    assert max(len(cell.source.splitlines()) for cell in code) <= 16
    assert code[0].source.startswith("%xmode Minimal\n")


@each_file
def test_lines_are_short_and_hold_one_statement_each(path: Path) -> None:
    """Whoever copies a line copies one thing, and sees all of it."""
    for cell in cells(path, "code"):
        assert not [line for line in cell.source.splitlines() if len(line) > LINE]
        assert not list(crowded(cell.source)), cell.source


def crowded(source: str) -> Iterator[ast.stmt]:
    """Statements that share a line with another one, or are a tuple of calls that nobody looks at."""
    if source.startswith("%%"):
        return
    code = "\n".join("pass" if line.startswith(("%", "!")) else line for line in source.splitlines())
    tree = compile(code, "cell", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    for node in ast.walk(tree):
        for body in (getattr(node, name, []) for name in ("body", "orelse", "finalbody")):
            statements = body if isinstance(body, list) else []
            for before, after in pairwise(statements):
                if after.lineno <= (before.end_lineno or before.lineno):
                    yield after
                if isinstance(before, ast.Expr) and isinstance(before.value, ast.Tuple):
                    yield before
            first = statements[0] if statements and isinstance(node, ast.stmt) else None
            if first is not None and first.lineno == node.lineno and ast.unparse(first) != "...":
                yield first


def test_a_crowded_line_is_found() -> None:
    for source in ("a = 1; b = 2", "for one in a: print(one)", "if a: b = 1", "a(), b()\nc", "try: a()\nexcept E: b()"):
        assert list(crowded(source)), source
    for source in ("a = 1\nb = 2", "def f(): ...", "a, b = 1, 2", "a()\nb(), c()", "x = [\n 1,\n 2]\ny = 1"):
        assert not list(crowded(source)), source


def test_the_notebooks_are_formatted_as_ruff_formats_them() -> None:
    """Its style is the one that learners meet elsewhere."""
    ours = ["--isolated", "--line-length", str(LINE)]
    imports = ["--select", "E,I,W", "--ignore", "E402", "--config", 'lint.isort.known-first-party=["asyncdb_nb"]']
    for command in (["format", "--check", *ours], ["check", "--no-cache", *ours, *imports]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, ROOT / "notebooks"], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_sql_is_written_in_cells_of_sql_from_the_first_lesson_on() -> None:
    """All lessons but those whose subject has no SQL in it: 08 writes tests, and 10 weighs."""
    with_sql = [path.stem[:2] for path in NOTEBOOKS if any("%%asql" in cell.source for cell in cells(path, "code"))]

    assert {"01", "03", "04", "05", "06", "07", "08", "09", "11"} <= set(with_sql)


@pytest.mark.parametrize(
    "call",
    [".profile(", ".explain(", ".diagram(", ".write(", ".execute(", "%%asql --write"],
    ids=lambda call: call.strip(".("),
)
def test_what_the_package_can_do_is_shown_in_a_lesson(call: str) -> None:
    assert [path for path in NOTEBOOKS if any(call in cell.source for cell in cells(path, "code"))]


@each_notebook
def test_every_exercise_has_a_solution_that_passes_its_check(path: Path) -> None:
    """A stub does not pass, and a solution passes the lesson's own check, which is the package's."""
    solution = path.parent / "solutions" / path.name
    answers = {cell.source: said(cell) for cell in exercises(solution)}

    assert exercises(path)
    for cell in exercises(path):
        assert said(cell).startswith("Not yet: ")
        assert answers[cell.source].startswith("Right! ")
    assert [number_of(cell) for cell in exercises(path)] == [
        number for number in EXERCISES if number.startswith(path.name[:2])
    ]


def test_a_lesson_begins_with_what_it_is_about() -> None:
    """Lesson 08 is about tests, and its first cell after the set-up is one."""
    code = [cell.source for cell in cells(NOTEBOOKS[7], "code")]

    assert re.match(r"%%writefile test_\w+\.py\nasync def test_", code[2])


def test_every_solution_belongs_to_a_lesson() -> None:
    """Nothing is left behind when a lesson gets another name."""
    assert {path.name for path in SOLUTIONS} == {path.name for path in NOTEBOOKS}


@each_alternative
def test_an_alternative_opens_like_a_lesson_and_ends_in_practice(path: Path) -> None:
    """It has no exercises, but says what it is for, and closes with the fine print."""
    text = [cell.source for cell in cells(path, "markdown")]

    assert text[0].startswith("# ")
    assert [part for part in OPENING if part in text[0]] == list(OPENING)
    assert text[-1].startswith("## In practice")


@each_alternative
def test_the_cells_of_an_alternative_are_few_and_short(path: Path) -> None:
    """One step a cell; what is defined to be measured is shown whole."""
    code = cells(path, "code")

    assert 8 <= len(code) <= 34
    assert code[0].source.startswith("%xmode Minimal\n")
    assert max(len(cell.source.splitlines()) for cell in code) <= 45


@each_file
def test_errors_are_shown_only_where_they_are_announced(path: Path) -> None:
    """A cell that fails carries the tag `raises-exception`, and a cell with that tag fails."""
    for cell in cells(path, "code"):
        fails = any(output.output_type == "error" for output in cell.outputs)

        assert fails == ("raises-exception" in cell.metadata.get("tags", ())), cell.source


@each_file
def test_nothing_is_stored_that_changes_from_run_to_run(path: Path) -> None:
    """No addresses, paths, times or warnings in outputs, and no timestamps in the cells' metadata."""
    for cell in cells(path, "code"):
        shown = [output for output in cell.outputs if "image/png" not in output.get("data", {})]

        assert not NOT_FOR_EVER.search(str(shown)), shown
        assert not any(output.get("name") == "stderr" for output in shown), shown
        assert set(cell.metadata) <= {"tags"}


def test_lesson_two_shows_every_classical_error() -> None:
    """What users search the web for is there, word for word."""
    shown = str([cell.outputs for cell in cells(NOTEBOOKS[1], "code")])

    for message in (
        "attached to a different loop",
        "another operation is in progress",
        "Event loop is closed",
        "The garbage collector is trying to clean up non-checked-in connection",
        "idle in transaction",
    ):
        assert message in shown
