"""
A read-only transaction in which a statement is read without a session, at about the cost of its round trips.

A session and SQLAlchemy's execution take longer than a server on the same machine needs for a few rows. What they do
beside is not missed where nobody listens to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy.util import greenlet_spawn

from asyncdb_nb.aio.shielded import retrieve
from asyncdb_nb.dataframes.query.capture import Capture, can_capture
from asyncdb_nb.dataframes.query.row_counts import gave_few
from asyncdb_nb.dataframes.sql.statement import Params, numbered
from asyncdb_nb.engine.other_listeners import is_heard

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine


class Direct:
    """The transaction, to be read in as in a session, once.

    Args:
        connection: The connection, in a transaction.

    Attributes:
        connection: The same.
        committing: The COMMIT, from when it was sent.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.committing: asyncio.Task[None] | None = None

    async def execute(self, capture: Capture, statement: str, params: Params) -> list[str]:
        """Have a capture read all rows, and name the columns; COMMIT is on its way then, if nothing is to be asked."""
        sent, values = as_sent(statement, params)
        await greenlet_spawn(capture.run_alone, self.connection, sent, values)
        columns = capture.shape.columns
        if not any(part.kind == "record" for column in columns for part in column.type.parts()):
            self._commit()
            await asyncio.sleep(0)  # which sends it
        return [column.name for column in columns]

    async def end(self) -> None:
        """Wait for the answer to COMMIT."""
        await self._commit()

    def _commit(self) -> asyncio.Task[None]:
        if self.committing is None:
            self.committing = asyncio.ensure_future(greenlet_spawn(self.connection.commit))
            self.committing.add_done_callback(retrieve)  # where the frame cannot be built, nobody does
        return self.committing


def can_read(engine: Engine, statement: Any, params: Params, options: dict[str, Any]) -> bool:
    """Say whether a statement can be read so: a text that gave few rows before, and that nobody listens to."""
    return (
        type(statement) is str
        and type(params) in (dict, type(None))
        and options.get("max_rows") is None
        and gave_few(engine.dialect, as_sent(statement, params)[0])
        and can_capture()
        and not is_heard(engine)
    )


def as_sent(statement: str, params: Params) -> tuple[str, Sequence[Any]]:
    """Write a text as the driver takes it, with values for its parameters; None where one is missing."""
    if params is None:
        return statement, ()
    sent, names = numbered(statement)
    return sent, tuple(params.get(name) for name in names)
