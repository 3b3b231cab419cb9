"""
Read one result on several connections, which see one snapshot.

A table is cut by its blocks, a statement by ranges of a column (`block_ranges.py`, `key_ranges.py`). Each part is read
as any statement is, in a session on the snapshot; the parts are put together in their order, so that the result does
not depend on which connection was quicker, nor on how many there were. The loop receives, threads decode.

The first part that fails ends the others, and its error is the error of the whole.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from asyncdb_nb.aio.shielded import wait_to_the_end
from asyncdb_nb.database import block_ranges, reads
from asyncdb_nb.database.snapshot import Snapshot
from asyncdb_nb.dataframes.columns import column as assembly
from asyncdb_nb.dataframes.columns.column import Column
from asyncdb_nb.dataframes.query.progress import ProgressOfParts
from asyncdb_nb.dataframes.query.reading import Reading
from asyncdb_nb.dataframes.sql.statement import text_of
from asyncdb_nb.dataframes.sql.tokenizer import Token, tokens_of
from asyncdb_nb.engine.pool_of_all_loops import LoopBoundPool
from asyncdb_nb.errors import FrameError, TooManyRowsError, UnsplittableError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

T = TypeVar("T")

PART = 32 * 2**20  # bytes of a table that are read at a time by one connection of a stream


class Rows(NamedTuple):
    """Consecutive rows of a result.

    Attributes:
        columns: Their columns.
        number: How many there are.
        path: Which way they came: "copy" or "rows".
    """

    columns: list[Column]
    number: int
    path: str


@dataclass(frozen=True)
class ParallelRead:
    """What is to be read, by `n` connections; checked, and nothing sent yet.

    Args:
        database: The `Database`.
        statement: As the user gave it: the name of a table, SQL text, or a select.
        params: Values for its binds.
        n: How many connections.
        key: The column to cut by; None for a whole table.

    Raises:
        FrameError: `n` is no number of connections, or there are more than the pool has.
        UnsplittableError: The statement is no whole table, and no `key` is named.
    """

    database: Any
    statement: Any
    params: Any
    n: int
    key: str | None

    def __post_init__(self) -> None:
        _check_number(self.database, self.n, self.key)
        if self.key is None and (self.table is None or self.params):
            raise UnsplittableError(
                'Only a column says how to cut a statement: `parallel=2, key="id"`. A whole table needs none: '
                '`db.frame("schema.table", parallel=2)`, or "select * from schema.table".'
            )

    @property
    def table(self) -> str | None:
        """The table that the statement stands for, as SQL names it."""
        return whole_table(self.statement)

    async def frame(self, *, dtype_backend: Any = None, **options: Any) -> pd.DataFrame:
        """Read one DataFrame; the options are those of `asyncdb_nb.frame`."""
        started = time.perf_counter()
        rows, truncated = await self._whole(backend=dtype_backend, **options)
        return await self._frame(rows, dtype_backend, started, truncated)

    async def arrow(self, **options: Any) -> pa.Table:
        """Read one `pyarrow.Table`; the options are those of `asyncdb_nb.table`."""
        import json

        started = time.perf_counter()
        rows, truncated = await self._whole(arrow=True, **options)
        made = assembly.to_table(rows.columns)
        return made.replace_schema_metadata({"asyncdb": json.dumps(self._report(rows, started, truncated))})

    async def frames(
        self, *, rows: int = 100_000, dtype_backend: Any = None, **options: Any
    ) -> AsyncGenerator[pd.DataFrame, None]:
        """Read DataFrames of `rows` rows, in order, with at most `n` parts in memory beside the one that is used."""
        started, waiting = time.perf_counter(), Rows([], 0, "copy")
        begun = False
        async with aclosing(self._in_order(backend=dtype_backend, **options)) as parts:
            async for part in parts:
                waiting = joined([waiting, part]) if waiting.number else part
                while waiting.number >= rows:
                    head, waiting = _divided(waiting, rows)
                    begun = True
                    yield await self._frame(head, dtype_backend, started)
        if waiting.number or not begun:
            yield await self._frame(waiting, dtype_backend, started)

    async def _whole(self, *, max_rows: int | None = None, truncate: bool = False, **options: Any) -> tuple[Rows, bool]:
        """Read all rows, or up to `max_rows`, of which each part may be all."""
        progress, found = ProgressOfParts(max_rows if truncate else None), 0
        most = None if max_rows is None else max_rows + truncate  # one more of a part tells that it was cut

        async def read(place: int, statement: Any) -> Rows:
            nonlocal found
            rows = await self._part(snap, statement, progress.of(place), max_rows=most, truncate=truncate, **options)
            found += rows.number
            if max_rows is not None and found > max_rows and not truncate:
                raise TooManyRowsError(max_rows)
            return rows

        try:
            async with self._snapshot() as snap:
                whole = joined(await at_once(await self._statements(snap, self.n), self.n, read))
        finally:
            progress.close()
        if max_rows is not None and whole.number > max_rows:
            return _divided(whole, max_rows)[0], True
        return whole, False

    async def _in_order(self, **options: Any) -> AsyncGenerator[Rows, None]:
        """Give the parts in order, while `n` are being read or wait to be taken."""
        progress = ProgressOfParts()
        running: deque[asyncio.Task[Rows]] = deque()
        try:
            async with self._snapshot() as snap:
                try:
                    for place, statement in enumerate(await self._statements(snap, await self._stream_parts(snap))):
                        if len(running) == self.n:
                            yield await _result_of(running.popleft())
                        part = self._part(snap, statement, progress.of(place), **options)
                        running.append(asyncio.create_task(part))
                    while running:
                        yield await _result_of(running.popleft())
                finally:
                    await _end(running)
        finally:
            progress.close()

    def _snapshot(self) -> Any:
        return self.database.snapshot(*([] if self.table is None else [self.table]))

    async def _statements(self, snap: Snapshot, n: int) -> list[Any]:
        if self.key is not None:
            statement = self.statement if self.table is None else f"table {self.table}"
            return await snap.ranges(statement, self.key, n, params=self.params)
        return await snap.blocks(str(self.table), n)

    async def _stream_parts(self, snap: Snapshot) -> int:
        """Say into how many parts to cut for a stream: a table into parts of a size, so that memory is bounded."""
        if self.table is None:
            return self.n
        async with snap.session() as session:
            table = await block_ranges.find(session, self.table)
            size = sum(part.size for part in await block_ranges.tree(session, table.oid))
        return max(self.n, -(-size // PART))

    async def _part(self, snap: Snapshot, statement: Any, progress: Any, **options: Any) -> Rows:
        options["progress"] = progress
        return await reads.of_snapshot(snap, _read, statement, self.params, options)  # type: ignore[no-any-return]

    async def _frame(self, rows: Rows, backend: Any, started: float, truncated: bool = False) -> pd.DataFrame:
        made = await asyncio.to_thread(assembly.to_frame, rows.columns, rows.number, backend)
        made.attrs["asyncdb"] = self._report(rows, started, truncated)
        return made

    def _report(self, rows: Rows, started: float, truncated: bool) -> dict[str, Any]:
        return {
            "statement": text_of(self.statement) or str(self.statement),
            "rows": rows.number,
            "seconds": time.perf_counter() - started,
            "path": rows.path,
            "truncated": truncated,
            "parallel": self.n,
            "lossy": assembly.losses(rows.columns),
        }


def whole_table(statement: Any) -> str | None:
    """Give the name of the table that a text stands for: `t`, `table t` or `select * from t`; else None."""
    if not isinstance(statement, str):
        return None
    tokens = [token for token in tokens_of(statement) if token.kind != "space"]
    if tokens and tokens[-1].text == ";":
        tokens.pop()
    for start in (["select", "*", "from"], ["table"], []):
        name = tokens[len(start) :]
        if [token.word for token in tokens[: len(start)]] == start and _is_name(name):
            return "".join(token.text for token in name)
    return None


def joined(parts: Sequence[Rows]) -> Rows:
    """Put consecutive rows together."""
    path = "copy" if any(part.path == "copy" for part in parts) else "rows"
    return Rows(assembly.joined([part.columns for part in parts]), sum(part.number for part in parts), path)


async def at_once(parts: Sequence[Any], n: int, read: Callable[[int, Any], Awaitable[T]]) -> list[T]:
    """Read parts, `n` at a time, and give what was read in their order.

    Args:
        parts: What to read.
        n: How many at a time.
        read: Reads one, of which it gets the place.

    Raises:
        Exception: That of the first part that failed; the others were cancelled.
    """
    done: dict[int, T] = {}
    waiting = iter(enumerate(parts))

    async def work() -> None:
        for place, part in waiting:
            done[place] = await read(place, part)

    failed: Sequence[BaseException] = ()
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(n, len(parts))):
                group.create_task(work())
    except BaseExceptionGroup as errors:
        failed = errors.exceptions
    if failed:
        for other in failed[1:]:
            failed[0].add_note(f"Another part failed, too: {type(other).__name__}: {other}")
        raise failed[0]
    return [done[place] for place in range(len(parts))]


async def _read(session: AsyncSession, statement: Any, params: Any, **options: Any) -> Rows:
    reading = Reading(session, statement, params, **options)
    started = time.perf_counter()
    columns, count = await reading.columns()
    return Rows(columns, count, reading.report(started)["path"])


def _check_number(database: Any, n: int | None, key: str | None) -> None:
    if n is None:
        raise FrameError(f"key={key!r} says where to cut, for several connections. Say how many: `parallel=2`.")
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise FrameError(f"parallel={n!r}: it is a number of connections, 1 or more.")
    pool = database.engine.pool
    most = pool.capacity() if isinstance(pool, LoopBoundPool) else None
    if most is not None and n >= most:
        raise FrameError(
            f"parallel={n} takes {n + 1} connections, one of which keeps the snapshot, and the pool has {most} a "
            f"loop (pool_size + max_overflow). Type parallel={max(most - 1, 1)}, or `connect(..., pool_size={n + 1})`."
        )


def _is_name(tokens: Sequence[Token]) -> bool:
    """Say whether tokens are `name` or `schema.name`."""
    names, dots = tokens[::2], tokens[1::2]
    plain = all(token.kind == "word" or (token.kind == "name" and token.text[0] == '"') for token in names)
    return len(tokens) in (1, 3) and plain and all(dot.text == "." for dot in dots)


def _divided(rows: Rows, count: int) -> tuple[Rows, Rows]:
    head = Rows([column.head(count) for column in rows.columns], count, rows.path)
    return head, Rows([column.tail(count) for column in rows.columns], rows.number - count, rows.path)


async def _result_of(task: asyncio.Task[Rows]) -> Rows:
    try:
        return await task
    finally:
        await _end([task])


async def _end(tasks: Sequence[asyncio.Task[Rows]] | deque[asyncio.Task[Rows]]) -> None:
    """Cancel tasks and wait until each has let go of its connection."""
    for task in tasks:
        task.cancel()
    if tasks:
        await wait_to_the_end(asyncio.gather(*tasks, return_exceptions=True))
