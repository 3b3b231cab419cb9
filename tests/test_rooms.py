"""Who follows a call through the code meets few packages: counted by `benchmarks/rooms.py`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
MOST = {"connect(url)": 6, "db.frame(sql)": 5, "db.session()": 3}


def test_a_call_enters_few_packages(database_url: str) -> None:
    """In a process of its own: what is counted is a first connection."""
    code = (
        "import asyncio, json, sys, rooms; found = asyncio.run(rooms.trips(sys.argv[1])); "
        "print(json.dumps({call: rooms.rooms_of(files) for call, files in found.items()}))"
    )
    command = [sys.executable, "-W", "error", "-c", code, database_url]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT / "benchmarks")
    found = json.loads(done.stdout)

    assert found["connect(url)"][0] == "composition"
    assert {call: len(names) for call, names in found.items() if len(names) > MOST[call]} == {}
