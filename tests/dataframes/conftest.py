"""A session on the tests' database, empty or with tables, for everything that makes frames."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest
from models import Base, Job, Level, Owner
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(make_url(database_url).set(drivername="postgresql+asyncpg"))
    yield engine
    await engine.dispose()


@pytest.fixture
async def session(engine: AsyncEngine) -> AsyncIterator[AsyncSession]:
    async with AsyncSession(engine, expire_on_commit=False) as session:
        yield session


@pytest.fixture
async def tables(session: AsyncSession) -> AsyncSession:
    """The session, in a transaction that has made the tables of `models`; the test's rollback unmakes them."""
    connection = await session.connection()
    await connection.run_sync(Base.metadata.create_all)
    return session


@pytest.fixture
async def jobs(tables: AsyncSession) -> AsyncSession:
    """The same with two jobs flushed: one full, one with NULL wherever it may."""
    owner = Owner(id=1, name="Ada")
    full = Job(
        id=2**53 + 1,
        title="load",
        cost=Decimal("12.50"),
        ratio=0.5,
        done=True,
        started=dt.datetime(2024, 5, 6, 12, tzinfo=dt.UTC),
        day=dt.date(2024, 5, 6),
        took=dt.timedelta(days=1, seconds=2),
        waited=1.5,
        level=Level.HIGH,
        secret="xyz",
        tags=["a", "b"],
        context={"k": [1]},
        owner=owner,
    )
    tables.add_all([owner, full, Job(id=2, tenant="b")])
    await tables.flush()
    return tables
