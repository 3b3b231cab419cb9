"""
Let notebooks that nbval runs show the same each time, and leave nothing on the server.

nbval compares what a cell shows with what is stored, and ends its kernels with SIGKILL, after which only the server can
clean up. Its kernels are made by one class, which is replaced here: a kernel is asked to end, so that its connections
close gracefully. It shows no progress bars and has sockets of its own. What differs between versions and runs by its
nature is left out of the comparison.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest

HEADER = "asyncdb_nb: nbval's kernels end gracefully and show no progress bars"

SHOWN_ALIKE = {
    # the link in an error of SQLAlchemy's names its version
    r"https://sqlalche\.me/e/\d+/": "https://sqlalche.me/e/VERSION/",
    # SQLAlchemy 2.0 says the driver's error class twice
    r"\.asyncpg\.(\w+)\)(?: <class 'asyncpg\.[\w.]+'>:)?": r".asyncpg.\1)",
    # a deadlock names the processes of the server
    r"Process \d+ waits for (\w+) on transaction \d+; blocked by process \d+": r"Process N waits for \1",
    # an object that has no better repr shows where it is in memory
    r"\b0x[0-9a-f]{6,}\b": "0xADDRESS",
}
"""Regular expressions and what takes their place, in stored and new outputs alike."""


def refuse_without_nbval(arguments: list[str]) -> None:
    """Say what to install, where pytest would only say that it does not know the option.

    Raises:
        pytest.UsageError: nbval is asked for, and not installed.
    """
    asked = [argument for argument in arguments if argument in ("--nbval", "--nbval-lax")]
    if asked and find_spec("nbval") is None:
        raise pytest.UsageError(f"{asked[0]}: nbval is not installed. Install it: `pip install nbval`.")


def begin(config: pytest.Config) -> None:
    """Replace what nbval makes its kernels with, when it is asked to make some and the suite does not object."""
    if not (config.getoption("nbval", False) or config.getoption("nbval_lax", False)):
        return
    if not config.getini("asyncdb_nbval"):
        return
    _refuse_scattered_cells(config)
    config.add_cleanup(_replace_the_manager())
    config.pluginmanager.register(NotebookHooks(), "asyncdb_nb nbval")


class NotebookHooks:
    """The hooks, as a plugin of its own."""

    def pytest_report_header(self) -> str:
        """Say that kernels are not what nbval makes of them alone."""
        return HEADER

    def pytest_collectstart(self, collector: pytest.Collector) -> None:
        """Leave out of a notebook's comparison what cannot be the same; `--nbval-sanitize-with` adds to it."""
        patterns = getattr(collector, "sanitize_patterns", None)
        if patterns is not None:
            patterns.update(SHOWN_ALIKE)


def _refuse_scattered_cells(config: pytest.Config) -> None:
    """All cells of a notebook belong to one kernel, so they belong to one worker of pytest-xdist."""
    how = config.getoption("dist", "no")
    if how in ("load", "worksteal") and config.getoption("tx", None):
        raise pytest.UsageError(
            f"--nbval with --dist {how} would give the cells of one notebook to several kernels. "
            "Keep those of a file together: `--dist loadfile`."
        )


def _replace_the_manager() -> Callable[[], None]:
    """Return what undoes it."""
    from jupyter_client.manager import KernelManager
    from nbval import kernel

    from asyncdb_nb.jupyter.kernels import NO_BARS, OwnSockets

    class GracefulManager(OwnSockets, KernelManager):
        def start_kernel(self, *, env: dict[str, str] | None = None, **options: Any) -> None:
            super().start_kernel(env=NO_BARS | dict(os.environ if env is None else env), **options)

        def shutdown_kernel(self, now: bool = False, restart: bool = False) -> None:
            super().shutdown_kernel(restart=restart)

    original = kernel.KernelManager
    kernel.KernelManager = GracefulManager

    def undo() -> None:
        kernel.KernelManager = original

    return undo
