"""
Run JupyterLab on a folder of lessons, with nothing to choose and nothing to set up.

JupyterLab runs in this process. It offers one kernel, which is this very Python; asks no questions, of the user or of
any other host; and ends when the user says so, its kernels first, so that their connections say goodbye.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from asyncdb_nb.errors import MissingExtraError
from asyncdb_nb.lessons_folder import LessonsFolder
from asyncdb_nb.surroundings import OnlyThisPython, environment

if TYPE_CHECKING:
    from jupyter_server.serverapp import ServerApp

FRONTEND = {
    "page_config": {  # no question about news, no look for updates, no offer to build
        "disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True},
        "buildAvailable": False,
        "buildCheck": False,
    },
    "default_setting_overrides": {
        "@jupyterlab/docmanager-extension:plugin": {"autosaveInterval": 10},  # seconds, not 120: Ctrl-C loses little
    },
}
"""What JupyterLab reads from files named like this; a user's own settings win over `default_setting_overrides`."""


def serve(folder: LessonsFolder, port: int, browser: bool, ready: Callable[[str], object]) -> None:
    """Run JupyterLab on a folder, its first lesson open, until SIGINT, SIGTERM or SIGHUP; its kernels have ended then.

    Changes this process's environment and signal handlers; it is for a process that does nothing else.

    Args:
        folder: From `fill()`.
        port: Where to listen; if somebody else does, one of the next.
        browser: Whether to open one.
        ready: Called with the address, token included, as soon as it can be opened.

    Raises:
        MissingExtraError: JupyterLab is not installed.
    """
    with MissingExtraError.instead("the lab", "lab"):
        from jupyterlab.labapp import LabApp

    kept = environment()
    for name in os.environ.keys() - kept.keys():
        del os.environ[name]  # kernels inherit it
    with tempfile.TemporaryDirectory(prefix="asyncdb-nb-") as config:
        _configure_frontend(Path(config))
        token = secrets.token_hex(24)
        app: ServerApp = LabApp.initialize_server(argv=_options(folder, port, browser, token))
        for number in _ends():
            signal.signal(number, _stopper(app))
        ready(f"{app.connection_url}lab/tree/{folder.first}?token={token}")
        app.start()


def _options(folder: LessonsFolder, port: int, browser: bool, token: str) -> list[str]:
    """What would be typed after `jupyter lab`: it wins over the user's configuration files."""
    kernels = f"{OnlyThisPython.__module__}.{OnlyThisPython.__qualname__}"
    options = [
        f"--ServerApp.root_dir={folder.directory}",
        f"--ServerApp.port={port}",
        f"--ServerApp.kernel_spec_manager_class={kernels}",
        f"--IdentityProvider.token={token}",  # ours, so that Jupyter does not print an address as well
        "--ServerApp.allow_root=True",  # it listens on this machine only, and the lessons were started on purpose
        "--Application.log_level=ERROR",
        f"--LabApp.default_url=/lab/tree/{folder.first}",
        f"--LabApp.workspaces_dir={folder.directory / '.jupyterlab'}",  # which tabs were open here, not elsewhere
        "--LabApp.extension_manager=readonly",
    ]
    return options if browser else [*options, "--no-browser"]


def _configure_frontend(directory: Path) -> None:
    """Let JupyterLab find `FRONTEND` where it looks first."""
    (directory / "labconfig").mkdir()
    for name, content in FRONTEND.items():
        (directory / "labconfig" / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    others = os.environ.get("JUPYTER_CONFIG_PATH")
    os.environ["JUPYTER_CONFIG_PATH"] = os.pathsep.join([str(directory), *([others] if others else [])])


def _ends() -> list[signal.Signals]:
    """The signals that end a program: Ctrl-C, a supervisor, a closed terminal (unless `nohup` has it ignored)."""
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    return [number for number in signal.Signals if number.name in names and signal.getsignal(number) != signal.SIG_IGN]


def _stopper(app: ServerApp) -> Callable[[int, FrameType | None], Any]:
    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)  # a second one ends this process at once, and the kernels follow
        app.stop(from_signal=True)

    return stop
