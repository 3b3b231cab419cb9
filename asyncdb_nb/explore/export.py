"""
Write a result to a file, part by part: what is there in the end is the whole result, or nothing.

It is written beside the file, under another name, and takes its place when it is complete. What a format cannot hold is
written as text, and said.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from asyncdb_nb.aio.shielded import wait_to_the_end
from asyncdb_nb.dataframes.query.progress import Progress
from asyncdb_nb.errors import ExportError, MissingExtraError

if TYPE_CHECKING:
    from asyncdb_nb.aio.async_for import AsyncFor

ARROW = (".parquet", ".arrow", ".csv")
EXCEL = ".xlsx"


@dataclass(frozen=True, slots=True)
class Export:
    """A file that was written.

    Attributes:
        path: Where it is.
        rows: How many rows it has, without the names of the columns.
        size: Its bytes.
        notes: What its format could not hold as it was, and what was done.
    """

    path: Path
    rows: int
    size: int
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        head = f"{self.path.name}: {self.rows:,} row{'' if self.rows == 1 else 's'}"
        return "\n".join([head, *(f"  {note}" for note in self.notes)])


class Writer(Protocol):
    """Writes the parts of one result into one file; `write` and `close` run in a thread."""

    notes: list[str]

    def write(self, part: Any) -> int:
        """Write a part, and say how many rows it has."""

    def close(self) -> None:
        """Write the end."""

    def discard(self) -> None:
        """Let go of everything; the file will be removed."""


def target(path: str | os.PathLike[str]) -> Path:
    """Give the file that a path names, with its links followed.

    Raises:
        ExportError: Its suffix names no format, or there is no such folder.
        MissingExtraError: The package that writes Excel files is missing.
    """
    file = Path(path).expanduser()
    suffix = file.suffix.lower()
    if suffix not in (*ARROW, EXCEL):
        raise ExportError(
            f"{str(path)!r} does not say by its suffix which format is meant",
            f"a path that ends in {', '.join((*ARROW, EXCEL))}, behind the statement",
        )
    if not file.parent.is_dir():
        raise ExportError(f"There is no folder {str(file.parent)!r}", "an existing one, or make it")
    if file.is_dir():
        raise ExportError(f"{str(path)!r} is a folder", "the path of a file in it")
    if suffix == EXCEL:
        with MissingExtraError.instead("Excel files", "excel"):
            import xlsxwriter  # noqa: F401
    return file.resolve()


async def write(parts: AsyncFor[Any], path: Path) -> Export:
    """Write all parts of a result.

    Args:
        parts: Record batches; for Excel, DataFrames, whose dtypes tell NULL from NaN.
        path: As `target` gives it.

    Raises:
        ExportError: The format cannot hold the result.
    """
    beside = path.with_name(f".{secrets.token_hex(8)}.part{path.suffix.lower()}")
    writer: Writer | None = None
    progress = Progress()
    rows = 0
    try:
        async with aclosing(parts):
            async for part in parts:
                if writer is None:
                    writer = await _in_thread(_open, beside, part)
                elif rows:  # of more than one part: a short result shows no bar, however slow the machine
                    progress.seen(rows)
                rows += await _in_thread(writer.write, part)
        assert writer is not None, "a result has a part, if an empty one"  # noqa: S101
        await _in_thread(writer.close)
        size = beside.stat().st_size
        os.replace(beside, path)
        return Export(path, rows, size, tuple(writer.notes))
    except BaseException:
        if writer is not None:
            writer.discard()
        with suppress(FileNotFoundError):
            beside.unlink()
        raise
    finally:
        progress.close()


def _open(path: Path, part: Any) -> Writer:
    if path.suffix == EXCEL:
        from asyncdb_nb.explore.excel import ExcelWriter

        return ExcelWriter(path, part)
    from asyncdb_nb.explore.arrow_files import ArrowWriter

    return ArrowWriter(path, part.schema)


async def _in_thread(function: Callable[..., Any], *args: Any) -> Any:
    """Call in a thread; a cancellation is passed on when it has returned, so that nothing writes any more then."""
    task = asyncio.ensure_future(asyncio.to_thread(function, *args))
    await wait_to_the_end(task)
    return task.result()
