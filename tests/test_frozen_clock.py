"""A frozen clock (freezegun, time-machine) breaks nothing: neither a first frame, nor a cancellation, nor an end."""

from __future__ import annotations

import time
from collections.abc import Callable
from subprocess import CompletedProcess
from typing import Any

import pytest
from waiting import until

from asyncdb_nb import Database
from asyncdb_nb.engine import pool_of_one_loop

RunScript = Callable[..., CompletedProcess[str]]

FREEZERS = {
    "freezegun": "from freezegun import freeze_time\nfrozen = freeze_time('2020-01-01')",
    "time-machine": "import time_machine\nfrozen = time_machine.travel('2020-01-01', tick=False)",
}
each_freezer = pytest.mark.parametrize("freezer", FREEZERS)

BEGIN = """
import asyncio
import os
from asyncdb_nb import Database, run, to_frame

{freezer}

async def sending(db):
    statement = "select from pg_stat_activity where state = 'active' and query like 'COPY%'"
    while not len(await db.frame(statement)):
        await asyncio.sleep(0)

async def stopped(db, work):
    task = asyncio.create_task(work)
    await sending(db)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled(), task

@frozen
def main():
"""


@pytest.fixture
def run_frozen(run_script: RunScript) -> Callable[[str, str], str]:
    def run(freezer: str, body: str) -> str:
        code = BEGIN.format(freezer=FREEZERS[freezer]) + body.replace("\n", "\n    ") + "\nmain()\n"
        return run_script(code).stdout

    return run


@each_freezer
def test_scenario_54_a_first_frame(run_frozen: Callable[[str, str], str], freezer: str) -> None:
    """pandas is imported under the frozen clock; values are the server's."""
    body = """
async def work():
    async with Database(os.environ["DATABASE_URL"]) as db:
        now = "select date '2024-02-29' as day, timestamp '2024-02-29 12:00' as t, now() > '2024-01-01' as n"
        frame = await db.frame(now)
        parts = [part async for part in db.frames("select g from generate_series(1, 30000) g", rows=10000)]
        print(*frame.iloc[0], *[len(part) for part in parts])
asyncio.run(work())"""

    assert run_frozen(freezer, body) == ("2024-02-29 2024-02-29 12:00:00 True 10000 10000 10000\n")


@pytest.mark.second_tier
@each_freezer
def test_scenario_54_to_frame_and_run_in_synchronous_code(run_frozen: Callable[[str, str], str], freezer: str) -> None:
    body = """
print(to_frame([{"n": 1}]).n.tolist())
db = Database(os.environ["DATABASE_URL"])
print(run(db.frame("select 2 as n")).n.tolist())
run(db.aclose())"""

    assert run_frozen(freezer, body) == "[1]\n[2]\n"


@pytest.mark.second_tier
@each_freezer
@pytest.mark.parametrize(
    "work",
    [
        'db.frame("select pg_sleep(600)")',
        'db.frame("select g, repeat(md5(g::text), 30) from generate_series(1, 1000000000) g")',
        'anext(db.frames("select pg_sleep(600)"))',
    ],
    ids=["frame", "copy", "frames"],
)
def test_scenario_54_a_cancellation(run_frozen: Callable[[str, str], str], freezer: str, work: str) -> None:
    body = f"""
async def work():
    async with Database(os.environ["DATABASE_URL"]) as db:
        await stopped(db, {work})
        print((await db.frame("select 3 as n")).n.tolist())
asyncio.run(work())"""

    assert run_frozen(freezer, body) == "[3]\n"


async def test_a_connection_that_was_returned_under_a_clock_that_is_ahead_is_closed_when_it_is_idle(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by `freeze_time("2090-01-01", real_asyncio=True)`, which has the loop's timers go by the real clock."""
    async with Database(database_url, idle_timeout=0.05) as db:
        with monkeypatch.context() as frozen:
            frozen.setattr(pool_of_one_loop, "monotonic", lambda: time.monotonic() + 1e9)
            await db.frame("select 1 as n")
        pool: Any = db.engine.pool
        assert pool.idle() == 1

        await until(lambda: pool.idle() == 0)
