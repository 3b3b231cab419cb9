"""A standby that is promoted under load: no acknowledged row is missing, and the next call works."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from failover import Pair
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from asyncdb_nb import ConnectError, Database
from asyncdb_nb.server.binaries import Programs
from asyncdb_nb.server.embedded import home_directory

WRITERS = 6
ENOUGH = 50  # rows of each writer before the primary crashes, and again after the standby was promoted


@pytest.fixture
def pair() -> Iterator[Pair]:
    programs = Programs.find(home_directory())
    with tempfile.TemporaryDirectory(prefix="failover-") as directory:
        pair = Pair(Path(directory), programs)
        yield pair
        pair.stop()


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_scenario_69_a_failover_loses_no_acknowledged_row(pair: Pair) -> None:
    pair.query("create table load (i bigint primary key)")
    async with Database(pair.url, pool_size=3, max_overflow=3) as db:
        load = [Writer(db, number) for number in range(WRITERS)]
        failed_over = asyncio.Event()
        writing = [asyncio.create_task(writer.write(ENOUGH, failed_over)) for writer in load]
        while min(len(writer.acknowledged) for writer in load) < ENOUGH:
            await asyncio.sleep(0.05)
        await asyncio.to_thread(pair.fail_over)
        failed_over.set()
        await asyncio.gather(*writing)

        kept = {number for (number,) in pair.query("select i from load")}
        acknowledged = {number for writer in load for number in writer.acknowledged}
        unknown = {number for writer in load for number in writer.unknown}
        assert acknowledged <= kept <= acknowledged | unknown
        assert len(await db.frame("select i from load")) == len(kept)
        assert db.engine.pool.checkedout() == 0  # type: ignore[attr-defined]


class Writer:
    """Inserts rows one after the other, and remembers what became of each."""

    def __init__(self, db: Database, number: int) -> None:
        self._db = db
        self._next = number * 1_000_000
        self.acknowledged: set[int] = set()
        self.unknown: set[int] = set()

    async def write(self, rows: int, after: asyncio.Event) -> None:
        """Insert until so many rows are acknowledged after something has happened."""
        wanted = None
        while wanted is None or len(self.acknowledged) < wanted:
            await self._insert()
            if wanted is None and after.is_set():
                wanted = len(self.acknowledged) + rows

    async def _insert(self) -> None:
        self._next += 1
        number, executed = self._next, False
        try:
            async with self._db.session() as session:
                await session.execute(text("insert into load values (:number)"), {"number": number})
                executed = True
            self.acknowledged.add(number)
        except (SQLAlchemyError, ConnectError):
            if executed:
                self.unknown.add(number)
            await asyncio.sleep(0.05)  # the standby is being promoted
