"""The types whose numbers are fixed in PostgreSQL's source, by oid and by name."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from asyncdb_nb.dataframes.type_families.kind import KINDS, ColumnType


class UnknownTypeError(LookupError):
    """A type is not built in and not in the catalog given; `oid` says which. Look it up on the server and ask again."""

    def __init__(self, oid: int) -> None:
        super().__init__(oid)
        self.oid = oid


def built_in(oid: int) -> ColumnType | None:
    """Give the type with a number; None where none is built in."""
    return _types().get(oid)


def built_in_types() -> Iterable[ColumnType]:
    """Give all of them but their arrays."""
    return _by_name().values()


def named(name: str) -> ColumnType:
    """Give the type with a name; there is one."""
    return _by_name()[name]


@cache
def _by_name() -> dict[str, ColumnType]:
    types: dict[str, ColumnType] = {}
    for kind in KINDS.values():
        for name, line in kind.types.items():
            element = types[line.element] if line.element else None
            types[name] = ColumnType(line.oid, name, kind.name, element=element)
    return types


@cache
def _types() -> dict[int, ColumnType]:
    types = {type_.oid: type_ for type_ in _by_name().values()}
    for kind in KINDS.values():
        for name, line in kind.types.items():
            if line.array:
                types[line.array] = ColumnType(line.array, f"_{name}", "array", element=types[line.oid])
    return types
