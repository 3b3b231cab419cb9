"""
Show a database to the person who typed its name: where it is, what each loop uses of it, and what to type next.

Nothing here changes from run to run of the same cells, since notebooks are compared with what they showed before: how
many connections are in use is told, and not how many are idle, which depends on the time.
"""

from __future__ import annotations

import asyncio
from typing import Any

from asyncdb_nb.aio import loop_cleanup
from asyncdb_nb.aio._asyncio import running_loop
from asyncdb_nb.engine.conninfo.parameters import EMBEDDED, Target
from asyncdb_nb.engine.pool_of_all_loops import LoopBoundPool


def summary(where: Target, options: dict[str, Any], pool: Any, closed: bool) -> str:
    """Describe a database in a few lines, without its password.

    Args:
        where: The server, the database and the user.
        options: What its engine was made with.
        pool: The engine's pool.
        closed: Whether `aclose()` was called.
    """
    server = where.origin if where.origin == EMBEDDED else f"{where.server} (from {where.origin})"
    lines = [
        "Database, closed" if closed else "Database",
        f"  server    {server}",
        f"  database  {where.database!r}, as user {where.user!r}",
        f"  pool      {_size_in_words(options, pool)}",
    ]
    if options.get("numeric") == "float" or options.get("dates") == "timestamp":
        lines.append(f"  frames    {_frames_in_words(options)}")
    if closed:
        return "\n".join([*lines, "  next      db = await connect(...)"])
    if isinstance(pool, LoopBoundPool):
        lines += _under("loops", _loops_in_words(pool))
    return "\n".join([*lines, *_under("next", ["await db.tables()", 'await db.frame("select ...")'])])


def _size_in_words(options: dict[str, Any], pool: Any) -> str:
    if not isinstance(pool, LoopBoundPool):
        return type(pool).__name__
    size, overflow = options.get("pool_size", 5), options.get("max_overflow", 10)
    more = "any number" if overflow == -1 else f"{overflow}"
    words = f"{size} connection{'' if size == 1 else 's'} a loop, {more} more when busy"
    if size == 0:  # which SQLAlchemy means to be no limit
        words = "any number of connections a loop"
    return words if options["idle_timeout"] is None else f"{words}, closed when idle for {options['idle_timeout']:g} s"


def _frames_in_words(options: dict[str, Any]) -> str:
    floats = ["numeric as float"] if options.get("numeric") == "float" else []
    return " and ".join([*floats, *(["dates as time stamps"] if options.get("dates") == "timestamp" else [])])


def _loops_in_words(pool: LoopBoundPool) -> list[str]:
    """Tell the running loop and every other one that has used the pool, each with its connections in use."""
    here = running_loop()
    in_use = pool.in_use_by_loop()
    if here is not None:
        in_use = {here: in_use.pop(here, 0), **in_use}
    return [_loop_in_words(loop, number, loop is here) for loop, number in in_use.items()]


def _loop_in_words(loop: asyncio.AbstractEventLoop, number: int, here: bool) -> str:
    where = f"{loop_cleanup.name(loop)}{', this one' if here else ''}"
    return f"{where}: {number} connection{'' if number == 1 else 's'} in use"


def _under(title: str, lines: list[str]) -> list[str]:
    return [f"  {'' if number else title:10}{line}" for number, line in enumerate(lines)]
