"""
A prepared statement that tells its columns' types in full, and carries what asyncpg would spoil as it is sent.

PostgreSQL describes every column before the first row: its type and its modifier (the precision of a numeric). asyncpg
receives that, uses it to choose decoders, and shows the type only; `engine/_asyncpg.py` finds it. A column whose
decoder loses something (an interval's months, infinity) is described to asyncpg as bytea before it chooses, and so
comes as the bytes that were sent; one of a type without a binary form as unknown, and so as the text that PostgreSQL
writes. A parameter whose encoder loses something (a date in the year 9999) is described as unknown as well, and so
takes the text that PostgreSQL reads. That is for this statement alone: no codec of the connection is touched.

Should an asyncpg come that keeps its description elsewhere, nothing is found: numeric columns are then without
precision, and values are as asyncpg decodes and encodes them. A test says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, Any

from asyncdb_nb.dataframes.sql.bind_values import Parameter, goes_as_text
from asyncdb_nb.dataframes.type_families.kind import ColumnType
from asyncdb_nb.dataframes.types.catalog import column_types

if TYPE_CHECKING:
    from asyncdb_nb.engine._asyncpg import Line

Kept = Callable[[Sequence[str]], Sequence[bool]]

_BYTEA, _UNKNOWN = 17, 705
_TEXT_IN_BINARY = frozenset({19, 25, 1042, 1043})  # name, text, char(n), varchar: in arrays, too


def none(names: Sequence[str]) -> list[bool]:
    """Have asyncpg decode no column for SQLAlchemy."""
    return [False] * len(names)


@dataclass(frozen=True, slots=True)
class Described:
    """A column of a prepared statement.

    Attributes:
        name: As the server names it.
        type: What it becomes. (The server describes a domain as its base type.)
        raw: Whether its values come as bytes.
        kept: Whether asyncpg decodes them because SQLAlchemy wants them so.
        line: Its oid and typmod, as the server describes it.
    """

    name: str
    type: ColumnType
    raw: bool
    line: tuple[int, int]
    kept: bool = False


class Columns(list[Described]):
    """The columns of a prepared statement, which know its parameters.

    Attributes:
        parameters: Its parameters.
        parts: Each type of both, and each inside them, as its number and whether it has a binary form.
        returns_rows: Whether the statement does.
        can_change: Whether the fields of a row type can change while the statement stays prepared.
    """

    def __init__(
        self, columns: Iterable[Described], parameters: Sequence[Parameter], *, returns_rows: bool = True
    ) -> None:
        super().__init__(columns)
        self.parameters = parameters
        self.returns_rows = returns_rows
        parts = [part for each in (*self, *parameters) for part in each.type.parts()]
        self.parts = list(dict.fromkeys((part.oid, part.binary) for part in parts))
        self.can_change = any(part.kind in ("composite", "python") for part in parts)


async def prepare(connection: Any, query: str, name: str, kept: Kept = none) -> tuple[Any, Columns]:
    """Prepare a statement.

    Args:
        connection: An asyncpg connection that is free.
        query: SQL, with `$1`.
        name: A name for the statement on the server; "" for a statement that leaves nothing there and is sent again
            when it is executed, which has to be in the same transaction.
        kept: Says of each column, by name, whether asyncpg itself is to decode it.

    Returns:
        An asyncpg `PreparedStatement` and its columns.
    """
    from asyncdb_nb.engine import _asyncpg  # here: it imports the driver

    state = await _asyncpg.parse(connection, query, name)
    statement = _asyncpg.prepared_statement(connection, query, state)  # at once: when dropped, asyncpg has it closed
    try:
        description, expected = _asyncpg.description(state)
        parameters = await _parameters(connection, expected, written=True)
        columns = await _columns(connection, description or (), kept)
        for position, column in enumerate(columns):
            if description is not None and not column.kept:
                description[position] = _as_sent(description[position], column)
        expected[:] = [_UNKNOWN if parameter.written else parameter.oid for parameter in parameters]
        await _asyncpg.learn_types(connection, state)
        _expect(statement, description, expected)
    except LookupError:
        return await _prepare_plainly(connection, query, name)
    if not name and not _cursors_send_again():
        await _asyncpg.parse(connection, query, name)
    _asyncpg.choose_decoders(state, send_again=not name)
    return statement, Columns(columns, parameters, returns_rows=description is not None)


async def describe(connection: Any, query: str) -> list[tuple[int, int]] | None:
    """Ask the server for the columns of a statement without parameters, as oid and typmod; None where it is not told.

    Args:
        connection: An asyncpg connection that is free.
        query: SQL, which the server accepts as one statement; else this is the server's error.
    """
    from asyncdb_nb.engine import _asyncpg  # here: it imports the driver

    try:
        return [
            (line[3], line[5]) for line in _asyncpg.description(await _asyncpg.parse(connection, query, ""))[0] or ()
        ]
    except LookupError:
        return None


@cache
def _cursors_send_again() -> bool:
    """Return whether cursors send a nameless statement again, as all else does; they do from asyncpg 0.32 on."""
    major, minor, *_ = metadata.version("asyncpg").split(".")
    return (int(major), int(minor)) >= (0, 32)


def _as_sent(line: Line, column: Described) -> Line:
    """Describe a column as what asyncpg does not decode."""
    if column.raw:
        return (*line[:3], _BYTEA, *line[4:])
    written = column.type.kind in ("text", "array") and not column.type.binary
    written = written or column.type.decode is not None
    return (*line[:3], _UNKNOWN, *line[4:]) if written else line


def _expect(statement: Any, description: Sequence[Line] | None, expected: Sequence[int]) -> None:
    """See that asyncpg goes by a description that was changed."""
    if [attribute.type.oid for attribute in statement.get_attributes()] != [line[3] for line in description or ()]:
        raise LookupError("asyncpg keeps the description of columns elsewhere")
    if [type_.oid for type_ in statement.get_parameters()] != list(expected):
        raise LookupError("asyncpg keeps the description of parameters elsewhere")


async def _parameters(connection: Any, oids: Sequence[int], *, written: bool) -> list[Parameter]:
    types = await column_types(connection, [(oid, -1) for oid in oids])
    return [Parameter(oid, type_, written and goes_as_text(type_)) for oid, type_ in zip(oids, types, strict=True)]


async def _columns(connection: Any, description: Sequence[Line], kept: Kept) -> list[Described]:
    names = [line[0].decode() for line in description]
    types = await column_types(connection, [(line[3], line[5]) for line in description])
    return [
        Described(name, type_, not keep and _needs_bytes(type_), (line[3], line[5]), keep)
        for name, type_, line, keep in zip(names, types, description, kept(names), strict=True)
    ]


async def _prepare_plainly(connection: Any, query: str, name: str) -> tuple[Any, Columns]:
    from asyncdb_nb.engine._asyncpg import prepare_unnamed  # here: it imports the driver

    statement = await (connection.prepare(query, name=name) if name else prepare_unnamed(connection, query))
    attributes = statement.get_attributes()
    types = await column_types(connection, [(attribute.type.oid, -1) for attribute in attributes])
    columns = [
        Described(attribute.name, type_, raw=False, line=(attribute.type.oid, -1))
        for attribute, type_ in zip(attributes, types, strict=True)
    ]
    oids = [type_.oid for type_ in statement.get_parameters()]
    parameters = await _parameters(connection, oids, written=False)
    return statement, Columns(columns, parameters, returns_rows=bool(columns))


def _needs_bytes(type_: ColumnType) -> bool:
    if type_.kind == "array" and type_.element:
        if type_.element.kind == "text" and type_.element.oid not in _TEXT_IN_BINARY:
            return type_.binary  # asyncpg asks for text, where an empty element ends the process; see `array_text`
        return type_.binary and not type_.element.traits.exact_in_asyncpg
    return type_.binary and not type_.traits.exact_in_asyncpg
