"""
Make nbval's kernels show the same each time, and let them end gracefully, so that their connections say goodbye.

    pytest --nbval notebooks/

nbval ends a kernel with SIGKILL, after which only the server could clean up, and the lessons promise that nothing is
left. And a progress bar, which a slow machine may show, never has the same figures.
"""

from __future__ import annotations

import os

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Take tqdm's bars off, and replace how nbval stops a kernel: ask it first."""
    if not config.getoption("nbval", default=False):
        return
    os.environ["TQDM_DISABLE"] = "1"  # kernels inherit it
    from nbval.kernel import RunningKernel

    RunningKernel.stop = _stop


def _stop(self: object) -> None:
    """Ask the kernel to shut down; jupyter_client kills it only if it does not."""
    try:
        self.km.shutdown_kernel(now=False)
    finally:
        self.kc.stop_channels()
        del self.km
