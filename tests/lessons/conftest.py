"""A sample that no test of this folder changes, and the judgement of one answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from asyncdb_nb import Database
from asyncdb_nb.lessons import check, check_answers
from asyncdb_nb.workflows import ensure_sample


@pytest.fixture(scope="session")
def sample_url(server: Any, server_watch: Any) -> str:
    """The URL of a database with the sample."""
    server_watch.query("create database lessons")
    url = str(server.url).replace("/postgres?", "/lessons?")

    async def fill() -> None:
        async with Database(url) as db:
            await ensure_sample(db)

    asyncio.run(fill())
    return url


@pytest.fixture
async def db(sample_url: str) -> AsyncIterator[Database]:
    async with Database(sample_url) as database:
        yield database
        while database.engine.pool.checkedout():  # by a stream that a wrong answer has left, which ends in a moment
            await asyncio.sleep(0.01)


@pytest.fixture
def faulty(db: Database) -> Callable[..., Awaitable[str]]:
    """What is said of a wrong answer: a sentence at first, and with the second try a hint as well."""

    async def told(exercise: str, *answers: Any, db: Database = db) -> str:
        check_answers._wrong.clear()
        first, second = await check(exercise, db, *answers), await check(exercise, db, *answers)
        assert not first.right
        assert not second.right
        assert first.hint is None
        untouched = "still `...`" in first.sentence or "is None" in first.sentence or "`await` is mis" in first.sentence
        assert (second.hint is None) == untouched
        assert first.sentence == second.sentence
        assert first.sentence.endswith(".")
        return first.sentence

    return told


@pytest.fixture
def right(db: Database) -> Callable[..., Awaitable[None]]:
    """That an answer is found right."""

    async def found(exercise: str, *answers: Any, db: Database = db) -> None:
        verdict = await check(exercise, db, *answers)
        assert verdict.right, verdict

    return found
