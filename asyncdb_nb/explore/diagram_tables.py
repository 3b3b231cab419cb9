"""What a diagram is of: tables, their keys, and the foreign keys between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from asyncdb_nb.explore.table_names import quoted


@dataclass(frozen=True)
class KeyColumn:
    """A column of a key: its name, its type as SQL writes it, and of which keys it is a part."""

    name: str
    type: str
    is_primary: bool
    is_foreign: bool


@dataclass(frozen=True)
class Table:
    """A table: its key columns alone, and how many others it has."""

    schema: str
    name: str
    rows: int | None
    keys: tuple[KeyColumn, ...]
    others: int

    @property
    def title(self) -> str:
        """The name with its schema, as SQL takes it."""
        return f"{quoted(self.schema)}.{quoted(self.name)}"


@dataclass(frozen=True)
class ForeignKey:
    """A foreign key: `table` refers to `other`, by columns that stand in the same order on both sides."""

    name: str
    table: Table
    columns: tuple[str, ...]
    other: Table
    other_columns: tuple[str, ...]
    on_delete: str
    required: bool


class Content(NamedTuple):
    """What a picture shows: the tables, by name, and the foreign keys, by table."""

    tables: list[Table]
    foreign_keys: list[ForeignKey]

    @property
    def counted(self) -> str:
        """How many there are, in words; nothing is a sentence."""
        if not self.tables:
            return "There are no tables."
        tables, keys = len(self.tables), len(self.foreign_keys)
        return f"{tables} table{'' if tables == 1 else 's'}, {keys} foreign key{'' if keys == 1 else 's'}"
