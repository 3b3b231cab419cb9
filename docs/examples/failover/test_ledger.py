"""
Each test on its own loop. `$CLUSTER_URL` names a primary and its standby, the standby first; run the tests, stop the
primary, promote the standby, and run them again.
"""

import os
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

if "CLUSTER_URL" not in os.environ:
    pytest.skip("CLUSTER_URL names no primary and standby", allow_module_level=True)

from ledger import engine, enter, is_standby


@pytest.fixture
async def table() -> AsyncIterator[str]:
    """An empty table of this process."""
    name = f"ledger_{os.getpid()}"
    async with engine.begin() as connection:
        await connection.execute(text(f"create table {name} (amount integer)"))
    yield name
    async with engine.begin() as connection:
        await connection.execute(text(f"drop table {name}"))


@pytest.mark.parametrize("amount", [1, 20, 300])
async def test_an_amount_is_entered(table: str, amount: int) -> None:
    assert await enter(table, amount) == amount
    assert not await is_standby()


async def test_a_connection_that_was_lost_is_replaced() -> None:
    """As a failover loses them; `pool_pre_ping` notices it before the next use."""
    pid = text("select pg_backend_pid()")
    async with engine.connect() as first:
        async with engine.connect() as second:
            lost = await second.scalar(pid)
        await first.execute(text("select pg_terminate_backend(:lost, 60000)"), {"lost": lost})

        async with engine.connect() as second:
            assert await second.scalar(pid) != lost
