"""A connection that is lost amid a transaction: the error says what became of it, and the next block works."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from server_checks import ServerWatch
from sqlalchemy import NullPool, text
from sqlalchemy.exc import DBAPIError, PendingRollbackError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from waiting import until, wait_until

from asyncdb_nb import Database, session_scope
from asyncdb_nb.database.commit import UNKNOWN
from asyncdb_nb.engine.lost_connections import LOST

INSERT = text("insert into lost_connections values (1)")
PID = text("select pg_backend_pid()")


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    """A database with one connection, so that one that is not given back shows at once."""
    async with Database(database_url, pool_size=1, max_overflow=0, pool_timeout=0.5) as db:
        await db.execute("create table lost_connections (a int)")
        yield db
        assert db.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
        await db.execute("drop table lost_connections")


Block = Callable[[Database], AbstractAsyncContextManager[Any]]
BLOCKS: dict[str, Block] = {
    "db.session": lambda db: db.session(),
    "session_scope": lambda db: session_scope(db.engine),
    "engine.begin": lambda db: db.engine.begin(),
    "a session of SQLAlchemy's": lambda db: AsyncSession(db.engine),
}
LIMITS = {
    "idle": "set local idle_in_transaction_session_timeout = 10",
    "too long": "set local transaction_timeout = 100",
}


def is_gone(watch: ServerWatch, pid: int) -> bool:
    return not any(backend.pid == pid for backend in watch.backends())


async def driver_of(open_: Any) -> Any:
    connection = await open_.connection() if isinstance(open_, AsyncSession) else open_
    return (await connection.get_raw_connection()).driver_connection


async def has_rows(db: Database) -> bool:
    return bool(len(await db.frame("select a from lost_connections")))


@pytest.mark.parametrize("limit", LIMITS.values(), ids=LIMITS)
@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
async def test_a_transaction_that_the_server_ended_says_so_at_its_commit(
    db: Database, clean_server: ServerWatch, block: Block, limit: str
) -> None:
    with pytest.raises(DBAPIError) as lost:
        async with block(db) as open_:
            await open_.execute(INSERT)
            driver = await driver_of(open_)
            await open_.execute(text(limit))
            await until(driver.is_closed)
            if isinstance(open_, AsyncSession):
                await open_.commit()

    assert lost.value.__notes__ == [LOST]
    assert not await has_rows(db)


@pytest.mark.parametrize("block", ["db.session", "session_scope"])
async def test_so_does_one_that_is_ended_while_the_loop_is_busy(
    db: Database, clean_server: ServerWatch, block: str
) -> None:
    """asyncpg has not yet seen that the server hung up."""
    with pytest.raises(DBAPIError) as lost:
        async with BLOCKS[block](db) as session:
            await session.execute(INSERT)
            pid = (await session.execute(PID)).scalar_one()
            clean_server.query("select pg_terminate_backend(%s)", pid)
            wait_until(lambda: is_gone(clean_server, pid))

    assert lost.value.__notes__ == [LOST]
    assert lost.value.connection_invalidated
    assert not await has_rows(db)


async def test_a_session_on_another_pool_says_so_too(
    database_url: str, db: Database, clean_server: ServerWatch
) -> None:
    engine = create_async_engine(database_url.replace("postgresql:", "postgresql+asyncpg:"), poolclass=NullPool)
    with pytest.raises(DBAPIError) as lost:
        async with session_scope(engine) as session:
            await session.execute(INSERT)
            driver = await driver_of(session)
            clean_server.query("select pg_terminate_backend(%s)", driver.get_server_pid())
            await until(driver.is_closed)

    assert lost.value.__notes__ == [LOST]
    await engine.dispose()


async def test_a_statement_on_a_lost_connection_says_what_became_of_those_before_it(
    db: Database, clean_server: ServerWatch
) -> None:
    with pytest.raises(DBAPIError) as lost:
        async with db.session() as session:
            await session.execute(INSERT)
            pid = await session.scalar(PID)
            clean_server.query("select pg_terminate_backend(%s)", pid)
            await session.execute(text("select pg_sleep(60)"))

    assert lost.value.__notes__ == [LOST]
    assert not await has_rows(db)


async def test_a_commit_that_was_on_its_way_may_have_been_kept(db: Database, clean_server: ServerWatch) -> None:
    await db.execute("""
        create function linger() returns trigger language plpgsql as 'begin perform pg_sleep(60); return null; end';
        create constraint trigger linger after insert on lost_connections
        deferrable initially deferred for each row execute function linger()
    """)

    with pytest.raises(DBAPIError) as lost:
        async with db.session() as session:
            await session.execute(INSERT)
            pid = await session.scalar(PID)
            running = "select 1 from pg_stat_activity where pid = %s and query like 'COMMIT%%' and state = 'active'"
            ending = asyncio.ensure_future(
                asyncio.to_thread(
                    lambda: (
                        wait_until(lambda: clean_server.query(running, pid)),
                        clean_server.query("select pg_terminate_backend(%s)", pid),
                    )
                )
            )

    await ending
    assert lost.value.__notes__ == [UNKNOWN]
    await db.execute("drop function linger cascade")


async def test_an_error_of_the_block_is_kept_when_its_connection_is_lost(
    db: Database, clean_server: ServerWatch
) -> None:
    with pytest.raises(KeyError, match="mine") as caught:
        async with db.session() as session:
            await session.execute(INSERT)
            clean_server.query("select pg_terminate_backend(%s)", await session.scalar(PID))
            raise KeyError("mine")

    assert caught.value.__notes__ == ["The connection was lost meanwhile, and its transaction was rolled back with it."]
    assert not await has_rows(db)


async def test_a_block_that_caught_a_timeout_and_went_on_says_that_nothing_was_kept(db: Database) -> None:
    with pytest.raises(PendingRollbackError) as lost:
        async with db.session() as session:
            await session.execute(INSERT)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await session.execute(text("select pg_sleep(60)"))

    [note] = lost.value.__notes__
    assert "nothing of the transaction was kept" in note
    assert not await has_rows(db)
    async with db.session() as session:
        await session.execute(INSERT)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await session.execute(text("select pg_sleep(60)"))
        await session.rollback()  # as the note says
        await session.execute(INSERT)
    assert len(await db.frame("select a from lost_connections")) == 1


@pytest.mark.parametrize("raises", [False, True], ids=["committed", "with an error of the block"])
async def test_a_prepared_transaction_that_is_left_on_the_server_is_named(
    db: Database, clean_server: ServerWatch, raises: bool
) -> None:
    with pytest.raises((DBAPIError, KeyError)) as lost:
        async with db.session(twophase=True) as session:
            await session.execute(INSERT)
            driver = await driver_of(session)
            await session.run_sync(lambda sync: sync.prepare())
            clean_server.query("select pg_terminate_backend(%s)", driver.get_server_pid())
            await until(driver.is_closed)
            if raises:
                raise KeyError("mine")

    [note] = lost.value.__notes__
    [[gid]] = clean_server.query("select gid from pg_prepared_xacts")
    assert f"COMMIT PREPARED '{gid}', or ROLLBACK PREPARED '{gid}'" in note
    async with db.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        await connection.execute(text(f"COMMIT PREPARED '{gid}'"))
    assert await has_rows(db)
