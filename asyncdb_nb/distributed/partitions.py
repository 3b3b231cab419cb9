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

if TYPE_CHECKING:
    import pandas as pd


class PartitionReader:
    """Reads the statement of a partition; dask calls it with the columns that are used.

    Args:
        snapshot: Where to read.
        index: The column that becomes the index; None for none.
        options: For `frame`.
    """

    def __init__(self, snapshot: Snapshot, index: str | None, options: dict[str, Any]) -> None:
        self._snapshot = snapshot
        self._index = index
        self._options = options

    def __call__(self, statement: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Read a partition.

        Args:
            statement: SQL.
            columns: The columns that are wanted; None for all.

        Raises:
            SnapshotGoneError: The collection, or the process that made it, is no longer there.
            ConnectError: This process cannot connect; the message says what is missing, such as a password.
        """
        if columns is not None:
            wanted = dict.fromkeys([*columns, *([] if self._index is None else [self._index])])
            statement = f"select {', '.join(map(_quoted, wanted)) or 'null as none'} from ({statement}\n) as part"  # noqa: S608  SQL, and names that are quoted
        made = run(reads.whole(self._snapshot.session, frame, statement, None, self._options))
        return self.shaped(made, columns)

    def shaped(self, made: pd.DataFrame, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Give a frame the index and the columns of a partition."""
        made.attrs.clear()  # dask compares and concatenates attrs
        if self._index is not None:
            made = made.set_index(self._index)
        return made if columns is None else made[list(columns)]

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        snapshot = self._snapshot
        return "asyncdb_nb", snapshot.identifier, str(snapshot.server), self._index, sorted(self._options.items())


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
