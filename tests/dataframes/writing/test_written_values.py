"""Values in PostgreSQL's binary form: written as the server itself sends them."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from random_types import OWN_TYPES, Column, columns
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from asyncdb_nb.dataframes.query.describe import describe
from asyncdb_nb.dataframes.type_families.kind import ColumnType
from asyncdb_nb.dataframes.types.catalog import column_types


@pytest.fixture
async def types(session: AsyncSession) -> AsyncSession:
    """A session whose transaction has the types of `random_types`."""
    for statement in ["create schema frame_types", "set local search_path to frame_types, public", *OWN_TYPES]:
        await session.execute(text(statement))
    return session


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(columns())
async def test_a_value_is_written_as_the_server_sends_it(
    types: AsyncSession, column: tuple[Column, list[str | None]]
) -> None:
    """What `reader` reads, `writer` writes: byte for byte, but for what the value does not say."""
    await _same_bytes(types, *column)


@pytest.mark.soak
@settings(max_examples=5000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(columns())
async def test_many_values_are_written_as_the_server_sends_them(
    types: AsyncSession, column: tuple[Column, list[str | None]]
) -> None:
    await _same_bytes(types, *column)


async def _same_bytes(session: AsyncSession, column: Column, literals: list[str | None]) -> None:
    raw = (await (await session.connection()).get_raw_connection()).driver_connection
    values = ", ".join(f"({_quoted(literal)})" for literal in [*literals, None])
    query = f"select {column.expression.format('v')} from (values {values}) as t(v)"
    async with session.begin_nested():
        [type_] = await column_types(raw, await describe(raw, query) or [])
        if not type_.is_writable:
            return
        sent = await _copied(raw, query)
    read, write = type_.reader(), type_.writer()
    for data in sent:
        if data is not None:
            value = read(data)
            again = write(value)
            assert again == data or _shown(type_, read(again)) == _shown(type_, value), (column, data)
            assert again == data or _says_less(type_), (column, value, data, again)


def _says_less(type_: ColumnType) -> bool:
    """Say whether a value leaves something out: where subscripts start, how JSON was laid out."""
    return any(part.kind in ("array", "json", "hstore", "numeric", "decimal", "timetz") for part in type_.parts())


def _shown(type_: ColumnType, value: Any) -> str:
    return json.dumps(value, sort_keys=True) if type_.kind == "json" else repr(value)


async def _copied(raw: Any, query: str) -> list[bytes | None]:
    received = bytearray()

    async def take(data: bytes) -> None:
        received.extend(data)

    await raw.copy_from_query(query, output=take, format="binary")
    found: list[bytes | None] = []
    position = 19
    while struct.unpack_from("!h", received, position)[0] != -1:
        [length] = struct.unpack_from("!i", received, position + 2)
        start = position + 6
        found.append(None if length < 0 else bytes(received[start : start + length]))
        position = start + max(length, 0)
    return found


def _quoted(literal: str | None) -> str:
    return "null::text" if literal is None else "'" + literal.replace("'", "''") + "'"


def test_a_map_of_texts_that_has_a_key_twice_is_refused() -> None:
    """As pairs, which a dict would keep one of."""
    write = ColumnType(0, "hstore", "hstore").writer()

    assert write([("a", "1"), ("b", None)]) == write({"a": "1", "b": None})
    with pytest.raises(ValueError, match="a key is there twice"):
        write([("a", "1"), ("a", "2")])
