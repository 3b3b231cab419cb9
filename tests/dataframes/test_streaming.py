"""Results in parts: by a cursor beside other work of the session, or by COPY in a session of its own."""

from __future__ import annotations

import asyncio
import tracemalloc
from contextlib import aclosing
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from tiers import few_of
from waiting import HANG

from asyncdb_nb import Database, FrameError, frame, frames
from asyncdb_nb.dataframes import batches

MANY = "select g, g::text as t, repeat('x', 50) as x, jsonb_build_object('g', g) as j from generate_series(1, 60000) g"


@pytest.mark.parametrize("exclusive", [False, True], ids=["by cursor", "by COPY"])
@pytest.mark.parametrize("rows", few_of([7_000, 30_000, 100_000], 1))
async def test_the_parts_are_the_whole(session: AsyncSession, exclusive: bool, rows: int) -> None:
    """Each part but the last has the number of rows asked for, however the stream was cut."""
    whole = await frame(session, MANY)

    parts = [part async for part in frames(session, MANY, rows=rows, exclusive=exclusive)]

    assert [len(part) for part in parts[:-1]] == [rows] * (len(parts) - 1)
    assert parts[0].attrs["asyncdb"]["path"] == ("copy" if exclusive else "rows")
    pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), whole)


@pytest.mark.parametrize("exclusive", [False, True], ids=["by cursor", "by COPY"])
async def test_batches_are_arrow(session: AsyncSession, exclusive: bool) -> None:
    parts = [part async for part in batches(session, MANY, rows=25_000, exclusive=exclusive)]

    assert [type(part) for part in parts] == [pa.RecordBatch] * 3
    assert pa.Table.from_batches(parts)["g"].to_pylist() == list(range(1, 60_001))


@pytest.mark.parametrize(
    "statement",
    [
        "insert into frame_owners select g, 'x' from generate_series(1, 9) g returning id",
        "show server_version",
        "select '{}'::aclitem[] as a",
    ],
)
async def test_what_copy_does_not_take_comes_by_cursor(tables: AsyncSession, statement: str) -> None:
    parts = [part async for part in frames(tables, statement, rows=4, exclusive=True)]

    assert parts[0].attrs["asyncdb"]["path"] == "rows"
    assert len(pd.concat(parts)) in (1, 9)


@pytest.mark.parametrize("count", [0, 10], ids=["empty", "a multiple of the part"])
async def test_a_stream_ends_with_the_rows(session: AsyncSession, count: int) -> None:
    statement = f"select g from generate_series(1, {count}) g"

    parts = [part async for part in frames(session, statement, rows=5, exclusive=True)]

    assert [len(part) for part in parts] == ([0] if count == 0 else [5, 5])
    assert len(await frame(session, "select 1 as a")) == 1


async def test_a_session_works_on_in_the_body_of_the_loop(session: AsyncSession) -> None:
    async for part in frames(session, MANY, rows=20_000):
        assert (await session.scalar(text(f"select {len(part)}"))) == 20_000


async def test_a_stream_left_early_gives_its_connection_back(database_url: str) -> None:
    """By `break` and by an error, with the server still sending."""
    async with Database(database_url, pool_size=1, max_overflow=0) as db:
        endless = "select generate_series(1, 100000000) as g, repeat('x', 500) as x"

        async with aclosing(db.frames(endless, rows=1_000)) as parts:
            async for part in parts:
                assert len(part) == 1_000
                break
        assert len(await db.frame("select 1 as a")) == 1
        with pytest.raises(ZeroDivisionError):
            async with aclosing(db.batches(endless, rows=10)) as parts:
                [1 / (part.num_rows - 10) async for part in parts]
        assert len(await db.frame("select 1 as a")) == 1


async def test_a_stream_cancelled_while_it_waits_gives_its_connection_back(database_url: str) -> None:
    async with Database(database_url, pool_size=1, max_overflow=0) as db:

        async def read() -> list[Any]:
            return [part async for part in db.frames("select pg_sleep(600), g from generate_series(1, 3) g")]

        reading = asyncio.create_task(read())
        async with asyncio.timeout(HANG):
            while "pg_sleep" not in await _running(database_url):
                pass
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading

        assert len(await db.frame("select 1 as a")) == 1
        assert "pg_sleep(600)" not in await _running(database_url)


async def test_a_command_timeout_is_for_the_server_and_not_for_the_body_of_the_loop(database_url: str) -> None:
    """It would else end every stream that takes longer, however quick the server is."""
    numbers = "select g, repeat('x', 1000) from generate_series(1, 20000) g"
    async with Database(database_url, connect_args={"command_timeout": 0.3}) as db:
        rows = 0
        async for part in db.frames(numbers, rows=2_000):
            rows += len(part)
            await asyncio.sleep(0.05)  # not a wait for anything: a body that takes its time
        with pytest.raises(TimeoutError, match="command_timeout"):
            [part async for part in db.frames("select pg_sleep(600), g from generate_series(1, 3) g")]

        assert rows == 20_000
        assert len(await db.frame("select 1 as a")) == 1
        assert "pg_sleep(600)" not in await _running(database_url)


async def _running(url: str) -> str:
    async with Database(url, pool_size=1) as watching:
        return str(
            (await watching.frame("select query from pg_stat_activity where state = 'active'"))["query"].tolist()
        )


async def test_an_error_in_mid_stream_is_sqlalchemys(session: AsyncSession) -> None:
    failing = "select 1 / (59000 - g) as v, repeat('x', 500) as x from generate_series(1, 60000) g"

    with pytest.raises(DBAPIError, match="division by zero"):
        [part async for part in frames(session, failing, rows=1_000, exclusive=True)]
    await session.rollback()
    assert len(await frame(session, "select 1 as a")) == 1


SLOW = "select g, pg_sleep(case when g = 150 then 30 else 0 end)::text as p from generate_series(1, 300) g"


@pytest.mark.parametrize("kind", ["database", "by cursor", "by COPY"])
async def test_a_stream_that_a_timeout_ended_does_not_pass_for_read(
    database_url: str, session: AsyncSession, kind: str
) -> None:
    """Who goes on after the timeout of one part is not told that there are no more rows."""
    of_session = frames(session, SLOW, rows=100, exclusive=kind == "by COPY")
    async with (
        Database(database_url) as db,
        aclosing(db.frames(SLOW, rows=100) if kind == "database" else of_session) as parts,
    ):
        with pytest.raises(TimeoutError):
            while True:
                await asyncio.wait_for(anext(parts), 0.2)
        with pytest.raises(FrameError, match=r"before its last row, by a CancelledError.*Begin anew"):
            await anext(parts)
    await session.rollback()


async def test_a_stream_that_failed_does_not_pass_for_read(database_url: str) -> None:
    async with Database(database_url) as db:
        parts = db.frames("select 1 / (g - 150) as v from generate_series(1, 300) g", rows=100)

        with pytest.raises(DBAPIError, match="division by zero"):
            [part async for part in parts]
        with pytest.raises(FrameError, match="by a DBAPIError"):
            await anext(parts)


async def test_scenario_39_a_stream_holds_one_part(database_url: str) -> None:
    """What Python holds does not grow with the number of rows, also when the reader is slower than the server."""
    async with Database(database_url) as db:
        statement = "select g, repeat('x', 1000) as x from generate_series(1, 60000) g"  # 60 MB
        tracemalloc.start()
        try:
            async with aclosing(db.frames(statement, rows=1_000)) as parts:
                async for _ in parts:
                    await asyncio.sleep(0.002)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak < 40e6


@pytest.mark.parametrize("reader", [frames, batches])
@pytest.mark.parametrize("goes_on", [False, True], ids=["no transaction", "another transaction"])
async def test_a_transaction_that_ends_under_it_is_named(session: AsyncSession, reader: Any, goes_on: bool) -> None:
    """A commit for each part, as in a loop that also writes, ends the cursor: an error, with a way out."""
    seen = 0
    with pytest.raises(DBAPIError) as caught:
        async for part in reader(session, "select g from generate_series(1, 5000) g", rows=2000):
            seen += len(part) if reader is frames else part.num_rows
            await session.commit()
            if goes_on:
                await session.execute(text("select 1"))

    assert seen == 2000
    assert "change things in a second session" in " ".join(caught.value.__notes__)
