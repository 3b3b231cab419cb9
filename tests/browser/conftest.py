"""A browser, and the lab for it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lab_process import LabProcess
from notebook_page import NotebookPage, chromium


@pytest.fixture(autouse=True)
def _browser() -> None:
    """A machine without Chromium skips this, but not the continuous integration."""
    if chromium() is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("Chromium is not installed: apt-get install chromium")


@pytest.fixture
def picture(tmp_path: Path) -> Callable[[NotebookPage, str], None]:
    """Take a screenshot: `picture(notebook, name)`."""
    directory = Path(os.environ.get("BROWSER_ARTIFACTS") or tmp_path / "screenshots")
    directory.mkdir(parents=True, exist_ok=True)
    return lambda notebook, name: notebook.page.screenshot(path=directory / f"{name}.png")


@pytest.fixture
def lab(learner: dict[str, str], tmp_path: Path) -> Iterator[LabProcess]:
    """The lab, as the command starts it for somebody whose Jupyter has never been used."""
    own = {f"JUPYTER_{name}_DIR": str(tmp_path / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    with socket.create_server(("localhost", 0)) as taken:
        port = taken.getsockname()[1]
    with LabProcess("--port", str(port), env=learner | own, cwd=tmp_path) as lab:
        yield lab
