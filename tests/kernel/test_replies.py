"""Every cell has its reply, wherever in the kernel a Stop strikes."""

from __future__ import annotations

import pytest
from kernels import Kernel

pytestmark = pytest.mark.keeps_connections

SET_UP = """
import asyncio, signal
kernel = get_ipython().kernel
payloads = get_ipython().payload_manager

def stop_in(owner, name):
    '''Press Stop when a method of the kernel is called next.'''
    original = getattr(owner, name)
    def stops(*args, **options):
        setattr(owner, name, original)
        signal.raise_signal(signal.SIGINT)
        return original(*args, **options)
    setattr(owner, name, stops)
"""
BEFORE = "stop_in(kernel, 'init_metadata')"  # what the kernel calls before a cell,
ENDED = "stop_in(payloads, 'read_payload')"  # when it has ended,
REPLY = "stop_in(kernel, 'finish_metadata')"  # and when its reply is sent

either_kind_of_cell = pytest.mark.parametrize("kind", ["", "await asyncio.sleep(0)\n"], ids=["synchronous", "awaiting"])


@pytest.fixture(scope="module")
def prepared(kernel: Kernel) -> Kernel:
    assert kernel.run(SET_UP).status == "ok"
    return kernel


@either_kind_of_cell
def test_scenario_53_a_stop_before_a_cell_is_answered_and_the_cell_not_run(prepared: Kernel, kind: str) -> None:
    prepared.run(f"ran = False\n{BEFORE}")

    reply = prepared.run(f"{kind}ran = True")

    assert (reply.error, reply.last) == ("KeyboardInterrupt", "Stopped before the cell began.")
    assert prepared.run("ran").last == "False"


@either_kind_of_cell
def test_scenario_53_a_stop_when_a_cell_has_ended_is_answered(prepared: Kernel, kind: str) -> None:
    """With an error, so that the front end does not go on with the cells that are queued."""
    reply = prepared.run(f"{kind}{ENDED}\n53")

    assert reply.error == "KeyboardInterrupt"
    assert reply.shown == ["53", "Stopped when the cell had ended."]
    assert prepared.run("53").shown == ["53"]


@either_kind_of_cell
def test_scenario_53_a_second_stop_when_a_cell_has_failed_leaves_it_its_error(prepared: Kernel, kind: str) -> None:
    reply = prepared.run(f"{kind}{ENDED}\n1 / 0")

    assert reply.error == "ZeroDivisionError"
    assert len(reply.shown) == 1


@either_kind_of_cell
def test_scenario_53_a_stop_while_a_reply_is_sent_leaves_it_whole(prepared: Kernel, kind: str) -> None:
    reply = prepared.run(f"{kind}{REPLY}\n53")

    assert (reply.status, reply.shown) == ("ok", ["53"])
    assert prepared.run("53").shown == ["53"]


def test_stop_ends_a_cell_that_has_run_another(prepared: Kernel) -> None:
    """As `%%capture` does: the end of that is not the end of the cell."""
    reply = prepared.run("get_ipython().run_cell('1')\nsignal.raise_signal(signal.SIGINT)\nprint('went on')")

    assert (reply.error, reply.stdout) == ("KeyboardInterrupt", "")


def test_a_stop_of_a_silent_request_is_answered(prepared: Kernel) -> None:
    """Front ends send them for themselves."""
    sent = prepared.start(ENDED, silent=True)

    assert prepared.wait(sent).error == "KeyboardInterrupt"


def test_what_is_switched_off_leaves_the_kernel_to_itself(prepared: Kernel) -> None:
    before = "[hasattr(kernel.do_execute, '__wrapped__'), kernel.pre_handler_hook.__name__]"
    assert prepared.run(before).last == "[True, '_before_message']"

    off = f"from asyncdb_nb.jupyter import extension\nextension.unload(get_ipython())\n{before}"
    assert prepared.run(off).last == "[False, 'pre_handler_hook']"

    prepared.run("%load_ext asyncdb_nb")
    assert prepared.run(before).last == "[True, '_before_message']"
