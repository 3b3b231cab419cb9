"""
Make the pictures of the pages, in `docs/images/`: the lab in a browser, two pools, a flow, the sample explored.

    python docs/make_images.py      # needs the extra `test`, and Chromium
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
from playwright.sync_api import expect
from sqlalchemy import text
from sqlalchemy.exc import InterfaceError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from asyncdb_nb import Database, LoopBoundPool, trace
from asyncdb_nb.server import EmbeddedServer
from asyncdb_nb.workflows import WorkflowRepository, ensure_sample

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "images"
POOLS: dict[str, dict[str, Any]] = {
    "Three loops on SQLAlchemy's usual pool": {},
    "The same three loops with poolclass=LoopBoundPool": {"poolclass": LoopBoundPool},
}
SLOW = """
select w.owner, count(*) from workflows.task t
join workflows.run r on r.id = t.run_id join workflows.workflow w on w.id = r.workflow_id
where t.error like '%timeout%' group by w.owner order by 2 desc
"""


def make_timeline(path: Path) -> None:
    """Draw what a program that runs three loops does with the usual pool, and with ours."""
    figure, axes = plt.subplots(1, 2, figsize=(14.6, 4.1), layout="constrained")
    with EmbeddedServer.start() as server:
        for ax, (title, pool) in zip(axes, POOLS.items(), strict=True):
            engine = create_async_engine(server.url.replace("://", "+asyncpg://", 1), **pool)
            with trace() as recorded:
                run_three_loops(engine)
            recorded.plot(ax, title=title, dark=False)
    figure.savefig(path, dpi=110)


def run_three_loops(engine: AsyncEngine) -> None:
    """Ask one question on each of three loops, and go on when it fails."""
    for _ in range(3):
        with suppress(RuntimeError, InterfaceError):
            asyncio.run(ask(engine))


async def ask(engine: AsyncEngine) -> int:
    """Ask a question."""
    async with engine.connect() as connection:
        return int(await connection.scalar(text("select 42")))


async def make_flow(path: Path) -> None:
    """Draw the flow of the sample's workflows."""
    with EmbeddedServer.start() as server:
        async with Database(server.url) as db:
            await ensure_sample(db)
            async with db.session(readonly=True) as session:
                flow = await WorkflowRepository(session).flow()
    flow.plot(dark=False).figure.savefig(path, dpi=100)


async def make_explored(folder: Path) -> None:
    """Draw a profile, a plan and a diagram of the sample."""
    with EmbeddedServer.start() as server:
        async with Database(server.url) as db:
            await ensure_sample(db)
            async with db.engine.begin() as connection:
                await connection.execute(text("analyze"))
            profile = await db.profile("workflows.run")
            profile.plot(dark=False).savefig(folder / "profile.png", dpi=80)
            plan = await db.explain(SLOW, analyze=True)
            plan.plot(dark=False).figure.savefig(folder / "plan.png", dpi=80)
            diagram = await db.diagram("workflows")
            (folder / "diagram.svg").write_text(diagram.svg(dark=False), encoding="utf-8")


@contextmanager
def lab_in_a_browser() -> Iterator[Any]:
    """Start the lab for somebody whose Jupyter has never been used, and open the first lesson."""
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "browser")]
    from lab_process import LabProcess
    from notebook_page import opened

    with tempfile.TemporaryDirectory(prefix="adb-") as home:
        Path(home).chmod(0o711)  # the server's system user must get through
        clean = {name: value for name, value in os.environ.items() if not name.startswith("JUPYTER")}
        own = {f"JUPYTER_{name}_DIR": f"{home}/{name.lower()}" for name in ("CONFIG", "DATA", "RUNTIME")}
        with (
            LabProcess(env=clean | own | {"ASYNCDB_NB_HOME": home}, cwd=Path(home)) as lab,
            opened(lab.address, width=1320, height=1116) as notebook,
        ):
            yield notebook


def make_lab(path: Path) -> None:
    """Run the first lesson in the lab, and show where a frame becomes a plot."""
    with lab_in_a_browser() as notebook:
        notebook.choose("Run", "Run All Cells")
        expect(notebook.page.get_by_text("Not yet: ")).to_be_visible()
        notebook.go_to("Ask with SQLAlchemy")
        expect(notebook.figures.first).to_be_in_viewport()
        notebook.widen_sidebar(90)
        notebook.save()
        notebook.page.screenshot(path=path)


def make_explored_in_lab(folder: Path) -> None:
    """Show what a profile, a plan and a view are in a notebook."""
    with lab_in_a_browser() as notebook:
        notebook.run_below("from asyncdb_nb import connect\ndb = await connect()")
        profile = notebook.run_below('await db.profile("workflows.workflow")')
        expect(profile).to_contain_text("Every figure is exact.")
        plan = notebook.run_below(f"await db.explain({SLOW!r}, analyze=True)")
        expect(plan).to_contain_text("Execution ")
        shown = notebook.run_below('await db.view("workflows.run")')
        view = shown.locator(".asyncdb-view")
        for _ in range(2):
            view.get_by_role("button", name="cost").click()
        expect(view.locator("tbody tr").first).to_contain_text("156.2161")
        view.get_by_label("Filter status").fill("= failed")
        expect(view.locator("tbody tr").nth(1)).to_contain_text("84.3135")
        notebook.page.get_by_role("heading", name="Open a session").last.hover()  # and no row of the tables
        for name, output in (("profile-in-lab", profile), ("plan-in-lab", plan), ("view", shown)):
            output.screenshot(path=folder / f"{name}.png")


if __name__ == "__main__":
    logging.disable()  # the usual pool logs what it cannot close; the picture shows it
    IMAGES.mkdir(exist_ok=True)
    make_timeline(IMAGES / "timeline.png")
    asyncio.run(make_flow(IMAGES / "flow.png"))
    asyncio.run(make_explored(IMAGES))
    make_lab(IMAGES / "lab.png")
    make_explored_in_lab(IMAGES)
