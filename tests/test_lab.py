"""`asyncdb-nb lab` without a browser: the copies, the kernel, the port, the end. `tests/browser` has the rest."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import venv
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import anyio.to_thread
import nbformat
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from lab_process import LabProcess
from server_checks import ServerWatch
from waiting import HANG, wait_until

from asyncdb_nb.cli import main
from asyncdb_nb.errors import LessonsFolderError
from asyncdb_nb.lessons.copies import fill
from asyncdb_nb.lessons.lab import end_tasks
from asyncdb_nb.lessons.notebooks import originals
from asyncdb_nb.server import EmbeddedServer

ROOT = Path(__file__).parent.parent
NOWHERE = "postgresql://nobody@nowhere.invalid/nothing"


def notebooks(directory: Path) -> list[Path]:
    """Every notebook in a folder, as a path in it."""
    found = sorted(path.relative_to(directory) for path in directory.rglob("*.ipynb"))
    return [path for path in found if ".ipynb_checkpoints" not in path.parts]


def test_the_copies_are_the_lessons_without_their_results(tmp_path: Path) -> None:
    """The sources are the same, and no cell has run."""
    folder = fill(tmp_path / "lessons")

    assert str(folder) == f"The lessons are in {tmp_path / 'lessons'}"
    assert folder.first == "01_open_a_session.ipynb"
    assert notebooks(tmp_path / "lessons") == notebooks(originals())
    for path in notebooks(originals()):
        original, copy = (nbformat.read(at / path, as_version=4) for at in (originals(), tmp_path / "lessons"))
        assert [cell.source for cell in copy.cells] == [cell.source for cell in original.cells]
        assert not [cell for cell in copy.cells if cell.get("outputs") or cell.get("execution_count")]


def test_work_is_kept_and_what_is_missing_is_added(tmp_path: Path) -> None:
    """A second time, only the notebook that was removed is copied; the line says so."""
    folder = fill(tmp_path)
    (tmp_path / folder.first).write_text("my work")
    (tmp_path / "02_why_event_loop_is_closed.ipynb").unlink()

    again = fill(tmp_path)

    assert (tmp_path / folder.first).read_text() == "my work"
    assert (tmp_path / "02_why_event_loop_is_closed.ipynb").exists()
    assert str(again).endswith(f": {folder.added - 1} notebooks are as you left them, 1 added")


@pytest.mark.parametrize("inside", ["", "solutions", "mine"])
def test_the_originals_are_never_worked_on(inside: str) -> None:
    """Neither in their folder nor below it."""
    with pytest.raises(LessonsFolderError, match=r"it holds the originals\. Name another folder: `asyncdb-nb lab --di"):
        fill(originals() / inside)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One sentence with the path, the reason and what to type."""
    (tmp_path / "file").touch()

    assert main(["lab", "--directory", str(tmp_path / "file")]) == 1

    assert capsys.readouterr().err == (
        f"asyncdb-nb: The lessons cannot be copied into '{tmp_path / 'file'}': Not a directory. "
        "Name another folder: `asyncdb-nb lab --directory DIR`.\n"
    )


def test_no_thread_outlives_a_server_that_stops_while_it_reads_a_file() -> None:
    """anyio's threads are no daemons: the process would wait for one for ever."""
    loop = asyncio.new_event_loop()
    threads: list[threading.Thread] = []

    def read() -> None:
        threads.append(threading.current_thread())
        loop.call_soon_threadsafe(loop.stop)

    async def answer() -> None:
        await anyio.to_thread.run_sync(read)

    answering = loop.create_task(answer())
    loop.run_forever()
    end_tasks(loop)
    loop.close()

    assert answering.done()
    threads[0].join(HANG)
    assert not threads[0].is_alive()


def test_without_jupyterlab_it_names_the_extra_and_touches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message is the `pip install` line, and no folder was made."""
    monkeypatch.setitem(sys.modules, "jupyterlab.labapp", None)

    assert main(["lab", "--directory", str(tmp_path / "lessons")]) == 1

    assert "jupyterlab is missing. Install it: `pip install 'asyncdb_nb[lab]'`." in capsys.readouterr().err
    assert not (tmp_path / "lessons").exists()


@pytest.mark.second_tier
def test_a_lesson_runs_on_this_python_and_the_embedded_server_whatever_is_set_up(
    learner: dict[str, str], tmp_path: Path
) -> None:
    """Neither another kernel named python3, nor DATABASE_URL, nor an .env above, nor a taken port gets in the way.

    And at Ctrl-C in mid-query the kernel ends well: its connection is closed, and the server stops with it.
    """
    (tmp_path / "jupyter/kernels/python3").mkdir(parents=True)
    broken = {"argv": ["/no/such/python"], "display_name": "Another Python 3", "language": "python"}
    (tmp_path / "jupyter/kernels/python3/kernel.json").write_text(json.dumps(broken))
    (tmp_path / ".env").write_text(f"DATABASE_URL={NOWHERE}\n")
    misled = {"DATABASE_URL": NOWHERE, "PGHOST": "nowhere.invalid", "JUPYTER_PATH": str(tmp_path / "jupyter")}
    with socket.create_server(("localhost", 0)) as taken:
        port = taken.getsockname()[1]
        with LabProcess("--port", str(port), env=person(learner, tmp_path) | misled, cwd=tmp_path) as lab:
            assert urlsplit(lab.address).port != port
            assert f"The lessons are in {tmp_path / 'asyncdb-nb-lessons'}\n" in lab.output
            watch = lab.watch()
            kernel = open_first_lesson(lab, tmp_path)

            told = kernel.execute(
                "import sys; from asyncdb_nb import connect; db = await connect()",
                user_expressions={"server": "'the embedded server' in repr(db)", "python": "sys.executable"},
                reply=True,
                timeout=HANG,
            )["content"]
            assert told["status"] == "ok", told
            values = {name: value["data"]["text/plain"] for name, value in told["user_expressions"].items()}
            assert values == {"server": "True", "python": repr(sys.executable)}

            kernel.execute("await db.frame('select pg_sleep(600)')")
            wait_until(lambda: watch.query("select 1 from pg_stat_activity where wait_event = 'PgSleep'"))
            ended = lab.stop(signal.SIGINT)
            kernel.stop_channels()

    assert (ended.status, ended.errors) == (0, "")
    assert ended.output == f"Stopped. Your work is in {tmp_path / 'asyncdb-nb-lessons'}\n"
    assert_nothing_is_left(watch, learner)


@pytest.mark.second_tier
def test_jupyterlab_asks_nothing_and_offers_one_kernel(learner: dict[str, str], tmp_path: Path) -> None:
    """No news, no builds; and work that is saved often. SIGTERM ends it as Ctrl-C does, also when it sleeps."""
    with LabProcess(
        "--port", str(free_port()), "--directory", "here", env=person(learner, tmp_path), cwd=tmp_path
    ) as lab:
        page = page_config(lab)
        assert "@jupyterlab/apputils-extension:announcements" in page["disabledExtensions"]
        assert (page["buildCheck"], page["buildAvailable"]) == (False, False)
        settings = {setting["id"]: setting["schema"] for setting in ask(lab, "lab/api/settings")["settings"]}
        saving = settings["@jupyterlab/docmanager-extension:plugin"]["properties"]["autosaveInterval"]
        assert saving["default"] == 10
        assert list(ask(lab, "api/kernelspecs")["kernelspecs"]) == ["python3"]
        watch = lab.watch()
        lab.wait_until_idle()
        ended = lab.stop(signal.SIGTERM)

    assert (ended.status, ended.errors) == (0, "")
    assert ended.output == f"Stopped. Your work is in {tmp_path / 'here'}\n"
    assert_nothing_is_left(watch, learner)


@pytest.mark.second_tier
def test_it_works_from_an_installed_wheel(learner: dict[str, str], tmp_path: Path) -> None:
    """The lessons come out of the wheel, and the kernel imports what is installed. A closed terminal ends it too."""
    python = install_wheel(tmp_path)
    env = person(learner, tmp_path) | {"JUPYTERLAB_DIR": str(Path(sys.prefix) / "share/jupyter/lab")}
    with LabProcess("--port", str(free_port()), env=env, cwd=tmp_path, python=python) as lab:
        kernel = open_first_lesson(lab, tmp_path)
        where = {"package": "asyncdb_nb.__file__"}
        told = kernel.execute("import asyncdb_nb", user_expressions=where, reply=True, timeout=HANG)["content"]
        kernel.stop_channels()
        watch = lab.watch()
        hung_up = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN  # which a process under nohup inherits
        ended = lab.stop(signal.SIGHUP if hung_up else signal.SIGTERM)

    assert str(tmp_path / "venv") in told["user_expressions"]["package"]["data"]["text/plain"]
    assert notebooks(tmp_path / "asyncdb-nb-lessons") == notebooks(originals())
    assert (ended.status, ended.errors) == (0, "")
    assert_nothing_is_left(watch, learner)


def person(learner: dict[str, str], directory: Path) -> dict[str, str]:
    """The environment of somebody whose Jupyter has never been used."""
    own = {f"JUPYTER_{name}_DIR": str(directory / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    return learner | own | {"JUPYTERLAB_SETTINGS_DIR": str(directory / "settings")}


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.create_server(("localhost", 0)) as server:
        return int(server.getsockname()[1])


def install_wheel(directory: Path) -> Path:
    """Build the wheel, install it where everything else is seen but the checkout is not; return the Python there."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", directory]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = directory.glob("*.whl")
    venv.create(directory / "venv", symlinks=True)
    place = {"base": str(directory / "venv"), "platbase": str(directory / "venv")}
    (site_packages,) = {Path(sysconfig.get_path("purelib", "venv", place))}
    with zipfile.ZipFile(wheel) as file:
        file.extractall(site_packages)
    (site_packages / "others.pth").write_text(sysconfig.get_path("purelib"))
    return directory / "venv/bin/python"


def open_first_lesson(lab: LabProcess, directory: Path) -> BlockingKernelClient:
    """Open the first lesson as JupyterLab does, and talk to its kernel."""
    lesson = {"path": "01_open_a_session.ipynb", "name": "", "type": "notebook", "kernel": {"name": "python3"}}
    kernel = ask(lab, "api/sessions", lesson)["kernel"]["id"]
    client = BlockingKernelClient(connection_file=str(directory / f"runtime/kernel-{kernel}.json"))
    client.load_connection_file()
    client.start_channels()
    wait_until(lambda: is_ready(client))
    return client


def is_ready(client: BlockingKernelClient) -> bool:
    """Whether the kernel answers; the client takes one that is busy for a second, with its imports say, for dead."""
    try:
        client.wait_for_ready(timeout=60)
    except RuntimeError:
        return False
    return True


def ask(lab: LabProcess, path: str, content: Any = None) -> Any:
    """Ask the lab's server, as the page in the browser does."""
    return json.loads(fetch(lab, path, content))


def page_config(lab: LabProcess) -> dict[str, Any]:
    """What JupyterLab's page is told."""
    found = re.search(
        r'<script id="jupyter-config-data" type="application/json">(.*?)</script>', fetch(lab, "lab"), re.S
    )
    assert found
    return dict(json.loads(found[1]))


def fetch(lab: LabProcess, path: str, content: Any = None) -> str:
    address = urlsplit(lab.address)
    request = Request(
        f"http://{address.netloc}/{path}",
        headers={"Authorization": f"token {address.query.removeprefix('token=')}"},
        data=None if content is None else json.dumps(content).encode(),
    )
    with urlopen(request, timeout=60) as answer:
        return str(answer.read().decode())


def assert_nothing_is_left(watch: ServerWatch, learner: dict[str, str]) -> None:
    """The server has stopped, as it does with its last user, and nobody left it without a Terminate message."""
    server = EmbeddedServer(Path(learner["ASYNCDB_NB_HOME"]) / "server")
    wait_until(lambda: not server.status().running)
    watch.close()

    assert not watch.unclean_ends()
    assert "database system is shut down" in watch.log_since_mark()
