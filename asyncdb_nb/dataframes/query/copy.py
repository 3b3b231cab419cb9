"""
Read a query through COPY, on the connection and in the transaction that it would run in anyway.

COPY sends the same bytes as a query in binary form, without the bookkeeping of a row, and asyncpg hands them over as
they come; `Decoder` makes columns of them in a thread beside, so that the loop is only held for receiving. Whether a
statement can go this way is decided before anything is executed, and only where the result is exactly that of the plain
way: `command` says how it would be sent. Afterwards there is no way back: a statement is never sent twice.

COPY does not notice that a table has changed since its columns were described. So the description has to be made in the
same transaction: it locks the tables until the end of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from asyncdb_nb.dataframes.columns.column import Column
from asyncdb_nb.dataframes.query.describe import Described, describe
from asyncdb_nb.dataframes.sql.bind_values import Parameter
from asyncdb_nb.dataframes.sql.literals import literals
from asyncdb_nb.dataframes.sql.tokenizer import inlined, query_tokens
from asyncdb_nb.dataframes.type_families.kind import ColumnType
from asyncdb_nb.engine.cancellable_transfers import MessageSink, copy_query
from asyncdb_nb.engine.copy_protocol import Messages
from asyncdb_nb.engine.pooler import reported

if TYPE_CHECKING:
    from asyncdb_nb.dataframes.columns.decoder import Batch

T = TypeVar("T")
Part = tuple[list[Column], int]  # columns, and how many rows they have
Give = Callable[[Part], Awaitable[None]]

_CHUNK = 2**20  # bytes that are decoded at a time: what numpy works on stays near the processor's cache


async def command(
    connection: Any,
    statement: str,
    parameters: Sequence[Any],
    prepared: Any,
    columns: Sequence[Described],
    expected: Sequence[Parameter],
    limit: int | None,
) -> str | None:
    """Write a statement as COPY takes it.

    Args:
        connection: The asyncpg connection, in a transaction.
        statement: SQL with `$1`, which the server has described in this transaction.
        parameters: Values for its parameters, as they would be sent.
        prepared: asyncpg's prepared statement.
        columns: What the server said of its columns.
        expected: What it said of its parameters.
        limit: The most rows to send; None for all.

    Returns:
        The query to copy; None when COPY does not take it, or would not give exactly the same.
    """
    tokens = query_tokens(statement) if _speaks_plainly(connection, statement) and _readable(columns) else None
    if tokens is None:
        return None
    values = literals(parameters, expected, prepared.get_parameters())
    if values is None:
        return None
    text = inlined(tokens, values)
    if text is not None and limit is not None:
        text = f"SELECT * FROM (\n{text}\n) AS limited LIMIT {limit}"  # noqa: S608  the statement is SQL already
    if text is None or (text != statement and await describe(connection, text) != [c.line for c in columns]):
        return None
    return text + "\n"  # which ends a comment


class Receiver:
    """Takes a COPY stream as it comes, and decodes it beside.

    Args:
        columns: The columns that the stream has.
        loads: What parses JSON text.
        make: What to make of a decoded batch, in the same thread.
        seen: Called with the rows and bytes so far, on the loop.
        arrow: Whether Arrow arrays are wanted where there is a choice; else Python objects.
    """

    def __init__(
        self,
        columns: Sequence[tuple[str, ColumnType]],
        loads: Callable[[str], Any],
        make: Callable[[Batch], tuple[list[Column], int]],
        seen: Callable[[int, int], None] = lambda rows, size: None,
        *,
        arrow: bool = False,
    ) -> None:
        from asyncdb_nb.dataframes.columns.decoder import Decoder

        self._decoder = Decoder(columns, loads, arrow=arrow)
        self._make = make
        self._seen = seen
        self._give: Give = _nowhere
        self._parts: list[bytes | Messages] = []
        self._waiting = self._received = 0  # bytes
        self._thread: ThreadPoolExecutor | None = None
        self._working: asyncio.Future[Part | None] | None = None

    async def run(self, connection: Any, query: str, give: Give, timeout: Any = None) -> int:
        """Copy a query from a free connection.

        Args:
            connection: The asyncpg connection.
            query: As `command` writes it.
            give: Takes each part: its columns and how many rows they have. While it waits, the server does.
            timeout: Seconds for all of it, `give` included; None is the connection's `command_timeout`.

        Returns:
            How many rows there were.

        Raises:
            asyncpg.PostgresError: The server ended the query.
            CorruptStreamError: What it sent is not what it described.
        """
        self._give = give
        from asyncdb_nb.dataframes.copy_binary.messages import find  # here: it imports numpy

        try:
            status = await copy_query(connection, query, MessageSink(self._take, find), timeout)
            rows = int(status.rpartition(" ")[2])
            await self._hand_on()
            await give(await self._beside(self._last, rows))
        finally:
            if self._working is not None:
                self._working.cancel()
            if self._thread is not None:
                self._thread.shutdown(wait=False, cancel_futures=True)
        return rows

    async def _take(self, data: bytes | Messages) -> None:
        self._parts.append(data)
        self._waiting += len(data)
        self._received += len(data)
        if self._waiting < _CHUNK:
            return
        await self._hand_on()
        self._thread = self._thread or ThreadPoolExecutor(1, "asyncdb_nb-decode")
        parts, self._parts, self._waiting = self._parts, [], 0
        self._working = asyncio.get_running_loop().run_in_executor(self._thread, self._next, parts)
        self._seen(self._decoder.rows, self._received)

    async def _hand_on(self) -> None:
        """Wait for the part that is being decoded, so that no more than two are held, and give it out."""
        working, self._working = self._working, None
        part = None if working is None else await working
        if part is not None:
            await self._give(part)

    async def _beside(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function in the thread, if there is one: a small result does without."""
        if self._thread is None:
            return function(*args)
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *args)

    def _next(self, parts: list[bytes | Messages]) -> Part | None:
        batch = self._decoder.feed(parts)
        return None if batch is None else self._make(batch)

    def _last(self, rows: int) -> Part:
        return self._make(self._decoder.finish(rows, self._parts))


async def _nowhere(part: Part) -> None:
    raise AssertionError("run() says where parts go")


def _speaks_plainly(connection: Any, statement: str) -> bool:
    """Say whether text goes as UTF-8 and a backslash means what it seems to."""
    return (
        connection.is_in_transaction()
        and reported(connection, "client_encoding").lower().replace("-", "") == "utf8"
        and reported(connection, "server_encoding") not in ("", "SQL_ASCII")
        and (reported(connection, "standard_conforming_strings") == "on" or "\\" not in statement)
    )


def _readable(columns: Sequence[Described]) -> bool:
    """Say whether bytes alone give every column: an anonymous row can hold types that the server must be asked for."""
    from asyncdb_nb.dataframes.columns.decoder import is_readable

    return all(
        is_readable(column.type) and all(part.kind != "record" for part in column.type.parts()) for column in columns
    )
