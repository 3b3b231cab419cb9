"""The last statements of a database: from where, how many rows, what became of them; and nothing of their values."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from server_checks import ServerWatch
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from waiting import wait_until

from asyncdb_nb import Database, frame, write
from asyncdb_nb.engine import history

HERE = Path(__file__).name


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    async with Database(database_url) as db:
        yield db


async def test_it_says_what_was_asked_from_where_and_what_became_of_it(db: Database) -> None:
    line = asyncio.current_task().get_coro().cr_frame.f_lineno  # type: ignore[union-attr]
    await db.frame("select g from generate_series(1, 7) g")
    async with db.session() as session:
        await session.execute(text("create temp table h (id int) on commit drop"))
        await session.execute(text("insert into h select generate_series(1, 3)"))
        await frame(session, "select * from h")
    with pytest.raises(DBAPIError):
        await db.frame("select 1 / 0")

    found = db.history()

    assert found.columns.tolist() == ["when", "where", "statement", "rows", "ms", "outcome"]
    assert found["statement"].tolist() == [
        "select 1 / 0",
        "select * from h",
        "insert into h select generate_series(1, 3)",
        "create temp table h (id int) on commit drop",
        "select g from generate_series(1, 7) g",
    ]
    assert found["rows"].tolist()[1:3] == [3, 3]
    assert found["rows"].tolist()[4] == 7
    assert found["outcome"].tolist() == ["failed: DivisionByZeroError (22012)", "ok", "ok", "ok", "ok"]
    assert [where.rpartition("/")[2] for where in found["where"]] == [
        f"{HERE}:{line + n}" for n in (7, 5, 4, 3, 1)
    ]  # fmt: skip
    assert (found["ms"] > 0).all()
    assert found["when"].is_monotonic_decreasing


@pytest.mark.second_tier
@pytest.mark.parametrize("rows", [0, 1, 700, 60_000])
async def test_rows_are_counted_whichever_way_they_came(db: Database, rows: int) -> None:
    for _ in range(3):
        await db.frame("select g as a, g::text as b from generate_series(1, :rows) g", {"rows": rows})
        await db.table("select row(g) as r from generate_series(1, :rows) g", {"rows": rows})

    assert db.history()["rows"].tolist() == [rows] * 6


async def test_nothing_is_kept_of_values(db: Database) -> None:
    secret = "s3cret-value"
    await db.frame("select :x as x", {"x": secret})
    with pytest.raises(DBAPIError, match=secret):
        await db.frame("select cast(:x as text)::int", {"x": secret})

    assert secret not in db.history().to_string()
    assert secret not in str([getattr(e, n) for e in db._history._entries for n in e.__slots__])


def sleep(db: Database, way: str, path: Path) -> Coroutine[Any, Any, Any]:
    """Ask for something that takes ten minutes, in one way or another."""

    async def parts(row: str) -> None:
        async for _ in db.frames(f"select {row} as r"):
            pass

    return {
        "whole": lambda: db.frame("select pg_sleep(600)"),
        "slices": lambda: db.frame("select row(pg_sleep(600))", max_rows=10_000),
        "parts": lambda: parts("pg_sleep(600) is null"),
        "parts of rows": lambda: parts("row(pg_sleep(600))"),
        "export": lambda: db.export("select pg_sleep(600) is null as slept", path / "slept.csv"),
        "explain": lambda: db.explain("select pg_sleep(600)", analyze=True, timeout=700),
    }[way]()


@pytest.mark.parametrize("way", ["whole", "slices", "parts", "parts of rows", "export", "explain"])
async def test_a_statement_that_runs_and_one_that_is_cancelled_are_called_so(
    db: Database, clean_server: ServerWatch, tmp_path: Path, way: str
) -> None:
    task = asyncio.create_task(sleep(db, way, tmp_path))
    asleep = "select 1 from pg_stat_activity where wait_event = 'PgSleep'"
    await asyncio.to_thread(wait_until, lambda: bool(clean_server.query(asleep)))
    await asyncio.to_thread(wait_until, lambda: db.history()["outcome"].tolist() == ["running"])

    task.cancel()
    await asyncio.wait([task])

    assert db.history()["outcome"].tolist() == ["cancelled"]


@pytest.mark.parametrize("type_", ["int", "record"])
async def test_of_parts_the_time_until_the_last_one_counts(db: Database, type_: str) -> None:
    row = "g" if type_ == "int" else "row(g)"
    parts = db.frames(f"select {row} as r from generate_series(1, 30000) g where pg_sleep(g / 30000) is not null")
    assert sum([len(part) async for part in parts]) == 30_000

    [entry] = db.history().itertuples()
    assert entry.outcome == "ok"
    assert entry.ms > 1000  # the last row takes a second


async def test_it_is_bounded_and_holds_no_rows(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(history.MOST + 20):
        db._history._entries.append(history.Entry(f"{number:05}" + "x" * 5000, []))

    assert len(db.history()) == history.MOST
    assert db.history()["statement"].str.len().max() == history.LONGEST + 1
    got = await db.frame("select repeat('y', 1000) as y from generate_series(1, 3000)")
    kept = weakref.ref(got)
    del got
    gc.collect()
    assert kept() is None


async def test_what_the_package_asks_for_itself_is_not_in_it(db: Database) -> None:
    async with db.session(readonly=True, timeout=5) as session:
        await session.execute(text("select 1"))
    assert [len(part) async for part in db.frames("select 2")] == [1]
    with pytest.raises(DBAPIError):
        await db.frame("select * from nothing_like_it")
    await db.tables()
    await db.describe("pg_class")
    await db.diagram()
    async with db.snapshot() as snapshot, snapshot.session() as session, session.begin_nested():
        await session.execute(text("select 3"))
    await db.explain("select 4")

    assert db.history()["statement"].tolist() == [
        "EXPLAIN (FORMAT JSON, VERBOSE) select 4",
        "select 3",
        "select * from nothing_like_it",
        "select 2",
        "select 1",
    ]


async def test_a_write_is_one_entry_with_its_rows_whatever_it_takes(db: Database) -> None:
    data = pd.DataFrame({"id": [1, 2, 3]})
    async with db.session() as session:
        await session.execute(text("create temp table h (id int primary key) on commit drop"))
        await write(session, data, "h")
        await write(session, data, "h", if_exists="upsert", key="id")
        with pytest.raises(DBAPIError):
            await write(session, data, "h")

    found = db.history()
    assert found["statement"].tolist()[:3] == [
        "COPY h FROM STDIN (FORMAT binary)",
        "COPY h FROM STDIN (FORMAT binary) -- if_exists='upsert'",
        "COPY h FROM STDIN (FORMAT binary)",
    ]
    assert found["rows"].tolist()[1:3] == [0, 3]
    assert found["outcome"].tolist()[:3] == ["failed: UniqueViolationError (23505)", "ok", "ok"]


async def test_two_databases_have_one_each_and_an_empty_one_has_its_dtypes(db: Database, database_url: str) -> None:
    async with Database(database_url) as other:
        await other.frame("select 1")
        assert len(other.history()) == 1
    empty = db.history()
    assert len(empty) == 0
    assert [str(d) for d in empty.dtypes] == [str(d) for d in other.history().dtypes]
