"""What small results cost: round trips, counted where they leave this machine."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from asyncdb_nb import Database, frame


class RoundTrips:
    """Counts what a connection sends: asyncpg sends once for each round trip."""

    def __init__(self, driver_connection: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        transport = driver_connection._transport
        send = transport.write

        def counted(data: Any) -> None:
            self.count += 1
            send(data)

        monkeypatch.setattr(transport, "write", counted, raising=False)


async def test_a_frame_of_its_own_is_three_round_trips(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """BEGIN READ ONLY, which is the ping, the query, COMMIT; asyncpg's own pool needs four."""
    async with Database(database_url) as db:
        for _ in range(2):  # by COPY, then prepared
            await db.frame("select 1 as a")
        async with db.engine.connect() as connection:
            raw = await connection.get_raw_connection()
            trips = RoundTrips(raw.driver_connection, monkeypatch)

        await db.frame("select 1 as a")
        count = trips.count  # closing the database takes one

    assert count == 3


async def test_a_small_result_in_a_session_is_one_round_trip(
    session: AsyncSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        await frame(session, "select 1 as a")
    raw = await (await session.connection()).get_raw_connection()
    trips = RoundTrips(raw.driver_connection, monkeypatch)

    await frame(session, "select 1 as a")

    assert trips.count == 1


@pytest.mark.parametrize(
    "statement",
    [
        "select nextval('frame_kept')",
        "with on_ as materialized (select set_config('transaction_read_only', 'off', true)) "
        "select nextval('frame_kept') from on_",
        "insert into frame_kept_rows values (1) returning a",
    ],
)
async def test_a_frame_of_its_own_changes_nothing(database_url: str, statement: str) -> None:
    """BEGIN READ ONLY is enough for a single query: it has taken its snapshot when it asks for more."""
    async with Database(database_url) as db:
        async with db.session() as session:
            connection = await session.connection()
            await connection.exec_driver_sql("create sequence frame_kept")
            await connection.exec_driver_sql("create table frame_kept_rows (a int)")
        try:
            with pytest.raises(DBAPIError, match=r"read-(only|write)"):
                await db.frame(statement)
            assert (await db.frame("select is_called from frame_kept"))["is_called"].tolist() == [False]
            assert len(await db.frame("select * from frame_kept_rows")) == 0
        finally:
            async with db.session() as session:
                connection = await session.connection()
                await connection.exec_driver_sql("drop sequence frame_kept")
                await connection.exec_driver_sql("drop table frame_kept_rows")
