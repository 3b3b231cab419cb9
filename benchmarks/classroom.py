"""
Thirty kernels on one server: how many connections, how much memory, and when the connections go.

    python benchmarks/classroom.py [kernels]

Every kernel runs `connect()` and one frame of all tasks, all at the same moment, twice. Linux only, because of /proc.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

import psycopg
from jupyter_client.manager import AsyncKernelManager

from asyncdb_nb import Database
from asyncdb_nb.server import EmbeddedServer
from asyncdb_nb.workflows import ensure_sample

KERNELS = int(sys.argv[1]) if len(sys.argv) > 1 else 30
AT_ONCE = 4  # kernels that are started at the same time
OURS = "from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()"


async def main() -> None:
    server = EmbeddedServer.start()
    async with Database(server.url) as db:
        await ensure_sample(db)
    watch = psycopg.connect(server.url, autocommit=True)
    kernels = await start_kernels()
    sampling = asyncio.create_task(peak_of(watch))
    cell = f"db = await connect({server.url!r})\nframe = await db.frame('select * from workflows.task order by id')"
    for turn in ("first", "second"):
        seconds = sorted(await asyncio.gather(*(run(client, cell) for _, client in kernels)))
        print(f"{turn} cell: median {seconds[len(seconds) // 2]:.1f} s, slowest {seconds[-1]:.1f} s")
    sampling.cancel()
    print(f"connections at the peak: {await sampling}")
    pids = [row[0] for row in watch.execute(f"select pid {OURS}")]
    print(f"idle connections: {len(pids)}, {sum(map(megabytes, pids)) / len(pids):.1f} MB of the server each")
    print(f"a kernel: {megabytes(kernels[0][0].provisioner.pid):.0f} MB")
    start = time.monotonic()
    while connections(watch):
        await asyncio.sleep(0.5)
    print(f"no connection left after {time.monotonic() - start:.0f} s")
    for manager, client in kernels:
        client.stop_channels()
        await manager.shutdown_kernel()
    watch.close()
    server.stop()


async def start_kernels() -> list[tuple[Any, Any]]:
    gate = asyncio.Semaphore(AT_ONCE)

    async def start() -> tuple[Any, Any]:
        async with gate:
            manager: Any = AsyncKernelManager(kernel_name="python3")
            await manager.start_kernel()
            client = manager.client()
            client.start_channels()
            await client.wait_for_ready(timeout=120)
            await run(client, "from asyncdb_nb import connect")
            return manager, client

    return await asyncio.gather(*(start() for _ in range(KERNELS)))


async def run(client: Any, cell: str) -> float:
    start = time.monotonic()
    reply = await client.execute_interactive(cell, timeout=300, output_hook=lambda message: None)
    assert reply["content"]["status"] == "ok", reply["content"]
    return time.monotonic() - start


async def peak_of(watch: Any) -> int:
    peak = 0
    try:
        while True:
            peak = max(peak, await asyncio.to_thread(connections, watch))
            await asyncio.sleep(0.05)
    except asyncio.CancelledError:
        return peak


def connections(watch: Any) -> int:
    return int(watch.execute(f"select count(*) {OURS}").fetchone()[0])


def megabytes(pid: int) -> float:
    """What a process adds to the memory in use: its proportional set size."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


if __name__ == "__main__":
    asyncio.run(main())
