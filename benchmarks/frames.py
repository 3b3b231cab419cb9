"""
How long a result takes to become a frame, and how much memory: this package beside its peers, in one run.

    python benchmarks/frames.py [URL] [--plot FILE.png] [--rounds N] [--only PART-OF-A-WORKLOAD] [--seed N]

Contestants take turns, in another order each round, so that a noisy machine, and the memory that the one before has
given back, disturb all of them alike; the slow ones take two turns. Figures are medians, the lowest and the highest,
and ratios to the first of each workload: COPY into nothing by asyncpg, or asyncpg's rows for small results. Beside them
are the processor's seconds: this process's and, where the server is on this machine, the server's, with all of its
processes. What COPY costs without asyncpg is shown, too: read by a socket and by libpq, and thrown away.

Some tables are made up at random; `--seed` makes those of an earlier run again. Peak memory is measured in a process
for each. Peers that are not installed are left out, and named: `pip install 'asyncdb_nb[bench]'`. Without a URL the
embedded server is used. Tables are made in a schema of their own, `frames_benchmark`, which is dropped at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib.util
import os
import random
import resource
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from struct import pack
from typing import Any

import asyncpg
import pandas as pd
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from asyncdb_nb import Database, frame, table
from asyncdb_nb.server import embedded_server

MIXED = """select g::int4 as id, (g * 7919)::int8 as workflow_id, (array['ok','failed','running','queued'])[1 + g % 4]
  as status, 'workflow number ' || g % 1000 as name, timestamptz '2024-01-01' + g * interval '1.000123 s' as started_at,
  timestamptz '2024-01-01' + g * interval '1.5 s' as finished_at, (g / 3.0)::float8 as duration,
  nullif(g % 5, 0)::int2 as retries, g % 2 = 0 as ok, (g * 1.25)::numeric(12, 2) as cost
  from generate_series(1::int8, {rows}) g"""
TEXTS = ", ".join(f"repeat(md5((g + {n})::text), 1 + (g % 4)::int) as t{n}" for n in range(6))
WIDE = ", ".join(f"(g + {n})::int4 as i{n}, g / {n + 1}.0::float8 as f{n}, 'v' || g % 97 as s{n}, "
                 f"timestamp '2024-01-01' + g * interval '1 s' as d{n}" for n in range(10))  # fmt: skip
NULLS = ", ".join(
    f"(case when g % 3 = 0 then null else {column} end)::{type_} as {column}"  # `case` drops a numeric's precision
    for column, type_ in {"id": "int4", "name": "text", "cost": "numeric(12, 2)", "ok": "bool"}.items()
)
LOOKALIKES = (
    "10::int4 as a, 10::int4 as b, (10::int8 << 32 | 4) as c, '\\x000a00000004'::bytea as d, (655360)::int4 as e"
)
TABLES = {
    "1M × 10 mixed": MIXED.format(rows=1_000_000),
    "1M × 4 integers": "select g::int4 as a, g::int8 as b, (g % 100)::int2 as c, (g * 3)::int4 as d "
    "from generate_series(1::int8, 1000000) g",
    "200k × 6 texts": f"select {TEXTS} from generate_series(1::int8, 200000) g",
    "100k × 40 wide": f"select {WIDE} from generate_series(1::int8, 100000) g",
    "1M × 4 with NULLs": f"select {NULLS} from ({MIXED.format(rows=1_000_000)}) g(id, workflow_id, status, name, "
    "started_at, finished_at, duration, retries, ok, cost), lateral (select id as g) n",
    "1M × 2 of any precision": "select g::numeric / 8 as a, (g * 1.25)::numeric as b "
    "from generate_series(1, 1000000) g",
    "1M × 5 look-alikes": f"select {LOOKALIKES} from generate_series(1::int8, 1000000) g",
}
RANDOM_TABLES = 4
CELLS = 8_000_000  # in a random table
EXPRESSIONS = {
    "int2": "(g % 30000)::int2",
    "int4": "(g * 7919 % 2000000000)::int4",
    "int8": "g * 1000003",
    "float4": "(g / 3.0)::float4",
    "float8": "(g / 7.0)::float8",
    "bool": "g % 3 = 0",
    "date": "date '2000-01-01' + (g % 9000)::int",
    "timestamp": "timestamp '2024-01-01' + g * interval '1.37 s'",
    "timestamptz": "timestamptz '2024-01-01' + g * interval '1.000123 s'",
    "numeric(12,2)": "(g * 1.25)::numeric(12, 2)",
    "numeric(30,6)": "(g * 1234567.000125)::numeric(30, 6)",
    "numeric": "g::numeric / 8",
    "uuid": "md5(g::text)::uuid",
    "short text": "'row ' || g % 1000",
    "text": "md5(g::text) || g",
    "long text": "repeat(md5(g::text), 1 + (g % 6)::int)",
    "jsonb": "jsonb_build_object('id', g, 'ok', g % 2 = 0)",
    "bytea": "decode(md5(g::text), 'hex')",
}
NULLS_IN = (0, 0, 0, 0.001, 0.2, 0.9)  # a random column is NULL in one of these shares of its rows
SMALL = {"100 rows": 100, "1 row": 1}
SLOW = ("asyncpg fetch + DataFrame", "run_sync(pd.read_sql)", "psycopg 3 + DataFrame")


def random_tables(seed: int) -> dict[str, str]:
    """Make up tables: columns of any type, of which some are NULL here and there."""
    chance = random.Random(seed)
    tables = {}
    for number in range(1, RANDOM_TABLES + 1):
        kinds = chance.choices(list(EXPRESSIONS), k=chance.randint(2, 24))
        columns = []
        for position, kind in enumerate(kinds):
            nulls, value = chance.choice(NULLS_IN), EXPRESSIONS[kind]
            if nulls:
                picked = f"abs(hashint8(g + {chance.randrange(10**9)})::int8) % 1000 < {nulls * 1000:.0f}"
                value = f"(case when {picked} then null else {value} end)::{kind.split()[-1]}"
            columns.append(f"{value} as c{position}")
        rows = CELLS // len(kinds)
        name = f"random {number}: {rows / 1e6:.1f}M × {len(kinds)}"
        tables[name] = f"select {', '.join(columns)} from generate_series(1::int8, {rows}) g"
    return tables


@dataclass
class Bench:
    """What the contestants use: connections that are open already, as in a notebook.

    ADBC, connectorx, polars and psycopg 3 connect for each query, in their own call: some milliseconds. So does the
    socket.
    """

    url: str
    session: AsyncSession
    raw: asyncpg.Connection
    db: Database
    pool: asyncpg.Pool
    duck: Any = None  # a connection of DuckDB's, with the server attached as `pg`; None where that is not installed

    async def copy_into_nothing(self, query: str) -> None:
        async def nowhere(data: bytes) -> None:
            return None

        await self.raw.copy_from_query(query, output=nowhere, format="binary")

    async def socket_into_nothing(self, query: str) -> None:
        with closing(connected(self.url)) as server:
            statement = f"copy ({query}) to stdout (format binary)\0".encode()
            server.sendall(b"Q" + pack("!i", len(statement) + 4) + statement)
            until_ready(server)

    async def libpq_into_nothing(self, query: str) -> None:
        import psycopg

        copy = f"copy ({query}) to stdout (format binary)"
        with psycopg.connect(self.url) as connection, connection.cursor() as cursor, cursor.copy(copy) as copying:
            for _ in copying:
                pass

    def _duck(self, query: str, threads: int) -> Any:
        self.duck.execute(f"set threads = {threads}")
        return self.duck.execute(query.replace("frames_benchmark.", "pg.frames_benchmark."))

    async def duckdb_to_arrow(self, query: str) -> Any:
        return self._duck(query, 1).fetch_arrow_table()

    async def duckdb_2_to_arrow(self, query: str) -> Any:
        return self._duck(query, 2).fetch_arrow_table()

    async def duckdb_to_pandas(self, query: str) -> Any:
        return self._duck(query, 1).df()

    async def duckdb_2_to_pandas(self, query: str) -> Any:
        return self._duck(query, 2).df()

    async def ours(self, query: str) -> Any:
        return await frame(self.session, query)

    async def ours_to_arrow(self, query: str) -> Any:
        return await table(self.session, query)

    async def ours_alone(self, query: str) -> Any:
        return await self.db.frame(query)

    async def asyncpg(self, query: str) -> Any:
        rows = await self.raw.fetch(query)
        return pd.DataFrame([tuple(row) for row in rows], columns=list(rows[0].keys()))

    async def asyncpg_pool(self, query: str) -> Any:
        async with self.pool.acquire() as connection, connection.transaction(readonly=True):
            rows = await connection.fetch(query)
        return pd.DataFrame([tuple(row) for row in rows], columns=list(rows[0].keys()))

    async def run_sync(self, query: str) -> Any:
        connection = await self.session.connection()
        return await connection.run_sync(lambda sync: pd.read_sql(text(query), sync))

    async def adbc_to_arrow(self, query: str) -> Any:
        import adbc_driver_postgresql.dbapi as adbc

        with adbc.connect(self.url) as connection, connection.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetch_arrow_table()

    async def adbc_to_pandas(self, query: str) -> Any:
        import adbc_driver_postgresql.dbapi as adbc

        with adbc.connect(self.url) as connection:
            return pd.read_sql(query, connection)

    async def connectorx_to_arrow(self, query: str) -> Any:
        import connectorx

        return connectorx.read_sql(self.url, query, return_type="arrow")

    async def connectorx_to_pandas(self, query: str) -> Any:
        import connectorx

        return connectorx.read_sql(self.url, query)

    async def polars(self, query: str) -> Any:
        import polars

        return polars.read_database_uri(query, self.url)

    async def psycopg(self, query: str) -> Any:
        import psycopg

        with psycopg.connect(self.url) as connection, connection.cursor(binary=True) as cursor:
            cursor.execute(query)
            return pd.DataFrame(cursor.fetchall(), columns=[column.name for column in cursor.description or ()])


LARGE_CONTESTANTS: dict[str, tuple[Callable[..., Awaitable[Any]], str | None]] = {
    "COPY into nothing": (Bench.copy_into_nothing, None),
    "the same by a socket": (Bench.socket_into_nothing, None),
    "the same by libpq": (Bench.libpq_into_nothing, "psycopg"),
    "asyncdb_nb table()": (Bench.ours_to_arrow, None),
    "asyncdb_nb frame()": (Bench.ours, None),
    "ADBC to Arrow": (Bench.adbc_to_arrow, "adbc_driver_postgresql"),
    "pandas over ADBC": (Bench.adbc_to_pandas, "adbc_driver_postgresql"),
    "DuckDB to Arrow": (Bench.duckdb_to_arrow, "duckdb_ext"),
    "DuckDB to Arrow, 2 threads": (Bench.duckdb_2_to_arrow, "duckdb_ext"),
    "DuckDB to pandas": (Bench.duckdb_to_pandas, "duckdb_ext"),
    "DuckDB to pandas, 2 threads": (Bench.duckdb_2_to_pandas, "duckdb_ext"),
    "connectorx to Arrow": (Bench.connectorx_to_arrow, "connectorx"),
    "connectorx to pandas": (Bench.connectorx_to_pandas, "connectorx"),
    "polars": (Bench.polars, "polars"),
    "asyncpg fetch + DataFrame": (Bench.asyncpg, None),
    "psycopg 3 + DataFrame": (Bench.psycopg, "psycopg"),
    "run_sync(pd.read_sql)": (Bench.run_sync, None),
}
SMALL_CONTESTANTS: dict[str, tuple[Callable[..., Awaitable[Any]], str | None]] = {
    "asyncpg fetch + DataFrame": (Bench.asyncpg, None),
    "asyncdb_nb frame(session, …)": (Bench.ours, None),
    "asyncpg pool, read-only transaction + DataFrame": (Bench.asyncpg_pool, None),
    "asyncdb_nb db.frame(…)": (Bench.ours_alone, None),
    "run_sync(pd.read_sql)": (Bench.run_sync, None),
}


@dataclass
class Measured:
    """Seconds, one for each turn.

    Attributes:
        wall: Until the result is there.
        client: Of the processor, in this process.
        server: Of the processor, in all processes of the server; empty where that cannot be seen.
    """

    wall: list[float] = field(default_factory=list)
    client: list[float] = field(default_factory=list)
    server: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.wall)


Results = dict[str, dict[str, Measured]]


def connected(url: str) -> socket.socket:
    """Connect without a driver, to a server that asks for no password."""
    target = make_url(url)
    host, port = target.host or target.query.get("host", "127.0.0.1"), target.port or target.query.get("port", 5432)
    if str(host).startswith("/"):
        server = socket.socket(socket.AF_UNIX)
        server.connect(f"{host}/.s.PGSQL.{port}")
    else:
        server = socket.create_connection((str(host), int(str(port))))
    names = f"user\0{target.username}\0database\0{target.database}\0\0".encode()
    server.sendall(pack("!ii", len(names) + 8, 3 << 16) + names)
    until_ready(server)
    return server


def until_ready(server: socket.socket) -> None:
    """Read up to ReadyForQuery, and throw it away."""
    memory = memoryview(bytearray(2**20))
    end = b""
    while end[:-1] != b"Z\0\0\0\5":
        size = server.recv_into(memory)
        if not size or bytes(memory[: min(size, 9)])[::8] == b"R\3":
            raise ConnectionError("the server hangs up, or asks for a password")
        end = (end + bytes(memory[max(size - 6, 0) : size]))[-6:]


def duckdb_with(url: str) -> Any:
    """Open DuckDB with its extension for PostgreSQL from the package index; None where they are not installed."""
    if not (importlib.util.find_spec("duckdb") and importlib.util.find_spec("duckdb_ext")):
        return None
    import duckdb
    import duckdb_ext

    [file] = Path(next(iter(duckdb_ext.__path__))).glob(f"extensions/v{duckdb.__version__}/*/postgres_scanner.*")
    connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    connection.execute(f"load '{file}'")
    connection.execute(f"attach '{url}' as pg (type postgres, read_only)")
    return connection


class ServerProcesses:
    """The processor's seconds of a server on this machine, by Linux's account of its processes.

    Args:
        postmaster: Its first process; None when it is elsewhere.
    """

    def __init__(self, postmaster: int | None) -> None:
        self._postmaster = postmaster

    @classmethod
    def of(cls, connection: asyncpg.Connection) -> ServerProcesses:
        """Find the server of a connection."""
        status = Path(f"/proc/{connection.get_server_pid()}/status")
        found = status.exists() and "postgres" in status.read_text().split("\n")[0]
        return cls(int(status.read_text().split("PPid:")[1].split()[0]) if found else None)

    def seconds(self) -> float | None:
        """Sum up what all processes have used that are, or were."""
        if self._postmaster is None:
            return None
        ticks = 0
        for file in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):  # one that has ended meanwhile
                columns = file.read_text().rpartition(")")[2].split()
                if int(file.parent.name) == self._postmaster:
                    ticks += sum(map(int, columns[11:15]))  # its own, and those of its children that have ended
                elif int(columns[1]) == self._postmaster:
                    ticks += sum(map(int, columns[11:13]))
        return ticks / os.sysconf("SC_CLK_TCK")


async def opened(url: str, stack: AsyncExitStack) -> Bench:
    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://", 1))
    stack.push_async_callback(engine.dispose)
    session = await stack.enter_async_context(AsyncSession(engine))
    raw = await asyncpg.connect(url)
    stack.push_async_callback(raw.close)
    pool = await stack.enter_async_context(asyncpg.create_pool(url, min_size=1))
    duck = duckdb_with(url)
    if duck is not None:
        stack.callback(duck.close)
    return Bench(url, session, raw, await stack.enter_async_context(Database(url)), pool, duck)


def query_of(name: str) -> str:
    if name in SMALL:
        return f"select * from frames_benchmark.t0 where id <= {SMALL[name]}"
    return f"select * from frames_benchmark.t{list(TABLES).index(name)}"


async def measure(bench: Bench, name: str, rounds: int) -> dict[str, Measured]:
    """Let the contestants take turns."""
    contestants = SMALL_CONTESTANTS if name in SMALL else LARGE_CONTESTANTS
    server = ServerProcesses.of(bench.raw)
    measured: dict[str, Measured] = {}
    failed: set[str] = set()
    for turn in range(-1, rounds):
        in_turn = random.Random(turn).sample(list(contestants.items()), len(contestants))
        for contestant, (load, module) in in_turn:
            slow = contestant in SLOW and turn > 1 and name not in SMALL
            if slow or contestant in failed or (module and not importlib.util.find_spec(module)):
                continue
            gc.collect() if name not in SMALL else None
            started = (time.perf_counter(), time.process_time(), None if name in SMALL else server.seconds())
            try:
                result = await load(bench, query_of(name))
            except Exception as error:
                print(f"  {contestant}: {type(error).__name__}: {str(error)[:90]}")
                failed.add(contestant)
                continue
            if turn >= 0:  # the first turn warms up
                each = measured.setdefault(contestant, Measured())
                each.wall.append(time.perf_counter() - started[0])
                each.client.append(time.process_time() - started[1])
                if started[2] is not None:
                    each.server.append((server.seconds() or 0) - started[2])
            del result
    return {contestant: measured[contestant] for contestant in contestants if contestant in measured}


async def peak(url: str, contestant: str, name: str) -> None:
    """Print a contestant's peak of memory beyond what it returns, as a share of that; for a process of its own."""
    async with AsyncExitStack() as stack:
        bench = await opened(url, stack)
        load = LARGE_CONTESTANTS[contestant][0]
        await load(bench, query_of("1 row"))
        before = highest()
        made = await load(bench, query_of(name))
        after = highest()
        size = _size(made)
        print(
            f"{(after - before) / 1e6:.0f} MB at its peak for {size / 1e6:.0f} MB: {(after - before - size) / size:.2f}"
        )


def highest() -> int:
    """The most bytes that this process has held; Linux tells it without what the process that began it held."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _size(made: Any) -> int:
    if isinstance(made, pd.DataFrame):
        return int(made.memory_usage(deep=True).sum())
    return int(made.nbytes if hasattr(made, "nbytes") else made.estimated_size())


def show(name: str, measured: dict[str, Measured]) -> None:
    first = next(iter(measured.values())).median
    unit, scale = ("ms", 1e3) if name in SMALL else ("s", 1)
    print(f"\n{name:<50}{'median':>8}     lowest–highest      ×   client's and server's processor")
    for contestant, each in measured.items():
        spread = f"{min(each.wall) * scale:.2f}–{max(each.wall) * scale:.2f}"
        used = f"{statistics.median(each.client) * scale:6.2f} {unit}"
        if each.server:
            used += f" {statistics.median(each.server) * scale:6.2f} {unit}"
        print(f"  {contestant:<48}{each.median * scale:8.2f} {unit}  {spread:>14} {each.median / first:6.2f} × {used}")


def plot(results: Results, file: str) -> None:
    """Draw each large workload as a panel, each contestant's ratio to COPY into nothing as a dot."""
    import matplotlib.pyplot as plt

    large = {name: measured for name, measured in results.items() if name not in SMALL}
    rows = 1 if len(large) < 4 else 2 if len(large) < 9 else 3
    columns = -(-len(large) // rows)
    figure, panels = plt.subplots(
        rows, columns, figsize=(2.2 + 2.7 * columns, 3.1 * rows), sharey=True, squeeze=False, layout="constrained"
    )
    for axis in panels.flat[len(large) :]:
        axis.remove()
    for axis, (name, measured) in zip(panels.flat, large.items(), strict=False):
        names = list(measured)[::-1]
        ratios = [measured[each].median / measured["COPY into nothing"].median for each in names]
        colours = ["#D55E00" if each.startswith("asyncdb_nb") else "#0072B2" for each in names]
        axis.hlines(names, 1, ratios, colors=colours, linewidth=2)
        axis.scatter(ratios, names, c=colours, zorder=2)
        for each, ratio in zip(names, ratios, strict=True):
            axis.annotate(f"{ratio:.1f}", (ratio, each), (7, 0), textcoords="offset points", va="center", fontsize=8)
        axis.set(title=name, xscale="log", xlim=(0.7, 40), xticks=[1, 2, 5, 10, 20])
        axis.xaxis.set_major_formatter("{x:g}")
        axis.minorticks_off()
        axis.grid(axis="x", alpha=0.3)
    figure.suptitle("Time until the result is there, as a multiple of receiving it and throwing it away")
    figure.savefig(file, dpi=100)


async def main(arguments: argparse.Namespace) -> None:
    url = arguments.url or embedded_server().url
    if arguments.peak:
        await peak(url, *arguments.peak)
        return
    TABLES.update(random_tables(arguments.seed))
    print(f"--seed {arguments.seed} makes the same random tables")
    for name, module in sorted({(name, module) for name, (_, module) in LARGE_CONTESTANTS.items() if module}):
        if not importlib.util.find_spec(module):
            print(f"{name} is left out: {module} is not installed")
    wanted = [name for name in (*TABLES, *SMALL) if arguments.only in name]
    results: Results = {}
    async with AsyncExitStack() as stack:
        admin = await asyncpg.connect(url)
        stack.push_async_callback(admin.close)
        await admin.execute("drop schema if exists frames_benchmark cascade; create schema frames_benchmark")
        for number, (name, query) in enumerate(TABLES.items()):
            if name in wanted or number == 0:
                await admin.execute(f"create table frames_benchmark.t{number} as {query}")
        await admin.execute("create index on frames_benchmark.t0 (id)")
        await admin.execute("vacuum analyze")
        bench = await opened(url, stack)
        for name in wanted:
            await bench.raw.execute("begin")
            results[name] = await measure(bench, name, 200 if name in SMALL else arguments.rounds)
            await bench.raw.execute("rollback")
            await bench.session.rollback()
            show(name, results[name])
        await bench.session.close()
        if not arguments.only:
            memory(url)
        await admin.execute("drop schema frames_benchmark cascade")
    if arguments.plot:
        plot(results, arguments.plot)


def memory(url: str) -> None:
    print("\nPeak of memory for 1M × 10 mixed, and what of it is not the result, as a share of the result")
    for contestant, (load, module) in LARGE_CONTESTANTS.items():
        if load.__name__.endswith("into_nothing"):
            continue
        if module is None or importlib.util.find_spec(module):
            command = [sys.executable, __file__, url, "--peak", contestant, "1M × 10 mixed"]
            done = subprocess.run(command, capture_output=True, text=True)
            print(f"  {contestant:<48}{(done.stdout or done.stderr[-90:]).strip()}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[1])
    parser.add_argument("url", nargs="?")
    parser.add_argument("--plot")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", default="")
    parser.add_argument("--seed", type=int, default=random.randrange(10_000))
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    asyncio.run(main(parser.parse_args()))
