"""A large frame takes little more memory, while it is made, than it has in the end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EIGHT_INTEGERS = ", ".join(f"g + {n} as c{n}" for n in range(8))
MEASURE = f"""
import asyncio, sys
from pathlib import Path
from asyncdb_nb import Database

def highest():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024

async def main():
    async with Database(sys.argv[1]) as db:
        query = "select {EIGHT_INTEGERS} from generate_series(1::int8, {{}}) g"
        await db.frame(query.format(1000))  # what is imported and connected for it
        before = highest()
        frame = await db.frame(query.format(1_000_000))
        print((highest() - before) / frame.memory_usage(index=False).sum())

asyncio.run(main())
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc, which Linux alone has")
@pytest.mark.second_tier
def test_a_frame_at_its_peak_takes_half_of_its_size_beyond_it(database_url: str) -> None:
    done = subprocess.run([sys.executable, "-c", MEASURE, database_url], capture_output=True, text=True, check=True)

    assert 1 <= float(done.stdout) <= 1.5
