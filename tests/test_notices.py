"""What the server says beside its answers reaches a log, once, from any loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from tiers import few_of

from asyncdb_nb import Database, LoopBoundPool, frame, run
from asyncdb_nb.engine import notices

LOG = "asyncdb_nb.notices"
SAY = (
    "do $$ begin raise notice 'n'; raise warning using message = 'w', detail = 'd', hint = 'h'; raise info 'i'; end $$"
)
SAID = [
    (logging.INFO, "NOTICE:  n"),
    (logging.WARNING, "WARNING:  w\nDETAIL:  d\nHINT:  h"),
    (logging.INFO, "INFO:  i"),
]


@pytest.fixture
async def db(fresh_database_url: str) -> AsyncIterator[Database]:
    async with Database(fresh_database_url) as db:
        await db.execute(
            "create function told(n int) returns int language plpgsql as "
            "$$ begin raise notice 'it is %', n; return n; end $$"
        )
        yield db


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    return [(record.levelno, record.getMessage()) for record in caplog.records if record.name == LOG]


async def test_a_log_has_them_with_their_level(db: Database, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, LOG)

    await db.execute(SAY)

    assert said(caplog) == SAID


async def test_they_come_by_a_session_and_an_engine_with_the_pool(
    fresh_database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, LOG)
    url = fresh_database_url.replace("postgresql:", "postgresql+asyncpg:")
    engine = create_async_engine(url, poolclass=LoopBoundPool)
    async with engine.connect() as connection:
        await connection.execute(text(SAY))
    await engine.dispose()

    assert said(caplog) == SAID


def test_they_come_on_any_loop(database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, LOG)
    db = Database(database_url)

    for _ in range(2):
        asyncio.run(db.execute(SAY))
    run(db.execute(SAY))
    run(db.aclose())

    assert said(caplog) == SAID * 3


async def test_a_frame_that_is_read_again_tells_them_once(db: Database, caplog: pytest.LogCaptureFixture) -> None:
    """asyncpg by itself loses what COPY sent just before a NOTICE; where it does, the statement is run once more."""
    caplog.set_level(logging.DEBUG, LOG)

    for _ in range(2):
        assert (await db.frame("select told(n) as n from generate_series(1, 3) as n"))["n"].tolist() == [1, 2, 3]

    assert said(caplog) == [(logging.INFO, f"NOTICE:  it is {n}") for n in (1, 2, 3)] * 2


async def test_they_come_beside_the_parts_of_a_stream(db: Database, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, LOG)

    parts = [len(part) async for part in db.frames("select told(n) as n from generate_series(1, 3) as n", rows=2)]

    assert (parts, said(caplog)) == ([2, 1], [(logging.INFO, f"NOTICE:  it is {n}") for n in (1, 2, 3)])


async def test_a_frame_in_a_session_tells_them_and_so_does_what_follows(
    db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, LOG)
    async with db.session() as session:
        await frame(session, "select told(n) as n from generate_series(1, 3) as n -- in a session")
        await session.execute(text("select told(7)"))

    assert said(caplog) == [(logging.INFO, f"NOTICE:  it is {n}") for n in (1, 2, 3, 7)]


async def test_whoever_shows_them_keeps_them_from_the_log(db: Database, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, LOG)
    shown: list[notices.Notice] = []

    def show(notice: notices.Notice) -> bool:
        shown.append(notice)
        return not notice.says_skipping

    stop = notices.show_by(show)
    try:
        await db.execute("drop table if exists never_there; do $$ begin raise notice 'n'; end $$")
    finally:
        stop()

    skipping = notices.Notice("NOTICE", 'table "never_there" does not exist, skipping')
    assert [(each.message, each.says_skipping) for each in shown] == [(skipping.message, True), ("n", False)]
    assert said(caplog) == [(logging.INFO, str(skipping))]


@pytest.mark.parametrize(
    "statement",
    few_of(
        [
            *["drop table if exists nn", "drop schema if exists nn", "drop function if exists nn(int)"],
            *[
                "drop type if exists nn",
                "drop database if exists nn",
                "drop role if exists nn",
                "drop index if exists nn",
            ],
            *["create table if not exists yy (a int)", "create schema if not exists yy", "drop view if exists nn"],
            *["create index if not exists yy_i on yy (a)", "alter table yy add column if not exists a int"],
            *["alter table yy drop column if exists b", "alter table yy drop constraint if exists b"],
            *[
                "create sequence if not exists yy_s",
                "drop trigger if exists nn on yy",
                "drop policy if exists nn on yy",
            ],
        ],
        3,
    ),
)
async def test_what_if_exists_found_is_known_as_such(
    db: Database, statement: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, LOG)
    seen: list[notices.Notice] = []
    await db.execute("create table yy (a int); create schema yy; create index yy_i on yy (a); create sequence yy_s")
    stop = notices.show_by(lambda notice: seen.append(notice) or True)
    try:
        async with db.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            await connection.exec_driver_sql(statement)
    finally:
        stop()

    assert [(each.message.endswith(", skipping"), each.says_skipping) for each in seen] == [(True, True)]


def test_a_script_shows_warnings_on_stderr_and_notices_nowhere(run_script) -> None:  # type: ignore[no-untyped-def]
    done = run_script(
        f"import asyncio\nfrom asyncdb_nb import Database\nasync def main():\n"
        f"    async with Database() as db:\n        await db.execute({SAY!r})\nasyncio.run(main())",
        clean=False,
    )

    assert (done.returncode, done.stderr) == (0, "WARNING:  w\nDETAIL:  d\nHINT:  h\n")
