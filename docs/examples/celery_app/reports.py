"""Tasks of Celery that ask a database by `asyncio.run`: a new loop for each task, in a process that lives for long."""

import asyncio
import os

from celery import Celery
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from asyncdb_nb import LoopBoundPool

app = Celery("reports", broker=os.environ.get("CELERY_BROKER_URL", "memory://"), backend="cache+memory://")
engine = create_async_engine(os.environ["DATABASE_URL"], poolclass=LoopBoundPool)


async def _squares(number: int) -> int:
    async with engine.connect() as connection:
        return await connection.scalar(text("select sum(n * n) from generate_series(1, :number) n"), {"number": number})


async def _largest(numbers: list[int]) -> int:
    return max(await asyncio.gather(*map(_squares, numbers)))


@app.task
def squares(number: int) -> int:
    """The sum of the first squares."""
    return int(asyncio.run(_squares(number)))


@app.task
def largest(numbers: list[int]) -> int:
    """The largest of several such sums, which are asked for at once."""
    return int(asyncio.run(_largest(numbers)))
