"""Whatever a session of a scope can be asked to do, it refuses a second task, another loop, and use after its block."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import wraps
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
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
