"""`db.execute`: what changes something runs in one transaction, and says what it did."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pandas as pd
import pytest
from server_checks import ServerWatch
from sqlalchemy import Column, Integer, MetaData, Table, insert, text
from sqlalchemy.exc import DBAPIError, ProgrammingError
from waiting import wait_until

from asyncdb_nb import Database
from asyncdb_nb.errors import FrameError, ScriptError, UnknownOptionError

T = "script_t"


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    async with Database(database_url, pool_size=1, max_overflow=0) as db:
        await db.execute(f"create table {T} (id int primary key, name text); insert into {T} values (1, 'one')")
        yield db
        await db.execute(f"drop table {T}")


async def rows(db: Database) -> list[int]:
    return (await db.frame(f"select id from {T} order by id"))["id"].tolist()


@pytest.mark.parametrize(
    ("statement", "changed", "left"),
    [
        (f"insert into {T} select g from generate_series(2, 4) g", 3, [1, 2, 3, 4]),
        (f"update {T} set name = 'x'", 1, [1]),
        (f"delete from {T} where id > 5", 0, [1]),
        (f"merge into {T} using (values (1), (9)) v(i) on id = i when matched then delete "
         "when not matched then insert values (i)", 2, [9]),
        (f"create temp table gone on commit drop as select * from {T}", 1, [1]),
        (f"comment on table {T} is 'a'", 0, [1]),
        (f"insert into {T} values (2); select 7; delete from {T} where id = 1; comment on table {T} is 'a;b'", 2, [2]),
        (f"with new as (insert into {T} values (2), (3) returning id) insert into {T} select id + 10 from new", 2,
         [1, 2, 3, 12, 13]),
        (f"do $$ begin insert into {T} values (2); end $$", 0, [1, 2]),
    ],
)  # fmt: skip
async def test_it_returns_how_many_rows_changed(db: Database, statement: str, changed: int, left: list[int]) -> None:
    assert await db.execute(statement) == changed
    assert await rows(db) == left


async def test_it_returns_the_rows_of_the_last_statement_with_the_dtypes_of_a_frame(db: Database) -> None:
    found = await db.execute(
        f"update {T} set name = :name; insert into {T} values (:id, :name) returning id, name, :id::numeric(5, 2) as n",
        {"id": 2, "name": "b"},
    )

    assert isinstance(found, pd.DataFrame)
    same = await db.frame("select 2 as id, 'b'::text as name, 2::numeric(5, 2) as n")
    pd.testing.assert_frame_equal(found, same)
    assert (await db.frame(f"select name from {T}"))["name"].tolist() == ["b", "b"]


async def test_constructs_of_sqlalchemy_are_executed(db: Database) -> None:
    table = Table(T, MetaData(), Column("id", Integer))

    assert await db.execute(insert(table).values(id=5)) == 1
    assert (await db.execute(insert(table).values(id=6).returning(table.c.id)))["id"].tolist() == [6]
    assert await db.execute(text(f"delete from {T} where id > :n"), {"n": 4}) == 2


async def test_a_script_that_fails_keeps_nothing_and_names_the_statement(db: Database) -> None:
    with pytest.raises(ProgrammingError) as failed:
        await db.execute(f"insert into {T} values (2);\ndelete from {T};\n\nselect 1\n frm {T};\nselect 2")

    assert "Line 5:  frm script_t\n" in str(failed.value)
    assert failed.value.__notes__[-1].startswith("That was statement 3 of 4, on line 4. Nothing of the script is kept")
    assert await rows(db) == [1]


async def test_a_script_that_is_stopped_keeps_nothing(db: Database, clean_server: ServerWatch) -> None:
    task = asyncio.create_task(db.execute(f"insert into {T} values (2); select pg_sleep(600)"))
    asleep = "select 1 from pg_stat_activity where wait_event = 'PgSleep'"
    await asyncio.to_thread(wait_until, lambda: bool(clean_server.query(asleep)))

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert await rows(db) == [1]


async def test_a_deferred_constraint_fails_the_whole_script(db: Database) -> None:
    with pytest.raises(DBAPIError, match="deferred_key"):
        await db.execute(
            f"alter table {T} add constraint deferred_key unique (name) deferrable initially deferred;"
            f"insert into {T} values (2, 'one')"
        )

    assert await rows(db) == [1]


@pytest.mark.parametrize(
    "script",
    [
        *[
            "begin; select 1; commit",
            "select 1;\nCOMMIT",
            "start transaction",
            "select 1; end",
            "rollback",
            "abort work",
        ],
        *["prepare transaction 'x'", "-- first\nbegin", "commit and chain"],
    ],
)
async def test_a_script_has_no_transaction_of_its_own(db: Database, script: str) -> None:
    with pytest.raises(ScriptError, match="has no place in a script") as refused:
        db.execute(f"delete from {T};{script}")

    assert "Nothing was run." in str(refused.value)
    assert await rows(db) == [1]


async def test_savepoints_are_the_scripts_own(db: Database) -> None:
    await db.execute(f"savepoint a; delete from {T}; rollback to savepoint a; insert into {T} values (3); release a")

    assert await rows(db) == [1, 3]


@pytest.mark.parametrize("copy", [f"copy {T} from stdin", f"copy (select * from {T}) to stdout with (format csv)"])
async def test_copy_with_a_client_is_refused(db: Database, copy: str) -> None:
    with pytest.raises(ScriptError, match=r"await db\.export"):
        db.execute(copy)


@pytest.mark.parametrize(
    "statement",
    [f"vacuum {T}", "create database never", f"create index concurrently i on {T} (id)", "do $$ begin commit; end $$"],
)
async def test_what_runs_in_no_transaction_is_told_how_to_run(db: Database, statement: str) -> None:
    with pytest.raises(DBAPIError) as refused:
        await db.execute(statement)

    assert 'execution_options(isolation_level="AUTOCOMMIT")' in refused.value.__notes__[0]


async def test_what_that_advice_says_works(db: Database) -> None:
    async with db.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        await connection.exec_driver_sql(f"vacuum {T}")
    assert await db.execute(f"delete from {T}") == 1


async def test_a_write_that_only_reads_may_do_says_what_to_type(db: Database) -> None:
    with pytest.raises(FrameError, match=r"await db\.execute\(\.\.\.\)`, `%%asql --write`"):
        await db.frame(f"delete from {T}")
    with pytest.raises(DBAPIError) as refused:
        await db.frame(f"delete from {T} returning id")
    with pytest.raises(DBAPIError) as several:
        await db.frame(f"select 1; delete from {T}")

    for error in (refused, several):
        assert "`%%asql --write`" in error.value.__notes__[0]
        assert "`await db.execute(...)`" in error.value.__notes__[0]
    assert await rows(db) == [1]


async def test_arguments_are_checked_before_anything_runs(db: Database) -> None:
    for empty in ("", " ;; -- nothing"):
        with pytest.raises(FrameError, match="empty"):
            db.execute(empty)
    with pytest.raises(FrameError, match=":id"):
        db.execute(f"delete from {T}; delete from {T} where id = :id", {})
    with pytest.raises(FrameError, match="'other'"):
        db.execute(f"delete from {T}", {"other": 1})
    with pytest.raises(UnknownOptionError, match=r"db\.execute\(\) has no option 'id'"):
        db.execute(f"delete from {T}", id=1)
    pending = db.execute(f"delete from {T}")
    assert repr(pending) == "Nothing has run yet. Type: await db.execute(...)"
    pending.close()
    assert await rows(db) == [1]


async def test_a_timeout_ends_a_statement(db: Database) -> None:
    with pytest.raises(DBAPIError, match="statement timeout"):
        await db.execute(f"delete from {T}; select pg_sleep(600)", timeout=0.2)

    assert await rows(db) == [1]


async def test_ddl_is_noticed_by_frames_of_every_connection(db: Database) -> None:
    before = await db.frame(f"select * from {T}")
    await db.execute(f"alter table {T} add extra int")

    assert [*before.columns, "extra"] == list((await db.frame(f"select * from {T}")).columns)


async def test_nothing_is_left_prepared(db: Database) -> None:
    for number in range(5):
        await db.execute(f"insert into {T} values (:id)", {"id": 10 + number})

    left = await db.frame("select statement from pg_prepared_statements where statement like 'insert%'")
    assert left.empty
