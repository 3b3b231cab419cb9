"""
How long data take to be in a table, and how much memory: this package beside its peers, in one run.

    python benchmarks/write.py [URL] [--plot FILE.png] [--rounds N] [--only PART-OF-A-WORKLOAD]

The workloads are those of `frames.py`. Contestants take turns, in another order each round; the slow ones take two
turns. Each appends to an empty table, in a transaction of its own, which is then emptied. Figures are medians, and
ratios to the same bytes sent by COPY, which is the limit. Peak memory is measured in a process for each. Peers that are
not installed are left out: `pip install 'asyncdb_nb[bench]'`. Without a URL the embedded server is used. Tables are
made in a schema of their own, `write_benchmark`, which is dropped at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib.util
import io
import random
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import asyncpg
import pandas as pd
import pyarrow as pa
from frames import TABLES, highest

from asyncdb_nb import Database
from asyncdb_nb.server import embedded_server

SLOW = ("asyncpg copy_records", "psycopg 3 copy", "run_sync(to_sql)")
PARTS = 2**20  # bytes that raw COPY sends at a time


@dataclass
class Data:
    """One workload: the data in each form, and the table that they go into."""

    number: int
    frame: pd.DataFrame
    table: pa.Table
    stream: bytes
    types: dict[str, Any]

    @property
    def target(self) -> str:
        return f"write_benchmark.t{self.number}"


@dataclass
class Bench:
    """What the contestants use. ADBC, polars, DuckDB and psycopg 3 connect in their own call: some milliseconds."""

    url: str
    raw: asyncpg.Connection
    db: Database

    async def raw_copy(self, data: Data) -> None:
        async def parts() -> AsyncIterator[memoryview]:
            for start in range(0, len(data.stream), PARTS):
                yield memoryview(data.stream)[start : start + PARTS]

        schema, name = data.target.split(".")
        await self.raw.copy_to_table(name, schema_name=schema, source=parts(), format="binary")

    async def ours_of_arrow(self, data: Data) -> None:
        await self.db.write(data.table, data.target)

    async def ours(self, data: Data) -> None:
        await self.db.write(data.frame, data.target)

    async def pgpq(self, data: Data) -> None:
        import pgpq
        import psycopg

        encoder = pgpq.ArrowToPostgresBinaryEncoder(data.table.schema)
        command = f"COPY {data.target} FROM STDIN WITH (FORMAT BINARY)"
        with psycopg.connect(self.url) as connection, connection.cursor() as cursor, cursor.copy(command) as copy:
            copy.write(encoder.write_header())
            for batch in data.table.to_batches(max_chunksize=16_384):
                copy.write(encoder.write_batch(batch))
            copy.write(encoder.finish())

    async def adbc(self, data: Data) -> None:
        import adbc_driver_postgresql.dbapi as adbc

        schema, name = data.target.split(".")
        with adbc.connect(self.url) as connection, connection.cursor() as cursor:
            cursor.adbc_ingest(name, data.table, mode="append", db_schema_name=schema)
            connection.commit()

    async def polars(self, data: Data) -> None:
        import polars

        made = polars.from_arrow(data.table)
        made.write_database(data.target, self.url, engine="adbc", if_table_exists="append")  # type: ignore[union-attr]

    async def duckdb(self, data: Data) -> None:
        import duckdb

        with duckdb.connect() as connection:
            connection.execute("install postgres; load postgres")
            connection.execute(f"attach '{self.url}' as pg (type postgres)")
            connection.register("given", data.table)
            connection.execute(f"insert into pg.{data.target} select * from given")

    async def copy_records(self, data: Data) -> None:
        schema, name = data.target.split(".")
        records = zip(*(column.to_pylist() for column in data.table.columns), strict=True)
        await self.raw.copy_records_to_table(name, schema_name=schema, records=records)

    async def psycopg(self, data: Data) -> None:
        import psycopg

        command = f"COPY {data.target} FROM STDIN"
        with psycopg.connect(self.url) as connection, connection.cursor() as cursor, cursor.copy(command) as copy:
            for row in zip(*(column.to_pylist() for column in data.table.columns), strict=True):
                copy.write_row(row)

    async def to_sql(self, data: Data) -> None:
        schema, name = data.target.split(".")
        async with self.db.engine.begin() as connection:
            await connection.run_sync(
                lambda sync: data.frame.to_sql(
                    name, sync, schema=schema, if_exists="append", index=False, dtype=data.types
                )
            )


CONTESTANTS: dict[str, tuple[Callable[..., Awaitable[Any]], str | None]] = {
    "COPY of the same bytes": (Bench.raw_copy, None),
    "asyncdb_nb write(Table)": (Bench.ours_of_arrow, None),
    "asyncdb_nb write(DataFrame)": (Bench.ours, None),
    "pgpq + psycopg 3": (Bench.pgpq, "psycopg"),
    "ADBC ingest": (Bench.adbc, "adbc_driver_postgresql"),
    "polars over ADBC": (Bench.polars, "polars"),
    "DuckDB postgres extension": (Bench.duckdb, "duckdb"),
    "asyncpg copy_records": (Bench.copy_records, None),
    "psycopg 3 copy": (Bench.psycopg, "psycopg"),
    "run_sync(to_sql)": (Bench.to_sql, None),
}
Results = dict[str, dict[str, float]]


async def prepared(bench: Bench, name: str) -> Data:
    """Read a workload, and make an empty table for it."""
    from sqlalchemy import Numeric

    number, query = list(TABLES).index(name), TABLES[name]
    target = f"write_benchmark.t{number}"
    await bench.raw.execute(f"create unlogged table {target} as {query}")
    stream = io.BytesIO()
    await bench.raw.copy_from_query(f"select * from {target}", output=stream, format="binary")
    frame, table = await bench.db.frame(f"select * from {target}"), await bench.db.table(f"select * from {target}")
    await bench.raw.execute(f"truncate {target}; alter table {target} set logged")
    decimal = {column: Numeric() for column, dtype in frame.dtypes.items() if "decimal" in str(dtype)}
    decimal |= {column: Numeric() for column in frame if name.endswith("precision")}
    return Data(number, frame, table.replace_schema_metadata(None), stream.getvalue(), decimal)


async def measure(bench: Bench, name: str, rounds: int) -> dict[str, float]:
    """Give each contestant's median seconds."""
    data = await prepared(bench, name)
    seconds: dict[str, list[float]] = {}
    for turn in range(-1, rounds):
        for contestant, (write, module) in random.Random(turn).sample(list(CONTESTANTS.items()), len(CONTESTANTS)):
            if (module and not importlib.util.find_spec(module)) or (contestant in SLOW and (turn < 0 or turn > 1)):
                continue
            gc.collect()
            started = time.perf_counter()
            try:
                await write(bench, data)
            except Exception as error:
                if turn <= 0:
                    print(f"  {contestant}: {type(error).__name__}: {str(error)[:90]!r}")
                seconds[contestant] = [float("nan")]
                continue
            taken = time.perf_counter() - started
            if turn >= 0:  # the first turn warms up
                seconds.setdefault(contestant, []).append(taken)
            found = await bench.raw.fetchval(f"select count(*) from {data.target}")
            assert found == len(data.frame), (contestant, found)
            await bench.raw.execute(f"truncate {data.target}")
            await bench.raw.execute("checkpoint")
    await bench.raw.execute(f"drop table {data.target}")
    return {contestant: statistics.median(seconds[contestant]) for contestant in CONTESTANTS if contestant in seconds}


async def peak(url: str, contestant: str, name: str) -> None:
    """Print a contestant's peak of memory beyond the data that it writes; for a process of its own."""
    async with AsyncExitStack() as stack:
        bench = await opened(url, stack)
        small = await prepared(bench, "1M × 5 look-alikes")
        small.frame, small.table = small.frame[:10], small.table.slice(0, 10)
        small.stream = small.stream[:19] + b"\xff\xff"
        await CONTESTANTS[contestant][0](bench, small)
        data = await prepared(bench, name)
        before = highest()
        await CONTESTANTS[contestant][0](bench, data)
        print(f"{(highest() - before) / 1e6:.0f} MB at its peak beyond what the process had held before")
        await bench.raw.execute(f"drop table {data.target}, {small.target}")


async def opened(url: str, stack: AsyncExitStack) -> Bench:
    raw = await asyncpg.connect(url)
    stack.push_async_callback(raw.close)
    return Bench(url, raw, await stack.enter_async_context(Database(url)))


def show(name: str, medians: dict[str, float]) -> None:
    first = next(iter(medians.values()))
    print(f"\n{name}")
    for contestant, taken in medians.items():
        print(f"  {contestant:<32}{taken:8.2f} s  {taken / first:6.2f} ×", flush=True)


def plot(results: Results, file: str) -> None:
    """Draw each workload as a panel, each contestant's ratio to COPY of the same bytes as a dot."""
    import matplotlib.pyplot as plt

    rows = 1 if len(results) < 4 else 2
    columns = -(-len(results) // rows)
    figure, panels = plt.subplots(
        rows, columns, figsize=(2.2 + 2.7 * columns, 3.1 * rows), sharey=True, squeeze=False, layout="constrained"
    )
    for axis in panels.flat[len(results) :]:
        axis.remove()
    for axis, (name, medians) in zip(panels.flat, results.items(), strict=False):
        names = list(CONTESTANTS)[::-1]
        ratios = [medians.get(each, float("nan")) / medians["COPY of the same bytes"] for each in names]
        colours = ["#D55E00" if each.startswith("asyncdb_nb") else "#0072B2" for each in names]
        axis.hlines(names, 1, ratios, colors=colours, linewidth=2)
        axis.scatter(ratios, names, c=colours, zorder=2)
        for each, ratio in zip(names, ratios, strict=True):
            if ratio == ratio:
                axis.annotate(
                    f"{ratio:.1f}", (ratio, each), (7, 0), textcoords="offset points", va="center", fontsize=8
                )
        axis.set(title=name, xscale="log", xlim=(0.7, 80), xticks=[1, 2, 5, 10, 20, 50])
        axis.xaxis.set_major_formatter("{x:g}")
        axis.minorticks_off()
        axis.grid(axis="x", alpha=0.3)
    figure.suptitle("Time until the rows are committed, as a multiple of the same bytes sent by COPY")
    figure.savefig(file, dpi=100)


async def main(arguments: argparse.Namespace) -> None:
    url = arguments.url or embedded_server().url
    if arguments.peak:
        await peak(url, *arguments.peak)
        return
    results: Results = {}
    async with AsyncExitStack() as stack:
        bench = await opened(url, stack)
        await bench.raw.execute("drop schema if exists write_benchmark cascade; create schema write_benchmark")
        for name in TABLES:
            if arguments.only in name:
                results[name] = await measure(bench, name, arguments.rounds)
                show(name, results[name])
        if not arguments.only:
            memory(url)
        await bench.raw.execute("drop schema write_benchmark cascade")
    if arguments.plot:
        plot(results, arguments.plot)


def memory(url: str) -> None:
    print("\nPeak of memory for 1M × 10 mixed")
    for contestant, (_, module) in CONTESTANTS.items():
        if contestant not in SLOW and (module is None or importlib.util.find_spec(module)):
            command = [sys.executable, __file__, url, "--peak", contestant, "1M × 10 mixed"]
            done = subprocess.run(command, capture_output=True, text=True)
            print(f"  {contestant:<32}{(done.stdout or done.stderr[-90:]).strip()}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[1])
    parser.add_argument("url", nargs="?")
    parser.add_argument("--plot")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", default="")
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    asyncio.run(main(parser.parse_args()))
