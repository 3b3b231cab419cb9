"""A real kernel, spoken to as Jupyter does: `sys.executable -m ipykernel_launcher`."""

from __future__ import annotations

import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import Empty
from typing import Any

import ipykernel
import IPython
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager
from server_checks import ServerWatch
from waiting import HANG

SECONDS = HANG  # how long a cell may take

needs_subshells = pytest.mark.skipif(
    ipykernel.version_info < (7,),
    reason="subshells came with ipykernel 7, and 6.17 of Colab is allowed: there is nothing to test with it",
)


needs_matchers = pytest.mark.skipif(
    IPython.version_info < (8, 6),
    reason="matchers came with IPython 8.6, and 7.34 of Colab is allowed: names are not completed there",
)


@dataclass
class Reply:
    """What a cell showed, and how it ended."""

    status: str = ""
    error: str = ""
    """The name of the exception's class, or ''."""
    shown: list[str] = field(default_factory=list)
    """Results and displays as plain text, errors as their traceback's lines, without colours."""
    stdout: str = ""
    stderr: str = ""

    @property
    def last(self) -> str:
        """What was shown last."""
        return self.shown[-1] if self.shown else ""


class Kernel:
    """A running kernel. It is connected to nothing before a cell does that."""

    def __init__(self, name: str, env: dict[str, str], *flags: str) -> None:
        self.name = name
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed by shutdown()
        self._folder = tempfile.TemporaryDirectory(prefix="adb-")  # of the sockets: else they are in the working one
        self.manager = KernelManager(transport="ipc", ip=f"{self._folder.name}/kernel")
        self.manager._kernel_spec = KernelSpec(  # what a kernel.json holds
            argv=[sys.executable, *flags, "-m", "ipykernel_launcher", "-f", "{connection_file}"], language="python"
        )
        self.manager.start_kernel(env=os.environ | env, stdout=self._log, stderr=self._log)
        self.client: BlockingKernelClient = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=SECONDS)
        self.pid: int = self.manager.provisioner.process.pid  # type: ignore[union-attr]

    def start(self, code: str, **options: Any) -> str:
        """Send a cell, and do not wait for it.

        An error aborts no other cell: ipykernel 6 aborts one that comes soon after the error, too.
        """
        return self.client.execute(code, **{"stop_on_error": False} | options)

    def run(self, code: str, **options: Any) -> Reply:
        """Run a cell to its end."""
        return self.wait(self.start(code, **options))

    def wait(self, sent: str, seconds: float = SECONDS) -> Reply:
        """Wait for the end of a cell that was sent."""
        reply = Reply()
        end = time.monotonic() + seconds
        replied = idle = False
        while not (replied and idle):
            if not idle:
                idle = self._hear(reply, sent, end)
            else:
                answer = self.client.get_shell_msg(timeout=max(end - time.monotonic(), 0.01))
                if answer["parent_header"].get("msg_id") == sent:
                    replied = True
                    reply.status = answer["content"]["status"]
                    reply.error = answer["content"].get("ename", "")
        return reply

    def send(self, kind: str, content: dict[str, Any], subshell: str | None = None) -> str:
        """Send a message of any kind on the shell channel, to the main shell or to a subshell."""
        message = self.client.session.msg(kind, content)
        if subshell is not None:
            message["header"]["subshell_id"] = subshell
        self.client.shell_channel.send(message)
        return str(message["header"]["msg_id"])

    def start_in(self, subshell: str | None, code: str) -> str:
        """Send a cell to a subshell, and do not wait for it."""
        cell = {"silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
        return self.send("execute_request", cell | {"code": code, "stop_on_error": False}, subshell)

    def run_in(self, subshell: str | None, code: str) -> Reply:
        """Run a cell in a subshell."""
        return self.wait(self.start_in(subshell, code))

    def hear(self, sent: str, seconds: float = SECONDS) -> Reply:
        """Wait until a message that has no reply is dealt with, such as a comm's."""
        reply = Reply()
        end = time.monotonic() + seconds
        while not self._hear(reply, sent, end):
            pass
        return reply

    def ask(self, kind: str, **content: Any) -> dict[str, Any]:
        """Ask something on the control channel."""
        self.client.control_channel.send(self.client.session.msg(kind, content))
        return self.client.get_control_msg(timeout=SECONDS)["content"]  # type: ignore[no-any-return]

    def hear_output(self, sent: str) -> str:
        """Wait until a cell has printed something, and return it; `wait()` will not hear it again."""
        reply = Reply()
        end = time.monotonic() + SECONDS
        while not reply.stdout:
            assert not self._hear(reply, sent, end), f"the cell ended: {reply}"
        return reply.stdout

    def _hear(self, reply: Reply, sent: str, end: float) -> bool:
        try:
            message = self.client.get_iopub_msg(timeout=max(end - time.monotonic(), 0.01))
        except Empty:
            raise TimeoutError(f"the cell did not end: {reply}") from None
        if message["parent_header"].get("msg_id") != sent:
            return False
        content = message["content"]
        match message["msg_type"]:
            case "status":
                return content["execution_state"] == "idle"
            case "stream":
                setattr(reply, content["name"], getattr(reply, content["name"]) + content["text"])
            case "execute_result" | "display_data":
                reply.shown.append(content["data"]["text/plain"])
            case "error":
                reply.shown.append(re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(content["traceback"])))
        return False

    def interrupt(self) -> None:
        """Press Stop."""
        os.kill(self.pid, signal.SIGINT)

    def log(self) -> str:
        """What the process wrote to its own stdout and stderr."""
        self._log.seek(0)
        return self._log.read()

    def is_alive(self) -> bool:
        return bool(self.manager.is_alive())

    def wait_for_end(self, seconds: float = SECONDS) -> None:
        end = time.monotonic() + seconds
        while self.is_alive() and time.monotonic() < end:
            time.sleep(0.02)
        assert not self.is_alive()

    def shutdown(self, wait_seconds: float = 5.0) -> int | None:
        """Shut down as Jupyter does; return the process's exit status. `.output` has what the process wrote.

        Args:
            wait_seconds: Jupyter sends SIGTERM after half of them, and SIGKILL after the rest.
        """
        if self._log.closed:
            return None
        process = self.manager.provisioner.process
        self.manager.shutdown_wait_time = wait_seconds
        self.manager.shutdown_kernel()
        self.client.stop_channels()
        self.output = self.log()
        self._log.close()
        self._folder.cleanup()
        return process.returncode

    def restart(self) -> None:
        """Restart, and wait until the new process answers."""
        self.manager.restart_kernel()
        self.client.wait_for_ready(timeout=SECONDS)


KernelMaker = Callable[..., Kernel]


SET_UP = """
import asyncio, signal, time
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from asyncdb_nb import connect, run, session_scope
db = await connect()
"""


def asleep(watch: ServerWatch, name: str = "kernel", number: int = 1) -> bool:
    """Whether so many statements of a kernel are sleeping on the server."""
    running = watch.query(
        "select pid from pg_stat_activity where wait_event = 'PgSleep' and application_name = %s", name
    )
    return len(running) == number
