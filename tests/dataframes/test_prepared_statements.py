"""What frames leave prepared on the server: no more than the cache's size, under names of their own, or nothing."""

from __future__ import annotations

import gc
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from asyncdb_nb import Database, LoopBoundPool, frame, frames, table
from asyncdb_nb.database import reads

LARGE = "select g, g::text as t from generate_series(1, 700) g"
SIZE = 10


async def kept(session: AsyncSession) -> list[str]:
    """The names of what is prepared on the session's server connection, asked in a way that leaves nothing there."""
    driver_connection = (await (await session.connection()).get_raw_connection()).driver_connection
    asking = await driver_connection.prepare("select name from pg_prepared_statements", name="")
    return [row["name"] for row in await asking.fetch()]


@pytest.fixture(params=["Database", "bare engine", "engine of another pool"])
async def sized(request: pytest.FixtureRequest, database_url: str) -> AsyncIterator[AsyncEngine]:
    """An engine whose connections keep `SIZE` statements."""
    url = make_url(database_url).set(drivername="postgresql+asyncpg")
    size: dict[str, Any] = {"connect_args": {"prepared_statement_cache_size": SIZE}, "pool_size": 1, "max_overflow": 0}
    if request.param == "Database":
        async with Database(database_url, **size) as db:
            yield db.engine
    else:
        pool = {"poolclass": LoopBoundPool} if request.param == "bare engine" else {}
        engine = create_async_engine(url, **size, **pool)
        yield engine
        await engine.dispose()


async def test_scenario_44_frames_by_copy_leave_nothing_prepared(sized: AsyncEngine) -> None:
    async with AsyncSession(sized) as session:
        before = await kept(session)
        for turn in range(30):
            assert len(await frame(session, LARGE)) == 700
            assert (await table(session, f"{LARGE} where g > {turn}")).num_rows == 700 - turn
        assert [len(part) async for part in frames(session, LARGE, rows=500, exclusive=True)] == [500, 200]

        assert await kept(session) == before


async def test_small_frames_keep_what_the_cache_holds(sized: AsyncEngine) -> None:
    """Repeated, of different texts, by cursors, of statements that write, beside SQLAlchemy's own in the same cache."""
    async with AsyncSession(sized) as session:
        await session.execute(text("create temporary table counted (a int) on commit drop"))
        for turn in range(40):
            for _ in range(2):
                assert (await frame(session, f"select {turn} as a"))["a"].tolist() == [turn]
            assert len(await frame(session, f"insert into counted values ({turn}) returning a")) == 1
            assert len(await frame(session, f"explain select {turn}")) == 1
            assert [len(part) async for part in frames(session, f"select {turn} as b")] == [1]
            await session.execute(text(f"select {turn}"))
            await frame(session, f"select {turn} as last")
            await frame(session, f"select {turn} as last")
            assert len([name for name in await kept(session) if "stmt" not in name]) <= SIZE

        assert len(await kept(session)) <= SIZE + 2  # with those of SQLAlchemy that asyncpg closes next, and names


NONE_KEPT: list[dict[str, Any]] = [
    {"statement_cache_size": 0},
    {"statement_cache_size": 0, "prepared_statement_cache_size": 0},
    {"prepared_statement_cache_size": 0},
]


@pytest.mark.parametrize("arguments", NONE_KEPT, ids=["asyncpg", "both", "SQLAlchemy"])
async def test_a_cache_of_size_zero_keeps_nothing(database_url: str, arguments: dict[str, Any]) -> None:
    """Whichever of the two is switched off; asyncpg's introspection of an enum is asyncpg's, and kept by its cache."""
    async with Database(database_url, connect_args=arguments, pool_size=1, max_overflow=0) as db:
        async with db.session() as session:
            await session.execute(text("create type kept_mood as enum ('a')"))
        try:
            for _ in range(3):
                assert len(await db.frame("select 'a'::kept_mood as m, 2::money as price")) == 1
                assert len(await db.frame(LARGE)) == 700
                assert len([part async for part in db.frames(LARGE, rows=300)]) == 3
                async with db.session() as session:
                    assert len(await frame(session, "select 1 where 'a'::kept_mood = :m", {"m": "a"})) == 1
                    left = [name for name in await kept(session) if "stmt" not in name]
                assert left == []
        finally:
            async with db.session() as session:
                if arguments.get("statement_cache_size") == 0:
                    assert await kept(session) == []
                await session.execute(text("drop type kept_mood"))


async def test_names_are_those_of_the_users_function(database_url: str) -> None:
    given: list[str] = []

    def name() -> str:
        given.append(f"mine_{uuid4().hex}")
        return given[-1]

    async with Database(database_url, connect_args={"prepared_statement_name_func": name}, pool_size=1) as db:
        for _ in range(3):
            await db.frame("select 1 as a")
        async with db.session() as session:
            await session.execute(text("select 1"))
            names = await kept(session)

    assert len(names) >= 2
    assert set(names) <= set(given)


@pytest.mark.parametrize("engine_of", ["Database", "another pool"])
async def test_names_are_not_repeated_by_another_connection(database_url: str, engine_of: str) -> None:
    """Of frames always; of everything that SQLAlchemy and asyncpg prepare with the pool."""
    seen: list[str] = []
    for _ in range(2):
        if engine_of == "Database":
            async with Database(database_url) as db, db.session() as session:
                seen += await _names_of_some_work(session)
        else:
            engine = create_async_engine(make_url(database_url).set(drivername="postgresql+asyncpg"))
            async with AsyncSession(engine) as session:
                seen += [name for name in await _names_of_some_work(session) if "asyncdb" in name]
            await engine.dispose()

    assert len(seen) >= 4
    assert len(set(seen)) == len(seen)
    assert all(len(name.rsplit("_", 3)[-3]) == 32 for name in seen)  # random, not counted


async def _names_of_some_work(session: AsyncSession) -> list[str]:
    for number in range(2):
        for _ in range(2):
            await frame(session, f"select {number} as a")
    await session.execute(text("select cast(:a as int[])"), {"a": [1]})
    return await kept(session)


INVALIDATING = [
    "deallocate all",
    "DEALLOCATE PREPARE ALL",
    "-- all of them\n/* now */ deallocate all",
    "do $$ begin execute 'deallocate all'; end $$",
    "alter table changing add column b int default 2",
    "alter table changing alter column a type text",
]


@pytest.fixture
async def changing(database_url: str) -> AsyncIterator[Database]:
    """A database with a table `changing`, on one connection, which has prepared a select of it."""
    async with Database(database_url, pool_size=1, max_overflow=0) as db:
        async with db.session() as session:
            await session.execute(text("create table changing as select 1 as a"))
        for _ in range(3):
            await db.frame("select * from changing")
        yield db
        async with db.session() as session:
            await session.execute(text("drop table if exists changing"))


@pytest.mark.parametrize("statement", INVALIDATING)
async def test_a_frame_works_after_what_invalidates_it(changing: Database, statement: str) -> None:
    """In the same session, as soon as the statement ran; for SQLAlchemy's own statements, too."""
    async with changing.session() as session:
        await session.execute(text("select * from changing"))
        await session.execute(text(statement))

        again = await frame(session, "select * from changing")
        row = (await session.execute(text("select * from changing"))).one()

    assert [str(value) for value in row] == [str(value) for value in again.iloc[0]]
    assert (await changing.frame("select * from changing")).equals(again)


async def test_a_frame_works_after_discard_all(changing: Database) -> None:
    async with changing.engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text("discard all"))

    async with changing.session() as session:
        assert (await frame(session, "select * from changing"))["a"].tolist() == [1]


@pytest.mark.parametrize("how", ["savepoint", "transaction"])
async def test_a_frame_works_after_a_change_that_is_rolled_back(changing: Database, how: str) -> None:
    """What was prepared meanwhile is of a table that never was."""
    async with changing.session() as session:
        savepoint = await session.begin_nested()
        await session.execute(text("alter table changing add column b int"))
        for _ in range(3):
            assert list(await frame(session, "select * from changing")) == ["a", "b"]
        await (savepoint if how == "savepoint" else session).rollback()

        assert list(await frame(session, "select * from changing")) == ["a"]


async def test_a_frame_of_its_own_is_read_again_when_its_statement_is_gone(changing: Database) -> None:
    """Nothing was written, so nothing is lost: the driver's connection was told to forget it, past SQLAlchemy."""
    async with changing.session() as session:
        raw = await (await session.connection()).get_raw_connection()
        await raw.driver_connection.execute("deallocate all")

    assert (await changing.frame("select * from changing"))["a"].tolist() == [1]
    assert [part["a"].tolist() async for part in changing.frames("select * from changing")] == [[1]]


async def test_a_lost_statement_is_lost_once(changing: Database) -> None:
    """In a session the error ends the transaction; the next one prepares anew."""
    with pytest.raises(DBAPIError, match="does not exist"):
        async with changing.session() as session:
            raw = await (await session.connection()).get_raw_connection()
            await raw.driver_connection.execute("deallocate all")
            await frame(session, "select * from changing")

    async with changing.session() as session:
        assert (await frame(session, "select * from changing"))["a"].tolist() == [1]


async def _load(db: Database, turns: range) -> None:
    chance = random.Random(turns.start)
    for turn in turns:
        assert len(await db.frame(f"{LARGE} where g <> {turn % 5}")) in (699, 700)
        number = chance.randrange(2_000)
        assert (await db.frame(f"select {number} as a"))["a"].tolist() == [number]


async def _memory(db: Database) -> tuple[int, int, int]:
    """Bytes of the server's process, and objects and bytes of this one."""
    sizes = await db.frame("select sum(used_bytes)::int8 as used from pg_backend_memory_contexts")
    gc.collect()
    return int(sizes["used"][0]), len(gc.get_objects()), _resident()


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("settle", "turns"),
    [
        pytest.param(200, 400, marks=pytest.mark.second_tier),
        pytest.param(1_000, 20_000, marks=[pytest.mark.soak, pytest.mark.timeout(3_600)]),
    ],
)
async def test_scenario_84_memory_is_flat_on_both_sides(database_url: str, settle: int, turns: int) -> None:
    """Frames by COPY and small ones of 2,000 different texts: statements, the server's memory and ours do not grow."""
    async with Database(database_url, pool_size=1, max_overflow=0) as db:
        await _load(db, range(settle))
        server, objects, resident = await _memory(db)
        await _load(db, range(settle, settle + turns))
        after = await _memory(db)
        async with db.session() as session:
            names = await kept(session)

    assert len(names) <= 100
    assert after[0] - server < 2_000_000  # a hundred statements take that; 400 that are never closed take 50,000,000
    assert after[1] - objects < 30_000  # texts and compiled statements that SQLAlchemy and `sizes` keep
    assert after[2] - resident < 60_000_000


async def test_a_frame_that_is_read_again_uses_nothing_that_was_prepared_meanwhile(database_url: str) -> None:
    """As where a pooler gives each transaction another server connection: another task has prepared the statement."""
    statement = "select 1 as one"

    async def prepare_and_lose(db: Database) -> None:
        for _ in range(3):  # the first ones are few rows, so that from then on the statement is kept
            await db.frame(statement)
        async with db.engine.connect() as connection:
            raw: Any = (await connection.get_raw_connection()).driver_connection
            await raw.execute("deallocate all")

    @asynccontextmanager
    async def scope() -> AsyncIterator[AsyncSession]:
        await prepare_and_lose(db)
        async with db.session(readonly=True) as session:
            attempts.append(session)
            yield session

    async with Database(database_url, pool_size=1, max_overflow=0) as db:
        attempts: list[AsyncSession] = []

        got = await reads.whole(scope, frame, statement, None, {})

    assert got["one"].tolist() == [1]
    assert len(attempts) == 2
