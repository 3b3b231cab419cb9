"""Buttons of ipywidgets ask the database: in the main shell, and in a subshell with a thread and a loop of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kernels import Kernel, asleep, needs_subshells
from server_checks import ServerWatch
from tiers import few_of
from waiting import wait_until

pytestmark = pytest.mark.keeps_connections

HANDLERS = """
import ipywidgets, threading
out, answer, handled = ipywidgets.Output(), None, []

async def read():
    global answer
    frame = await db.frame("select 33 as number")
    answer = int(frame["number"].item())
    return frame

def runs(button):
    run(read())

def starts_a_task(button):
    button.task = asyncio.create_task(read())

def fills_an_output(button):
    out.append_display_data(run(read()))

def fails(button):
    run(db.frame("select nonsense"))

def takes_long(button):
    run(db.frame("select pg_sleep(600)"))

def notes(button):
    handled.append((threading.current_thread() is threading.main_thread(), time.monotonic()))
"""
CLICKED = {"method": "custom", "content": {"event": "click"}}


@pytest.fixture(params=["main shell", pytest.param("subshell", marks=needs_subshells)])
def shell(request: pytest.FixtureRequest, kernel: Kernel) -> Iterator[str | None]:
    """Where the button is made, which is where its clicks are handled; None is the main shell."""
    assert kernel.run(HANDLERS).status == "ok"
    if request.param == "main shell":
        yield None
        return
    subshell = kernel.ask("create_subshell_request")["subshell_id"]
    yield subshell
    assert kernel.ask("delete_subshell_request", subshell_id=subshell)["status"] == "ok"


def make_button(kernel: Kernel, handler: str, shell: str | None) -> str:
    """Make a button; return the name of its comm."""
    made = f"button = ipywidgets.Button(); button.on_click({handler}); button.on_click(notes)"
    return kernel.run_in(shell, f"{made}; print(button.comm.comm_id)").stdout.strip()


def click(kernel: Kernel, comm: str, shell: str | None) -> str:
    """Click on it as a browser does."""
    return kernel.send("comm_msg", {"comm_id": comm, "data": CLICKED}, shell)


@pytest.mark.parametrize("handler", ["runs", "starts_a_task", "fills_an_output"])
def test_scenario_33_a_button_reads_a_frame(kernel: Kernel, shell: str | None, handler: str) -> None:
    comm = make_button(kernel, handler, shell)

    heard = kernel.hear(click(kernel, comm, shell))

    wait_until(lambda: kernel.run("answer").last == "33")
    assert heard.shown == []
    assert heard.stderr == ""
    assert kernel.run("handled[0][0]").last == str(shell is None)
    if handler == "fills_an_output":
        assert kernel.run("'33' in out.outputs[0]['data']['text/plain']").last == "True"


@pytest.mark.second_tier
def test_scenario_33_an_error_of_a_button_is_seen(kernel: Kernel, shell: str | None) -> None:
    comm = make_button(kernel, "fails", shell)

    heard = kernel.hear(click(kernel, comm, shell))

    assert 'column "nonsense" does not exist' in heard.last


@pytest.mark.second_tier
def test_stop_ends_what_a_button_waits_for(kernel: Kernel, clean_server: ServerWatch) -> None:
    """In the main shell: signals do not reach a subshell."""
    kernel.run(HANDLERS)
    sent = click(kernel, make_button(kernel, "takes_long", None), None)
    wait_until(lambda: asleep(clean_server, kernel.name))

    kernel.interrupt()

    kernel.hear(sent)
    wait_until(lambda: asleep(clean_server, kernel.name, 0))
    assert kernel.run("1").last == "1"


@pytest.mark.second_tier
@needs_subshells
@pytest.mark.parametrize(
    "busy", few_of(['await db.frame("select pg_sleep(2)")', "run(db.frame('select pg_sleep(2)'))"], 1)
)
def test_a_button_in_a_subshell_answers_while_a_cell_queries(
    kernel: Kernel, clean_server: ServerWatch, busy: str
) -> None:
    kernel.run(HANDLERS)
    subshell = kernel.ask("create_subshell_request")["subshell_id"]
    comm = make_button(kernel, "runs", subshell)
    cell = kernel.start(f"{busy}\ntime.monotonic() - handled[0][1] > 0.5, answer")
    wait_until(lambda: asleep(clean_server, kernel.name))

    click(kernel, comm, subshell)

    assert kernel.wait(cell).last == "(True, 33)"
    assert kernel.ask("delete_subshell_request", subshell_id=subshell)["status"] == "ok"
