"""A commit that the server answers with a rollback is an error, whichever way the writes and the commit went."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any, LiteralString

import asyncpg
import pandas as pd
import psycopg
import pytest
from sqlalchemy import ForeignKey, event, insert, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.util import greenlet_spawn

from asyncdb_nb import CommitRolledBackError, LoopBoundPool, Repository, frame, session_scope
from asyncdb_nb.database import commit
from asyncdb_nb.engine import rollback_detection

Write = Callable[[AsyncSession], Any]


class Base(DeclarativeBase):
    pass


class Cost(Base):
    __tablename__ = "commit_cost"
    id: Mapped[int] = mapped_column(primary_key=True)
    of_id: Mapped[int | None] = mapped_column(ForeignKey("commit_cost.id", deferrable=True, initially="DEFERRED"))


TABLES = [
    "create table commit_cost (id int primary key, of_id int references commit_cost deferrable initially deferred)",
    "create table commit_other (id int primary key)",
]
OBJECTS = [
    "create function commit_writes() returns int language sql as 'insert into commit_cost values (9) returning id'",
    "create view commit_view as select commit_writes() as id",
    "create function commit_calls() returns int stable language plpgsql as 'begin return commit_writes(); end'",
    "create function commit_step(int, int) returns int language sql as 'select commit_writes()'",
    "create function timeofday(int) returns int language sql as 'select commit_writes()'",
    "create aggregate commit_sum(int) (sfunc = commit_step, stype = int)",
    "create type commit_mood as enum ('well', 'ill')",
]


@pytest.fixture(scope="module")
def tables(database_url: str) -> Iterator[None]:
    run(database_url, *TABLES, *OBJECTS)
    yield
    run(database_url, "drop table commit_cost, commit_other; drop view commit_view", "drop function commit_writes")
    run(database_url, "drop aggregate commit_sum(int); drop function commit_step, commit_calls, timeofday(int)")
    run(database_url, "drop type commit_mood")


def run(url: str, *statements: LiteralString) -> None:
    with psycopg.connect(url, autocommit=True) as server:
        for statement in statements:
            server.execute(statement)


@pytest.fixture
async def engine(database_url: str, tables: None) -> AsyncIterator[AsyncEngine]:
    engine = make_engine(database_url, poolclass=LoopBoundPool)
    yield engine
    async with engine.begin() as connection:
        await connection.execute(text("delete from commit_cost"))
        await connection.execute(text("delete from commit_other"))
    await engine.dispose()


def make_engine(url: str, driver: str = "asyncpg", **options: Any) -> AsyncEngine:
    return create_async_engine(url.replace("postgresql://", f"postgresql+{driver}://"), **options)


async def kept(engine: AsyncEngine) -> list[int]:
    async with engine.connect() as connection:
        return list(await connection.scalars(select(Cost.id).order_by(Cost.id)))


async def spoil(session: AsyncSession) -> None:
    with pytest.raises(DBAPIError, match="commit_cost"):
        await session.execute(text("create table commit_cost()"))


class Own(AsyncSession):
    """A session class as sqlmodel's is, which has a method of its own beside `execute`."""

    async def exec(self, statement: Any) -> Any:
        return await greenlet_spawn(self.sync_session.execute, statement)

    def later(self, statement: Any) -> Any:
        return greenlet_spawn(self.sync_session.execute, statement)

    async def each(self, *statements: Any) -> AsyncIterator[Any]:
        for statement in statements:
            yield await greenlet_spawn(self.sync_session.execute, statement)


INSERT = insert(Cost).values(id=9)
INSERT_TEXT = "insert into commit_cost values (9)"


async def by_to_sql(session: AsyncSession) -> None:
    costs = pd.DataFrame({"id": [9]})
    connection = await session.connection()
    await connection.run_sync(lambda sync: costs.to_sql("commit_cost", sync, if_exists="append", index=False))


async def by_connection(session: AsyncSession) -> None:
    await (await session.connection()).execute(INSERT)


async def by_driver_sql(session: AsyncSession) -> None:
    await (await session.connection()).exec_driver_sql(INSERT_TEXT)


async def by_stream(session: AsyncSession) -> None:
    async for _ in await session.stream(text(f"{INSERT_TEXT} returning id")):
        pass


async def by_connections_stream(session: AsyncSession) -> None:
    connection = await session.connection()
    await (await connection.stream(text("select commit_writes()"))).all()


async def by_flush(session: AsyncSession) -> None:
    session.add(Cost(id=9))
    await session.flush()


async def by_autoflush(session: AsyncSession) -> None:
    session.add(Cost(id=9))
    await session.scalars(select(Cost))


async def by_sync_session(session: AsyncSession) -> None:
    await session.run_sync(lambda sync: sync.execute(INSERT))


async def by_repository(session: AsyncSession) -> None:
    await Repository[Cost](session).add(Cost(id=9))


async def by_many(session: AsyncSession) -> None:
    await session.execute(insert(Cost), [{"id": 9}, {"id": 10}])


async def driver(session: AsyncSession) -> Any:
    await session.execute(text("select 1"))  # begins
    return (await (await session.connection()).get_raw_connection()).driver_connection


async def by_driver(session: AsyncSession) -> None:
    await (await driver(session)).execute(INSERT_TEXT)


async def by_drivers_fetch(session: AsyncSession) -> None:
    await (await driver(session)).fetchval("insert into commit_cost values ($1) returning id", 9)


async def by_drivers_cursor(session: AsyncSession) -> None:
    async for _ in (await driver(session)).cursor(f"{INSERT_TEXT} returning id"):
        pass


async def by_drivers_copy(session: AsyncSession) -> None:
    await (await driver(session)).copy_records_to_table("commit_cost", records=[(9, None)])


async def by_drivers_many(session: AsyncSession) -> None:
    await (await driver(session)).executemany("insert into commit_cost values ($1)", [(9,), (10,)])


async def by_hook(session: AsyncSession) -> None:
    def audit(state: Any) -> None:
        if state.is_select:
            state.session.connection().execute(INSERT)

    event.listen(session.sync_session, "do_orm_execute", audit)
    await session.scalars(select(Cost))
    event.remove(session.sync_session, "do_orm_execute", audit)


def by_text(statement: str) -> Write:
    return lambda session: session.execute(text(statement))


WRITES: dict[str, Write] = {
    "execute": lambda session: session.execute(INSERT),
    "exec": lambda session: session.exec(INSERT),  # type: ignore[attr-defined]
    "a method that returns a coroutine": lambda session: session.later(INSERT),  # type: ignore[attr-defined]
    "scalars": lambda session: session.scalars(INSERT.returning(Cost.id)),
    "an update": lambda session: session.execute(update(Cost).values(of_id=1)),
    "a function in a text": by_text("select commit_writes()"),
    "a function called as a column": by_text(
        "select c.commit_cost_id from (select commit_writes() as commit_cost_id) c"
    ),
    "a function under a quoted name": by_text('select "commit_writes"()'),
    "a function in a select": lambda session: session.scalar(select(text("commit_writes()"))),
    "a function declared as stable that calls another": by_text("select commit_calls()"),
    "a function under a name of PostgreSQL's": by_text("select timeofday(1)"),
    "an aggregate": by_text("select commit_sum(1)"),
    "a view": by_text("select * from commit_view"),
    "a CTE": by_text(f"with it as ({INSERT_TEXT} returning id) select * from it"),
    "a CTE of Core": lambda session: session.execute(select(INSERT.returning(Cost.id).cte())),
    "select into": by_text("select 1 as i into commit_third"),
    "explain analyze": by_text(f"explain analyze {INSERT_TEXT}"),
    "a comment": by_text(f"/* select */ {INSERT_TEXT}"),
    "many comments": by_text(f"{'/* select */ ' * 100} {INSERT_TEXT}"),
    "a long text": by_text(f"select '{'a' * 30_000}'"),
    "a cursor": lambda session: _declared(session),
    "frame": lambda session: frame(session, f"{INSERT_TEXT} returning id"),
    "frame of a function": lambda session: frame(session, "select commit_writes() as id"),
    "to_sql": by_to_sql,
    "connection": by_connection,
    "exec_driver_sql": by_driver_sql,
    "stream": by_stream,
    "stream of a connection": by_connections_stream,
    "flush": by_flush,
    "autoflush": by_autoflush,
    "run_sync": by_sync_session,
    "Repository": by_repository,
    "executemany": by_many,
    "driver": by_driver,
    "fetch of the driver": by_drivers_fetch,
    "cursor of the driver": by_drivers_cursor,
    "copy of the driver": by_drivers_copy,
    "executemany of the driver": by_drivers_many,
    "hook": by_hook,
}


async def _declared(session: AsyncSession) -> None:
    await session.execute(text("declare it cursor for select commit_writes()"))
    await session.execute(text("fetch it"))


@pytest.mark.parametrize("way", WRITES)
async def test_scenario_47_a_write_that_is_lost_is_an_error_whichever_way_it_went(
    engine: AsyncEngine, way: str
) -> None:
    async with engine.begin() as connection:
        await connection.execute(insert(Cost).values(id=1))

    with pytest.raises(CommitRolledBackError, match="a statement in it had failed"):
        async with session_scope(engine, sessionmaker=Own) as session:
            await WRITES[way](session)
            await spoil(session)

    assert await kept(engine) == [1]


async def commits(session: AsyncSession) -> None:
    await session.commit()


async def commits_within(session: AsyncSession) -> None:
    await session.run_sync(lambda sync: sync.commit())


async def commits_the_transaction(session: AsyncSession) -> None:
    transaction = session.get_transaction()
    assert transaction is not None
    await transaction.commit()


async def commits_by_text(session: AsyncSession) -> None:
    await session.execute(text("commit"))


async def commits_behind_a_comment(session: AsyncSession) -> None:
    await session.execute(text("-- by hand\n/* now */ commit"))


async def commits_by_driver(session: AsyncSession) -> None:
    raw = (await (await session.connection()).get_raw_connection()).driver_connection
    await raw.execute("COMMIT")


COMMITS = [
    commits,
    commits_within,
    commits_the_transaction,
    commits_by_text,
    commits_behind_a_comment,
    commits_by_driver,
]


@pytest.mark.parametrize("commit", COMMITS)
async def test_a_commit_in_mid_block_is_an_error_whoever_asks_for_it(engine: AsyncEngine, commit: Write) -> None:
    async with session_scope(engine) as session:
        lost = Cost(id=9)
        session.add(lost)
        await session.flush()
        await spoil(session)
        with pytest.raises(CommitRolledBackError):
            await commit(session)
        await session.rollback()
        session.add(Cost(id=2))

    assert await kept(engine) == [2]


async def test_what_was_lost_can_be_added_again(engine: AsyncEngine) -> None:
    """The session forgets entities that the server does not have."""
    async with session_scope(engine) as session:
        lost = Cost(id=9)
        session.add(lost)
        await session.flush()
        await spoil(session)
        with pytest.raises(CommitRolledBackError):
            await session.commit()

        assert await session.get(Cost, 9) is None
        session.add(lost)

    assert await kept(engine) == [9]


async def test_a_block_of_begin_is_an_error_as_well(engine: AsyncEngine) -> None:
    async with session_scope(engine) as session:
        with pytest.raises(CommitRolledBackError):
            async with session.begin():
                await session.execute(INSERT)
                await spoil(session)
        assert await session.get(Cost, 9) is None

    assert await kept(engine) == []


async def test_a_savepoint_that_failed_takes_nothing_else_with_it(engine: AsyncEngine) -> None:
    async with session_scope(engine) as session:
        await session.execute(INSERT)
        with suppress(DBAPIError):
            async with session.begin_nested():
                await session.execute(text("create table commit_cost()"))

    assert await kept(engine) == [9]


async def test_a_savepoint_whose_error_was_caught_within_it_is_an_error_twice(engine: AsyncEngine) -> None:
    """RELEASE SAVEPOINT fails, and when that is caught as well, so does COMMIT."""
    with pytest.raises(CommitRolledBackError):
        async with session_scope(engine) as session:
            await session.execute(INSERT)
            with pytest.raises(DBAPIError, match="current transaction is aborted"):
                async with session.begin_nested():
                    await spoil(session)

    assert await kept(engine) == []


async def test_an_outer_block_keeps_its_work_when_an_inner_one_lost_its_own(engine: AsyncEngine) -> None:
    async with session_scope(engine) as outer:
        await outer.execute(insert(Cost).values(id=1))
        with pytest.raises(CommitRolledBackError):
            async with session_scope(engine) as inner:
                await inner.execute(INSERT)
                await spoil(inner)

    assert await kept(engine) == [1]


# --- where nothing is lost --------------------------------------------------------------------------------------------


READS: dict[str, Write] = {
    "nothing": lambda session: asyncio.sleep(0),
    "an ORM select": lambda session: session.scalars(select(Cost)),
    "functions that cannot write": by_text("select count(*), max(id), now() from commit_cost"),
    "a word in a literal": by_text("select 'INSERTED' as said"),
    "volatile functions of PostgreSQL's": by_text(
        "select random(), clock_timestamp(), gen_random_uuid(), pg_table_size('commit_cost')"
    ),
    "a catalog": by_text("select * from information_schema.tables, pg_catalog.pg_stat_activity limit 1"),
    "for update": lambda session: session.scalars(select(Cost).with_for_update()),
    "an enum": by_text("select 'well'::commit_mood"),
    "a setting": by_text("select set_config('app.tenant', '1', true)"),
    "frame": lambda session: frame(session, "select * from commit_cost"),
    "a stream": lambda session: session.stream(text("select generate_series(1, 10)")),
    "comments": by_text("/* of a report */ -- daily\n (select 1)"),
    "show": by_text("show timezone"),
    "a savepoint": lambda session: session.begin_nested().start(),
}


@pytest.mark.parametrize("way", READS)
async def test_a_block_that_only_read_ends_well_after_an_error(engine: AsyncEngine, way: str) -> None:
    for _ in range(2):
        async with session_scope(engine) as session:
            await READS[way](session)
            with suppress(DBAPIError):
                await session.execute(text("select 1 / 0"))
            if way == "a savepoint":
                await session.rollback()


async def test_a_statement_that_failed_alone_is_no_second_error(engine: AsyncEngine) -> None:
    async with session_scope(engine) as session:
        await spoil(session)


async def test_many_different_reads_are_taken_for_writes(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered of a transaction is bounded; doubt is an error."""
    monkeypatch.setattr(rollback_detection, "MOST", 3)
    with pytest.raises(CommitRolledBackError):
        async with session_scope(engine) as session:
            for number in range(4):
                await session.execute(text(f"select {number}"))
            await spoil(session)


async def test_autocommit_keeps_each_statement_and_is_not_taken_for_a_lost_commit(engine: AsyncEngine) -> None:
    """Also on a connection whose last COMMIT was rolled back."""
    with pytest.raises(CommitRolledBackError):
        async with session_scope(engine) as session:
            await session.execute(INSERT)
            await spoil(session)

    async with session_scope(engine.execution_options(isolation_level="AUTOCOMMIT")) as session:
        await session.execute(insert(Cost).values(id=1))
        await spoil(session)

    assert await kept(engine) == [1]


async def test_an_engine_alone_behaves_as_sqlalchemys(engine: AsyncEngine) -> None:
    """Only sessions of a scope promise more, also on a connection that one has used before."""
    async with session_scope(engine) as session:
        await session.execute(insert(Cost).values(id=1))

    async with engine.begin() as connection, AsyncSession(engine) as session:
        for each in (connection, session):
            await each.execute(INSERT)
            with suppress(DBAPIError):
                await each.execute(text("select 1 / 0"))
            await each.commit()

    assert await kept(engine) == [1]


# --- other connections than the package's -----------------------------------------------------------------------------


class Plain(asyncpg.Connection):
    pass


@pytest.mark.parametrize("way", ["asyncpg without the pool", "another connection class", "psycopg"])
async def test_another_drivers_commit_is_asked_about_before(engine: AsyncEngine, database_url: str, way: str) -> None:
    other = {
        "asyncpg without the pool": lambda: make_engine(database_url),
        "another connection class": lambda: make_engine(
            database_url, poolclass=LoopBoundPool, connect_args={"connection_class": Plain}
        ),
        "psycopg": lambda: make_engine(database_url, "psycopg", poolclass=LoopBoundPool),
    }[way]()
    with pytest.raises(CommitRolledBackError):
        async with session_scope(other) as session:
            await session.execute(INSERT)
            await spoil(session)
    async with session_scope(other) as session:
        await session.execute(insert(Cost).values(id=1))
    await other.dispose()

    assert await kept(engine) == [1]


# --- several binds ----------------------------------------------------------------------------------------------------


class Other(Base):
    __tablename__ = "commit_other"
    id: Mapped[int] = mapped_column(primary_key=True)


@pytest.fixture
async def second(database_url: str, engine: AsyncEngine) -> AsyncIterator[AsyncEngine]:
    second = make_engine(database_url, poolclass=LoopBoundPool)
    yield second
    await second.dispose()


async def others(engine: AsyncEngine) -> list[int]:
    async with engine.connect() as connection:
        return list(await connection.scalars(select(Other.id)))


async def test_two_phases_keep_nothing_when_one_bind_had_failed(engine: AsyncEngine, second: AsyncEngine) -> None:
    """PREPARE TRANSACTION is answered by a rollback, too; a bind that was prepared already is rolled back."""
    for binds in ({Cost: engine}, {Cost: engine, Other: second}):
        with pytest.raises(CommitRolledBackError):
            async with session_scope(engine, binds=binds, twophase=True) as session:
                session.add_all([kind(id=1) for kind in binds])
                await session.flush()
                with suppress(DBAPIError):
                    await session.execute(text("select 1 / 0"), bind_arguments={"mapper": Cost})
    async with session_scope(engine, binds=binds, twophase=True) as session:
        session.add_all([Cost(id=2), Other(id=2)])

    assert (await kept(engine), await others(second)) == ([2], [2])
    async with engine.connect() as connection:
        assert await connection.scalar(text("select count(*) from pg_prepared_xacts")) == 0


@pytest.mark.parametrize("mid_block", [False, True])
@pytest.mark.parametrize("spoiled", ["first", "second"])
async def test_scenario_48_with_several_binds_nothing_is_kept_when_one_had_failed(
    engine: AsyncEngine, second: AsyncEngine, spoiled: str, mid_block: bool
) -> None:
    binds: dict[Any, AsyncEngine] = {Cost: engine, Other: second}

    with pytest.raises(CommitRolledBackError, match="Nothing of this transaction was kept"):
        async with session_scope(engine, binds=binds) as session:
            session.add_all([Cost(id=1), Other(id=1)])
            await session.flush()
            with suppress(DBAPIError):
                arguments = {"mapper": Cost if spoiled == "first" else Other}
                await session.execute(text("select 1 / 0"), bind_arguments=arguments)
            if mid_block:
                await session.commit()

    assert (await kept(engine), await others(second)) == ([], [])


# One of two commits fails on purpose; SQLAlchemy then rolls both back, and warns of the one that it had committed.
@pytest.mark.filterwarnings("ignore:transaction already deassociated")
async def test_scenario_48_an_error_says_which_bind_was_committed_and_which_was_not(
    engine: AsyncEngine, second: AsyncEngine
) -> None:
    """SQLAlchemy commits them in any order, so this tries until both orders were met."""
    binds: dict[Any, AsyncEngine] = {Cost: engine, Other: second}
    met: set[bool] = set()
    while len(met) < 2:
        with pytest.raises(DBAPIError) as caught:
            async with session_scope(engine, binds=binds) as session:
                session.add_all([Cost(id=1, of_id=99), Other(id=len(await others(second)))])  # checked at the commit

        said = getattr(caught.value, "__notes__", [])
        partly = bool(await others(second))
        met.add(partly)
        if partly:
            assert len(said) == 1, said
            [note] = said
            url = engine.url.render_as_string()
            assert note in (
                f"{commit.IN_PARTS}{url} was committed; {url} was not committed.",
                f"{commit.IN_PARTS}{url} was not committed; {url} was committed.",
            )
        else:
            assert said == []
        assert await kept(engine) == []
        async with second.begin() as connection:
            await connection.execute(text("delete from commit_other"))


@pytest.mark.parametrize("script", ["commit; begin", "commit; begin; select 1", "commit and chain"])
async def test_a_commit_that_other_statements_follow_in_one_string_is_heard(engine: AsyncEngine, script: str) -> None:
    """asyncpg gives the answer to the last one alone; a transaction in which nothing failed is committed."""
    with pytest.raises(CommitRolledBackError):
        async with session_scope(engine) as session:
            driver: Any = (await (await session.connection()).get_raw_connection()).driver_connection
            await session.execute(text("insert into commit_other values (71)"))
            with suppress(DBAPIError):
                await session.execute(text("select 1 / 0"))
            await driver.execute(script)
    async with session_scope(engine) as session:
        driver = (await (await session.connection()).get_raw_connection()).driver_connection
        await session.execute(text("insert into commit_other values (72)"))
        await driver.execute(script)
        kept = (await session.scalars(text("delete from commit_other where id > 70 returning id"))).all()

    assert kept == [72]
