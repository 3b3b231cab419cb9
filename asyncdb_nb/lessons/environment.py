"""
What a lesson runs on: the embedded server with the sample workflows, and a kernel that is this very Python.

Both hold whatever `DATABASE_URL` says and whatever kernels are registered on the machine, so that a lesson shows the
same for everyone.
"""

from __future__ import annotations

import asyncio
import os
import sys

from ipykernel.kernelspec import RESOURCES
from jupyter_client.kernelspec import NATIVE_KERNEL_NAME, KernelSpec, KernelSpecManager, NoSuchKernel
from jupyter_client.manager import AsyncKernelManager

from asyncdb_nb.jupyter.kernels import OwnSockets


async def prepare_sample() -> None:
    """Start the embedded server, or join it, and load the sample workflows if they are not there yet.

    Raises:
        ServerError: The server cannot be started.
    """
    from asyncdb_nb.database.database import Database
    from asyncdb_nb.server.embedded import embedded_server
    from asyncdb_nb.workflows import ensure_sample

    server = await asyncio.to_thread(embedded_server)
    async with Database(server.url) as database:
        await ensure_sample(database)


def environment() -> dict[str, str]:
    """Copy this process's environment without what would lead `connect()` to another server."""
    return {name: value for name, value in os.environ.items() if name != "DATABASE_URL" and not name.startswith("PG")}


def this_python() -> KernelSpec:
    """Describe a kernel that runs on the interpreter that runs this."""
    # some ipykernels warn at every start that they talk over TCP, which is what Jupyter asks of them
    quiet = "--log-level=ERROR"
    command = [sys.executable, "-m", "ipykernel_launcher", quiet, "-f", "{connection_file}"]
    return KernelSpec(argv=command, display_name="Python 3", language="python", resource_dir=RESOURCES)


class ThisPythonManager(OwnSockets, AsyncKernelManager):
    """A kernel manager whose kernel is the running interpreter, for nbclient."""

    @property
    def kernel_spec(self) -> KernelSpec:
        """The only kernel there is."""
        return this_python()


class OnlyThisPython(KernelSpecManager):
    """The kernels that Jupyter offers: the running interpreter, and no other."""

    def find_kernel_specs(self) -> dict[str, str]:
        """List the one kernel."""
        return {NATIVE_KERNEL_NAME: RESOURCES}

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """Give the one kernel."""
        if kernel_name != NATIVE_KERNEL_NAME:
            raise NoSuchKernel(kernel_name)
        return this_python()
