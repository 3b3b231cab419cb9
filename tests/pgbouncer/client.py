"""
A program behind a pooler: `python client.py URL LETTER COUNT OPTIONS`.

It reads COUNT small frames that hold its own LETTER, in four tasks, and prints how many were right, another's, refused.
"""

from __future__ import annotations

import ast
import asyncio
import sys
from collections import Counter
from typing import Any

from asyncdb_nb import Database


async def main(url: str, letter: str, count: int, options: dict[str, Any]) -> None:
    ends: Counter[str] = Counter()

    async def read(frames: int) -> None:
        for _ in range(frames):
            try:
                frame = await db.frame(f"select '{letter}' as who")
            except Exception as error:
                ends[f"{type(error).__name__}: {error}".splitlines()[0]] += 1
            else:
                ends["right" if frame["who"].tolist() == [letter] else "another's"] += 1

    async with Database(url, **options) as db:
        await asyncio.gather(*(read(count // 4) for _ in range(4)))
    print(dict(ends))  # noqa: T201


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), ast.literal_eval(sys.argv[4])))
