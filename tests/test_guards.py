"""Whatever a session of a scope can be asked to do, it refuses a second task, another loop, and use after its block."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import wraps
from typing import Any

import asyncpg
import pytest
from asyncpg import QueryCanceledError
from sqlalchemy import ForeignKey, select, text
from sqlalchemy.exc import InterfaceError
from sqlalchemy.ext.asyncio import AsyncAttrs, AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.util import greenlet_spawn

from asyncdb_nb import ConcurrentUseError, LoopBoundPool, SessionEndedError, WrongLoopError, session_scope

ONE = text("select 1")
MANY = text("select g from generate_series(1, 20000) g")


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    url = database_url.replace("postgresql://", "postgresql+asyncpg://")
    engine = create_async_engine(url, poolclass=LoopBoundPool)
    yield engine
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    await engine.dispose()


def renamed(method: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that makes a plain function of a coroutine function."""

    @wraps(method)
    def plain(*args: Any) -> Any:
        return method(*args)

    return plain


class Mixin:
    sync_session: Any

    async def exec(self) -> Any:
        return (await greenlet_spawn(self.sync_session.execute, ONE)).scalar()


class Own(Mixin, AsyncSession):
    """What users give their session classes."""

    tenant = "mine"

    @property
    def number(self) -> int:
        return 7

    def plain(self) -> int:
        return 8

    @staticmethod
    def of(value: int) -> int:
        return value

    @classmethod
    def name(cls) -> str:
        return cls.__name__

    def returned(self) -> Any:
        return greenlet_spawn(self.sync_session.execute, ONE)

    @renamed
    async def decorated(self) -> Any:
        return await greenlet_spawn(self.sync_session.execute, ONE)

    async def parts(self) -> AsyncIterator[Any]:
        for _ in range(2):
            yield (await greenlet_spawn(self.sync_session.execute, ONE)).scalar()

    @asynccontextmanager
    async def part(self) -> AsyncIterator[Any]:
        yield await self.scalar(ONE)

    async def execute(self, *args: Any, **kw: Any) -> Any:
        return await super().execute(*args, **kw)


async def first_part(session: Any) -> Any:
    parts = session.parts()
    try:
        return await anext(parts)
    finally:
        await parts.aclose()


async def enter(manager: Any) -> None:
    async with manager:
        pass


USES: dict[str, Callable[[Any], Awaitable[Any]]] = {
    "exec": lambda session: session.exec(),
    "returned": lambda session: session.returned(),
    "decorated": lambda session: session.decorated(),
    "parts": first_part,
    "part": lambda session: enter(session.part()),
    "overridden": lambda session: session.execute(ONE),
    "scalars": lambda session: session.scalars(ONE),
    "stream": lambda session: session.stream(ONE),
    "run_sync": lambda session: session.run_sync(lambda sync: sync.execute(ONE)),
    "connection": lambda session: session.connection(),
    "flush": lambda session: session.flush(),
    "commit": lambda session: session.commit(),
    "begin": lambda session: enter(session.begin()),
    "begin_nested": lambda session: enter(session.begin_nested()),
    "begin, awaited": lambda session: session.begin_nested().start(),
}
MAKERS: dict[str, Any] = {"class": Own, "sessionmaker": async_sessionmaker(class_=Own)}


@asynccontextmanager
async def in_use(engine: AsyncEngine, maker: str) -> AsyncIterator[tuple[Any, asyncio.Task[Any]]]:
    """A session, and a task that has just begun a statement in it."""
    async with session_scope(engine, sessionmaker=MAKERS[maker]) as session:
        statement = asyncio.create_task(session.scalar(text("select 1 from pg_sleep(0.05)")))
        await asyncio.sleep(0)
        yield session, statement


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("use", USES)
async def test_a_second_task_is_refused(engine: AsyncEngine, use: str, maker: str) -> None:
    async with in_use(engine, maker) as (session, statement):
        with pytest.raises(ConcurrentUseError):
            await USES[use](session)

        assert await statement == 1
        assert await session.exec() == 1


@pytest.mark.parametrize("own", ["exec", "returned", "decorated", "parts"])
async def test_a_method_of_the_users_holds_others_off(engine: AsyncEngine, own: str) -> None:
    async with session_scope(engine, sessionmaker=Own) as session:
        using = asyncio.ensure_future(USES[own](session))
        await asyncio.sleep(0)
        with pytest.raises(ConcurrentUseError):
            await session.scalar(ONE)
        await using


@pytest.mark.parametrize("use", USES)
async def test_use_after_the_block_is_refused(engine: AsyncEngine, use: str) -> None:
    async with session_scope(engine, sessionmaker=Own) as session:
        await session.scalar(ONE)

    with pytest.raises(SessionEndedError):
        await USES[use](session)
    assert not session.in_transaction()


@pytest.mark.parametrize("use", USES)
def test_another_loop_is_refused(database_url: str, use: str) -> None:
    engine = create_async_engine(
        database_url.replace("postgresql://", "postgresql+asyncpg://"), poolclass=LoopBoundPool
    )

    async def elsewhere(session: Any) -> None:
        await USES[use](session)

    async def main() -> None:
        async with session_scope(engine, sessionmaker=Own) as session:
            with pytest.raises(WrongLoopError):
                await asyncio.to_thread(asyncio.run, elsewhere(session))
            assert await session.scalar(ONE) == 1

    asyncio.run(main())


async def test_a_transaction_is_not_ended_under_a_task_that_uses_it(engine: AsyncEngine) -> None:
    async with session_scope(engine) as session:
        await session.scalar(ONE)
        transaction = session.get_transaction()
        savepoint = await session.begin_nested()
        for end in (transaction, savepoint):
            assert end is not None
            for how in (end.commit, end.rollback):
                statement = asyncio.create_task(session.scalar(text("select 1 from pg_sleep(0.05)")))
                await asyncio.sleep(0)
                with pytest.raises(ConcurrentUseError):
                    await how()
                assert await statement == 1


async def test_what_is_added_after_the_block_is_refused(engine: AsyncEngine) -> None:
    """It would never be written."""
    async with session_scope(engine, sessionmaker=Own) as session:
        await session.scalar(ONE)

    for add in (session.add, session.add_all):
        with pytest.raises(SessionEndedError):
            add([])


async def test_what_lets_go_is_let_through_after_the_block(engine: AsyncEngine) -> None:
    async with session_scope(engine, sessionmaker=Own) as session:
        await session.scalar(ONE)

    for let_go in (session.rollback, session.close, session.aclose, session.reset, session.invalidate):
        await let_go()


async def test_what_is_not_awaited_is_as_the_user_wrote_it(engine: AsyncEngine) -> None:
    async with session_scope(engine, sessionmaker=Own) as session:
        own: Any = session

        assert (own.tenant, own.number, own.plain(), own.of(9), own.name()) == ("mine", 7, 8, 9, "Own")
        assert [part async for part in own.parts()] == [1, 1]
        async with own.part() as part:
            assert part == 1
        assert isinstance(session, Own)
        assert session.no_autoflush is not None


@pytest.mark.parametrize("kind", [AsyncSession, Own])
async def test_every_method_that_is_a_coroutine_function_stays_one(engine: AsyncEngine, kind: Any) -> None:
    async with session_scope(engine, sessionmaker=kind) as session:
        for name in dir(kind):
            before = inspect.getattr_static(kind, name)
            assert inspect.iscoroutinefunction(before) == inspect.iscoroutinefunction(
                inspect.getattr_static(type(session), name)
            ), name


async def test_a_generator_that_is_left_early_is_closed(engine: AsyncEngine) -> None:
    closed = []

    class Kept(AsyncSession):
        async def rows(self) -> AsyncIterator[Any]:
            try:
                for row in await self.scalars(select(text("generate_series(1, 3)"))):
                    yield row
            finally:
                closed.append(True)

    async with session_scope(engine, sessionmaker=Kept) as session:
        rows: Any = session.rows()  # type: ignore[attr-defined]
        assert await anext(rows) == 1
        with suppress(StopAsyncIteration):
            await rows.aclose()

    assert closed == [True]


Call = Callable[[Any], Awaitable[Any]]
HANDED_OUT: dict[str, tuple[Call, Call, str]] = {
    "a result": (lambda s: s.stream(MANY), lambda r: r.fetchone(), "result.fetchone()"),
    "a result, read to its end": (lambda s: s.stream(MANY), lambda r: r.all(), "result.all()"),
    "its scalars": (lambda s: s.stream(MANY), lambda r: anext(r.scalars()), "async for ... in result"),
    "its mappings": (lambda s: s.stream(MANY), lambda r: r.mappings().first(), "result.first()"),
    "its partitions": (lambda s: s.stream(MANY), lambda r: anext(r.partitions(5)), "result.partitions()"),
    "streamed scalars": (lambda s: s.stream_scalars(MANY), lambda r: r.all(), "result.all()"),
    "a connection": (lambda s: s.connection(), lambda c: c.execute(ONE), "connection.execute()"),
    "a stream of it": (lambda s: s.connection(), lambda c: c.stream(ONE), "connection.stream()"),
    "a stream of it, entered": (lambda s: s.connection(), lambda c: enter(c.stream(ONE)), "connection.stream()"),
    "run_sync of it": (lambda s: s.connection(), lambda c: c.run_sync(lambda _: 1), "connection.run_sync()"),
    "a savepoint of it": (lambda s: s.connection(), lambda c: enter(c.begin_nested()), "await transaction"),
}
ENDS: dict[str, Call] = {
    "a connection's rollback": lambda c: c.rollback(),
    "a connection's commit": lambda c: c.commit(),
    "its transaction's commit": lambda c: c.get_transaction().commit(),
}


@pytest.mark.parametrize(("get", "use", "name"), HANDED_OUT.values(), ids=HANDED_OUT)
async def test_what_a_session_hands_out_refuses_a_second_task(
    engine: AsyncEngine, get: Call, use: Call, name: str
) -> None:
    """The message names both calls; what is running comes to its end, and the session goes on."""
    async with session_scope(engine) as session:
        held = await get(session)
        statement = asyncio.create_task(session.scalar(text("select 1 from pg_sleep(0.05)")))
        await asyncio.sleep(0)
        with pytest.raises(ConcurrentUseError) as refused:
            await use(held)

        assert f"`session.scalar()` for another task when `{name}`" in str(refused.value)
        assert await statement == 1
        await use(held)


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
async def test_a_connection_of_a_session_does_not_end_under_a_task_that_uses_it(engine: AsyncEngine, end: Call) -> None:
    async with session_scope(engine) as session:
        connection = await session.connection()
        statement = asyncio.create_task(session.scalar(text("select 1 from pg_sleep(0.05)")))
        await asyncio.sleep(0)
        with pytest.raises(ConcurrentUseError):
            await end(connection)

        assert await statement == 1


SLOW = text("select g from generate_series(1, 100) g, pg_sleep(0.05)")
HOLDING: dict[str, tuple[Call, Call, str]] = {
    "a connection": (lambda s: s.connection(), lambda c: c.execute(SLOW), "connection.execute()"),
    "a stream of it": (lambda s: s.connection(), lambda c: enter(c.stream(SLOW)), "connection.stream()"),
    "a result": (lambda s: s.stream(MANY), lambda r: r.all(), "result.all()"),
    "its scalars": (lambda s: s.stream(MANY), lambda r: r.scalars().all(), "result.all()"),
}


@pytest.mark.parametrize(("get", "use", "name"), HOLDING.values(), ids=HOLDING)
async def test_what_a_session_handed_out_holds_others_off(engine: AsyncEngine, get: Call, use: Call, name: str) -> None:
    async with session_scope(engine) as session:
        using = asyncio.ensure_future(use(await get(session)))
        await asyncio.sleep(0)
        with pytest.raises(ConcurrentUseError) as refused:
            await session.scalar(ONE)

        await using
    assert f"`{name}` for another task when `session.scalar()`" in str(refused.value)


async def test_what_a_session_handed_out_is_refused_after_its_block(engine: AsyncEngine) -> None:
    async with session_scope(engine) as session:
        connection = await session.connection()

    with pytest.raises(SessionEndedError):
        await connection.execute(ONE)


async def test_a_connection_that_a_session_was_given_stays_its_owners(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        async with session_scope(engine) as session:
            given = await session.connection(bind_arguments={"bind": connection.sync_connection})
            await given.execute(ONE)

        assert (await connection.execute(ONE)).scalar() == 1


async def test_a_stream_of_a_connection_ends_with_its_block(engine: AsyncEngine) -> None:
    async with session_scope(engine) as session:
        async with (await session.connection()).stream(MANY) as rows:
            with pytest.raises(LookupError):
                async for _ in rows:
                    raise LookupError
        async with (await session.connection()).stream(MANY) as rows:
            assert len([row async for row in rows]) == 20_000


class Base(AsyncAttrs, DeclarativeBase):
    pass


class Parent(Base):
    __tablename__ = "guards_parent"

    id: Mapped[int] = mapped_column(primary_key=True)
    notes: Mapped[str] = mapped_column(deferred=True, default="")
    children: Mapped[list[Child]] = relationship()


class Child(Base):
    __tablename__ = "guards_child"

    id: Mapped[int] = mapped_column(primary_key=True)
    parent_id: Mapped[int] = mapped_column(ForeignKey(Parent.id))


@pytest.fixture
async def family(engine: AsyncEngine) -> AsyncIterator[AsyncEngine]:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with session_scope(engine) as session:
        session.add_all([Parent(id=1, children=[Child(), Child()]), Parent(id=2)])
    yield engine
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)


def inside(call: Callable[[Any], Any]) -> Call:
    """Reach what is inside an `AsyncSession` without it, as a function does that keeps a session of `run_sync()`."""
    return lambda session: greenlet_spawn(call, session.sync_session)


def execute_kept(sync: Any) -> Any:
    return sync.info["kept"].execute(ONE)


AROUND: dict[str, tuple[Callable[[Any, Any], Awaitable[Any]], str]] = {
    "a relationship": (lambda _, parent: parent.awaitable_attrs.children, "entity.awaitable_attrs"),
    "a deferred column": (lambda _, parent: parent.awaitable_attrs.notes, "entity.awaitable_attrs"),
    "a statement": (lambda session, _: inside(lambda sync: sync.execute(ONE))(session), "Session.execute()"),
    "an entity": (lambda session, _: inside(lambda sync: sync.get(Parent, 2))(session), "Session.get()"),
    "a query": (lambda session, _: inside(lambda sync: sync.query(Parent).all())(session), "Session.execute()"),
    "the end": (lambda session, _: inside(lambda sync: sync.close())(session), "Session.close()"),
    "a kept connection": (lambda session, _: inside(execute_kept)(session), "Connection.execute()"),
}


async def loaded_parent(session: AsyncSession) -> Any:
    return (await session.scalars(select(Parent).where(Parent.id == 1))).one()


@pytest.mark.parametrize(("use", "name"), AROUND.values(), ids=AROUND)
async def test_what_goes_around_a_sessions_methods_is_refused_as_well(
    family: AsyncEngine, use: Callable[[Any, Any], Awaitable[Any]], name: str
) -> None:
    async with session_scope(family) as session:
        parent = await loaded_parent(session)
        session.info["kept"] = await session.run_sync(lambda sync: sync.connection())
        statement = asyncio.create_task(session.scalar(text("select 1 from pg_sleep(0.05)")))
        await asyncio.sleep(0)
        with pytest.raises(ConcurrentUseError) as refused:
            await use(session, parent)

        assert f"`session.scalar()` for another task when `{name}`" in str(refused.value)
        assert await statement == 1
        await use(session, parent)


@pytest.fixture
async def locked_children(family: AsyncEngine) -> AsyncIterator[AsyncEngine]:
    """Nobody else reads the table of the children: who loads them waits until the test is over."""
    async with family.connect() as connection:
        await connection.execute(text("lock table guards_child"))
        yield family


async def is_loading(engine: AsyncEngine, session: AsyncSession) -> None:
    """Wait until the server says that it waits for the lock."""
    pid = (await (await session.connection()).get_raw_connection()).driver_connection.get_server_pid()  # type: ignore[union-attr]
    waits = text("select wait_event_type = 'Lock' from pg_stat_activity where pid = :pid")
    async with engine.connect() as watch:
        while not (await watch.execute(waits, {"pid": pid})).scalar():
            await watch.rollback()


async def test_the_load_of_an_attribute_holds_others_off(family: AsyncEngine) -> None:
    async with session_scope(family) as session:
        parent = await loaded_parent(session)
        load = asyncio.ensure_future(parent.awaitable_attrs.children)
        await asyncio.sleep(0)
        with pytest.raises(ConcurrentUseError, match=r"`entity.awaitable_attrs` .* `session.close"):
            await session.close()

        assert len(await load) == 2


async def test_a_block_that_ends_under_the_load_of_an_attribute_says_so(locked_children: AsyncEngine) -> None:
    """The load is cancelled; what was written before it is rolled back, and the connection is given back."""
    with pytest.raises(ConcurrentUseError, match=r"ended while .* `entity.awaitable_attrs`.* was rolled back"):
        async with session_scope(locked_children) as session:
            parent = await loaded_parent(session)
            session.add(Parent(id=3))
            await session.flush()
            watched = asyncio.ensure_future(is_loading(locked_children, session))
            await asyncio.sleep(0)
            load = asyncio.ensure_future(parent.awaitable_attrs.children)
            await watched

    with pytest.raises(asyncio.CancelledError):
        await load
    async with session_scope(locked_children) as session:
        assert await session.get(Parent, 3) is None


async def test_a_session_that_is_closed_while_its_driver_is_at_work_gives_its_connection_back(
    engine: AsyncEngine,
) -> None:
    """What asyncpg is asked itself, nobody can hold off."""
    async with session_scope(engine) as session:
        await session.execute(ONE)
        raw = await (await session.connection()).get_raw_connection()
        work = asyncio.ensure_future(raw.driver_connection.fetch("select pg_sleep(60)"))  # type: ignore[union-attr]
        await asyncio.sleep(0)
        with pytest.raises(InterfaceError):
            await session.close()

        with pytest.raises((QueryCanceledError, asyncpg.ConnectionDoesNotExistError, asyncpg.InterfaceError)):
            await work
        assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]


class Audited(AsyncSession):
    """Methods of a user's own that use the session in tasks of theirs."""

    async def commit(self) -> None:
        await self.execute(ONE)
        await super().commit()

    async def in_time(self) -> Any:
        return await asyncio.create_task(self.scalar(ONE))  # as `wait_for` does in Python 3.11

    async def both(self) -> list[Any]:
        return await asyncio.gather(self.scalar(ONE), self.scalar(ONE), return_exceptions=True)


async def test_a_task_that_a_method_waits_for_may_use_its_session(engine: AsyncEngine) -> None:
    """So may each other one for itself, but not two at once; and no other task meanwhile."""
    async with session_scope(engine, sessionmaker=Audited) as session:
        own: Any = session
        assert await own.in_time() == 1
        first, second = await own.both()
        assert (first, type(second)) == (1, ConcurrentUseError)
        waiting = asyncio.ensure_future(own.in_time())
        await asyncio.sleep(0)
        with pytest.raises(ConcurrentUseError, match=r"`session.in_time\(\)` for another task"):
            await session.scalar(ONE)
        assert await waiting == 1


async def test_the_connections_of_a_sessions_transaction_refuse_a_second_task(engine: AsyncEngine) -> None:
    async with session_scope(engine) as session:
        await session.scalar(ONE)
        transaction: Any = session.get_transaction()
        if not hasattr(transaction, "connections"):
            pytest.skip("SQLAlchemy before 2.1 does not hand them out")
        [connection] = transaction.connections
        statement = asyncio.create_task(session.scalar(text("select 1 from pg_sleep(0.05)")))
        await asyncio.sleep(0)
        with pytest.raises(ConcurrentUseError, match=r"when `connection.commit\(\)`"):
            await connection.commit()

        assert await statement == 1
