"""
The columns of one statement, as the server describes them and as SQLAlchemy changes them, and what is made of them.

Rows come as asyncpg gives them, as SQLAlchemy gives them, or as bytes by COPY; whichever way, the columns of the frame
are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asyncdb_nb.dataframes.columns.column import Column, from_native, from_wire
from asyncdb_nb.dataframes.query.describe import Described
from asyncdb_nb.dataframes.type_families.kind import ColumnType, DtypeBackend
from asyncdb_nb.dataframes.types.processing import Processing

if TYPE_CHECKING:
    from asyncdb_nb.dataframes.columns.decoder import Batch


@dataclass(frozen=True, slots=True)
class Options:
    """How a user wants the columns.

    Attributes:
        as_float: Numeric as float64.
        as_timestamp: Dates as the time stamps of their midnights.
        arrow: For Arrow: an Enum as its text. Else for pandas, with its members.
        backend: For pandas: the `dtype_backend`.
    """

    as_float: bool = False
    as_timestamp: bool = False
    arrow: bool = False
    backend: DtypeBackend = None


@dataclass(frozen=True, slots=True)
class Shape:
    """What is known of a statement's columns.

    Attributes:
        columns: As the server describes them.
        processing: What SQLAlchemy does to each in Python.
        loads: What parses JSON text.
        options: How the user wants them.
    """

    columns: Sequence[Described]
    processing: Sequence[Processing]
    loads: Callable[[str], Any]
    options: Options

    def of_rows(self, records: Sequence[Any], names: Sequence[str], *, exact: bool) -> list[Column]:
        """Make columns of rows.

        Args:
            records: The rows.
            names: The columns' names.
            exact: Whether the rows are as asyncpg gives them; else SQLAlchemy has processed them.
        """
        by_column = list(zip(*records, strict=True)) if records else [()] * len(self.columns)
        return [
            self._column(name, values, column, step, exact)
            for name, values, column, step in zip(names, by_column, self.columns, self.processing, strict=True)
        ]

    def is_copyable(self) -> bool:
        """Say whether bytes alone give what SQLAlchemy's functions take."""
        return all(
            step.how != "function" or column.type.traits.exact_in_asyncpg
            for column, step in zip(self.columns, self.processing, strict=True)
        )

    def copied(self) -> list[tuple[str, ColumnType]]:
        """Name the columns, and the types to read them as, when they come by COPY."""
        wanted = [self._type(column, step) for column, step in zip(self.columns, self.processing, strict=True)]
        return [
            (column.name, column.type if type_.kind == "python" else type_)
            for column, type_ in zip(self.columns, wanted, strict=True)
        ]

    def of_batch(self, batch: Batch) -> tuple[list[Column], int]:
        """Make columns of what came by COPY, and say how many rows they have."""
        columns = [
            self._processed(column, described, step)
            for column, described, step in zip(batch.columns, self.columns, self.processing, strict=True)
        ]
        for column in columns:
            column.pack() if self.options.arrow else column.unpack(self.options.backend)
        return columns, batch.rows

    def _column(self, name: str, values: Sequence[Any], column: Described, step: Processing, exact: bool) -> Column:
        type_ = self._type(column, step)
        if exact and column.raw:
            return from_wire(name, type_, values, self.loads)
        if exact and type_.kind == "python" and step.process is not None:
            values = [step.process(value) for value in values]
        if not exact and step.how == "members" and step.stored is not None and type_.kind != "python":
            values = [step.stored(value) for value in values]
        return from_native(name, type_, values, fit=exact and type_.kind != "python")

    def _processed(self, column: Column, described: Described, step: Processing) -> Column:
        type_ = self._type(described, step)
        if type_.kind != "python" or step.process is None:
            return column
        return Column(column.name, type_, values=[step.process(value) for value in column.objects()])

    def _type(self, column: Described, step: Processing) -> ColumnType:
        type_ = step.type(column.type, members=not self.options.arrow)
        type_ = type_.as_float() if self.options.as_float else type_
        return type_.as_timestamp() if self.options.as_timestamp else type_
