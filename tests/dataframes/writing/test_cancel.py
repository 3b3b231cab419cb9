"""A write that is stopped, or that cannot go on: nothing of it is kept, and the session works on."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd
import pytest
from server_checks import ServerWatch
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.pool import NullPool
from tiers import few_of

from asyncdb_nb import Database, write
from asyncdb_nb.dataframes.writing.encode import PartEncoder
from asyncdb_nb.errors import UnfitValueError

DATA = pd.DataFrame({"k": np.arange(60_000), "v": [f"text number {n}" for n in range(60_000)], "w": 1.5})


@pytest.fixture
async def db(near_and_far: str) -> AsyncIterator[Database]:
    async with Database(near_and_far, pool_size=1, max_overflow=0) as db:
        async with db.session() as session:
            await session.execute(text("drop table if exists stopped"))
            await session.execute(text("create table stopped (k int primary key, v text, w float8)"))
        yield db
        async with db.session() as session:
            await session.execute(text("drop table stopped"))


async def in_parts(data: pd.DataFrame) -> AsyncIterator[pd.DataFrame]:
    for start in range(0, len(data), 20_000):
        await asyncio.sleep(0)
        yield data[start : start + 20_000]


WAYS: dict[str, Callable[[AsyncSession], Any]] = {
    "append": lambda session: write(session, DATA, "stopped"),
    "parts": lambda session: write(session, in_parts(DATA), "stopped"),
    "upsert": lambda session: write(session, DATA, "stopped", if_exists="upsert", key="k"),
    "replace": lambda session: write(session, DATA, "stopped", if_exists="replace", key="k"),
}


@pytest.mark.parametrize("way", few_of(WAYS, 1))
@pytest.mark.parametrize("cancels", few_of([1, 3], 1))
async def test_a_write_that_is_cancelled_leaves_nothing_and_a_session_that_works(
    db: Database, way: str, cancels: int
) -> None:
    await cancelled_at_random(db, way, cancels, random.Random(7), times=6)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("way", WAYS)
async def test_writes_that_are_cancelled_many_times(db: Database, way: str) -> None:
    choose = random.Random(1)
    for _ in range(4):
        await cancelled_at_random(db, way, choose.choice([1, 2, 5]), choose, times=32)


async def cancelled_at_random(db: Database, way: str, cancels: int, choose: random.Random, *, times: int) -> None:
    """Cancel, and go on in the same session: what it did before is there, and all of the write or nothing."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    async with db.session() as session:
        await WAYS[way](session)
        await session.rollback()
    whole = loop.time() - started
    for time in range(times):
        async with db.session() as session:
            await session.execute(text("insert into stopped values (-1, 'before', null)"))
            task = asyncio.ensure_future(WAYS[way](session))
            await asyncio.wait([task], timeout=whole * choose.random() * 1.1)
            for _ in range(cancels):
                task.cancel()
                await asyncio.sleep(0)
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()

            rows = await session.scalar(text("select count(*) from stopped"))
            before = await session.scalar(text("select count(*) from stopped where k = -1"))
            done = not task.cancelled()
            assert (rows - before, before) == ((len(DATA), int(way != "replace")) if done else (0, 1)), time
            await session.execute(text("delete from stopped"))
            await session.rollback()


async def test_a_write_that_is_cancelled_over_and_over_is_told_of_it_once_it_has_ended(db: Database) -> None:
    """Stop, pressed again while the first one is at work."""
    async with db.session() as session:
        task = asyncio.ensure_future(write(session, DATA, "stopped"))
        while not task.done():
            await asyncio.wait([task], timeout=0.01)
            task.cancel()
        with suppress(asyncio.CancelledError):
            task.result()

        assert await session.scalar(text("select count(*) from stopped")) in ([0] if task.cancelled() else [len(DATA)])


async def test_db_write_that_is_cancelled_commits_nothing(db: Database, clean_server: ServerWatch) -> None:
    choose = random.Random(3)
    for _ in range(6):
        task = asyncio.ensure_future(db.write(DATA, "stopped"))
        await asyncio.wait([task], timeout=choose.random())
        task.cancel()
        await asyncio.wait([task])
        kept = await db.frame("select count(*) as n from stopped")
        committed = not task.cancelled() or "committed" in "".join(_notes(task))
        assert kept["n"][0] in ([len(DATA)] if not task.cancelled() else [0, len(DATA)] if committed else [0])
        async with db.session() as session:
            await session.execute(text("truncate stopped"))


def _notes(task: asyncio.Task[Any]) -> list[str]:
    try:
        task.result()
    except asyncio.CancelledError as error:
        return list(getattr(error, "__notes__", []))
    return []


async def test_a_timeout_of_the_callers_ends_a_write_as_a_timeout(db: Database) -> None:
    """Also one that comes when all rows are there: its own error, and no other's."""
    async with db.session() as session:
        for seconds in (0.0, 0.01, 0.05, 0.1, 0.2):
            before = await session.scalar(text("select count(*) from stopped"))
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await write(session, DATA, "stopped")
            after = await session.scalar(text("select count(*) from stopped"))
            assert after - before in (0, len(DATA))
            await session.execute(text("delete from stopped"))


async def test_a_write_that_waits_for_a_lock_is_stopped_as_well(db: Database, database_url: str) -> None:
    """The server reads nothing meanwhile."""
    async with Database(database_url) as other, other.session() as holding:
        await holding.execute(text("lock table stopped in access exclusive mode"))
        async with db.session() as session:
            task = asyncio.ensure_future(write(session, DATA, "stopped"))
            await asyncio.wait([task], timeout=0.5)
            assert not task.done()
            task.cancel()
            await asyncio.wait([task])

            assert task.cancelled()
            assert await session.scalar(text("select 1")) == 1


async def test_a_statement_timeout_ends_the_write_and_not_the_session(db: Database) -> None:
    async with db.session() as session:
        await session.execute(
            text(
                "create function slow() returns trigger language plpgsql as "
                "$$ begin perform pg_sleep(1); return new; end $$"
            )
        )
        await session.execute(text("create trigger slow before insert on stopped for each row execute function slow()"))
        await session.execute(text("set local statement_timeout to '300ms'"))
        with pytest.raises(DBAPIError, match="statement timeout"):
            await write(session, DATA[:5], "stopped")

        assert await session.scalar(text("select count(*) from stopped")) == 0
        await session.rollback()


async def test_a_part_that_fails_late_leaves_nothing(db: Database) -> None:
    """Its error is the source's own; rows of earlier parts are rolled back."""

    async def broken() -> AsyncIterator[pd.DataFrame]:
        yield DATA[:30_000]
        raise OSError("the source is gone")

    def unfit() -> Any:
        yield DATA[:30_000]
        yield DATA[30_000:].assign(w="x")

    async with db.session() as session:
        with pytest.raises(OSError, match="the source is gone"):
            await write(session, broken(), "stopped")
        with pytest.raises(UnfitValueError, match="Column 'w' is double precision, and in row 30,000 it is 'x'"):
            await write(session, unfit(), "stopped")

        assert await session.scalar(text("select count(*) from stopped")) == 0


async def test_rows_that_cannot_be_made_while_others_are_sent_end_the_write(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is too much to be kept is converted again as it is sent, and may have changed since it was checked."""
    monkeypatch.setattr(PartEncoder, "check", lambda self: None)
    async with db.session() as session:
        for _ in range(3):
            with pytest.raises(UnfitValueError, match="row 50,000"):
                await write(session, DATA.assign(k=[*range(50_000), 2**40, *range(50_001, 60_000)]), "stopped")

        assert await session.scalar(text("select count(*) from stopped")) == 0


async def test_a_connection_that_is_cut_ends_the_write_with_one_error(
    database_url: str, clean_server: ServerWatch
) -> None:
    async with Database(database_url) as db:
        async with db.session() as session:
            await session.execute(text("drop table if exists cut"))
        with pytest.raises(DBAPIError) as caught:
            async with db.session() as session:
                pid = await session.scalar(text("select pg_backend_pid()"))
                await session.execute(text("create table cut (k int, v text, w float8)"))

                def cut() -> Any:
                    yield DATA
                    clean_server.query(f"select pg_terminate_backend({pid}, 5000)")
                    yield DATA

                await write(session, cut(), "cut")
        assert caught.value.connection_invalidated
        assert (await db.frame("select to_regclass('cut') is null as gone"))["gone"].tolist() == [True]


async def test_a_connection_of_asyncpgs_own_class_is_stopped_cleanly(near_and_far: str) -> None:
    """An engine of the user's, without anything of this package."""
    engine = create_async_engine(near_and_far.replace("postgresql://", "postgresql+asyncpg://"), poolclass=NullPool)
    async with AsyncSession(engine) as session:
        await session.execute(text("create temp table stopped (k int primary key, v text, w float8)"))
        for seconds in (0.0, 0.02, 0.1, 0.3, 0.6):
            task = asyncio.ensure_future(write(session, DATA, "stopped"))
            await asyncio.wait([task], timeout=seconds)
            task.cancel()
            await asyncio.wait([task])
            rows = await session.scalar(text("select count(*) from stopped"))
            assert rows == (0 if task.cancelled() else len(DATA))
            await session.execute(text("delete from stopped"))
    await engine.dispose()
