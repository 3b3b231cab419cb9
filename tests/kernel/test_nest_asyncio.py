"""Somebody has applied nest_asyncio before this package was imported: it is said, and all works as ever."""

from __future__ import annotations

import pytest
from kernels import SET_UP, Kernel, KernelMaker, asleep
from server_checks import ServerWatch
from waiting import wait_until

pytestmark = pytest.mark.second_tier

NESTED = "import nest_asyncio\nnest_asyncio.apply()"
ANSWER = """
async def answer():
    async with db.session() as session:
        return await session.scalar(text("select 37"))
"""
DOCTOR = "from asyncdb_nb.diagnostics.doctor import examine\nawait examine(db)"


@pytest.fixture
def nested(start_kernel: KernelMaker) -> Kernel:
    """A kernel that is connected after nest_asyncio was applied."""
    kernel = start_kernel("nested")
    for code in (NESTED, SET_UP, ANSWER):
        assert kernel.run(code).status == "ok"
    return kernel


def test_scenario_37_after_nest_asyncio_queries_and_stop_work_as_ever(
    nested: Kernel, clean_server: ServerWatch
) -> None:
    for question in ("await answer()", "run(answer())", "asyncio.run(answer())"):
        assert nested.run(question).last == "37"
    for question in ("await query()", "asyncio.run(query())", "run(query())"):
        stop_works(nested, clean_server, question)
    assert "nest_asyncio has replaced asyncio.run" in nested.run(DOCTOR).last

    nested.shutdown()
    clean_server.assert_clean("nested")


def stop_works(kernel: Kernel, watch: ServerWatch, question: str) -> None:
    """The cell and its statement end, and the next cell works."""
    sent = kernel.start(f"async def query():\n    await db.frame('select pg_sleep(600)')\n\n{question}")
    wait_until(lambda: asleep(watch, kernel.name))

    kernel.interrupt()

    assert kernel.wait(sent).error in ("CancelledError", "KeyboardInterrupt"), question
    wait_until(lambda: asleep(watch, kernel.name, 0))
    assert kernel.run("await answer()").last == "37", question
