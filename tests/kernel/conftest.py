"""Kernels for tests: one for a whole module, or as many as a test needs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kernels import SET_UP, Kernel, KernelMaker
from server_checks import ServerWatch

from asyncdb_nb.server import EmbeddedServer


@pytest.fixture(scope="session")
def _warm(server: EmbeddedServer, server_watch: ServerWatch) -> None:
    """The server, before any kernel."""


@pytest.fixture(scope="module")
def start_kernel(_warm: None, database_url: str) -> Iterator[KernelMaker]:
    """Start kernels: `start_kernel(name, *flags, **environment)`; their connections bear the name."""
    kernels: list[Kernel] = []

    def start(name: str, *flags: str, **env: str) -> Kernel:
        kernel = Kernel(name, {"DATABASE_URL": f"{database_url}&application_name={name}", **env}, *flags)
        kernels.append(kernel)
        return kernel

    yield start
    for kernel in kernels:
        kernel.shutdown()


@pytest.fixture(scope="module")
def kernel(start_kernel: KernelMaker) -> Kernel:
    """One kernel for all tests of a module, connected: `db`. Its connections live on from test to test."""
    kernel = start_kernel("kernel")
    reply = kernel.run(SET_UP)
    assert reply.status == "ok", reply
    return kernel
