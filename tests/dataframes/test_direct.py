"""A text that gave few rows is read without a session: with equal results, and with all that a session keeps."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Generator
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

import asyncpg
import pytest
from pandas.testing import assert_frame_equal
from server_checks import ServerWatch
from sqlalchemy import event, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
from test_types import CASES, OWN_TYPES
from waiting import until

from asyncdb_nb import Database, FrameError, trace
from asyncdb_nb.database import read_without_session
from asyncdb_nb.dataframes import libraries
from asyncdb_nb.pytest_plugin.isolation.rollback import OneTransaction


@pytest.fixture
def without_session(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each frame, whether it was read without a session."""
    taken: list[bool] = []
    read = read_without_session.read

    async def noted(*args: Any) -> Any:
        made = await read(*args)
        taken.append(made is not None)
        return made

    monkeypatch.setattr(read_without_session, "read", noted)
    return taken


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    async with Database(database_url) as db:
        yield db


@pytest.fixture
async def plain(database_url: str) -> AsyncIterator[Database]:
    """A database whose frames need a session, because it was given a class for them."""
    async with Database(database_url, sessionmaker=AsyncSession) as db:
        yield db


async def known(db: Database, statement: str, params: Any = None) -> None:
    """Read a statement once, after which it is known that it gives few rows."""
    await db.frame(statement, params)


# --- Equal results ---

STATEMENTS: list[tuple[str, dict[str, Any] | None]] = [
    ("select 1 as a, 2 as a, 3", None),
    ("select g, g * 0.5 as half, g::text as t, nullif(g, 3) as n from generate_series(1, 40) g;", None),
    ("select g from generate_series(1, 0) g", None),
    ("values (1, 'x'), (2, null) -- with a comment: :no bind", None),
    ("select '%(x)s' as p, 'a:b' as c, 5 % 3 as r, $$ :x $$ as d", None),
    ("select :a::int + :b as c, :a::int as a, upper(:t) as t", {"t": "x", "b": 2, "a": 1}),
    (r"select :day::text::date as day, 'a\:b' as c, 1\:\:int2 as i, :n::text as n", {"day": "2024-02-29", "n": None}),
    ("select * from unnest(:ids::int8[]) with ordinality as u(id, place)", {"ids": [3, None, 1]}),
    ("select :doc::jsonb as doc, :doc::jsonb -> 'k' as k", {"doc": {"k": [1, None]}}),
    ("select row(1, 'a', now() - now(), row(null, 2.50)) as r, array[row(1, date '2024-01-01')] as rs", None),
    ("show timezone", None),
    ("explain (costs off) select 1", None),
    ("select from generate_series(1, 3)", None),
]


@pytest.mark.parametrize(("statement", "params"), STATEMENTS, ids=[statement[:30] for statement, _ in STATEMENTS])
@pytest.mark.parametrize("options", [{}, {"dtype_backend": "pyarrow"}, {"numeric": "float"}], ids=str)
async def test_a_frame_is_the_one_of_a_session(
    db: Database,
    plain: Database,
    without_session: list[bool],
    statement: str,
    params: dict[str, Any] | None,
    options: dict[str, Any],
) -> None:
    for database in (db, plain):
        await known(database, statement, params)
    without_session.clear()

    for _ in range(3):
        found, expected = await db.frame(statement, params, **options), await plain.frame(statement, params, **options)
        assert_frame_equal(found, expected)
        reports = [dict(frame.attrs["asyncdb"], seconds=0) for frame in (found, expected)]
        assert reports[0] == reports[1]

    assert without_session == [True] * 3


async def test_every_type_is_the_one_of_a_session(fresh_database_url: str, without_session: list[bool]) -> None:
    """With a value, with NULL, and with both in many rows; as a frame and as a table."""
    async with Database(fresh_database_url) as db, Database(fresh_database_url, sessionmaker=AsyncSession) as plain:
        await run(db, OWN_TYPES)
        for sql, literal, *_ in CASES:
            value = "'" + literal.replace("'", "''") + f"'::{sql}"
            for rows in ("1", "30"):
                statement = (
                    f"select {value} as v, null::{sql} as n, case when g % 3 > 0 then {value} end as m "
                    f"from generate_series(1, {rows}) g"
                )
                for database in (db, plain):
                    await known(database, statement)
                without_session.clear()

                assert_frame_equal(await db.frame(statement), await plain.frame(statement))
                found, expected = await db.table(statement), await plain.table(statement)

                assert found.schema == expected.schema
                for column, same in zip(found.columns, expected.columns, strict=True):  # NaN is not equal to itself
                    assert column.equals(same) or column.to_string(window=30) == same.to_string(window=30)
                assert without_session == [True, True], sql


async def test_an_anonymous_row_may_hold_types_that_have_to_be_asked_for(
    fresh_database_url: str, without_session: list[bool]
) -> None:
    async with Database(fresh_database_url) as db:
        await run(db, "create type mood as enum ('calm', 'tense')")
        for _ in range(3):
            found = await db.frame("select row(1, 'calm'::mood) as r")
            assert [tuple(value) for value in found["r"]] == [(1, "calm")]

    assert without_session == [False, True, True]


async def test_a_statement_that_grew_is_read_whole_and_then_by_copy(
    fresh_database_url: str, without_session: list[bool]
) -> None:
    async with Database(fresh_database_url) as db:
        await run(db, "create table grown as select g, 'x' || g as t from generate_series(1, 3) g")
        await known(db, "select * from grown")
        await run(db, "insert into grown select g, 'x' || g from generate_series(4, 30000) g")

        found = [
            await db.frame("select * from grown order by g"),
            *[await db.frame("select * from grown") for _ in "12"],
        ]

        assert [len(frame) for frame in found] == [30_000] * 3
        assert [frame.attrs["asyncdb"]["path"] for frame in found] == ["copy", "rows", "copy"]
        assert_frame_equal(found[0], found[1].sort_values("g", ignore_index=True))
    assert without_session == [False, False, True, False]


# --- Errors ---


@pytest.mark.parametrize(
    ("statement", "good", "bad"),
    [
        ("select 1 / :a::int as q", {"a": 1}, {"a": 0}),
        ("select :a::int as q", {"a": 1}, {"a": "x"}),
        ("select 1 as one where 1 in (:a)", {"a": 1}, {"a": [1, 2]}),
        ("select 'x'::text where :a::date is null", {"a": None}, {"a": "2024-02-30"}),
        ("select nullif(:a, 'x')::int as q", {"a": "1"}, {"a": "x1"}),
    ],
)
async def test_an_error_is_the_one_of_a_session(
    db: Database, plain: Database, statement: str, good: dict[str, Any], bad: dict[str, Any]
) -> None:
    """Class, message, notes, statement and parameters; the connection works on, and nothing is left open."""
    said = []
    for database in (db, plain):
        await known(database, statement, good)
        with pytest.raises(DBAPIError) as caught:
            await database.frame(statement, bad)
        error = caught.value
        said.append(
            (type(error), str(error), getattr(error, "__notes__", []), error.statement, error.params, type(error.orig))
        )
        assert (error.connection_invalidated, database.engine.pool.checkedout()) == (False, 0)  # type: ignore[attr-defined]
        assert len(await database.frame(statement, good)) == 1

    assert said[0] == said[1]


async def test_wrong_params_are_the_error_of_a_session(db: Database, plain: Database) -> None:
    said = []
    for database in (db, plain):
        await known(database, "select :a::int as a", {"a": 1})
        for wrong in ({}, {"b": 1}, {"a": 1, "b": 2}):
            with pytest.raises(FrameError) as caught:
                await database.frame("select :a::int as a", wrong)
            said.append(str(caught.value))

    assert said[:3] == said[3:]


async def test_a_frame_cannot_write(db: Database) -> None:
    await run(db, "create table if not exists direct_log (a int)")
    await run(
        db,
        "create or replace function direct_write(w bool) returns int language plpgsql as "
        "'begin if w then insert into direct_log values (1); end if; return 1; end'",
    )
    await known(db, "select direct_write(:w) as w", {"w": False})

    with pytest.raises(DBAPIError, match="read-only transaction"):
        await db.frame("select direct_write(:w) as w", {"w": True})

    await run(db, "drop function direct_write; drop table direct_log")


# --- The schema changes ---


async def test_a_table_that_was_altered_is_read_again(fresh_database_url: str, without_session: list[bool]) -> None:
    async with Database(fresh_database_url) as db, Database(fresh_database_url) as other:
        await run(db, "create table changing as select 1 as a")
        for turn in range(3):
            for _ in range(2):
                await known(db, "select * from changing")
            await run(other, f"alter table changing add column b{turn} text default 'x'")

            assert list((await db.frame("select * from changing")).columns) == [
                "a",
                *[f"b{n}" for n in range(turn + 1)],
            ]
    assert any(without_session), "one of the frames was read so"


async def test_a_statement_that_the_server_forgot_is_prepared_again(
    database_url: str, without_session: list[bool]
) -> None:
    async with Database(database_url, pool_size=1) as db:
        for _ in range(2):
            await known(db, "select 1 as forgotten")
        await run(db, "deallocate all")

        assert (await db.frame("select 1 as forgotten"))["forgotten"].tolist() == [1]
    assert without_session == [False, True]


# --- The connection ---


async def test_a_connection_that_was_lost_is_replaced(
    db: Database, without_session: list[bool], server_watch: ServerWatch
) -> None:
    """BEGIN is the ping: the frame comes by a session then, on another connection; no error, no second retry."""
    statement = "select pg_backend_pid() as pid"
    await known(db, statement)
    before = (await db.frame(statement))["pid"][0]
    server_watch.query(f"select pg_terminate_backend({before}, 60000)")

    after = (await db.frame(statement))["pid"][0]

    assert (after != before, without_session) == (True, [False, True, False])
    assert db.engine.pool.checkedout() == 0  # type: ignore[attr-defined]


async def test_a_connection_that_is_lost_under_a_statement_is_an_error(
    db: Database, without_session: list[bool], server_watch: ServerWatch
) -> None:
    """The statement was sent, and is not sent again."""
    statement = "select pg_sleep(:s), 'lost under way' as mark"
    running = (
        "select pid from pg_stat_activity "
        "where state = 'active' and query like '%lost under way%' and pid <> pg_backend_pid()"
    )
    await known(db, statement, {"s": 0})
    reading = asyncio.create_task(db.frame(statement, {"s": 600}))
    [[pid]] = await until(lambda: server_watch.query(running))
    server_watch.query(f"select pg_terminate_backend({pid}, 60000)")

    with pytest.raises(DBAPIError) as caught:
        await reading

    assert caught.value.connection_invalidated
    assert server_watch.query(running) == []
    assert len(await db.frame(statement, {"s": 0})) == 1


class CancelledAt(Coroutine[Any, Any, Any]):
    """A coroutine whose task is cancelled when it waits for the `step`th time."""

    def __init__(self, work: Coroutine[Any, Any, Any], step: int) -> None:
        self._work = work
        self._left = step
        self.reached = False

    def send(self, value: Any) -> Any:
        return self._waiting(self._work.send(value))

    def throw(self, *error: Any) -> Any:
        return self._waiting(self._work.throw(*error))

    def close(self) -> None:
        self._work.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        raise NotImplementedError

    def _waiting(self, awaited: Any) -> Any:
        self._left -= 1
        if self._left == 0:
            self.reached = True
            task = asyncio.current_task()
            assert task is not None
            asyncio.get_running_loop().call_soon(task.cancel)
        return awaited


async def test_a_cancel_at_any_await_leaves_nothing(
    near_and_far: str, server_watch: ServerWatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Of the checkout, BEGIN, preparing, the query, COMMIT; the next frame is right, and nothing is open then."""
    async with Database(near_and_far, pool_size=1, max_overflow=0) as db:
        statement = "select 1 as a"
        for prepared in (False, True):
            step = 0
            reached = True
            while reached:
                step += 1
                statement = statement if prepared else f"select 1 as a -- {step}"
                await known(db, statement)
                if prepared:
                    await known(db, statement)
                reading = CancelledAt(db.frame(statement), step)
                with suppress(asyncio.CancelledError):
                    await asyncio.create_task(reading)
                reached = reading.reached
                assert db.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
                assert (await db.frame("select 2 as b"))["b"].tolist() == [2]
                async with db.session() as session:
                    connection: Any = (await (await session.connection()).get_raw_connection()).driver_connection
                    assert await connection.fetchval("select pg_current_xact_id_if_assigned() is null")
            assert step > 3
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_in_the_plugins_one_transaction_it_is_part_of_it(database_url: str, without_session: list[bool]) -> None:
    """It sees what a test committed, and nothing of it once the test is over."""
    transaction = OneTransaction(make_url(database_url))
    try:
        async with transaction.database() as db:
            await run(db, "create table only_in_a_test (a int)")
            for count in range(4):
                assert len(await db.frame("select * from only_in_a_test")) == count
                async with db.session() as session:
                    await session.execute(text("insert into only_in_a_test values (1)"))
            await asyncio.to_thread(transaction.clear)
            found = await db.frame("select to_regclass('only_in_a_test') is null as gone")
            assert found["gone"].tolist() == [True]
    finally:
        await asyncio.to_thread(transaction.close)
    assert without_session == [False, True, True, True, False]


# --- Who listens is told ---


@pytest.mark.parametrize("name", ["before_execute", "before_cursor_execute", "after_cursor_execute"])
async def test_a_listener_of_the_engine_is_told(db: Database, without_session: list[bool], name: str) -> None:
    told: list[Any] = []
    await known(db, "select 1 as told")

    def listener(*args: Any) -> None:
        told.append(args)

    event.listen(db.engine.sync_engine, name, listener)
    await db.frame("select 1 as told")

    assert (len(told), without_session) == (1, [False, False])


@pytest.mark.parametrize("name", ["do_orm_execute", "after_begin", "before_commit", "after_transaction_end"])
async def test_a_listener_of_all_sessions_is_told(db: Database, without_session: list[bool], name: str) -> None:
    told: list[Any] = []
    await known(db, "select 1 as told")

    def listener(*args: Any) -> None:
        told.append(args)

    event.listen(Session, name, listener)
    try:
        await db.frame("select 1 as told")
    finally:
        event.remove(Session, name, listener)
    await db.frame("select 1 as told")

    assert (len(told), without_session) == (1, [False, False, True])


@pytest.mark.parametrize("name", ["begin", "engine_connect"])
async def test_a_listener_that_executes_when_a_transaction_begins_is_called_as_ever(
    db: Database, without_session: list[bool], name: str
) -> None:
    """As where a tenant is set for each transaction."""
    told: list[Any] = []

    def listener(connection: Any) -> None:
        told.append(connection.exec_driver_sql("select 1").scalar())
        if name == "engine_connect":
            connection.rollback()

    event.listen(db.engine.sync_engine, name, listener)
    await known(db, "select 1 as told")
    await db.frame("select 1 as told")

    assert set(told) == {1}
    assert without_session == [False] * len(without_session)


async def test_a_listener_to_checkouts_gets_a_connection_that_was_pinged(
    db: Database, without_session: list[bool], server_watch: ServerWatch
) -> None:
    def use(connection: Any, record: Any, proxy: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("set search_path = pg_catalog")
        cursor.close()
        connection.rollback()

    await known(db, "select pg_backend_pid() as pid")
    pid = (await db.frame("select pg_backend_pid() as pid"))["pid"][0]
    event.listen(db.engine.sync_engine, "checkout", use)
    server_watch.query(f"select pg_terminate_backend({pid}, 60000)")

    await db.frame("select pg_backend_pid() as pid")

    assert without_session[-1] is False


async def test_a_trace_shows_the_statements(db: Database, without_session: list[bool]) -> None:
    await known(db, "select 1 as traced")
    with trace() as traced:
        for _ in range(2):
            await db.frame("select 1 as traced")
    await db.frame("select 1 as traced")

    shown = traced.frame()
    assert (shown["detail"] == "select 1 as traced").sum() == 2
    assert without_session == [False, False, False, True]


async def test_the_log_shows_the_statements(database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sqlalchemy.engine.Engine")
    async with Database(database_url) as db:
        for _ in range(3):
            await db.frame("select 1 as echoed")

    assert sum(record.getMessage() == "select 1 as echoed" for record in caplog.records) == 3


# --- What the engine was told ---


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE", "AUTOCOMMIT"])
async def test_the_isolation_level_is_the_engines(database_url: str, without_session: list[bool], level: str) -> None:
    statement = "select current_setting('transaction_isolation') i, current_setting('transaction_read_only') r"
    expected = "read committed" if level == "AUTOCOMMIT" else level.lower()
    async with Database(database_url, isolation_level=level) as db:
        found = [(await db.frame(statement)).iloc[0].tolist() for _ in range(3)]

    assert found == [[expected, "on"]] * 3
    assert without_session == [False, True, True]


@pytest.mark.parametrize(
    "options",
    [{"pool_pre_ping": False}, {"connect_args": {"statement_cache_size": 0, "prepared_statement_cache_size": 0}}],
    ids=["no ping", "nothing kept"],
)
async def test_other_engines_give_the_same(
    database_url: str, without_session: list[bool], options: dict[str, Any]
) -> None:
    async with Database(database_url, **options) as db:
        for _ in range(4):
            assert (await db.frame("select :a::int as a", {"a": 5}))["a"].tolist() == [5]
        async with db.session() as session:
            left = await session.scalar(text("select count(*) from pg_prepared_statements where name ~ '^__asyncdb_'"))

    assert without_session == [False, True, True, True]
    assert left == (0 if "connect_args" in options else 1)


async def test_many_at_once_share_the_pool(database_url: str) -> None:
    async with Database(database_url, pool_size=2, max_overflow=1) as db:
        await known(db, "select :n::int as n", {"n": 0})

        found = await asyncio.gather(*(db.frame("select :n::int as n", {"n": n}) for n in range(50)))

        assert [frame["n"][0] for frame in found] == list(range(50))
        assert (db.engine.pool.checkedout(), db.engine.pool.checkedin()) == (0, 2)  # type: ignore[attr-defined]


async def test_a_notice_reaches_who_listens_for_it(database_url: str, without_session: list[bool]) -> None:
    heard: list[str] = []
    async with Database(database_url, pool_size=1) as db:
        await run(
            db,
            "create or replace function direct_notice() returns int language plpgsql as "
            "'begin raise notice ''heard''; return 1; end'",
        )
        await known(db, "select direct_notice() as n")
        async with db.engine.connect() as connection:
            raw: Any = (await connection.get_raw_connection()).driver_connection
            raw.add_log_listener(lambda _, message: heard.append(message.message))
        for _ in range(2):
            await db.frame("select direct_notice() as n")
        await asyncio.sleep(0)

        await run(db, "drop function direct_notice")
    assert (heard, without_session) == (["heard", "heard"], [False, True, True])


# --- The first one ---


async def test_a_first_frame_connects_while_pandas_is_being_loaded(
    db: Database, server_watch: ServerWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    loading: Future[None] = Future()
    monkeypatch.setattr(libraries, "_loading", loading)
    reading = asyncio.create_task(db.frame("select 1 as a"))

    await until(lambda: [backend for backend in server_watch.backends() if backend.state == "idle in transaction"])
    assert not reading.done()
    loading.set_result(None)

    assert (await reading)["a"].tolist() == [1]


# --- Round trips ---


async def test_it_takes_fewer_round_trips_than_asyncpgs_pool(
    database_url: str, without_session: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read-only transaction with one query, as a new statement and as one that is prepared."""
    from test_small import RoundTrips

    theirs, ours = [], []
    pool = await asyncpg.create_pool(database_url, min_size=1, max_size=1)
    async with pool.acquire() as connection:
        trips = RoundTrips(connection, monkeypatch)
    for _ in range(3):
        trips.count = 0
        async with pool.acquire() as connection, connection.transaction(readonly=True):
            await connection.fetch("select 1 as trips")
        theirs.append(trips.count)
    await pool.close()
    async with Database(database_url) as db:
        await known(db, "select 1 as trips")
        async with db.engine.connect() as connection:
            trips = RoundTrips((await connection.get_raw_connection()).driver_connection, monkeypatch)
        for _ in range(3):
            trips.count = 0
            await db.frame("select 1 as trips")
            ours.append(trips.count)

    assert without_session == [False, True, True, True]
    assert (ours, theirs) == ([4, 3, 3], [5, 4, 4])


async def run(db: Database, script: str) -> None:
    async with db.session() as session:
        raw: Any = (await (await session.connection()).get_raw_connection()).driver_connection
        await session.execute(text("select 1"))
        await raw.execute(script)
