"""
Write bad rows to a file: a CSV file with the line, the reason and the fields of each row that was left out.

Its columns are those of the log after `line` and `reason`, so that it can be mended and loaded as a log itself.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any

from asyncdb_nb.errors import EventLogError
from asyncdb_nb.workflows.event_log.csv_reader import Record
from asyncdb_nb.workflows.event_log.unreadable import UnreadableError


class BadRows:
    """
    The file of bad rows; a context manager. It is taken away again when the load fails.

    Args:
        path: Where it is to be. Nothing may be there.
        header: The columns of the log.

    Attributes:
        count: How many rows were left out.
        first: The line of the first, why it was, and with which options it could be read; None while there is none.

    Raises:
        EventLogError: There is a file already, or none can be written there.
    """

    def __init__(self, path: str | PathLike[str], header: Sequence[str]) -> None:
        self.path, self.count = Path(path), 0
        self.first: tuple[int, str, dict[str, Any]] | None = None
        try:
            self._file = self.path.open("x", newline="", encoding="utf-8")
        except FileExistsError as error:
            raise EventLogError(
                f"{self.path} is there already. Name another file for bad rows, or remove it."
            ) from error
        except OSError as error:
            raise EventLogError(f"{self.path}, for bad rows, cannot be written: {error.strerror}.") from error
        self._writer = csv.writer(self._file)
        self._writer.writerow(["line", "reason", *header])

    def __enter__(self) -> BadRows:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()
        if error is not None:
            self.path.unlink(missing_ok=True)

    def add(self, record: Record, why: UnreadableError) -> None:
        """Set one row aside."""
        self.count += 1
        self.first = self.first or (record.line, why.reason, why.options)
        self._writer.writerow([record.line, why.reason, *record.fields])
