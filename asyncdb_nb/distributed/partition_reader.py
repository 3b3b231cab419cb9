"""
Read one partition, in whichever process dask wants it.

A reader has the name of the snapshot and does not keep it: dask holds tasks for longer than anybody wants their result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from asyncdb_nb.aio.portal import run
from asyncdb_nb.database import reads
from asyncdb_nb.database.snapshot import Snapshot
from asyncdb_nb.dataframes import frame
from asyncdb_nb.distributed.connections import turn
from asyncdb_nb.explore.table_names import always_quoted

if TYPE_CHECKING:
    import pandas as pd


class PartitionReader:
    """Reads the statement of a partition; dask calls it with the columns that are used.

    Args:
        snapshot: Where to read.
        index: The column that becomes the index; None for none.
        options: For `frame`.
        where: A condition on `part`; empty for none.
        params: Values for the binds, of `where` or of the statements; None where there are no binds.
        sorts: Whether the index is to be sorted, because the server's order of it is not that of pandas.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        index: str | None,
        options: dict[str, Any],
        where: str = "",
        params: dict[str, Any] | None = None,
        *,
        sorts: bool = False,
    ) -> None:
        self._snapshot = snapshot
        self._index = index
        self._options = options
        self._where = where
        self._params = params
        self._sorts = sorts

    def __call__(self, statement: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Read a partition.

        Args:
            statement: SQL.
            columns: The columns that are wanted; None for all.

        Raises:
            SnapshotGoneError: The collection, or the process that made it, is no longer there.
            ConnectError: This process cannot connect; the message says what is missing, such as a password.
        """
        if columns is not None or self._where:
            statement = self._narrowed(statement, columns)
        with turn(self._snapshot.database):
            made = run(reads.of_snapshot(self._snapshot, frame, statement, self._params, self._options))
        return self.shaped(made, columns)

    def shaped(self, made: pd.DataFrame, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Give a frame the index and the columns of a partition."""
        made.attrs.clear()  # dask compares and concatenates attrs
        if self._index is not None:
            made = made.set_index(self._index)
            made = made.sort_index(kind="stable") if self._sorts else made
        return made if columns is None else made[list(columns)]

    def _narrowed(self, statement: str, columns: Sequence[str] | None) -> str:
        wanted = "part.*"
        if columns is not None:
            names = dict.fromkeys([*columns, *([] if self._index is None else [self._index])])
            wanted = ", ".join(f"part.{always_quoted(name)}" for name in names) or "null as none"
        condition = f" where {self._where}" if self._where else ""
        return f"select {wanted} from ({statement}\n) as part{condition}"  # noqa: S608  SQL, and names that are quoted

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        snapshot, filters = self._snapshot, (self._where, sorted((self._params or {}).items()))
        options = sorted(self._options.items())
        return "asyncdb_nb", snapshot.identifier, str(snapshot.server), self._index, options, filters
