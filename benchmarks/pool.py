"""
What the pool costs on one loop, and what it saves over many: ratios measured side by side in one run.

    python benchmarks/pool.py [URL]

Every figure is a median of alternating rounds, so that a noisy machine disturbs both sides alike. Without a URL the
embedded server is used.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, NullPool
from sqlalchemy.util import greenlet_spawn

from asyncdb_nb import LoopBoundPool, session_scope
from asyncdb_nb.server import EmbeddedServer

ROUNDS = 31
QUERY = text("select 1")


def engine_with(url: str, poolclass: type[Any], **options: Any) -> AsyncEngine:
    url = url.replace("postgresql://", "postgresql+asyncpg://").replace("postgres://", "postgresql+asyncpg://")
    return create_async_engine(url, poolclass=poolclass, **options)


async def checkouts(engine: AsyncEngine, times: int) -> float:
    """Seconds for one checkout and checkin on a warm loop."""

    def work() -> float:
        pool = engine.sync_engine.pool
        started = time.perf_counter()
        for _ in range(times):
            pool.connect().close()
        return (time.perf_counter() - started) / times

    return await greenlet_spawn(work)


async def paired(first: Callable[[], Awaitable[float]], second: Callable[[], Awaitable[float]]) -> tuple[float, float]:
    """Medians of two measurements that take turns, each as often the first."""
    results: tuple[list[float], list[float]] = ([], [])
    for number in range(ROUNDS):
        turns = list(zip((first, second), results, strict=True))
        for measure, seconds in turns if number % 2 else reversed(turns):
            gc.collect()
            seconds.append(await measure())
    return statistics.median(results[0]), statistics.median(results[1])


async def warm_loop(url: str) -> None:
    stock, ours = engine_with(url, AsyncAdaptedQueuePool), engine_with(url, LoopBoundPool, idle_timeout=60)
    for engine in (stock, ours):
        await checkouts(engine, 10)
    a, b = await paired(lambda: checkouts(stock, 1000), lambda: checkouts(ours, 1000))
    print(f"checkout and checkin on a warm loop: {a * 1e6:.1f} µs, ours {b * 1e6:.1f} µs: {(b - a) * 1e6:+.1f} µs")

    maker = async_sessionmaker(stock, expire_on_commit=False)

    async def begin() -> float:
        started = time.perf_counter()
        for _ in range(50):
            async with maker.begin() as session:
                await session.execute(QUERY)
        return (time.perf_counter() - started) / 50

    async def scope() -> float:
        started = time.perf_counter()
        for _ in range(50):
            async with session_scope(ours) as session:
                await session.execute(QUERY)
        return (time.perf_counter() - started) / 50

    a, b = await paired(begin, scope)
    print(
        f"a scope with one query: sessionmaker.begin() {a * 1e6:.0f} µs, session_scope {b * 1e6:.0f} µs: {b / a:.3f} ×"
    )
    await stock.dispose()
    await ours.dispose()


def many_loops(url: str, loops: int = 200, queries: int = 5, rounds: int = 3) -> None:
    async def work(engine: AsyncEngine) -> None:
        for _ in range(queries):
            async with AsyncSession(engine) as session:
                await session.execute(QUERY)

    def measure(engine: AsyncEngine) -> float:
        started = time.perf_counter()
        for _ in range(loops):
            asyncio.run(work(engine))
        return time.perf_counter() - started

    null, ours = engine_with(url, NullPool), engine_with(url, LoopBoundPool)
    seconds = [(measure(null), measure(ours)) for _ in range(rounds)]
    a, b = (statistics.median(column) for column in zip(*seconds, strict=True))
    print(f"{loops} loops with {queries} queries each: NullPool {a:.2f} s, LoopBoundPool {b:.2f} s: {b / a:.2f} ×")


def import_time(rounds: int = 15) -> None:
    def measure(statement: str) -> float:
        code = f"import time; t = time.perf_counter(); {statement}; print(time.perf_counter() - t)"
        return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)

    plain = "import sqlalchemy.ext.asyncio"
    times = [(measure(plain), measure(f"{plain}; import asyncdb_nb")) for _ in range(rounds)]
    names = "from asyncdb_nb import LoopBoundPool, connect, session_scope"
    used = [measure(f"{plain}; {names}") for _ in range(rounds)]
    a, b = (statistics.median(column) for column in zip(*times, strict=True))
    c = statistics.median(used)
    print(f"import: SQLAlchemy {a * 1e3:.0f} ms, and asyncdb_nb {(b - a) * 1e3:+.1f} ms, names {(c - a) * 1e3:+.1f} ms")


def main() -> None:
    import_time()
    if len(sys.argv) > 1:
        url = sys.argv[1]
        asyncio.run(warm_loop(url))
        many_loops(url)
        return
    with EmbeddedServer.start() as server:  # one of its own, and so of nobody else's
        asyncio.run(warm_loop(server.url))
        many_loops(server.url)


if __name__ == "__main__":
    main()
