"""What looks at data does so in the transaction of a session that it is given, and leaves that as it was."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from asyncdb_nb import Database, UnknownTableError

LOOKS: dict[str, Callable[[Database, AsyncSession, Path], Awaitable[Any]]] = {
    "profile": lambda db, session, _: db.profile("lent", session=session, timeout=7),
    "profile of a statement": lambda db, session, _: db.profile("select a from lent", session=session, timeout=7),
    "explain": lambda db, session, _: db.explain("select a from lent", analyze=True, session=session, timeout=7),
    "diagram": lambda db, session, _: db.diagram("mine", session=session),
    "export": lambda db, session, path: db.export("select a from lent", path / "a.parquet", session=session),
}
SETTINGS = "select current_setting('statement_timeout'), current_setting('transaction_read_only'), count(*) from lent"


@pytest.fixture
async def db(fresh_database_url: str) -> AsyncIterator[Database]:
    async with Database(fresh_database_url) as db:
        yield db


@pytest.fixture
async def session(db: Database) -> Any:
    async with db.session() as session:
        await session.execute(text("create temp table lent as select g as a from generate_series(1, 5) g"))
        await session.execute(text("create schema mine"))
        await session.execute(text("create table mine.own (id int primary key)"))
        yield session
        await session.rollback()


@pytest.mark.parametrize("look", LOOKS)
async def test_it_sees_what_is_not_committed_and_changes_nothing(
    db: Database, session: AsyncSession, tmp_path: Path, look: str
) -> None:
    before = (await session.execute(text(SETTINGS))).one()

    found = await LOOKS[look](db, session, tmp_path)

    rows = {"profile": "rows", "explain": "actual_rows"}.get(look.split()[0])
    if rows:
        assert found.frame()[rows].tolist() == [5]
    elif look == "diagram":
        assert "own" in found.mermaid()
    else:
        assert pd.read_parquet(found.path)["a"].tolist() == [1, 2, 3, 4, 5]
    assert (await session.execute(text(SETTINGS))).one() == before
    await session.execute(text("insert into lent values (6)"))


async def test_the_transaction_goes_on_after_a_mistake(db: Database, session: AsyncSession) -> None:
    with pytest.raises(UnknownTableError, match=r"Did you mean mine\.own"):
        await db.profile("mine.owns", session=session)
    with pytest.raises(DBAPIError, match='column "b" does not exist'):
        await db.profile("select b from lent", session=session)
    with pytest.raises(DBAPIError, match='column "b" does not exist'):
        await db.explain("select b from lent", session=session)

    assert await session.scalar(text("select count(*) from lent")) == 5


@pytest.mark.parametrize("look", LOOKS)
async def test_what_is_no_session_is_refused_at_the_call(db: Database, tmp_path: Path, look: str) -> None:
    scope: Any = db.session()
    with pytest.raises(TypeError, match=r"session= takes an open AsyncSession: .*; got session_scope\."):
        LOOKS[look](db, scope, tmp_path)
