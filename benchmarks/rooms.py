"""
Count the packages that a call enters: `connect(url)`, a frame by COPY, a session.

    python benchmarks/rooms.py [URL]

Without a URL, an embedded server in a temporary directory is asked.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncdb_nb
from asyncdb_nb import connect
from asyncdb_nb.server import EmbeddedServer

PACKAGE = str(Path(asyncdb_nb.__file__).parent) + "/"


@contextmanager
def entered() -> Iterator[dict[str, None]]:
    """Collect the files of the package in which a function is called in this thread, in the order of the first call."""
    files: dict[str, None] = {}

    def note(frame: Any, event: str, argument: Any) -> None:
        name = frame.f_code.co_filename
        if event == "call" and name.startswith(PACKAGE) and frame.f_code.co_name != "<module>":
            files.setdefault(name.removeprefix(PACKAGE))

    sys.setprofile(note)
    try:
        yield files
    finally:
        sys.setprofile(None)


def rooms_of(files: dict[str, None]) -> list[str]:
    """Name the packages, or modules at top level, that files are in; `__init__` only looks names up."""
    rooms = dict.fromkeys(file.partition("/")[0].removesuffix(".py") for file in files)
    return [room for room in rooms if room != "__init__"]


async def trips(url: str) -> dict[str, dict[str, None]]:
    """Go each way once, from a connection that was never opened to a session."""
    with entered() as connecting:
        db = await connect(url)
    await db.frame("select 1 as one")  # loads pandas
    with entered() as copying:
        await db.frame("select g from generate_series(1, 100000) as g")
    with entered() as session_files:
        async with db.session() as session:
            await session.connection()
    await db.aclose()
    return {"connect(url)": connecting, "db.frame(sql)": copying, "db.session()": session_files}


def main(url: str) -> None:
    for call, files in asyncio.run(trips(url)).items():
        print(f"{call}: {len(rooms_of(files))} rooms ({', '.join(rooms_of(files))}), {len(files)} files")
        print("   ", *files)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(sys.argv[1])
    else:
        with EmbeddedServer.start() as server:
            main(server.url)
