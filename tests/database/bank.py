"""Accounts whose number and sum never change, however much is written: what any one moment must show."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncpg

ACCOUNTS, EACH, LIVELY = 4_000, 100, 50

MAKE = {
    "plain": "create table bank (id int8 primary key, amount int8 not null, note text) with (autovacuum_enabled = off)",
    "partitioned": """
        create table bank (id int8 primary key, amount int8 not null, note text) partition by range (id);
        create table bank_1 partition of bank for values from (minvalue) to (1000);
        create table bank_2 (note text, id int8 not null, amount int8 not null);
        alter table bank attach partition bank_2 for values from (1000) to (3000);
        create table bank_3 partition of bank for values from (3000) to (maxvalue)""",
}


@dataclass
class Bank:
    """A bank at work, and what it has done."""

    url: str
    kind: str
    transactions: int = 0
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def write(self, seed: int) -> None:
        """Move money, move rows to other blocks and partitions, take accounts out and put them back, and vacuum."""
        chance = random.Random(seed)
        connection = await asyncpg.connect(self.url)
        try:
            while not self.stopping.is_set():
                if chance.random() < 0.02:
                    await connection.execute("vacuum bank")
                    continue
                try:
                    async with connection.transaction():
                        await self._once(connection, chance)
                except (asyncpg.DeadlockDetectedError, asyncpg.UniqueViolationError):
                    continue
                self.transactions += 1
        finally:
            await connection.close()

    async def _once(self, connection: asyncpg.Connection, chance: random.Random) -> None:
        giver, converter = sorted(chance.sample(range(1, ACCOUNTS + 1), 2))
        size, gift = chance.randrange(400), chance.randrange(100)
        give = "update bank set amount = amount - $2, note = repeat('x', $3) where id = $1"
        given = await connection.execute(give, giver, gift, size) == "UPDATE 1"
        if given and await connection.execute(give, converter, -gift, size) == "UPDATE 0":
            await connection.execute(give, giver, -gift, size)
        if chance.random() < 0.3:
            where = f"id = (select id from bank where id > {ACCOUNTS} order by random() limit 1)"
            gone = await connection.fetchval(f"delete from bank where {where} returning amount")
            if gone is not None:
                new = ACCOUNTS + chance.randrange(1, 10_000_000)
                await connection.execute("insert into bank values ($1, $2, '')", new, gone)


@asynccontextmanager
async def busy_bank(url: str, kind: str, writers: int = 4) -> AsyncIterator[Bank]:
    """A bank that is written to by so many connections until the block ends."""
    connection = await asyncpg.connect(url)
    await connection.execute(MAKE[kind])
    await connection.execute(
        f"insert into bank select g, {EACH}, '' from generate_series(1, {ACCOUNTS + LIVELY}) g order by g"
    )
    await connection.close()
    bank = Bank(url, kind)
    async with asyncio.TaskGroup() as group:
        for seed in range(writers):
            group.create_task(bank.write(seed))
        try:
            yield bank
        finally:
            bank.stopping.set()
