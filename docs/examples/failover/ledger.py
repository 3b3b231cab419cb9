"""A ledger on whichever of several servers takes writes: the URL names them all."""

import os

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from asyncdb_nb import LoopBoundPool

# postgresql+asyncpg://user@/database?host=one:5432&host=other:5432&target_session_attrs=read-write
engine = create_async_engine(os.environ["CLUSTER_URL"], pool_pre_ping=True, poolclass=LoopBoundPool)


async def enter(table: str, amount: int) -> int:
    """Enter an amount; return the sum of all."""
    async with engine.begin() as connection:
        await connection.execute(text(f"insert into {table} values (:amount)"), {"amount": amount})
        return int(await connection.scalar(text(f"select sum(amount) from {table}")))


async def is_standby() -> bool:
    async with engine.connect() as connection:
        return bool(await connection.scalar(text("select pg_is_in_recovery()")))
