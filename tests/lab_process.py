"""`asyncdb-nb lab` as a process of its own, started and stopped as a person does it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import psutil
from server_checks import TEST_SETTINGS, ServerWatch
from waiting import HANG

from asyncdb_nb.server import EmbeddedServer


@dataclass(frozen=True)
class Ended:
    """How a lab ended."""

    status: int
    output: str
    """What it printed since it was ready."""
    errors: str


class LabProcess:
    """A running lab.

    Attributes:
        output: What it printed until it was ready.
        address: What a person would open, token included.
    """

    def __init__(self, *arguments: str, env: dict[str, str], cwd: Path, python: str | Path = sys.executable) -> None:
        self._home = Path(env["ASYNCDB_NB_HOME"])
        self._process = subprocess.Popen(
            [python, "-m", "asyncdb_nb.cli", "lab", "--no-browser", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=env,
            cwd=cwd,
        )
        self.output = ""
        for line in self._process.stdout or ():
            self.output += line
            if line.startswith("Ctrl-C"):
                break
        found = re.search(r"JupyterLab is at (\S+)", self.output)
        assert found, self._process.communicate()
        self.address = found[1]

    def watch(self) -> ServerWatch:
        """The lab's server, as it sees its clients; its log tells all from now on."""
        watch = ServerWatch(EmbeddedServer(self._home / "server"))
        watch.query(f"alter system set log_min_messages = {TEST_SETTINGS['log_min_messages']}")
        watch.query("select pg_reload_conf()")
        watch.mark()
        return watch

    def wait_until_idle(self) -> None:
        """Wait until it has nothing to do: no work for a quarter of a second."""
        process = psutil.Process(self._process.pid)
        since, worked = time.monotonic(), process.cpu_times()
        while time.monotonic() - since < 0.25:
            time.sleep(0.02)
            if process.cpu_times() != worked:
                since, worked = time.monotonic(), process.cpu_times()

    def stop(self, number: signal.Signals = signal.SIGINT) -> Ended:
        """End it by a signal."""
        os.kill(self._process.pid, number)
        return self.wait()

    def wait(self) -> Ended:
        """Wait for its end."""
        output, errors = self._process.communicate(timeout=HANG)
        return Ended(self._process.returncode, output, errors)

    def __enter__(self) -> LabProcess:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self.stop(signal.SIGTERM)
