"""
What several connections win: wall time, and CPU seconds of client and server for a million rows, beside the peers.

    python benchmarks/scale.py [--rows 1000000] [--rounds 3] [--degrees 1,2,4,8] [--only PART-OF-A-NAME] [--dask]

The embedded server is used, so that its CPU seconds can be counted with the client's. Contestants take turns, in
another order each round; figures are medians, and ratios to the first of the same round: COPY into nothing on one
connection. A ratio is of this machine: the number of its cores, and what else it did, are printed first. `--dask` adds
a groupby on a cluster of two processes. Peers that are not installed are left out: `pip install 'asyncdb_nb[bench]'`.
The table is made in a schema of its own, `scale_benchmark`, which is dropped at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import os
import random
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg
import psutil
from sqlalchemy import make_url

from asyncdb_nb import Database, run
from asyncdb_nb.server import embedded_server

TABLE = "scale_benchmark.mixed"
MAKE = """select g::int4 as id, (g * 7919)::int8 as workflow_id, (array['ok','failed','running','queued'])[1 + g % 4]
  as status, 'workflow number ' || g % 1000 as name, timestamptz '2024-01-01' + g * interval '1.000123 s' as started_at,
  timestamptz '2024-01-01' + g * interval '1.5 s' as finished_at, (g / 3.0)::float8 as duration,
  nullif(g % 5, 0)::int2 as retries, g % 2 = 0 as ok, (g * 1.25)::numeric(12, 2) as cost
  from generate_series(1::int8, {rows}) g"""

Contestant = Callable[[], Awaitable[Any]]


class Meter:
    """CPU seconds of this process with its children, and of the server with its own."""

    def __init__(self, server: int) -> None:
        self._client, self._server = psutil.Process(), psutil.Process(server)

    def now(self) -> tuple[float, float, float]:
        return time.perf_counter(), seconds_of(self._client), seconds_of(self._server)


def seconds_of(process: psutil.Process) -> float:
    total = 0.0
    for one in (process, *process.children(recursive=True)):
        try:
            times = one.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def ours(db: Database, degrees: list[int]) -> dict[str, Contestant]:
    found: dict[str, Contestant] = {
        "db.table, one connection": lambda: db.table(f"select * from {TABLE}"),
        "db.frame, one connection": lambda: db.frame(f"select * from {TABLE}"),
    }
    for n in degrees:
        found[f"db.table, parallel={n}"] = lambda n=n: db.table(TABLE, parallel=n)
        found[f"db.frame, parallel={n}"] = lambda n=n: db.frame(TABLE, parallel=n)
    return found


def peers(url: str, degrees: list[int]) -> dict[str, Contestant]:
    found: dict[str, Contestant] = {}
    query, there = f"select * from {TABLE}", importlib.util.find_spec
    if there("connectorx"):
        import connectorx

        for n in degrees:
            parts = {} if n == 1 else {"partition_on": "id", "partition_num": n}
            found[f"connectorx to Arrow, {n}"] = in_a_thread(
                lambda parts=parts: connectorx.read_sql(url, query, return_type="arrow", **parts)
            )
    if there("adbc_driver_postgresql"):
        found["ADBC to Arrow"] = in_a_thread(lambda: by_adbc(url, query))
    if there("duckdb") and there("duckdb_ext"):
        for n in degrees:
            found[f"DuckDB to Arrow, {n} threads"] = in_a_thread(lambda n=n: by_duckdb(url, n).fetch_arrow_table())
            found[f"DuckDB to DataFrame, {n} threads"] = in_a_thread(lambda n=n: by_duckdb(url, n).df())
    return found


def in_a_thread(function: Callable[[], Any]) -> Contestant:
    return lambda: asyncio.to_thread(function)


def by_adbc(url: str, query: str) -> Any:
    from adbc_driver_postgresql import dbapi

    with dbapi.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetch_arrow_table()


def by_duckdb(url: str, threads: int) -> Any:
    import duckdb
    import duckdb_ext  # a namespace without code, in which the wheels of extensions put theirs

    [folder] = [str(Path(each) / "extensions") for each in duckdb_ext.__path__]
    connection = duckdb.connect(config={"threads": threads, "extension_directory": folder})
    connection.execute("load postgres_scanner")
    connection.execute(f"attach '{url}' as pg (type postgres, read_only)")
    return connection.execute(f"select * from pg.{TABLE}")


async def turns(
    meter: Meter, contestants: dict[str, Contestant], rounds: int
) -> dict[str, list[tuple[float, float, float]]]:
    """Wall, client and server seconds of each turn."""
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in contestants}
    for _ in range(rounds + 1):  # the first is to warm up
        for name in random.sample(list(contestants), len(contestants)):
            before = meter.now()
            made = await contestants[name]()
            after = meter.now()
            del made
            wall, client, server = (end - start for start, end in zip(before, after, strict=True))
            found[name].append((wall, client, server))
    return {name: runs[1:] for name, runs in found.items()}


def show(found: dict[str, list[tuple[float, float, float]]], rows: int) -> None:
    first = next(iter(found.values()))
    print(f"{'':34}  wall s   ratio     CPU s per million rows: client  server")
    for name, runs in found.items():
        wall, client, server = (statistics.median(turn[part] for turn in runs) for part in range(3))
        ratio = statistics.median(turn[0] / base[0] for turn, base in zip(runs, first, strict=True))
        print(
            f"{name:34} {wall:7.2f} {ratio:6.2f} × {client / rows * 1e6:30.2f} {server / rows * 1e6:7.2f}", flush=True
        )


async def measure(options: argparse.Namespace) -> None:
    server = embedded_server()
    meter, url = Meter(server.status().pid), make_url(server.url)
    socket = quote(str(url.query["host"]), safe="")
    for_libpq = f"postgresql://{url.username}@{socket}:{url.query['port']}/{url.database}"
    raw = await asyncpg.connect(server.url)

    async def nothing() -> None:
        async def nowhere(data: bytes) -> None:
            pass

        await raw.copy_from_query(f"select * from {TABLE}", output=nowhere, format="binary")

    async with Database(server.url, pool_size=max(options.degrees) + 1) as db:
        contestants: dict[str, Contestant] = {"COPY into nothing": nothing}
        contestants |= ours(db, options.degrees) | peers(for_libpq, options.degrees)
        chosen = {name: each for name, each in contestants.items() if name[:4] == "COPY" or options.only in name}
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {options.rows:,} rows, {options.rounds} rounds")
        show(await turns(meter, chosen, options.rounds), options.rows)
    await raw.close()


def by_cluster(options: argparse.Namespace) -> None:
    """A groupby by dask on two processes: over this package's reader, and over dask's own."""
    import dask.dataframe as dd
    from distributed import Client, LocalCluster

    from asyncdb_nb.distributed import read_sql_table, release

    server = embedded_server()
    meter, db = Meter(server.status().pid), Database(server.url)
    uri = make_url(server.url).set(drivername="postgresql+psycopg").render_as_string(hide_password=False)

    def grouped(collection: Any) -> Any:
        return collection.groupby("name")[["duration", "workflow_id"]].sum()

    def over_ours() -> Any:
        collection = read_sql_table(db, TABLE, npartitions=8)
        try:
            return grouped(collection).compute()
        finally:
            release(collection)

    def over_dasks() -> Any:
        schema, name = TABLE.split(".")
        columns = ["name", "duration", "workflow_id"]
        return grouped(dd.read_sql_table(name, uri, "id", npartitions=8, schema=schema, columns=columns)).compute()

    def alone() -> Any:
        return grouped(run(db.frame(f"select name, duration, workflow_id from {TABLE}")))

    contestants = {"db.frame and a groupby": alone, "dask over this reader": over_ours, "dask over its own": over_dasks}
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster, Client(cluster):
        found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in contestants}
        for _ in range(options.rounds + 1):
            for name, each in contestants.items():
                before = meter.now()
                each()
                wall, client, by_server = (end - start for start, end in zip(before, meter.now(), strict=True))
                found[name].append((wall, client, by_server))
        show({name: runs[1:] for name, runs in found.items()}, options.rows)
    run(db.aclose())


async def make(rows: int) -> None:
    connection = await asyncpg.connect(embedded_server().url)
    await connection.execute("drop schema if exists scale_benchmark cascade; create schema scale_benchmark")
    await connection.execute(
        f"create table {TABLE} as {MAKE.format(rows=rows)}; alter table {TABLE} add primary key (id)"
    )
    await connection.execute(f"vacuum analyze {TABLE}")
    await connection.close()


async def drop() -> None:
    connection = await asyncpg.connect(embedded_server().url)
    await connection.execute("drop schema scale_benchmark cascade")
    await connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--degrees", type=lambda given: [int(n) for n in given.split(",")], default=[1, 2, 4, 8])
    parser.add_argument("--only", default="")
    parser.add_argument("--dask", action="store_true")
    options = parser.parse_args()
    asyncio.run(make(options.rows))
    try:
        asyncio.run(measure(options))
        if options.dask:
            by_cluster(options)
    finally:
        asyncio.run(drop())


if __name__ == "__main__":
    main()
