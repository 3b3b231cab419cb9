"""The pages of `docs/` are true: their code shows what they say, their links lead somewhere, nothing is missing."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from docs_pages import blocks_of

import asyncdb_nb
from asyncdb_nb import errors

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


@pytest.mark.second_tier
@pytest.mark.parametrize("page", [page for page in PAGES if blocks_of(page)], ids=lambda page: page.stem)
def test_the_code_of_a_page_shows_what_the_page_says(page: Path, learner: dict[str, str]) -> None:
    """Each page in a process of its own, as a person without any set-up; a warning is an error, stderr stays empty."""
    command = [sys.executable, "-W", "error", ROOT / "tests" / "docs_pages.py", page]
    done = subprocess.run(command, capture_output=True, text=True, env=learner, cwd="/")

    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr


def test_a_page_that_is_wrong_is_found(tmp_path: Path) -> None:
    """A block that shows something else, raises, or does not raise, fails its page."""
    for code, expected in (("1 + 1", "3"), ("1 / 0", ""), ("int('x')", "x")):
        page = tmp_path / "page.md"
        page.write_text(f"```python\n{code}\n```\n\n```text\n{expected}\n```\n")

        done = subprocess.run([sys.executable, ROOT / "tests" / "docs_pages.py", page], capture_output=True)

        assert done.returncode == 1


def test_the_page_on_applications_shows_what_the_examples_hold() -> None:
    """Its excerpts (```py) are lines of projects whose suites are run, in tests/test_examples.py; each is linked to."""
    page = (DOCS / "applications.md").read_text(encoding="utf-8")
    excerpts = re.findall(r"^```py\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    files = [file.read_text(encoding="utf-8") for file in (DOCS / "examples").rglob("*.py")]
    projects = [file.parent.name for file in (DOCS / "examples").glob("*/test_*.py")]

    assert len(excerpts) > 5
    assert not [excerpt for excerpt in excerpts if not any(excerpt in file for file in files)]
    assert not [name for name in projects if f"](examples/{name}/" not in page]


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    prose = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", prose)

    assert not [target for target in targets if not (DOCS / target).exists()]


@each_page
def test_a_page_can_be_found_from_the_first(page: Path) -> None:
    assert page.name == "README.md" or f"]({page.name})" in (DOCS / "README.md").read_text(encoding="utf-8")


def test_every_error_has_its_remedy() -> None:
    """The page by symptom names each error and warning of the package."""
    text = (DOCS / "troubleshoot.md").read_text(encoding="utf-8")
    classes = [
        name for name, value in vars(errors).items() if isinstance(value, type) and value.__module__ == errors.__name__
    ]

    assert not [name for name in classes if f"`{name}" not in text]


def test_the_reference_is_in_step_with_the_docstrings(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a change of a docstring: `python docs/make_reference.py`."""
    monkeypatch.syspath_prepend(DOCS)
    import make_reference

    assert (DOCS / "reference.md").read_text(encoding="utf-8") == make_reference.reference()


def test_the_picture_of_the_packages_is_in_step_with_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a move: `python docs/make_architecture.py`."""
    monkeypatch.syspath_prepend(DOCS)
    import make_architecture

    graph = make_architecture.rooms()

    assert make_architecture.PICTURE.read_text(encoding="utf-8") == make_architecture.picture(graph)
    assert make_architecture.PAGE.read_text(encoding="utf-8") == make_architecture.page(graph)


def test_the_pages_name_files_that_exist() -> None:
    """A file of the package in a page on its code, by its path or, after its folder was named, by its name."""
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    files = [str(file.relative_to(ROOT)) for file in ROOT.rglob("*.py")]
    named = re.findall(r"`([\w/]+\.py)`", text)

    assert len(named) > 30
    assert not [name for name in named if not any(f"/{file}".endswith(f"/{name}") for file in files)]


def test_every_public_name_is_in_the_reference() -> None:
    text = (DOCS / "reference.md").read_text(encoding="utf-8")

    headings = re.findall(r"^### `asyncdb_nb\.(\w+)`$", text, re.MULTILINE)
    in_the_tree = re.findall(r"^ *[│├└─ ]*(\w+(?:Error|Warning))\b", text, re.MULTILINE)
    assert set(asyncdb_nb.__all__) <= {*headings, *in_the_tree}
