"""Stop ends what a cell awaits, on the server too, and the next cell works."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
from kernels import Kernel, KernelMaker, Reply, asleep
from server_checks import ServerWatch
from waiting import wait_until

pytestmark = pytest.mark.keeps_connections

Stop = Callable[..., Reply]


@pytest.fixture
def stop(kernel: Kernel, clean_server: ServerWatch) -> Any:
    """Run a cell, press Stop when so many statements sleep on the server, and return its end."""

    def stop(code: str, statements: int = 1, press: Callable[[], Any] = kernel.interrupt) -> Reply:
        sent = kernel.start(code)
        wait_until(lambda: asleep(clean_server, kernel.name, statements))
        press()
        reply = kernel.wait(sent)
        wait_until(lambda: asleep(clean_server, kernel.name, 0))
        return reply

    yield stop
    kernel.run("async with db.session() as after:\n    one = await after.scalar(text('select 1'))")
    assert kernel.run("one").last == "1"
    assert not clean_server.unclean_ends()


def test_scenario_23_stop_ends_the_cell_and_the_query_with_one_line(stop: Stop) -> None:
    reply = stop('await db.frame("select pg_sleep(600)")')

    assert reply.error == "CancelledError"
    assert reply.last.startswith("Stopped after ")
    assert reply.last.endswith(' s in line 1: await db.frame("select pg_sleep(600)"). The transaction was rolled back.')
    assert reply.stderr == ""


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("by", ["signal", "message"])
def test_scenario_23_stop_works_in_fifty_of_fifty_tries(stop: Stop, kernel: Kernel, by: str) -> None:
    """By SIGINT, and by the message that a front end sends where it cannot send signals."""
    press = kernel.interrupt if by == "signal" else lambda: kernel.ask("interrupt_request")

    seconds: list[float] = []

    def press_and_note() -> None:
        press()
        seconds.append(time.monotonic())

    for _ in range(50):
        stop('await db.frame("select pg_sleep(600)")', press=press_and_note)
        seconds[-1] = time.monotonic() - seconds[-1]

    print(f"longest: {max(seconds):.2f} s")  # noqa: T201
    assert max(seconds) < 1


QUERY = """
async def query():
    async with db.session() as session:
        await session.execute(text("select pg_sleep(600)"))

"""


@pytest.mark.parametrize(
    "code",
    [
        "await asyncio.gather(query(), query())",
        "async with asyncio.TaskGroup() as group:\n    group.create_task(query())\n    group.create_task(query())",
        "async with asyncio.timeout(30):\n    await asyncio.gather(query(), query())",
    ],
    ids=["gather", "TaskGroup", "timeout"],
)
def test_stop_reaches_everything_that_the_cell_waits_for(stop: Stop, code: str) -> None:
    reply = stop(QUERY + code, statements=2)

    assert reply.error == "CancelledError"
    assert len(reply.last.splitlines()) == 1


def test_stop_ends_any_awaiting_cell(kernel: Kernel) -> None:
    """One that has nothing to do with databases."""
    sent = kernel.start("print('here', flush=True)\nawait asyncio.sleep(600)")
    kernel.hear_output(sent)

    kernel.interrupt()

    assert kernel.wait(sent).last.endswith(" s in line 2: await asyncio.sleep(600).")


def test_a_message_stops_a_kernel_as_the_signal_does(stop: Stop, kernel: Kernel) -> None:
    """`interrupt_request`: for kernels on other machines, and where a kernel's specification asks for it."""
    reply = stop('await db.frame("select pg_sleep(600)")', press=lambda: kernel.ask("interrupt_request"))

    assert reply.last.startswith("Stopped after ")


def test_a_background_task_goes_on(stop: Stop, kernel: Kernel) -> None:
    kernel.run("background = asyncio.create_task(asyncio.sleep(0.5, 'went on'))")

    stop(QUERY + "await query()")

    assert kernel.run("await background").last == "'went on'"


def test_a_second_stop_ends_a_cell_that_swallowed_the_first(stop: Stop, kernel: Kernel) -> None:
    sent = kernel.start(SWALLOWS)
    kernel.hear_output(sent)
    kernel.interrupt()
    kernel.hear_output(sent)

    kernel.interrupt()

    assert kernel.wait(sent).error == "CancelledError"


SWALLOWS = """
print("one", flush=True)
try:
    await asyncio.sleep(600)
except asyncio.CancelledError:
    print("two", flush=True)
await asyncio.sleep(600)
"""


def test_a_second_stop_ends_synchronous_code_in_an_awaiting_cell(kernel: Kernel) -> None:
    sent = kernel.start("await asyncio.sleep(0)\nprint('here', flush=True)\ntime.sleep(20)")
    kernel.hear_output(sent)
    kernel.interrupt()
    time.sleep(0.3)  # a person's finger

    kernel.interrupt()

    assert kernel.wait(sent).error == "KeyboardInterrupt"


CALCULATES = """
def calculate():
    print("here", flush=True)
    end = time.monotonic() + 10
    while time.monotonic() < end:
        pass
"""


@pytest.mark.parametrize(
    "code",
    [
        "async for part in db.frames('select 1 as one'):\n    calculate()",
        "async with db.engine.begin() as connection:\n    await connection.run_sync(lambda _: calculate())",
        "await asyncio.sleep(0)\nprint('here', flush=True)\ntime.sleep(10)",
    ],
    ids=["frames", "run_sync", "sleep"],
)
def test_stop_ends_a_calculation_between_two_awaits(stop: Stop, kernel: Kernel, code: str) -> None:
    sent = kernel.start(CALCULATES + code)
    kernel.hear_output(sent)

    kernel.interrupt()

    reply = kernel.wait(sent)
    assert len(reply.last.splitlines()) == 1
    assert reply.last.startswith("Stopped after ")


@pytest.mark.parametrize("within", ["1", "", "1 / 0", "%%capture\n1"])
def test_stop_ends_a_cell_that_has_run_another(kernel: Kernel, within: str) -> None:
    """By `get_ipython().run_cell`. Before, KeyboardInterrupt in the event loop ended the kernel."""
    sent = kernel.start(
        f"await asyncio.sleep(0)\nget_ipython().run_cell({within!r})\nprint('here', flush=True)\n"
        "await asyncio.sleep(600)"
    )
    kernel.hear_output(sent)

    kernel.interrupt()

    assert kernel.wait(sent).last.endswith(" s in line 4: await asyncio.sleep(600).")


def test_stop_ends_a_calculation_that_begins_before_the_cell_is_cancelled(kernel: Kernel) -> None:
    """The kernel cancels the cell two iterations of the loop later, and the calculation begins in the first."""
    reply = kernel.run(
        "await asyncio.sleep(0)\nsignal.raise_signal(signal.SIGINT)\nawait asyncio.sleep(0)\nwhile True:\n    pass"
    )

    assert reply.last.startswith("Stopped after ")


def test_stop_leaves_the_cleanup_of_a_cancelled_cell_alone(kernel: Kernel) -> None:
    """However long it calculates."""
    reply = kernel.run(
        "try:\n    asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGINT)\n"
        "    await asyncio.sleep(600)\nfinally:\n    end = time.monotonic() + 1.2\n"
        "    while time.monotonic() < end:\n        pass\n    print('cleaned up')"
    )

    assert reply.error == "CancelledError"
    assert reply.stdout == "cleaned up\n"


def test_stop_lets_another_task_end_its_calculation(kernel: Kernel) -> None:
    """KeyboardInterrupt in a task ends the kernel."""
    sent = kernel.start(
        "async def calculates():\n    print('here', flush=True)\n    end = time.monotonic() + 1.2\n"
        "    while time.monotonic() < end:\n        pass\n    return 'went on'\n"
        "task = asyncio.create_task(calculates())\nawait asyncio.sleep(20)"
    )
    kernel.hear_output(sent)

    kernel.interrupt()

    assert kernel.wait(sent).error == "CancelledError"
    assert kernel.run("await task").last == "'went on'"


@pytest.mark.parametrize("milliseconds", [1, 5, 20])
def test_stop_while_connecting_leaves_nothing_half_open(
    stop: Stop, kernel: Kernel, clean_server: ServerWatch, milliseconds: int
) -> None:
    sent = kernel.start(
        "await db.engine.dispose()\nprint('here', flush=True)\n"
        f"asyncio.get_running_loop().call_later({milliseconds / 1000}, signal.raise_signal, signal.SIGINT)\n"
        + QUERY
        + "await query()"
    )

    assert kernel.wait(sent).error == "CancelledError"
    wait_until(lambda: asleep(clean_server, kernel.name, 0))


def test_stop_ends_the_very_first_connect_of_a_kernel(start_kernel: KernelMaker) -> None:
    """To a host that does not answer, say. Nothing was loaded before."""
    kernel = start_kernel("first")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://127.0.0.1:{silent.getsockname()[1]}/shop"
        sent = kernel.start(f"from asyncdb_nb import connect\nawait connect({url!r})")
        connection, _ = silent.accept()

        kernel.interrupt()

        assert kernel.wait(sent).last.startswith("Stopped after ")
        connection.close()


def test_stop_while_committing_says_what_became_of_it(stop: Stop, kernel: Kernel) -> None:
    kernel.run(SLOW_COMMIT)

    reply = stop("async with db.session() as session:\n    await session.execute(text('insert into slow values (1)'))")

    assert "The transaction was not committed; nothing of it was kept." in reply.last
    kernel.run(
        "async with db.session() as session:\n    kept = await session.scalar(text('select count(*) from slow'))\n"
        "    await session.execute(text('drop table slow'))"
    )
    assert kernel.run("kept").last == "0"


SLOW_COMMIT = '''
async with db.session() as session:
    await session.execute(text("create table slow (i int)"))
    await session.execute(text("""
        create or replace function pg_temp.doze() returns trigger language plpgsql
        as $$ begin perform pg_sleep(600); return null; end $$"""))
    await session.execute(text("""
        create constraint trigger doze after insert on slow deferrable initially deferred
        for each row execute function pg_temp.doze()"""))
'''


def test_stop_while_a_plain_session_commits_promises_nothing(stop: Stop, kernel: Kernel) -> None:
    """Nobody has waited for the server's answer."""
    kernel.run(SLOW_COMMIT)
    kernel.run("session = AsyncSession(db.engine)\nawait session.execute(text('insert into slow values (1)'))")

    reply = stop("await session.commit()")

    assert (
        "Whether the transaction of `session` was committed cannot be known: its COMMIT was on its way." in reply.last
    )
    assert "rolled back" not in reply.last + reply.stdout
    kernel.run("async with db.session() as after:\n    await after.execute(text('drop table slow'))")


def test_scenario_24_a_session_in_a_variable_works_in_the_next_cell(stop: Stop, kernel: Kernel) -> None:
    """Any AsyncSession: nobody has to roll it back by hand."""
    for made_by in ("AsyncSession(db.engine)", "await db.session().__aenter__()"):
        kernel.run(f"session = {made_by}\nawait session.scalar(text('select 1'))")

        reply = stop("await session.execute(text('select pg_sleep(600)'))")

        assert reply.last.endswith(". The transaction of `session` was rolled back: what it had not committed is gone.")
        assert reply.stdout == ""
        assert kernel.run("await session.scalar(text('select 24'))").last == "24"
        kernel.run("await session.close()")


def test_stop_mends_every_session_in_a_variable(stop: Stop, kernel: Kernel) -> None:
    """Also one that was still being stopped when the cell had ended."""
    kernel.run("sessions = first, second = [await db.session().__aenter__() for _ in range(2)]")

    stop("doze = text('select pg_sleep(600)')\nawait asyncio.gather(*(each.execute(doze) for each in sessions))", 2)

    assert kernel.run("[await each.scalar(text('select 1')) for each in sessions]").last == "[1, 1]"
    kernel.run("for each in sessions:\n    await each.close()")


def test_scenario_25_a_synchronous_cell_is_interrupted_as_ever(stop: Stop, kernel: Kernel) -> None:
    stop(QUERY + "await query()")
    sent = kernel.start(ASLEEP)
    kernel.hear_output(sent)

    kernel.interrupt()

    reply = kernel.wait(sent)
    assert reply.error == "KeyboardInterrupt"
    assert "Traceback" in reply.last


ASLEEP = """
import sys, threading, time
def tell():  # in the middle of printing itself, IPython cannot show where it was interrupted
    in_cell = ("<module>", "<cell line")  # as IPython 7 names it
    while not sys._current_frames()[threading.main_thread().ident].f_code.co_name.startswith(in_cell):
        pass
    print("here", flush=True)
threading.Thread(target=tell).start()
time.sleep(600)
"""


def test_scenario_26_stop_ends_what_synchronous_code_waits_for(stop: Stop) -> None:
    reply = stop('run(db.frame("select pg_sleep(600)"))')

    assert reply.error == "KeyboardInterrupt"
    assert reply.last.startswith("Stopped after ")
    assert reply.last.endswith(' s in line 1: run(db.frame("select pg_sleep(600)")). The transaction was rolled back.')


def test_scenario_27_stop_ends_a_frame_that_is_being_built(
    stop: Stop, kernel: Kernel, clean_server: ServerWatch
) -> None:
    sent = kernel.start('await db.frame("select i, i::text as word from generate_series(1, 20000000) as i")')
    wait_until(lambda: [one for one in clean_server.backends(kernel.name) if "generate_series" in one.query])

    kernel.interrupt()

    assert kernel.wait(sent).error == "CancelledError"


def test_stop_works_where_a_signal_wakes_no_loop(kernel: Kernel) -> None:
    """Windows: the signal is noted, but nothing ends the loop's wait; `interrupt_main()` does the same here."""
    kernel.run("import _thread, threading\nfrom asyncdb_nb.jupyter import interrupt\ninterrupt.wakes_by_tick = True")

    sent = kernel.start("threading.Timer(0.3, _thread.interrupt_main).start()\nawait asyncio.sleep(20)")

    assert kernel.wait(sent).last.startswith("Stopped after ")
    kernel.run("interrupts.wakes_by_tick = False")


@pytest.mark.second_tier
def test_what_was_put_on_can_be_taken_off(start_kernel: KernelMaker) -> None:
    kernel = start_kernel("unload")
    before = kernel.run(STATE).last
    kernel.run("%load_ext asyncdb_nb")
    loaded = kernel.run(STATE).last

    kernel.run("%unload_ext asyncdb_nb")

    assert loaded != before
    assert kernel.run(STATE).last == before


STATE = """
import signal, asyncio
await asyncio.sleep(0)
shell = get_ipython()
names = ["pre_run_cell", "post_run_cell"]
([signal.getsignal(number).__str__().split(" at ")[0] for number in (signal.SIGINT, signal.SIGTERM)],
 [len(shell.events.callbacks[name]) for name in names], shell.custom_exceptions, len(shell.input_transformers_post),
 sorted(shell.magics_manager.magics["cell"]), len(shell.display_formatter.formatters["text/plain"].type_printers))
"""
