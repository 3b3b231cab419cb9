"""The extension loads from a cell, a startup file and IPython's configuration alike: all of it, or nothing."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
from kernels import Kernel, KernelMaker, asleep
from server_checks import ServerWatch
from waiting import wait_until

pytestmark = pytest.mark.keeps_connections

WHAT_IS_ON = """
import signal
shell = get_ipython()
(type(getattr(signal.getsignal(signal.SIGTERM), "__self__", None)).__name__,
 "asql" in shell.magics_manager.magics["cell"],
 len(shell.custom_exceptions) > 0, len(shell.events.callbacks["pre_run_cell"]), len(shell.input_transformers_post))
"""


def configuration(folder: Path) -> None:
    settings = {"InteractiveShellApp": {"extensions": ["asyncdb_nb"]}}
    (folder / "profile_default/ipython_config.json").write_text(json.dumps(settings))


def startup_file(folder: Path) -> None:
    (folder / "profile_default/startup/first.py").write_text("get_ipython().run_line_magic('load_ext', 'asyncdb_nb')\n")


def startup_code(folder: Path) -> None:
    (folder / "profile_default/startup/first.ipy").write_text("%load_ext asyncdb_nb\n")


@pytest.fixture(
    params=[
        configuration,
        *(pytest.param(write, marks=pytest.mark.second_tier) for write in (startup_file, startup_code)),
    ],
    ids=["configuration", "startup_file", "startup_code"],
)
def early(request: pytest.FixtureRequest, start_kernel: KernelMaker, tmp_path: Path) -> Kernel:
    """A kernel that has loaded the extension before its first cell."""
    (tmp_path / "profile_default/startup").mkdir(parents=True)
    request.param(tmp_path)
    return start_kernel(f"early {request.param.__name__}", IPYTHONDIR=str(tmp_path))


@pytest.mark.second_tier
def test_scenario_52_what_was_loaded_early_is_what_a_cell_loads(
    early: Kernel, start_kernel: KernelMaker, clean_server: ServerWatch
) -> None:
    """Magics with their `await` in the first cell, Stop, and a clean end by SIGTERM."""
    late = start_kernel("late")
    late.run("%load_ext asyncdb_nb")

    assert (
        early.run("from asyncdb_nb import connect\ndb = await connect()\n%asql select 7 as n").shown[-1].endswith("7")
    )
    assert early.run(WHAT_IS_ON).last == late.run(WHAT_IS_ON).last

    sent = early.start("%asql select pg_sleep(600)")
    wait_until(lambda: asleep(clean_server, early.name))
    early.interrupt()
    assert early.wait(sent).last.startswith("Stopped after ")

    os.kill(early.pid, signal.SIGTERM)
    early.wait_for_end()
    assert not clean_server.wait_for_backends(0, early.name)
    assert not clean_server.unclean_ends()


@pytest.mark.second_tier
def test_sigterm_before_the_first_cell_ends_the_kernel(early: Kernel) -> None:
    os.kill(early.pid, signal.SIGTERM)

    early.wait_for_end()


def test_what_cannot_be_put_on_whole_is_taken_off(start_kernel: KernelMaker) -> None:
    kernel = start_kernel("half")
    before = kernel.run(WHAT_IS_ON).last
    kernel.run(
        "from asyncdb_nb.jupyter.magics import Magics\ninstall = Magics.install\nMagics.install = lambda self: 1 / 0"
    )

    assert kernel.run("%load_ext asyncdb_nb").error == "ZeroDivisionError"

    assert kernel.run(WHAT_IS_ON).last == before
    kernel.run("Magics.install = install\n%load_ext asyncdb_nb")
    assert kernel.run(WHAT_IS_ON).last != before


@pytest.mark.parametrize(
    "code", ['await db.frame("select 1 as n")', "await asyncio.sleep(0)\nimport pandas, pyarrow.dataset"]
)
@pytest.mark.parametrize("presses", [2, 3, 5])
@pytest.mark.second_tier
def test_scenario_53_quick_stops_tear_no_import_apart(start_kernel: KernelMaker, code: str, presses: int) -> None:
    """The first frame of a kernel loads pandas; afterwards it is whole, and the next frame works."""
    kernel = start_kernel("first")
    kernel.run("import asyncio, sys\nfrom asyncdb_nb import Database\n%load_ext asyncdb_nb\ndb = Database()")
    sent = kernel.start(f"print('pandas' in sys.modules, flush=True)\n{code}")
    assert kernel.hear_output(sent) == "False\n"

    for _ in range(presses):
        kernel.interrupt()
        time.sleep(0.15)  # a person's finger
    kernel.wait(sent)

    assert kernel.run("import pandas, pyarrow.dataset\npandas.DataFrame({'n': [1]}).n.sum().item()").last == "1"
    assert kernel.run('(await db.frame("select 1 as n")).n.tolist()').last == "[1]"


@pytest.mark.second_tier
def test_a_notebook_loads_pandas_beside_connect(start_kernel: KernelMaker) -> None:
    """So that the first frame is quick."""
    kernel = start_kernel("beside")

    kernel.run("from asyncdb_nb import connect\ndb = await connect()")

    kernel.run("import asyncio, sys\nwhile 'pyarrow.compute' not in sys.modules:\n    await asyncio.sleep(0.01)")
    assert kernel.run("'pandas' in sys.modules").last == "True"
