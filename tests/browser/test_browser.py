"""The lab in a real browser. `BROWSER_ARTIFACTS=DIR` keeps the screenshots there."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from lab_process import LabProcess
from notebook_page import NotebookPage, opened
from playwright.sync_api import expect
from waiting import wait_until

from asyncdb_nb.server import EmbeddedServer

pytestmark = pytest.mark.second_tier

ASLEEP = "select 1 from pg_stat_activity where wait_event = 'PgSleep'"
STOP_ME = 'await session.execute(text("select pg_sleep(600)"))'


def test_a_person_runs_the_first_lesson_stops_a_query_and_goes_on(
    lab: LabProcess, learner: dict[str, str], tmp_path: Path, picture: Callable[[NotebookPage, str], None]
) -> None:
    """By the buttons: ▶ to the first frame, all cells, a query that ■ stops at once, the next cell, Shut Down."""
    watch = lab.watch()

    with opened(lab.address) as notebook:
        expect(notebook.page.get_by_role("heading", name="Open a session").first).to_be_in_viewport()
        picture(notebook, "1-open")
        while not notebook.frames.count():
            notebook.press("run")
            notebook.wait_until_idle()
        expect(notebook.frames.first).to_be_in_viewport()
        picture(notebook, "2-frame")

        notebook.choose("Run", "Run All Cells")
        expect(notebook.page.get_by_text("Not yet: ")).to_be_visible()

        stopped = notebook.run_below(f"async with db.session() as session:\n    {STOP_ME}")
        wait_until(lambda: watch.query(ASLEEP))
        notebook.press("interrupt")
        expect(stopped).to_have_text(re.compile(rf"^Stopped after \d+\.\d s in line 2: {re.escape(STOP_ME)}[^\n]*$"))
        wait_until(lambda: not watch.query(ASLEEP))
        picture(notebook, "3-stopped")

        answer = notebook.run_below('await db.frame("select 6 * 7 as answer")')
        expect(answer.locator("td")).to_have_text("42")
        picture(notebook, "4-went-on")

        notebook.go_to("Ask with SQLAlchemy")
        expect(notebook.figures.first).to_be_in_viewport()
        assert notebook.figures.first.evaluate("image => image.naturalWidth") > 500
        picture(notebook, "5-plot")

        notebook.save()
        assert notebook.interruptions.count() == 0
        assert notebook.strangers == []
        notebook.choose("File", "Shut Down")
        notebook.page.get_by_role("button", name="Shut Down").click()
        ended = lab.wait()

    assert (ended.status, ended.errors) == (0, "")
    assert ended.output == f"Stopped. Your work is in {tmp_path / 'asyncdb-nb-lessons'}\n"
    assert "pg_sleep(600)" in (tmp_path / "asyncdb-nb-lessons/01_open_a_session.ipynb").read_text(encoding="utf-8")
    server = EmbeddedServer(Path(learner["ASYNCDB_NB_HOME"]) / "server")
    wait_until(lambda: not server.status().running)  # with its last user
    watch.close()
    assert not watch.unclean_ends()


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_the_stop_button_works_in_fifty_of_fifty_tries(lab: LabProcess) -> None:
    """The cell is over in under a second, and its query on the server; the next cell works."""
    watch = lab.watch()
    took: list[float] = []

    with opened(lab.address) as notebook:
        notebook.run_below("from asyncdb_nb import connect\ndb = await connect()")
        notebook.wait_until_idle()
        for number in range(10, 60):
            stopped = notebook.run_below(f'await db.frame("select pg_sleep(600)")  # {number}')
            wait_until(lambda: watch.query(ASLEEP))
            pressed = time.monotonic()
            notebook.press("interrupt")
            expect(stopped).to_have_text(re.compile(r"^Stopped after \d+\.\d s in line 1: "))
            took.append(time.monotonic() - pressed)
            assert not watch.query(ASLEEP)

            answer = notebook.run_below(f'await db.frame("select {number} as answer")')
            expect(answer.locator("td")).to_have_text(str(number))

    print(f"longest: {max(took):.2f} s")  # noqa: T201
    assert max(took) < 1
    watch.close()
