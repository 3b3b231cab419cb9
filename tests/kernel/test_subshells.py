"""Subshells, comms and widgets use the same `db`, from threads and from synchronous callbacks."""

from __future__ import annotations

import pytest
from kernels import Kernel, needs_subshells
from server_checks import ServerWatch
from waiting import wait_until

pytestmark = pytest.mark.keeps_connections


@pytest.mark.second_tier
@needs_subshells
def test_scenario_32_a_subshell_uses_the_same_db(kernel: Kernel, clean_server: ServerWatch) -> None:
    """It has a sub-pool of its own, which ends with it; the main loop's connection stays."""
    kernel.run(PID)
    main = kernel.run("await pid()").last
    subshell = kernel.ask("create_subshell_request")["subshell_id"]

    reply = kernel.run_in(subshell, "await pid()")

    assert reply.status == "ok", reply
    assert reply.last != main
    assert kernel.ask("delete_subshell_request", subshell_id=subshell)["status"] == "ok"
    wait_until(lambda: reply.last not in [str(one.pid) for one in clean_server.backends(kernel.name)], 2)
    assert kernel.run("await pid()").last == main
    assert not clean_server.unclean_ends()


PID = """
async def pid():
    async with db.session() as session:
        return await session.scalar(text("select pg_backend_pid()"))
"""


def comm(kernel: Kernel, body: str, subshell: str | None = None) -> str:
    """Have a synchronous comm callback (a button's handler is one) run `body`, and return what is left in `answer`."""
    kernel.run(f"{PID}\nanswer = None\ndef on_message(message):\n    global answer\n{body}")
    kernel.run(
        "from comm import get_comm_manager\n"
        "def opened(comm, message):\n    comm.on_msg(on_message)\n"
        "get_comm_manager().register_target('asyncdb_test', opened)"
    )
    kernel.hear(kernel.send("comm_open", {"comm_id": "one", "target_name": "asyncdb_test", "data": {}}))
    kernel.send("comm_msg", {"comm_id": "one", "data": {}}, subshell)
    return wait_until(lambda: (answer := kernel.run("answer").last) and answer, 10)


ASKS = "    answer = ('asked', run(pid()))"
STARTS_A_TASK = """
    async def later():
        global answer
        answer = ('asked', await pid())
    asyncio.get_running_loop().create_task(later())
"""


@pytest.mark.parametrize("body", [ASKS, STARTS_A_TASK], ids=["run", "task"])
def test_scenario_33_a_synchronous_callback_asks_the_database(kernel: Kernel, body: str) -> None:
    assert comm(kernel, body).startswith("('asked', ")


@needs_subshells
@pytest.mark.parametrize("body", [ASKS, STARTS_A_TASK], ids=["run", "task"])
def test_scenario_33_a_callback_in_a_subshell_does_so_too(kernel: Kernel, body: str) -> None:
    """JupyterLab sends the messages of widgets there, so that a button works while a cell runs."""
    subshell = kernel.ask("create_subshell_request")["subshell_id"]

    assert comm(kernel, body, subshell).startswith("('asked', ")

    assert kernel.ask("delete_subshell_request", subshell_id=subshell)["status"] == "ok"


def test_scenario_33_an_error_in_a_callback_is_seen(kernel: Kernel) -> None:
    answer = comm(
        kernel,
        "    try:\n        run(db.frame('select nonsense'))\n"
        "    except Exception as error:\n        answer = type(error).__name__\n        raise",
    )

    assert answer == "'ProgrammingError'"
