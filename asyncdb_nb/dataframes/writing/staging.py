"""
Rows that cannot go into their table by COPY alone: into a temporary table by COPY, and from there by INSERT.

So it is where rows meet others of their key (upsert), where row security or rules decide, where the table is a view,
and where PostgreSQL has to read a value's text because its type has no binary form here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import uuid4

from asyncdb_nb.dataframes.writing.target import Table, Target, quoted
from asyncdb_nb.engine.search_path import EQ, GT
from asyncdb_nb.errors import WriteError

# ruff: noqa: S608  names are quoted

_DIFFERS = "OPERATOR(pg_catalog.*<>)"  # compares the bytes of rows, so that every type can be, and 1.0 is not 1.00


class Staging:
    """A temporary table for the columns that are written.

    Args:
        table: Where the rows go at last.
        targets: The columns.
        key: The columns of the key, for an upsert.
        defaults: Columns that an upsert does not change in rows that are there.
        sql: The name, as SQL has it, of a table that is there already, with the rows in columns of these types.

    Attributes:
        key: As given.
        name: The name of the temporary table.
    """

    def __init__(
        self,
        table: Table,
        targets: Sequence[Target],
        key: Sequence[str] = (),
        defaults: Collection[str] = (),
        *,
        sql: str | None = None,
    ) -> None:
        self._table = table
        self._targets = targets
        self._defaults = defaults
        self.key = key
        self.name = f"asyncdb_nb_{uuid4().hex}"
        self._sql = sql or f"pg_temp.{quoted(self.name)}"

    def create(self) -> str:
        """Write what makes it."""
        columns = (f"{quoted(each.name)} {'pg_catalog.text' if each.is_text else each.sql}" for each in self._targets)
        return f"CREATE TEMPORARY TABLE {self._sql} ({', '.join(columns)}) ON COMMIT DROP"

    def drop(self) -> str:
        """Write what drops it."""
        return f"DROP TABLE {self._sql}"

    def insert(self) -> str:
        """Write what moves its rows."""
        return self._insert()

    def duplicates(self) -> str:
        """Write what finds a key that two rows have: its values as text."""
        values = self._values(self.key)
        texts = ", ".join(f"({value})::pg_catalog.text" for value in values)
        return (
            f"SELECT pg_catalog.count(*), {texts} FROM {self._sql} AS s GROUP BY {', '.join(values)} "
            f"HAVING pg_catalog.count(*) {GT} 1 LIMIT 1"
        )

    def changed(self, name: str, equal: Mapping[str, str]) -> str:
        """Write what finds a row that has another value in the table: both values, and its key, as text.

        Args:
            name: The column.
            equal: The operators that say which keys are equal, where they are not the built-in ones.
        """
        [given], keys = self._values([name]), self._values(self.key)
        same = " AND ".join(
            f"{of} {equal.get(each, EQ)} t.{quoted(each)}" for of, each in zip(keys, self.key, strict=True)
        )
        shown = ", ".join(f"({value})::pg_catalog.text" for value in (f"t.{quoted(name)}", given, *keys))
        return (
            f"SELECT {shown} FROM {self._table.sql} AS t JOIN {self._sql} AS s ON {same} "
            f"WHERE ROW(t.{quoted(name)})::pg_catalog.record {_DIFFERS} ROW({given})::pg_catalog.record LIMIT 1"
        )

    def upsert(self, *, has_old: bool) -> str:
        """Write what inserts its rows, or changes those of their key that differ, and gives how many it did so with.

        In the order of the key, so that two at once wait for each other rather than in a circle.

        Args:
            has_old: Whether RETURNING knows what a row was before, as from PostgreSQL 18 on, and says which are new.
                Otherwise `COUNT_OF_UPDATED` has how many were changed.
        """
        others = [each.name for each in self._targets if each.name not in (*self.key, *self._defaults)]
        key = ", ".join(map(quoted, self.key))
        action = "NOTHING"
        if others:
            changes = ", ".join(f"{quoted(name)} = excluded.{quoted(name)}" for name in others)
            now, then = (", ".join(f"{of}.{quoted(name)}" for name in others) for of in ("t", "excluded"))
            differs = f"ROW({now})::pg_catalog.record {_DIFFERS} ROW({then})::pg_catalog.record"
            action = f"UPDATE SET {changes} WHERE {differs if has_old else _counted(differs)}"
        is_new = f"old.{quoted(self.key[0])} IS NULL" if has_old else "true"
        return (
            f"WITH written AS ({self._insert()} ORDER BY {', '.join(self._values(self.key))} "
            f"ON CONFLICT ({key}) DO {action} RETURNING {is_new} AS is_new) "
            "SELECT pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE NOT is_new) FROM written"
        )

    def _insert(self) -> str:
        columns = ", ".join(quoted(each.name) for each in self._targets)
        over = " OVERRIDING SYSTEM VALUE" if any(each.is_identity for each in self._targets) else ""
        values = ", ".join(self._values([each.name for each in self._targets]))
        return f"INSERT INTO {self._table.sql} AS t ({columns}){over} SELECT {values} FROM {self._sql} AS s"

    def _values(self, names: Sequence[str]) -> list[str]:
        by_name = {each.name: each for each in self._targets}
        return [
            f"s.{quoted(name)}::{by_name[name].sql}" if by_name[name].is_text else f"s.{quoted(name)}" for name in names
        ]


def _counted(condition: str) -> str:
    """Write a condition that counts, in a setting of the transaction, how often it is true.

    Before PostgreSQL 18 only `xmax` tells an updated row from a new one, which partitioned tables and views have not.
    """
    one_more = f"({_UPDATED}::pg_catalog.int8 OPERATOR(pg_catalog.+) 1)::pg_catalog.text"
    count = f"pg_catalog.set_config('asyncdb_nb.updated', {one_more}, true) IS NOT NULL"
    return f"CASE WHEN {condition} THEN {count} ELSE false END"


_UPDATED = "pg_catalog.current_setting('asyncdb_nb.updated')"
COUNT_FROM_ZERO = "SELECT pg_catalog.set_config('asyncdb_nb.updated', '0', true)"
COUNT_OF_UPDATED = f"SELECT {_UPDATED}"


def duplicate(key: Sequence[str], found: Any) -> WriteError:
    """Say which key two rows have."""
    count, *values = found
    shown = ", ".join(f"{name}={value}" for name, value in zip(key, values, strict=True))
    return WriteError(
        f"{count} rows of the data have the key {shown}, and only one can be kept. Keep one: "
        f"`frame.drop_duplicates({list(key)!r}, keep='last')`."
    )


def other_class(name: str, key: Sequence[str], found: Any) -> WriteError:
    """Say which row of the table is of another class."""
    there, given, *values = found
    shown = ", ".join(f"{name}={value}" for name, value in zip(key, values, strict=True))
    return WriteError(f"The row with {shown} has {name}={there} in the table, and {name}={given} in the data.")
