"""A notebook in JupyterLab in a real browser, used as a person uses it: by its buttons, menus and keys."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Locator, Page, expect, sync_playwright

FLAGS = (
    "--no-sandbox",  # it does not start as root with one, and it opens nothing but our own page
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SECONDS = 30  # how long anything may take that should take one
expect.set_options(timeout=SECONDS * 1000)


def chromium() -> str | None:
    """Where Chromium is on this machine."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class NotebookPage:
    """The notebook that is open.

    Attributes:
        page: Playwright's.
        strangers: Addresses other than the lab's own that the page has asked for.
    """

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.strangers: list[str] = []
        page.set_default_timeout(SECONDS * 1000)
        page.on("request", lambda request: self._note(request.url, address))
        page.goto(address)
        self.wait_until_idle()

    def wait_until_idle(self) -> None:
        """Wait until the kernel runs and has nothing to do."""
        expect(self.page.locator("#jp-main-statusbar")).to_contain_text(" | Idle")

    def press(self, button: str) -> None:
        """Press a button of the notebook's toolbar: `run` (▶), `interrupt` (■), `insert` (+)."""
        toolbar = self.page.locator(".jp-NotebookPanel-toolbar")
        toolbar.locator(f'[data-jp-item-name="{button}"] .jp-ToolbarButtonComponent').click()

    def choose(self, menu: str, item: str) -> None:
        """Choose from the menu bar."""
        self.page.get_by_role("menuitem", name=menu, exact=True).click()
        self.page.get_by_role("menuitem", name=item, exact=True).click()

    def save(self) -> None:
        """Press 💾, and wait until it is done."""
        self.press("save")
        expect(self.page.locator(".lm-TabBar-tab.jp-mod-dirty")).to_have_count(0)

    def restart_kernel(self) -> None:
        """Press ↻ and confirm it."""
        self.press("restart")
        self.page.locator(".jp-Dialog .jp-mod-accept").click()
        self.wait_until_idle()

    def go_to(self, heading: str) -> None:
        """Go to a heading by the table of contents, and show the files again."""
        self.page.get_by_role("tab", name="Table of Contents").click()
        self.page.locator(".jp-TableOfContents").get_by_text(heading, exact=True).click()
        self.page.get_by_role("tab", name="File Browser").click()

    def widen_sidebar(self, pixels: int) -> None:
        """Drag the edge between the files and the notebook to the right."""
        place = self.page.locator("#jp-left-stack").bounding_box()
        assert place
        edge, middle = place["x"] + place["width"] + 1, place["y"] + place["height"] / 2
        self.page.mouse.move(edge, middle)
        self.page.mouse.down()
        self.page.mouse.move(edge + pixels, middle)
        self.page.mouse.up()

    def run_below(self, code: str) -> Locator:
        """Type code into an empty cell, a new one if need be, press ▶, and return where its output comes."""
        selected = self.page.locator(".jp-CodeCell.jp-mod-selected .cm-content")
        if not selected.count() or selected.inner_text().strip():
            self.press("insert")
        selected.click()
        self.page.keyboard.insert_text(code)
        self.press("run")
        return self.page.locator(".jp-CodeCell", has_text=code.splitlines()[-1]).locator(".jp-OutputArea-output")

    @property
    def frames(self) -> Locator:
        """The DataFrames that are shown; JupyterLab draws only what is near the part in sight."""
        return self.page.locator(".jp-OutputArea-output table.dataframe")

    @property
    def figures(self) -> Locator:
        """The plots that are shown."""
        return self.page.locator('.jp-OutputArea-output img[src^="data:image/png"]')

    @property
    def interruptions(self) -> Locator:
        """What would get in a person's way: dialogs and notices."""
        return self.page.locator(".jp-Dialog, .Toastify__toast")

    def _note(self, url: str, address: str) -> None:
        own = address.partition("/lab")[0]
        if not url.startswith((own, own.replace("http", "ws", 1), "data:", "blob:")):
            self.strangers.append(url)


@contextmanager
def opened(address: str, width: int = 1280, height: int = 800) -> Iterator[NotebookPage]:
    """Open an address of the lab in Chromium, in a profile of its own that goes with it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=[*FLAGS])
        try:
            yield NotebookPage(browser.new_page(viewport={"width": width, "height": height}), address)
        finally:
            browser.close()
