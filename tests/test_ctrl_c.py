"""Ctrl-C ends a program with KeyboardInterrupt, whenever it comes, and connections are still closed gracefully."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from typing import Any

import pytest
from server_checks import ServerWatch
from sqlalchemy import text

from asyncdb_nb import Database
from asyncdb_nb.aio import loop_cleanup


@pytest.mark.parametrize(("presses", "finished"), [(1, ["finished"]), (2, [])], ids=["once", "twice"])
def test_ctrl_c_waits_for_a_close_and_a_second_one_does_not(presses: int, finished: list[str]) -> None:
    happened = []

    async def cleanup(ending: loop_cleanup.LoopPhase) -> None:
        for _ in range(presses):
            signal.raise_signal(signal.SIGINT)
        await asyncio.sleep(0.01)
        happened.append("finished")

    async def register() -> None:
        loop_cleanup.before_close(asyncio.get_running_loop(), cleanup)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(register())

    with pytest.raises(KeyboardInterrupt):
        loop.close()

    assert happened == finished
    assert loop.is_closed()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


PRESSED_IN_AN_IMPORT = """
import signal, sys
import asyncdb_nb


class Finder:
    def find_spec(self, name, path, target=None):
        if name in ("sqlalchemy.sql.base", "sqlalchemy.orm.session", "asyncdb_nb.jupyter.interrupt"):
            pressed.append(name)
            signal.raise_signal(signal.SIGINT)


pressed = []
sys.meta_path.insert(0, Finder())
try:
    eval(sys.argv[1])
except KeyboardInterrupt:
    print({"sqlalchemy.sql.base", "sqlalchemy.orm.session"} <= set(pressed))
sys.meta_path.pop(0)
from asyncdb_nb import Database, connect, run, session_scope
from asyncdb_nb.jupyter import extension
from sqlalchemy.orm import Session
print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""


@pytest.mark.parametrize("first", ["asyncdb_nb.connect", "asyncdb_nb.load_ipython_extension(None)"])
def test_ctrl_c_waits_for_an_import(first: str) -> None:
    """Half of SQLAlchemy could be mended by nothing but another process."""
    command = [sys.executable, "-c", PRESSED_IN_AN_IMPORT, first]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (done.stdout.split(), done.stderr) == (["True", "True"], "")


def test_ctrl_c_is_not_replaced_by_a_warning(database_url: str, clean_server: ServerWatch) -> None:
    """A session that is open then was not forgotten; warnings are errors here."""
    loop = asyncio.new_event_loop()
    session = Database(database_url).session()

    async def leave_open() -> None:
        await (await session.__aenter__()).execute(text("select 1"))

    with pytest.raises(KeyboardInterrupt):
        try:
            loop.run_until_complete(leave_open())
            raise KeyboardInterrupt
        finally:
            loop.close()

    clean_server.assert_clean()


@pytest.mark.keeps_connections  # none is kept, but Ctrl-C in a callback of asyncio's can cost a graceful close
@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(2, 27))])
def test_ctrl_c_at_random_moments_of_asyncio_run(
    database_url: str, clean_server: ServerWatch, run_script: Any, seed: int
) -> None:
    """Setting up and closing the loop included: nothing hangs, and no other error comes in its place."""
    done = run_script(RANDOM, clean=False, env={"DATABASE_URL": database_url, "SEED": str(seed)})

    assert done.stdout == "{'KeyboardInterrupt': 40}\n", done.stderr[-3000:]
    assert not clean_server.wait_for_backends(0, "asyncdb_nb: script.py")


RANDOM = """
import asyncio, collections, os, random, signal, threading, time
from sqlalchemy import text
from asyncdb_nb import Database

db = Database()

async def ask():
    async with db.session() as session:
        await session.execute(text("select 1"))

async def main():
    for _ in range(2):
        await asyncio.gather(ask(), ask())

def interrupt_after(seconds):
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGINT)

asyncio.run(main())
started = time.monotonic()
asyncio.run(main())
usual = time.monotonic() - started
chance, ended = random.Random(int(os.environ["SEED"])), collections.Counter()
for _ in range(40):
    thread = threading.Thread(target=interrupt_after, args=[chance.uniform(0, usual)])
    try:
        thread.start()
        asyncio.run(main())
        time.sleep(10)  # it comes late
    except BaseException as error:
        ended[type(error).__name__] += 1
    thread.join()
print(dict(ended))
"""
