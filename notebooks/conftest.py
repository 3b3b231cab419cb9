"""
Let nbval end its kernels gracefully, so that the notebooks' connections say goodbye.

    pytest --nbval notebooks/

nbval ends a kernel with SIGKILL, after which only the server could clean up, and the lessons promise that nothing is left.
"""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Replace how nbval stops a kernel: ask it first."""
    if not config.getoption("nbval", default=False):
        return
    from nbval.kernel import RunningKernel

    RunningKernel.stop = _stop


def _stop(self: object) -> None:
    """Ask the kernel to shut down; jupyter_client kills it only if it does not."""
    try:
        self.km.shutdown_kernel(now=False)
    finally:
        self.kc.stop_channels()
        del self.km
