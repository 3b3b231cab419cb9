"""
Write one partition into the staging table, in whichever process dask wants it.

dask may run it twice: because the worker was lost after it had committed, or on two workers at once. The partition's
number is a primary key, which the second waits for, and finds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from asyncdb_nb.aio.portal import run
from asyncdb_nb.database.database import Database
from asyncdb_nb.database.without_password import database_of, reference_to
from asyncdb_nb.dataframes import write
from asyncdb_nb.distributed.connections import turn
from asyncdb_nb.distributed.staging import writing_scope
from asyncdb_nb.distributed.staging_tables import StagingTable
from asyncdb_nb.errors import PartitionNotWrittenError, WriteError

if TYPE_CHECKING:
    import pandas as pd


class PartitionWriter:
    """Writes partitions; dask calls it with each, and its number.

    Args:
        database: Where to. It is pickled without its password.
        table: The name of the table that the rows are for.
        staging: The tables that they wait in.
        columns: The names of the columns, without the index.
        index: Whether the index is written.
    """

    def __init__(
        self, database: Database, table: str, staging: StagingTable, columns: Sequence[str], *, index: bool
    ) -> None:
        self._database = database
        self._table = table
        self._staging = staging
        self._columns = columns
        self._index = index

    def __call__(self, part: pd.DataFrame, number: int) -> int:
        """Write a partition, and give how many rows of it are there.

        Raises:
            PartitionNotWrittenError: It could not be written; nothing of it was.
        """
        try:
            self._check(part)
            with turn(self._database):
                return run(self._write(part, number))
        except Exception as error:
            raise PartitionNotWrittenError(self._table, number, _told(error)) from error

    async def _write(self, part: pd.DataFrame, number: int) -> int:
        async with self._database._scope(writing_scope) as session:
            parts = self._staging.parts
            mark = text(f"INSERT INTO {parts} VALUES (:number, :rows) ON CONFLICT DO NOTHING RETURNING rows")  # noqa: S608  quoted
            if await session.scalar(mark, {"number": number, "rows": len(part)}) is not None:
                await write(session, part, self._staging.rows, index=self._index)
                return len(part)
            known = text(f"SELECT p.rows FROM {parts} AS p WHERE p.partition OPERATOR(pg_catalog.=) :number")  # noqa: S608  quoted
            return int(await session.scalar(known, {"number": number}))

    def _check(self, part: pd.DataFrame) -> None:
        found = [str(name) for name in part.columns]
        if set(found) != set(self._columns):
            raise WriteError(f"It has the columns {found}, and the collection says that it has {list(self._columns)}.")

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrived, (reference_to(self._database), self._table, self._staging, self._columns, self._index)


def _arrived(reference: Any, table: str, staging: StagingTable, columns: Sequence[str], index: bool) -> PartitionWriter:
    return PartitionWriter(database_of(reference), table, staging, columns, index=index)


def _told(error: Exception) -> str:
    """Say in words what went wrong: not every error can be pickled."""
    return "\n".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())])
