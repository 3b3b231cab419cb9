"""Lesson 04: a limit, and the end of a stream."""

from __future__ import annotations

import asyncio
import secrets
import time
from itertools import count
from typing import TYPE_CHECKING, Any

import pandas as pd

from asyncdb_nb.lessons.exercises.common_mistakes import is_number, kind, outcome, shown
from asyncdb_nb.lessons.exercises.exercise import Exercise

if TYPE_CHECKING:
    from asyncdb_nb.database.database import Database

NAP = 20.0  # seconds that the question takes, which nobody may wait for
AFTERWARDS = 3.0  # seconds in which the server sees a statement off
_ROWS = 1_000  # of a part
_TOO_LONG = 60.0  # seconds after which a function is given up

_LEFT = """
state = 'active' and pid <> pg_catalog.pg_backend_pid() and query like :words
and usename = current_user and client_addr is not distinct from pg_catalog.inet_client_addr()
"""
_COUNT = f"select count(*) as n from pg_catalog.pg_stat_activity where {_LEFT}"  # noqa: S608  a constant
_CANCEL = f"select pg_catalog.pg_cancel_backend(pid) from pg_catalog.pg_stat_activity where {_LEFT}"  # noqa: S608


async def _patience(db: Database, frame_within: Any) -> str | None:
    if not callable(frame_within):
        return f"`frame_within` is {kind(frame_within)}, and a function is asked for."
    quick, wrong = await outcome("frame_within(20, ...)", frame_within, 20, "select 42 as answer")
    if wrong:
        return wrong
    if not isinstance(quick, pd.DataFrame):
        return f"For a quick question `frame_within` returned {_what(quick)}, and its frame is asked for."
    if quick.to_dict("list") != {"answer": [42]}:
        return "For `select 42 as answer` the frame has something else in it."
    mark = f"/* patience {secrets.token_hex(4)} */"
    start = time.monotonic()
    slow, wrong = await outcome("frame_within(0.2, ...)", frame_within, 0.2, f"select pg_sleep({NAP}) {mark}")
    took = time.monotonic() - start
    left = await _left(db, f"%{mark}%", AFTERWARDS)
    if wrong:
        return wrong
    if slow is not None:
        return f"After its time was up, `frame_within` returned {_what(slow)}, and None is asked for."
    if took >= NAP:
        return f"It returned None, but it had waited for the whole {NAP:g} seconds that the question takes."
    if left:
        return "It returned None, but the statement goes on on the server."
    return None


async def _enough(db: Database, parts_until: Any) -> str | None:
    if not callable(parts_until):
        return f"`parts_until` is {kind(parts_until)}, and a function is asked for."
    words = "%generate_series(1, 100_000_000)%"
    try:
        for total in (500, 499_500, 500_500, 1_000_000, 10_000_000):
            async with asyncio.timeout(_TOO_LONG):
                parts, wrong = await outcome(f"parts_until({total})", parts_until, total)
            right = _parts(total)
            if wrong:
                return wrong
            if not is_number(parts):
                return f"`parts_until({total})` returned {_what(parts)}, and a number of parts is asked for."
            if parts != right:
                way = "fewer" if parts > right else "more"
                return (
                    f"`parts_until({total})` returned {shown(parts)}, and it takes {way} than that to exceed {total}."
                )
    except TimeoutError:
        return f"`parts_until({total})` had not returned after a minute: it reads on when it has enough."
    if await _left(db, words, AFTERWARDS):
        return "The numbers are right, but a statement goes on on the server."
    return None


def _parts(total: int) -> int:
    """How many parts of 1, 2, 3, … are needed for a sum larger than `total`."""
    return next(parts for parts in count(1) if _ROWS * parts * (_ROWS * parts + 1) // 2 > total)


async def _left(db: Database, words: str, seconds: float) -> bool:
    """Say whether statements with these words still run after so many seconds, and end them."""
    end = time.monotonic() + seconds
    while (await db.frame(_COUNT, {"words": words}))["n"].item():
        if time.monotonic() > end:
            await db.frame(_CANCEL, {"words": words})
            return True
        await asyncio.sleep(0.02)
    return False


def _what(value: Any) -> str:
    return "None" if value is None else kind(value)


PATIENCE = Exercise(
    ("frame_within",),
    _patience,
    "It was patient once, and nothing was left running.",
    "Put `async with asyncio.timeout(seconds):` around `return await db.frame(question)`, and catch the TimeoutError.",
)
ENOUGH = Exercise(
    ("parts_until",),
    _enough,
    "It stops when it has enough, and the rest was never sent.",
    "Count and add in `async for part in db.frames(numbers, rows=1000):`, and `return` as soon as the sum is *larger* "
    "than `total`.",
)
