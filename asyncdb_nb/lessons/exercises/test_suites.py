"""Lesson 08: a test that can fail, which is run with a function that is right and with one that is wrong."""

from __future__ import annotations

import asyncio
import inspect
import os
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from asyncdb_nb.lessons.exercises.common_mistakes import kind
from asyncdb_nb.lessons.exercises.exercise import Exercise

if TYPE_CHECKING:
    from asyncdb_nb.database.database import Database

_SECONDS = 120
_FILES = {
    "pytest.ini": "[pytest]\nasyncio_mode = auto\n",
    "schema.sql": "create table task (name text primary key, status text not null);\n"
    "insert into task values ('fetch', 'done'), ('load', 'open');\n",
    "conftest.py": "import pytest\n\n"
    "@pytest.fixture(scope='session')\ndef asyncdb_schema():\n    return 'schema.sql'\n",
}
_IMPORTS = "import pytest\nfrom sqlalchemy import text\nfrom sqlalchemy.ext.asyncio import AsyncSession\n"
_FINISH = """
async def finish(db, name):
    async with db.session() as session:
        await session.execute(text({statement!r}), {{"name": name}})

"""
_RIGHT = _FINISH.format(statement="update task set status = 'done' where name = :name")
_WRONG = _FINISH.format(statement="update task set status = 'done' where name = name or name = :name")
_PLUGINS = ("-p", "asyncdb_nb.pytest_plugin", "-p", "pytest_asyncio.plugin", "-p", "no:cacheprovider")


async def _can_fail(db: Database, test: Any) -> str | None:
    if not inspect.isfunction(test):
        return f"`test_others_stay_open` is {kind(test)}, and a function is asked for."
    if not inspect.iscoroutinefunction(test):
        return "`test_others_stay_open` is not `async`, so it cannot await what it tests."
    try:
        source = textwrap.dedent(inspect.getsource(test))
    except OSError:
        return "The source of `test_others_stay_open` is not known: define it in a cell of its own."
    url = db.url.set(drivername="postgresql").render_as_string(hide_password=False)
    try:
        right, wrong = await asyncio.to_thread(_run, source, url)
    except subprocess.TimeoutExpired:
        return f"The test had not ended after {_SECONDS} seconds."
    if right is None:
        return f"pytest finds no test in it: the function is called `{test.__name__}`."
    if right == "skipped":
        return "The test was skipped."
    if right != "passed":
        return f"With the right `finish` the test does not pass: {right}"
    if wrong == "passed":
        return "The test passes also with the `finish` that finishes every task, so it cannot find that out."
    return None


def _run(source: str, url: str) -> tuple[str | None, str | None]:
    """Run a test with each of the two functions; say of each whether it passed, or what was wrong."""
    with tempfile.TemporaryDirectory(prefix="asyncdb-nb-") as place:
        folder = Path(place)
        modules = {"test_right.py": _RIGHT, "test_wrong.py": _WRONG}
        for file, content in {**_FILES, **{file: _IMPORTS + code + source for file, code in modules.items()}}.items():
            (folder / file).write_text(content, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", *_PLUGINS, "--junitxml=report.xml", *modules],
            cwd=folder,
            env=os.environ | {"DATABASE_URL": url, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""},
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        if not (folder / "report.xml").exists():
            return f"pytest itself failed: {(done.stderr or done.stdout).strip()[-200:]}", None
        report = ElementTree.parse(folder / "report.xml")  # noqa: S314  ours, of a moment ago
    outcomes = {case.get("classname"): _outcome(case) for case in report.iter("testcase")}
    return outcomes.get("test_right"), outcomes.get("test_wrong")


def _outcome(case: ElementTree.Element) -> str:
    for found in case:
        if found.tag in ("failure", "error"):
            return next(iter((found.get("message") or found.tag).splitlines()), found.tag)[:200]
        if found.tag == "skipped":
            return "skipped"
    return "passed"


A_TEST_THAT_CAN_FAIL = Exercise(
    ("test_others_stay_open",),
    _can_fail,
    "It can fail, and it does not.",
    "Add another open task in `async with asyncdb.session() as session:`, finish `load`, and assert that the other "
    "one is still open.",
)
