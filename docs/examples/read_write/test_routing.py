"""Each test on its own loop, with two engines."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from routing import Base, Page, primary, session
from sqlalchemy import select, text, update
from sqlalchemy.exc import DBAPIError


@pytest.fixture(autouse=True)
async def tables() -> AsyncIterator[None]:
    async with primary.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield
    async with primary.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)


IS_READ_ONLY = text("select current_setting('transaction_read_only') = 'on'")


@pytest.mark.parametrize("writes", [False, True])
async def test_reads_go_to_the_replica_unless_the_primary_is_wanted(writes: bool) -> None:
    async with session(writes=writes) as asking:
        assert await asking.scalar(IS_READ_ONLY) is not writes


async def test_what_was_written_is_read_afterwards() -> None:
    async with session() as writing, writing.begin():
        writing.add(Page(title="Draft"))
    async with session() as writing, writing.begin():
        await writing.execute(update(Page).values(title="Ready"))

    async with session() as reading:
        assert list(await reading.scalars(select(Page.title))) == ["Ready"]
        assert await reading.scalar(IS_READ_ONLY)


async def test_a_session_that_has_written_sees_what_it_wrote() -> None:
    async with session() as writing:
        writing.add(Page(title="Draft"))
        await writing.flush()
        assert list(await writing.scalars(select(Page.title))) == ["Draft"]


async def test_a_text_that_writes_is_refused_by_the_replica() -> None:
    async with session() as reading:
        with pytest.raises(DBAPIError, match="read-only transaction"):
            await reading.execute(text("insert into page (title) values ('lost')"))


async def test_many_readers_beside_a_writer() -> None:
    async def read() -> bool:
        async with session() as reading:
            return bool(await reading.scalar(IS_READ_ONLY))

    async def write() -> None:
        async with session() as writing, writing.begin():
            writing.add(Page(title="Draft"))

    assert await asyncio.gather(read(), write(), read(), write(), read()) == [True, None, True, None, True]
