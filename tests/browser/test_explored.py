"""What `db.profile`, `explain`, `diagram` and `view` show, in JupyterLab in a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from lab_process import LabProcess
from notebook_page import NotebookPage, opened
from playwright.sync_api import Locator, expect
from waiting import wait_until

from asyncdb_nb.server import EmbeddedServer

pytestmark = pytest.mark.second_tier

HOSTILE = "<img src=x onerror=alert(1)>"
SOURCE = (
    f"select g as id, g % 7 as seven, case g % 3 when 0 then null when 1 then '' else '{HOSTILE}' end as "
    f"\"{HOSTILE}\", timestamptz '2024-01-01 12:00+00' + g * interval '1 h' as at, (g * 1.10)::numeric(9, 2) as cost "
    "from generate_series(1, 250) as g"
)
WAITS = "select 1 from pg_stat_activity where wait_event_type = 'Lock'"


def column(view: Locator, number: int) -> list[str]:
    """What is in a column, from 1 on."""
    return view.locator(f"tbody tr td:nth-child({number})").all_inner_texts()


def test_what_was_explored_is_seen_sorted_and_stays(
    lab: LabProcess, learner: dict[str, str], picture: Callable[[NotebookPage, str], None]
) -> None:
    """A view sorts, filters, counts and turns pages; after a restart, and in a page loaded anew, a table is left."""
    watch = lab.watch()
    with opened(lab.address) as notebook:
        notebook.run_below("from asyncdb_nb import connect\ndb = await connect()")
        profile = notebook.run_below('await db.profile("workflows.run")')
        expect(profile.locator("tbody tr")).to_have_count(14)
        plan = notebook.run_below('await db.explain("select count(*) from workflows.task", analyze=True)')
        expect(plan).to_contain_text("Execution ")
        diagram = notebook.run_below('await db.diagram("workflows")')
        expect(diagram.locator("svg")).to_be_visible()
        picture(notebook, "explored-1")

        view = notebook.run_below(f"await db.view({SOURCE!r})").locator(".asyncdb-view")
        expect(view.locator("tbody tr")).to_have_count(100)
        expect(view).to_contain_text("rows 1–100, and more")
        assert column(view, 3)[:3] == ["", HOSTILE, "NULL"]
        assert view.locator("img").count() == 0
        assert view.locator("td.null").count() == 33
        assert column(view, 4)[0] == "2024-01-01 13:00:00+00"
        assert column(view, 5)[:2] == ["1.10", "2.20"]

        view.get_by_role("button", name="id").click()
        view.get_by_role("button", name="id").click()
        expect(view.locator("tbody tr").first).to_contain_text("275.00")
        assert column(view, 1)[:2] == ["250", "249"]
        view.get_by_role("button", name="Next").click()
        expect(view).to_contain_text("rows 101–200, and more")
        assert column(view, 1)[0] == "150"
        view.get_by_role("button", name="Count").click()
        expect(view).to_contain_text("rows 101–200 of 250")
        view.get_by_role("button", name="Next").click()
        expect(view).to_contain_text("rows 201–250 of 250")
        expect(view.get_by_role("button", name="Next")).to_be_disabled()

        view.get_by_label("Filter seven").fill("= 3")
        expect(view).to_contain_text("rows 1–36 of 36")
        assert column(view, 1)[:2] == ["248", "241"]
        view.get_by_label("Filter id").fill("= x")
        expect(view.locator(".failed")).to_have_text(re.compile("invalid input syntax for type integer: .x."))
        view.get_by_label("Filter id").fill("")
        expect(view.locator(".failed")).to_have_count(0)
        expect(view).to_contain_text("rows 1–36 of 36")
        picture(notebook, "explored-2")

        slow = notebook.run_below('await db.view("workflows.run", timeout=600)').locator(".asyncdb-view")
        expect(slow.locator("tbody tr")).to_have_count(100)
        with psycopg.connect(EmbeddedServer(Path(learner["ASYNCDB_NB_HOME"]) / "server").url) as other:
            other.execute("lock table workflows.run")
            slow.get_by_role("button", name="Count").click()
            wait_until(lambda: watch.query(WAITS))
            answer = notebook.run_below("6 * 7")  # meanwhile the kernel has nothing to do
            expect(answer).to_have_text("42")
            slow.get_by_role("button", name="Stop").click()
            expect(slow.get_by_role("status")).to_have_text("Stopped.")
            wait_until(lambda: not watch.query(WAITS))

        notebook.save()
        notebook.restart_kernel()
        expect(view.get_by_role("status")).to_contain_text("The kernel has ended")
        expect(view.locator("tbody tr")).to_have_count(36)
        picture(notebook, "explored-3")
        notebook.page.reload()
        stored = notebook.page.locator("[id^=asyncdb-view-]").first
        stored.scroll_into_view_if_needed()
        expect(stored).to_contain_text("statement: more than 100 rows, 10 shown")
        expect(stored.locator("tbody tr")).to_have_count(10)
        assert notebook.page.locator(".asyncdb-view").count() == 0
        picture(notebook, "explored-4")
        assert notebook.strangers == []
    watch.close()
