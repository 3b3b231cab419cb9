"""
The seam to asyncpg: the one place that touches its private names.

asyncpg (0.30 to 0.32) has no public way to see a statement's description before values are decoded, to ask for a
CancelRequest, or to change how a connection ends.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Collection, Coroutine
from typing import Any

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement
from asyncpg.protocol.protocol import Protocol

from asyncdb_nb.engine.private_names import Names, missing

Line = tuple[bytes, int, int, int, int, int, int]  # name, table, column, oid, size, typmod, format

ReceiveCopy = Callable[[Any, Any], Coroutine[Any, Any, str]]  # to an output, with a timeout

_DESCRIBING = "the exact types of a frame's columns, and COPY"
_SETTINGS = "the connection's command_timeout and statement_cache_size"

DESCRIBING: Names = {
    "asyncpg:Connection": {"_protocol": _DESCRIBING, "_introspect_types": _DESCRIBING},
    "asyncpg.prepared_stmt:PreparedStatement": {"_state": "statements that leave nothing on the server"},
    "asyncpg.protocol.protocol:PreparedStatementState": {
        "_init_types": _DESCRIBING,
        "_init_codecs": _DESCRIBING,
        "mark_unprepared": _DESCRIBING,
    },
}

PRIVATE_NAMES: Names = {
    **DESCRIBING,
    "asyncpg:Connection": {
        **DESCRIBING["asyncpg:Connection"],
        "_config": _SETTINGS,
        "_stmts_to_close": "closing on the server what the cache of prepared statements has dropped",
        "_cleanup_stmts": "closing on the server what the cache of prepared statements has dropped",
        "_transport": "Terminate for a server that does not answer, and receiving COPY in large parts",
        "_cleanup": "giving the place of a terminated connection back to asyncpg's pool",
        "_cancel": "CancelRequests that no cancellation cuts off",
        "_cancel_current_command": "CancelRequests that no cancellation cuts off, and stopping a COPY",
        "_cancellations": "CancelRequests that no cancellation cuts off",
        "_clean_tasks": "CancelRequests that no cancellation cuts off",
        "_get_unique_id": "names of prepared statements that no other client of a pooler has",
        "_intro_query": "asking about types without the search path",
        "_copy_out": "stopping a COPY from the server without losing the connection",
    },
    "asyncpg.protocol.protocol:BaseProtocol": {
        "_wait_for_cancellation": "a COPY to the server that fails without losing the connection"
    },
    "asyncpg.connect_utils:_ClientConfiguration": {
        "command_timeout": _SETTINGS,
        "statement_cache_size": _SETTINGS,
    },
}

GONE = missing(DESCRIBING)
"""The names that are missing to read a frame by COPY or with exact types. Then SQLAlchemy reads it."""


def command_timeout(connection: Any) -> float | None:
    """Return the seconds that a command may take; None for no limit. Stands on `_config`, else there is none."""
    return getattr(getattr(connection, "_config", None), "command_timeout", None)


def statement_cache_size(connection: Any) -> int:
    """Return how many statements asyncpg keeps prepared. Stands on `_config`, else it is asyncpg's default."""
    return int(getattr(getattr(connection, "_config", None), "statement_cache_size", 100))


def without_statement_cache(config: Any) -> Any:
    """Return a connection's configuration with a statement cache of size 0: a named tuple."""
    return config._replace(statement_cache_size=0)


async def close_dropped(connection: Any) -> None:
    """Close on the server the statements that were dropped here, which asyncpg does when it next prepares one itself.

    Stands on `_stmts_to_close` and `_cleanup_stmts`, else leaves it to that.
    """
    if getattr(connection, "_stmts_to_close", None) and hasattr(connection, "_cleanup_stmts"):
        await connection._cleanup_stmts()


def request_cancel(connection: Any, sent: Any) -> None:
    """Have a CancelRequest sent, and a future set then. Stands on `_cancel_current_command`."""
    connection._cancel_current_command(sent)


def own_transport(connection: Any) -> Any:
    """Return a connection's transport; None if something else than asyncpg's own protocol has it, or reads for it.

    Stands on `_transport` and `_protocol`, else there is none.
    """
    transport: Any = getattr(connection, "_transport", None)
    protocol = None if transport is None else transport.get_protocol()
    is_own = isinstance(protocol, Protocol) and protocol is getattr(connection, "_protocol", None)
    return transport if is_own and not transport.is_closing() else None


def replace_protocol(connection: Any, around: Callable[[Any], Any]) -> None:
    """Put something around the protocol of a connection. Stands on `_protocol`."""
    connection._protocol = around(connection._protocol)


def change_type_query(connection: Any, change: Callable[[str], str]) -> None:
    """Have a connection ask about types with another statement. Stands on `_intro_query`, else it is asyncpg's."""
    if hasattr(connection, "_intro_query"):
        connection._intro_query = change(connection._intro_query)


async def prepare_unnamed(connection: Any, query: str) -> Any:
    """Prepare a statement that leaves nothing on the server, and is sent again when it is executed.

    Stands on `_state`.
    """
    statement = await connection.prepare(query, name="")
    statement._state.mark_unprepared()
    return statement


async def parse(connection: Any, query: str, name: str) -> Any:
    """Have the server parse and describe a statement; asyncpg has no decoders for it yet. Stands on `_protocol`."""
    protocol = connection._protocol
    return await protocol.prepare(name, query, None, record_class=protocol.get_record_class())


def prepared_statement(connection: Any, query: str, state: Any) -> Any:
    """Make asyncpg's `PreparedStatement` of what `parse` returned."""
    return PreparedStatement(connection, query, state)


def description(state: Any) -> tuple[list[Line] | None, list[int]]:
    """Find the description of a statement's columns (None when it returns no rows), and the oids of its parameters.

    Both are lists that the statement goes by, and may be changed until `choose_decoders`.

    Raises:
        LookupError: It is not where asyncpg 0.30 to 0.32 has it: a list before the list of the parameters' oids.
    """
    lists = [found for found in gc.get_referents(state) if type(found) is list]
    if not 1 <= len(lists) <= 2 or not all(type(oid) is int for oid in lists[-1]):
        raise LookupError("asyncpg keeps the description of parameters elsewhere")
    lines = lists[0] if len(lists) == 2 else None
    if not all(type(line) is tuple and [type(part) for part in line] == [bytes, *[int] * 6] for line in lines or ()):
        raise LookupError("asyncpg keeps the description of columns elsewhere")
    return lines, lists[-1]


async def learn_types(connection: Any, state: Any) -> None:
    """Have asyncpg learn the types that it is to encode or decode itself, and only those: there are some it refuses.

    Stands on `_init_types` and `_introspect_types`.
    """
    oids: Collection[int] = state._init_types()
    if oids:
        types, _ = await connection._introspect_types(oids, None)
        connection.get_settings().register_data_types(types)


def choose_decoders(state: Any, *, send_again: bool) -> None:
    """Have asyncpg choose by the description. Stands on `_init_codecs`.

    Args:
        state: What `parse` returned.
        send_again: Whether to send the statement with its execution: what else has no name may have replaced it.
    """
    state._init_codecs()
    if send_again:
        state.mark_unprepared()


class StoppableConnection(asyncpg.Connection):  # type: ignore[misc]
    """asyncpg's connection, with names of our own for the steps that a subclass does differently."""

    __slots__ = ()

    def send_cancel_request(self, request: Callable[[], Coroutine[Any, Any, None]], taken: Any, answered: Any) -> None:
        """Run `request()`, which sets the future `taken` when the server has the request.

        The future `answered` is set when the statement has ended (by asyncpg before 0.32, it is the other one).
        """
        raise NotImplementedError

    def name_for(self, kind: str) -> str:
        """Name a "stmt" or a "cursor" on the server."""
        raise NotImplementedError

    async def receive_copy(self, copy: ReceiveCopy, output: Any, timeout: Any) -> str:
        """Return the status of `copy(output, timeout)`, a COPY from the server."""
        raise NotImplementedError

    def keep_until_sent(self, task: Any) -> None:
        """Keep the task of a CancelRequest for as long as asyncpg does. Stands on `_cancellations`."""
        self._cancellations.add(task)

    def leave_pool(self) -> None:
        """Let an asyncpg pool open another connection in the place of this one. Stands on `_cleanup`."""
        self._cleanup()

    @property
    def socket(self) -> Any:
        """The transport. Stands on `_transport`."""
        return self._transport

    def end_of_cancellation(self) -> Callable[[], Coroutine[Any, Any, None]]:
        """Return what waits for the end of a cancellation, also when the connection has been closed meanwhile.

        Stands on `_wait_for_cancellation`.
        """
        return self._protocol._wait_for_cancellation  # type: ignore[no-any-return]

    async def repeat_cancel_request(self) -> None:
        """Send another CancelRequest. Stands on `_cancel`."""
        nobody_waits = asyncio.get_running_loop().create_future()
        nobody_waits.set_result(None)
        await self._cancel(nobody_waits)

    def _cancel_current_command(self, *waiters: Any) -> None:
        self.send_cancel_request(lambda: self._cancel(*waiters), waiters[0], waiters[-1])

    def _clean_tasks(self) -> None:
        """Let a CancelRequest end by itself: asyncio would complain of one that is cut off while it connects."""
        self._cancellations.clear()

    def _get_unique_id(self, prefix: str) -> str:
        return self.name_for(prefix)

    async def _copy_out(self, copy_stmt: str, output: Any, timeout: Any) -> str:
        copy = super()._copy_out
        return await self.receive_copy(lambda sink, timeout: copy(copy_stmt, sink, timeout), output, timeout)
