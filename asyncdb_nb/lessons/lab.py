"""
Run JupyterLab on a learner's copies of the lessons, with nothing to choose and nothing to set up.

JupyterLab runs in this process. It offers one kernel, which is this very Python; asks nothing, neither the user nor
any other host; and ends when the user says so, its kernels first, so that their connections are closed gracefully.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from jupyter_core.utils import ensure_async

from asyncdb_nb.errors import MissingExtraError
from asyncdb_nb.lessons.copies import LessonsFolder, fill
from asyncdb_nb.lessons.environment import OnlyThisPython, environment, prepare_sample

if TYPE_CHECKING:
    from jupyter_server.serverapp import ServerApp

STOP_SECONDS = 2.0  # how long the cells that run may take to stop

FRONTEND: dict[str, dict[str, Any]] = {
    "page_config": {  # no question about news, no look for updates, no offer to build
        "disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True},
        "buildAvailable": False,
        "buildCheck": False,
    },
    "default_setting_overrides": {
        "@jupyterlab/docmanager-extension:plugin": {"autosaveInterval": 10},  # seconds, not 120: Ctrl-C loses little
        "@jupyterlab/filebrowser-extension:browser": {"showLastModifiedColumn": False},  # room for the lessons' names
        "@jupyterlab/notebook-extension:tracker": {"codeCellConfig": {"lineNumbers": False, "lineWrap": True}},
    },
}
"""What JupyterLab reads from files of these names; a user's own settings win over `default_setting_overrides`."""


def run_lab(directory: Path, port: int, browser: bool, tell: Callable[[str], object]) -> None:
    """Run JupyterLab with the first lesson open, until SIGINT, SIGTERM or SIGHUP; its kernels have ended then.

    Changes this process's environment and signal handlers, so it is for a process that does nothing else.

    Args:
        directory: Where the copies of the lessons are; see `fill()`.
        port: Where to listen on this machine; if somebody else does, on one of the next.
        browser: Whether to open one.
        tell: Called with what to print: where the lessons are; the address, when it can be opened; the end.

    Raises:
        LessonsFolderError: The lessons cannot be copied into the folder.
        MissingExtraError: JupyterLab is not installed.
        ServerError: The embedded server cannot be started.
    """
    with MissingExtraError.instead("the lab", "lab"):
        from jupyterlab.labapp import LabApp

    folder = fill(directory)
    tell(str(folder))
    asyncio.run(prepare_sample())
    for name in os.environ.keys() - environment().keys():
        del os.environ[name]  # kernels inherit what is left
    with tempfile.TemporaryDirectory(prefix="asyncdb-nb-") as config:
        _configure_frontend(Path(config))
        token = secrets.token_hex(24)
        app: ServerApp = LabApp.initialize_server(argv=_options(folder, port, browser, token))
        for number in _ends():
            signal.signal(number, _stopper(app))
        address = f"{app.connection_url}lab/tree/{folder.first}?token={token}"
        app.io_loop.add_callback(tell, f"JupyterLab is at {address}\nCtrl-C stops it.")  # the loop's first act: listen
        app.start()
        end_tasks(app.io_loop.asyncio_loop)  # type: ignore[attr-defined]
    tell(f"Stopped. Your work is in {folder.directory}")


def end_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """End what is left on a loop that was stopped, in two seconds at most.

    anyio's threads, in which Jupyter reads files, live as long as the task that they worked for, and no process ends
    before they do.
    """
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=STOP_SECONDS))


def _configure_frontend(directory: Path) -> None:
    """Let JupyterLab find `FRONTEND` where it looks first."""
    (directory / "labconfig").mkdir()
    for name, content in FRONTEND.items():
        (directory / "labconfig" / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    others = os.environ.get("JUPYTER_CONFIG_PATH")
    os.environ["JUPYTER_CONFIG_PATH"] = os.pathsep.join([str(directory), *([others] if others else [])])


def _options(folder: LessonsFolder, port: int, browser: bool, token: str) -> list[str]:
    """What would be typed after `jupyter lab`: it wins over the user's configuration files."""
    kernels = f"{OnlyThisPython.__module__}.{OnlyThisPython.__qualname__}"
    options = [
        f"--ServerApp.root_dir={folder.directory}",
        "--ServerApp.ip=localhost",
        f"--ServerApp.port={port}",
        f"--ServerApp.kernel_spec_manager_class={kernels}",
        f"--IdentityProvider.token={token}",  # ours, so that Jupyter does not print an address as well
        "--ServerApp.allow_root=True",  # only this machine can reach it, and who runs the lessons as root means it
        "--Application.log_level=ERROR",
        f"--LabApp.default_url=/lab/tree/{folder.first}",
        f"--LabApp.workspaces_dir={folder.directory / '.jupyterlab'}",  # which tabs were open here, not elsewhere
        "--LabApp.extension_manager=readonly",
    ]
    return options if browser else [*options, "--no-browser"]


def _ends() -> list[signal.Signals]:
    """The signals that end a program: Ctrl-C, a supervisor, a closed terminal (unless `nohup` has it ignored)."""
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    return [number for number in signal.Signals if number.name in names and signal.getsignal(number) != signal.SIG_IGN]


def _stopper(app: ServerApp) -> Callable[[int, FrameType | None], None]:
    loop: Any = app.io_loop

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)  # a second one ends this process at once, and the kernels follow
        # a signal alone does not wake a loop that waits
        loop.asyncio_loop.call_soon_threadsafe(loop.add_callback, _stop, app)

    return stop


async def _stop(app: ServerApp) -> None:
    """Stop the cells that run, then the kernels, then JupyterLab."""
    manager: Any = app.kernel_manager
    try:
        for kernel in _busy(manager):
            await ensure_async(manager.interrupt_kernel(kernel))
        async with asyncio.timeout(STOP_SECONDS):
            while _busy(manager):  # noqa: ASYNC110  Jupyter only notes what the kernel says
                await asyncio.sleep(0.02)
    except TimeoutError:
        app.log.error("A cell does not stop; its kernel is ended all the same.")
    finally:
        app.stop()


def _busy(manager: Any) -> list[str]:
    kernels = {name: manager.get_kernel(name) for name in manager.list_kernel_ids()}
    return [name for name, kernel in kernels.items() if getattr(kernel, "execution_state", "starting") == "busy"]
