"""
Run a kernel that nobody watches, beside others on the same machine.

Over TCP, a client looks for free ports and names them to the kernel, which opens them a second later: two kernels that
start at once may get the same ones, and each hears "Invalid Signature" of messages that are meant for the other. Where
the system has sockets that are files, each kernel gets a folder of its own for them, which nobody else may enter.
"""

from __future__ import annotations

import os
import shutil
import tempfile

from jupyter_client.connect import ConnectionFileMixin
from jupyter_client.localinterfaces import localhost
from traitlets import default

NO_BARS = {"TQDM_DISABLE": "1"}
"""For a kernel's environment: progress bars, which a slow machine may show, never have the same figures."""


class OwnSockets(ConnectionFileMixin):
    """A mixin for kernel managers, before the manager's class. The folder is there until the kernel is shut down."""

    _folder: str | None = None

    @default("transport")
    def _files_where_there_are_any(self) -> str:
        return "ipc" if os.name == "posix" else "tcp"

    def _ip_default(self) -> str:  # by name, as the base class does it: that is stronger than a decorator
        if self.transport != "ipc":
            return str(localhost())
        self._folder = tempfile.mkdtemp(prefix="adb-")  # short: the path of a socket has 107 letters at most
        return f"{self._folder}/kernel"

    def cleanup_connection_file(self) -> None:
        """Remove the folder as well."""
        super().cleanup_connection_file()
        if self._folder is not None:
            shutil.rmtree(self._folder)
            self._folder = None
