"""
What it would win to receive the parts of a parallel read on a loop of its own each, in a thread of its own.

    python benchmarks/receiving.py [--rows 1000000] [--rounds 9] [--degrees 2,4]

`parallel=n` receives on one loop. Here the same parts of one snapshot are read to Arrow on that loop ("one loop"), on
loops in threads that are kept with their connections from one read to the next ("kept loops", the best case), and on
loops that are made for the read, which then has to connect ("new loops"). They take turns in another order each round.

CPU seconds are for a million rows: of the whole client; of the threads that receive, and thereof in the kernel, which
is where they do without the interpreter's lock (GIL); and of the server. With as many cores as one likes, a read takes
no less than the busiest thread that receives, and no less than what holds the lock. The embedded server is used; the
table is dropped at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import resource
import statistics
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import ExitStack
from typing import Any

import psutil
from scale import MAKE, TABLE, Meter

from asyncdb_nb import Database, run
from asyncdb_nb.database import parallel, reads
from asyncdb_nb.dataframes.columns import column as assembly
from asyncdb_nb.dataframes.query.progress import ProgressOfParts
from asyncdb_nb.server import embedded_server

Run = dict[str, float]


class Receiver:
    """A loop in a thread, and the CPU seconds of that thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def __enter__(self) -> Receiver:
        return self

    def __exit__(self, *error: object) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()

    def _serve(self) -> None:
        self.loop.run_forever()
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()

    async def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self.loop))

    async def seconds(self) -> tuple[float, float]:
        async def here() -> tuple[float, float]:
            return thread_seconds()

        return tuple(await self.do(here()))


def thread_seconds() -> tuple[float, float]:
    """CPU seconds of this thread: all, and those in the kernel."""
    used = resource.getrusage(resource.RUSAGE_THREAD)
    return used.ru_utime + used.ru_stime, used.ru_stime


class Reader:
    """Reads the table by `n` connections, in each of the ways."""

    def __init__(self, db: Database, n: int, kept: list[Receiver]) -> None:
        self._db, self._n, self._kept = db, n, kept

    async def on_one_loop(self) -> list[tuple[float, float]]:
        before = thread_seconds()
        await self._read(lambda place, part: part)
        return [difference(thread_seconds(), before)]

    async def on_kept_loops(self) -> list[tuple[float, float]]:
        return await self._on(self._kept)

    async def on_new_loops(self) -> list[tuple[float, float]]:
        with ExitStack() as stack:
            return await self._on([stack.enter_context(Receiver()) for _ in range(self._n)])

    async def _on(self, receivers: list[Receiver]) -> list[tuple[float, float]]:
        before = [await each.seconds() for each in receivers]
        await self._read(lambda place, part: receivers[place % self._n].do(part))
        return [difference(await each.seconds(), then) for each, then in zip(receivers, before, strict=True)]

    async def _read(self, where: Callable[[int, Any], Awaitable[parallel.Rows]]) -> None:
        progress = ProgressOfParts()
        async with self._db.snapshot(TABLE) as snap:

            def read(place: int, statement: str) -> Awaitable[parallel.Rows]:
                options = {"arrow": True, "progress": progress.of(place)}
                return where(place, reads.whole(snap.session, parallel._read, statement, None, options))

            rows = await parallel.at_once(await snap.blocks(TABLE, self._n), self._n, read)
        progress.close()
        assembly.to_table(parallel.joined(rows).columns)


def difference(now: tuple[float, float], then: tuple[float, float]) -> tuple[float, float]:
    return now[0] - then[0], now[1] - then[1]


async def turns(meter: Meter, ways: dict[str, Callable[[], Awaitable[Any]]], rounds: int) -> dict[str, list[Run]]:
    found: dict[str, list[Run]] = {name: [] for name in ways}
    for _ in range(rounds + 1):  # the first is to warm up
        for name in random.sample(list(ways), len(ways)):
            before, process = meter.now(), time.process_time()
            threads = await ways[name]()
            process, after = time.process_time() - process, meter.now()
            found[name].append(
                {
                    "wall": after[0] - before[0],
                    "client": process,
                    "receiving": sum(all_ for all_, _ in threads),
                    "in the kernel": sum(kernel for _, kernel in threads),
                    "busiest": max(all_ for all_, _ in threads),
                    "server": after[2] - before[2],
                }
            )
    return {name: runs[1:] for name, runs in found.items()}


def show(found: dict[str, list[Run]], rows: int) -> None:
    first = next(iter(found.values()))
    for name, runs in found.items():
        medians = {of: statistics.median(each[of] for each in runs) / rows * 1e6 for of in runs[0]}
        ratios = sorted(each["wall"] / base["wall"] for each, base in zip(runs, first, strict=True))
        figures = "  ".join(f"{of} {value:5.2f}" for of, value in medians.items())
        print(f"{name:24} {figures}  wall × {statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})")


async def measure(options: argparse.Namespace) -> None:
    server = embedded_server()
    print(f"{os.cpu_count()} cores, load {psutil.getloadavg()[0]:.1f}; seconds for a million rows, medians")
    async with Database(server.url) as db:
        await db.execute("create schema if not exists scale_benchmark")
        try:
            await db.execute(f"drop table if exists {TABLE}; create table {TABLE} as {MAKE.format(rows=options.rows)}")
            await db.execute(f"analyze {TABLE}")
            for n in options.degrees:
                with ExitStack() as stack:
                    reader = Reader(db, n, [stack.enter_context(Receiver()) for _ in range(n)])
                    ways = {
                        f"{n}, one loop": reader.on_one_loop,
                        f"{n}, kept loops": reader.on_kept_loops,
                        f"{n}, new loops": reader.on_new_loops,
                    }
                    show(await turns(Meter(server.status().pid), ways, options.rounds), options.rows)
        finally:
            await db.execute("drop schema scale_benchmark cascade")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--degrees", type=lambda text: [int(each) for each in text.split(",")], default=[2, 4])
    run(measure(parser.parse_args()))
