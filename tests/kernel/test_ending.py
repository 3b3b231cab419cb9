"""However a kernel ends, its connections are closed; where it cannot close them (SIGKILL), the server does."""

from __future__ import annotations

import os
import signal

import pytest
from kernels import SET_UP, Kernel, KernelMaker, asleep, needs_subshells
from server_checks import ServerWatch
from waiting import wait_until

pytestmark = pytest.mark.second_tier


IN_USE = """
idle = [await db.session().__aenter__() for _ in range(2)]
for session in idle:
    await session.execute(text("select 1"))
await idle.pop().close()

async def query(seconds=30):
    async with db.session() as session:
        await session.execute(text(f"select pg_sleep({seconds})"))

background = asyncio.create_task(query())
await asyncio.sleep(0)
"""
"""A connection that is idle, one in an open transaction, one in a query of a background task."""


@pytest.fixture
def busy(start_kernel: KernelMaker, clean_server: ServerWatch) -> Kernel:
    """A kernel with everything open that a kernel can have open between two cells."""
    kernel = start_kernel("ending")
    kernel.run(SET_UP)
    kernel.run(IN_USE)
    wait_until(lambda: asleep(clean_server, "ending"))
    return kernel


def test_scenario_30_an_idle_kernel_shuts_down_without_a_trace(
    start_kernel: KernelMaker, clean_server: ServerWatch
) -> None:
    kernel = start_kernel("ending")
    kernel.run(SET_UP)

    kernel.restart()

    assert not clean_server.wait_for_backends(0, "ending")
    kernel.shutdown()
    assert kernel.output == ""


def test_scenario_31_a_restart_during_a_query(busy: Kernel, clean_server: ServerWatch) -> None:
    busy.start("await query()")
    wait_until(lambda: asleep(clean_server, "ending", 2))

    busy.restart()

    assert not clean_server.wait_for_backends(0, "ending")
    assert not clean_server.unclean_ends()
    assert busy.run("1 + 1").last == "2"
    assert busy.log() == ""


def test_scenario_31_a_shutdown_during_a_query(busy: Kernel, clean_server: ServerWatch) -> None:
    busy.start("await query()")
    wait_until(lambda: asleep(clean_server, "ending", 2))

    busy.shutdown()

    assert busy.output == ""
    assert not clean_server.wait_for_backends(0, "ending")


@pytest.mark.keeps_connections
def test_scenario_31_sigkill_during_a_query(busy: Kernel, clean_server: ServerWatch) -> None:
    """Nothing of ours can run then: the server looks every second whether its client still lives."""
    os.kill(busy.pid, signal.SIGKILL)
    busy.wait_for_end()

    assert not clean_server.wait_for_backends(0, "ending")


def test_shutdown_with_everything_open(busy: Kernel, clean_server: ServerWatch) -> None:
    """It needs no signal for it."""
    assert busy.shutdown(wait_seconds=120) == 0
    assert not clean_server.wait_for_backends(0, "ending")


def test_exit_in_a_cell(busy: Kernel, clean_server: ServerWatch) -> None:
    busy.start("exit()")
    busy.wait_for_end()

    assert not clean_server.wait_for_backends(0, "ending")


def test_sigterm_during_a_query(busy: Kernel, clean_server: ServerWatch) -> None:
    busy.start("await query()")
    wait_until(lambda: asleep(clean_server, "ending", 2))

    os.kill(busy.pid, signal.SIGTERM)
    busy.wait_for_end()

    assert busy.manager.provisioner.process.returncode == -signal.SIGTERM
    assert not clean_server.wait_for_backends(0, "ending")


def test_sigterm_while_run_waits(busy: Kernel, clean_server: ServerWatch) -> None:
    """It holds the kernel's loop, and waits for a query on another."""
    busy.start("run(query())")
    wait_until(lambda: asleep(clean_server, "ending", 2))

    os.kill(busy.pid, signal.SIGTERM)
    busy.wait_for_end()

    assert not clean_server.wait_for_backends(0, "ending")


@pytest.mark.keeps_connections
def test_sigterm_ends_a_kernel_that_is_in_synchronous_code(busy: Kernel, clean_server: ServerWatch) -> None:
    sent = busy.start("print('here', flush=True)\ntime.sleep(30)")
    busy.hear_output(sent)

    os.kill(busy.pid, signal.SIGTERM)

    busy.wait_for_end()
    assert not clean_server.wait_for_backends(0, "ending")  # by the server's own look, as after SIGKILL


@needs_subshells
@pytest.mark.parametrize("code", ["await query()", "run(query())"], ids=["await", "run"])
@pytest.mark.parametrize("end", ["shutdown", "restart", "exit", "sigterm"])
def test_the_end_of_a_kernel_whose_subshell_is_in_a_query(
    busy: Kernel, clean_server: ServerWatch, end: str, code: str
) -> None:
    """In synchronous code, it holds the kernel up until Jupyter sends SIGTERM; then it ends by itself, or by that."""
    busy.start_in(busy.ask("create_subshell_request")["subshell_id"], code)
    wait_until(lambda: asleep(clean_server, "ending", 2))

    if end == "restart":
        busy.restart()
    elif end == "exit":
        busy.start("exit()")
        busy.wait_for_end()
    elif end == "sigterm":
        os.kill(busy.pid, signal.SIGTERM)
        busy.wait_for_end()
    elif code == "await query()":
        assert busy.shutdown(wait_seconds=120) == 0
    else:
        assert busy.shutdown(wait_seconds=10) in (0, -signal.SIGTERM)

    assert not clean_server.wait_for_backends(0, "ending")
    assert not clean_server.unclean_ends()


@needs_subshells
def test_a_subshell_that_takes_its_time_when_its_query_is_ended(busy: Kernel, clean_server: ServerWatch) -> None:
    """Its cell replies when ipykernel is waiting for it already."""
    slow = "try:\n    run(query())\nfinally:\n    time.sleep(1)"
    busy.start_in(busy.ask("create_subshell_request")["subshell_id"], slow)
    wait_until(lambda: asleep(clean_server, "ending", 2))

    busy.start("exit()")
    busy.wait_for_end()

    assert not clean_server.wait_for_backends(0, "ending")


def test_debug_mode_in_which_a_kernel_cannot_shut_down(start_kernel: KernelMaker, clean_server: ServerWatch) -> None:
    """ipykernel fails on its own in asyncio's debug mode; Jupyter sends SIGTERM after 2.5 seconds."""
    kernel = start_kernel("ending", PYTHONASYNCIODEBUG="1")
    kernel.run(SET_UP)
    kernel.run(IN_USE)
    wait_until(lambda: asleep(clean_server, "ending"))

    kernel.shutdown()

    assert not clean_server.wait_for_backends(0, "ending")


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("number", range(125))
@pytest.mark.parametrize("end", ["shutdown", "exit", "sigterm", "restart"])
def test_many_ends_leave_nothing(busy: Kernel, clean_server: ServerWatch, end: str, number: int) -> None:
    if number % 2:
        busy.start("await query()")
        wait_until(lambda: asleep(clean_server, "ending", 2))

    if end == "restart":
        busy.restart()
    elif end == "exit" and number % 2 == 0:
        busy.start("exit()")
        busy.wait_for_end()
    elif end == "sigterm":
        os.kill(busy.pid, signal.SIGTERM)
        busy.wait_for_end()

    busy.shutdown()
    assert not clean_server.wait_for_backends(0, "ending")
