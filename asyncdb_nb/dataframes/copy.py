"""
Read a query through COPY, on the connection and in the transaction that it would run in anyway.

COPY sends the same bytes as a query in binary form, without the bookkeeping of a row, and asyncpg hands them over as
they come; `decode` makes columns of them in a thread beside, so that the loop is only held for receiving. Whether a
statement can go this way is decided before anything is executed, and only where the result is exactly that of the plain
way: `command` says how it would be sent. Afterwards there is no way back: a statement is never sent twice.

COPY does not notice that a table has changed since its columns were described. So the description has to be made in the
same transaction: it locks the tables until the end of it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from asyncdb_nb.dataframes.literals import literals
from asyncdb_nb.dataframes.prepared import Described, describe
from asyncdb_nb.dataframes.sql_text import inlined, query_tokens

if TYPE_CHECKING:
    from asyncdb_nb.dataframes.decode import Batch

_CHUNK = 4 * 2**20  # bytes that are decoded at a time: what numpy works on stays near the processor's cache


async def command(
    connection: Any,
    statement: str,
    parameters: Sequence[Any],
    prepared: Any,
    columns: Sequence[Described],
    limit: int | None,
) -> str | None:
    """Write a statement as COPY takes it.

    Args:
        connection: The asyncpg connection, in a transaction.
        statement: SQL with `$1`, which the server has described in this transaction.
        parameters: Values for its parameters, as asyncpg takes them.
        prepared: asyncpg's prepared statement.
        columns: What the server said of its columns.
        limit: The most rows to send; None for all.

    Returns:
        The query to copy; None when COPY does not take it, or would not give exactly the same.
    """
    tokens = query_tokens(statement) if _speaks_plainly(connection, statement) and _readable(columns) else None
    values = literals(parameters, [type_.oid for type_ in prepared.get_parameters()])
    if tokens is None or values is None:
        return None
    text = inlined(tokens, values)
    if text is not None and limit is not None:
        text = f"SELECT * FROM (\n{text}\n) AS limited LIMIT {limit}"  # noqa: S608  the statement is SQL already
    if text is None or (text != statement and await describe(connection, text) != [c.line for c in columns]):
        return None
    return text + "\n"  # which ends a comment


class Receiver:
    """Takes a COPY stream part by part, and decodes it beside.

    Args:
        columns: The columns that the stream has.
        loads: What parses JSON text.
        each: What to make of each decoded batch, in the same thread.
        seen: Called with the rows and bytes so far, on the loop.
    """

    def __init__(
        self,
        columns: Sequence[tuple[str, Any]],
        loads: Callable[[str], Any] = json.loads,
        each: Callable[[Batch], Any] = lambda batch: batch,
        seen: Callable[[int, int], None] = lambda rows, size: None,
    ) -> None:
        from asyncdb_nb.dataframes.decode import Decoder

        self._decoder = Decoder(columns, loads)
        self._each = each
        self._seen = seen
        self._parts: list[bytes] = []
        self._waiting = self._received = 0  # bytes
        self._thread: ThreadPoolExecutor | None = None
        self._working: asyncio.Future[Any] | None = None
        self.batches: list[Any] = []

    async def run(self, connection: Any, query: str) -> int:
        """Copy a query from a free connection; say how many rows there were."""
        try:
            status = await connection.copy_from_query(query, output=self._take, format="binary")
            rows = int(status.rpartition(" ")[2])
            await self._finish(rows)
        finally:
            if self._thread is not None:
                self._thread.shutdown(wait=False, cancel_futures=True)
        return rows

    async def _take(self, data: bytes) -> None:
        self._parts.append(data)
        self._waiting += len(data)
        self._received += len(data)
        if self._waiting >= _CHUNK:
            await self._decoded()
            self._thread = self._thread or ThreadPoolExecutor(1, "asyncdb_nb-decode")
            parts, self._parts, self._waiting = self._parts, [], 0
            self._working = asyncio.get_running_loop().run_in_executor(self._thread, self._feed, parts)
            self._seen(self._decoder.rows, self._received)

    async def _decoded(self) -> None:
        """Wait for the thread, so that no more than two chunks are held."""
        working, self._working = self._working, None
        if working is not None:
            await working

    def _feed(self, parts: list[bytes]) -> None:
        batch = self._decoder.feed(parts)
        parts.clear()
        if batch is not None:
            self.batches.append(self._each(batch))

    async def _finish(self, rows: int) -> None:
        await self._decoded()
        if self._thread is None:
            return self._end(rows)
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._end, rows)

    def _end(self, rows: int) -> None:
        self._feed(self._parts)
        last = self._decoder.finish(rows)
        if last.rows or not self.batches:
            self.batches.append(self._each(last))


def _speaks_plainly(connection: Any, statement: str) -> bool:
    """Say whether text goes as UTF-8 and a backslash means what it seems to."""
    settings = connection.get_settings()
    return (
        connection.is_in_transaction()
        and settings.client_encoding.lower().replace("-", "") == "utf8"
        and settings.server_encoding != "SQL_ASCII"
        and (settings.standard_conforming_strings == "on" or "\\" not in statement)
    )


def _readable(columns: Sequence[Described]) -> bool:
    from asyncdb_nb.dataframes.decode import is_readable

    return all(is_readable(column.type) for column in columns)
