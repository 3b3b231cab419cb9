"""Ten minutes of load under random faults: no wait is long, no connection is lost from the pool, rows are exact."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
from proxy import Proxy
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from victim import Victim

from asyncdb_nb import ConnectError, Database
from asyncdb_nb.database import commit
from asyncdb_nb.engine import pre_ping

SECONDS = float(os.environ.get("ASYNCDB_SOAK_SECONDS", "600"))
LONGEST = 10.0  # seconds that one insert may take, whatever happens meanwhile


@pytest.mark.soak
@pytest.mark.timeout(SECONDS + 120)
async def test_load_under_random_faults(
    far: Database, proxy: Proxy, victim: Victim, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pre_ping, "SECONDS", 2.0)
    victim.query("drop table if exists load; create table load (i bigint primary key)")
    load = Load(far)
    workers = [asyncio.create_task(load.insert_for_ever(number)) for number in range(3)]
    chance = random.Random(42)
    faults = Faults(proxy, victim, chance)
    loop = asyncio.get_running_loop()
    end = loop.time() + SECONDS

    while loop.time() < end:
        await faults.one()
        await asyncio.sleep(chance.uniform(0.1, 1.5))
    load.over = True
    await asyncio.gather(*workers)

    kept = {number for (number,) in victim.query("select i from load")}
    ends = f"{len(load.committed)} committed, {len(load.unknown)} unknown, {load.failed} failed"
    print(f"longest: {load.slowest:.1f} s; {ends};", dict(faults.done))  # noqa: T201
    assert load.slowest < LONGEST
    assert load.committed <= kept <= load.committed | load.unknown


class Load:
    """Inserts, and what became of each."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.over = False
        self.committed: set[int] = set()
        self.unknown: set[int] = set()
        self.failed = 0
        self.slowest = 0.0

    async def insert_for_ever(self, worker: int) -> None:
        number = worker * 1_000_000_000
        while not self.over:
            number += 1
            started = asyncio.get_running_loop().time()
            await self._insert(number)
            self.slowest = max(self.slowest, asyncio.get_running_loop().time() - started)

    async def _insert(self, number: int) -> None:
        executed = False
        try:
            async with asyncio.timeout(5), self._db.session() as session:
                await session.execute(text("insert into load values (:number)"), {"number": number})
                executed = True
            self.committed.add(number)
        except (SQLAlchemyError, ConnectError):
            self._failed(number, executed)
        except TimeoutError as error:
            notes = getattr(error.__cause__, "__notes__", [])
            if commit.COMMITTED in notes:
                self.committed.add(number)
            else:
                self._failed(number, executed and not any(note.startswith(commit.NOT_COMMITTED) for note in notes))

    def _failed(self, number: int, executed: bool) -> None:
        if executed:
            self.unknown.add(number)
        else:
            self.failed += 1


class Faults:
    """What happens to server and network; everything is well again when `one()` returns."""

    def __init__(self, proxy: Proxy, victim: Victim, chance: random.Random) -> None:
        self._proxy, self._victim, self._chance = proxy, victim, chance
        self.done: Counter[str] = Counter()
        self._kinds: list[Callable[[], Awaitable[None]]] = [
            self.cut, self.stall, self.slow, self.terminate, self.freeze, self.restart,
        ]  # fmt: skip

    async def one(self) -> None:
        kind = self._chance.choice(self._kinds)
        self.done[kind.__name__] += 1
        await kind()

    async def cut(self) -> None:
        self._proxy.cut()

    async def stall(self) -> None:
        self._proxy.stall()
        await asyncio.sleep(self._chance.uniform(0.1, 3))
        self._proxy.flow()

    async def slow(self) -> None:
        self._proxy.delay = 0.05
        await asyncio.sleep(1)
        self._proxy.delay = 0

    async def terminate(self) -> None:
        for pid in self._victim.backends():
            self._victim.query("select pg_terminate_backend(%s)", pid)

    async def freeze(self) -> None:
        frozen = self._victim.freeze()
        await asyncio.sleep(self._chance.uniform(0.1, 3))
        self._victim.thaw(frozen)

    async def restart(self) -> None:
        await self._victim.restart(self._chance.choice([signal.SIGINT, signal.SIGQUIT]))
