"""The plans of docs/teach.md are about the lessons that there are."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

from asyncdb_nb.lessons.notebooks import lessons, originals

PAGE = (Path(__file__).parents[2] / "docs" / "teach.md").read_text(encoding="utf-8")
PLANS = PAGE[PAGE.index("## Three plans") : PAGE.index("## What the check does")]


def headings() -> list[str]:
    """Every heading of a lesson, and the bold name of every exercise."""
    found = []
    for path in sorted(originals().glob("[0-9]*.ipynb")):
        text = "\n".join(
            cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"
        )
        found += re.findall(r"^#+ (.+)$", text, re.MULTILINE) + re.findall(r"^\*\*(.+?)\.?\*\*", text, re.MULTILINE)
    return found


def test_the_table_names_every_lesson() -> None:
    rows = re.findall(r"^\| (\d\d) (.+?) \| \d+ \|", PAGE, re.MULTILINE)

    assert rows == [(lesson.number, lesson.title) for lesson in lessons()]


def test_what_a_plan_names_is_in_a_lesson() -> None:
    """By the beginning of its heading, or of an exercise's name."""
    named = re.findall(r"(?<!\*)\*([A-Z][^*]+)\*(?!\*)", PLANS)
    known = headings()

    assert len(named) > 20
    assert not [name for name in named if not any(heading.startswith(name) for heading in known)]


@pytest.mark.parametrize("minutes", [45, 90])
def test_the_minutes_of_a_plan_add_up(minutes: int) -> None:
    plan = PLANS[PLANS.index(f"**{minutes} minutes") :].partition("\n\n**")[0]

    assert sum(map(int, re.findall(r"^\| (\d+) \|", plan, re.MULTILINE))) == minutes


def test_the_handout_is_one_page() -> None:
    """Some sixty lines of print."""
    handout = (Path(__file__).parents[2] / "docs" / "handout.md").read_text(encoding="utf-8")

    assert len(handout.splitlines()) <= 90
    assert len(handout) < 4_000
