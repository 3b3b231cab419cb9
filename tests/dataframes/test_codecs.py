"""A codec that a user registered on a connection decides what a column's values are, whichever way they come."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pytest
from pandas_versions import STR
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from asyncdb_nb import FrameError, frame, table, to_frame

ID = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"
# A base type as an extension makes one: pgvector's `vector`, but for its operators.
VECTOR = """
create type vector;
create function vector_in(cstring) returns vector language internal immutable strict as 'textin';
create function vector_out(vector) returns cstring language internal immutable strict as 'textout';
create type vector (input = vector_in, output = vector_out, like = text);
create type measured as (at date, found vector);
create domain found as vector
"""


@dataclass(frozen=True)
class Vector:
    """A value as a codec gives it."""

    numbers: list[float]

    @classmethod
    def read(cls, written: str) -> Vector:
        return cls([float(number) for number in written.strip("[]").split(",")])

    def write(self) -> str:
        return f"[{','.join(map(repr, self.numbers))}]"


@pytest.fixture
async def vectors(session: AsyncSession) -> AsyncIterator[AsyncSession]:
    """A session with the type `vector`, and a connection without codecs afterwards."""
    await session.execute(text("create schema codecs"))
    await session.execute(text("set local search_path to codecs, public"))
    await session.execute(text("set local client_min_messages to error"))
    for statement in VECTOR.strip().split(";\n"):
        await session.execute(text(statement))
    connection = await driver(session)
    yield session
    await connection.reload_schema_state()


async def driver(session: AsyncSession) -> Any:
    return (await (await session.connection()).get_raw_connection()).driver_connection


async def register(session: AsyncSession, name: str, schema: str, decode: Any, encode: Any = str) -> None:
    await (await driver(session)).set_type_codec(name, schema=schema, encoder=encode, decoder=decode)


@pytest.mark.parametrize("rows", [1, 5_000], ids=["few", "many"])
async def test_without_a_codec_a_type_of_an_extension_is_text(vectors: AsyncSession, rows: int) -> None:
    got = await frame(vectors, f"select '[1,2.5]'::vector as v from generate_series(1, {rows})")

    assert str(got.dtypes["v"]) == STR
    assert set(got["v"]) == {"[1,2.5]"}


@pytest.mark.parametrize("rows", [0, 1, 5_000], ids=["none", "few", "many"])
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("'[1,2.5]'::vector", Vector([1.0, 2.5])),
        ("'[1,2.5]'::found", Vector([1.0, 2.5])),
        ("array['[1,2.5]', null]::vector[]", [Vector([1.0, 2.5]), None]),
        ("null::vector", None),
    ],
)
async def test_a_codec_gives_the_values(vectors: AsyncSession, column: str, value: Any, rows: int) -> None:
    """They are those of a plain result, in dtype object whatever the rows are, and an array's elements with them."""
    await register(vectors, "vector", "codecs", Vector.read, Vector.write)
    statement = f"select {column} as v, g from generate_series(1, {rows}) g"

    got = await frame(vectors, statement)

    assert str(got.dtypes["v"]) == "object"
    assert got["v"].tolist() == [value] * rows
    assert {*map(type, got["v"])} <= {type(value)}


@pytest.mark.parametrize("rows", [1, 5_000], ids=["few", "many"])
async def test_a_codec_for_a_built_in_type_counts_too(vectors: AsyncSession, rows: int) -> None:
    """COPY knows nothing of codecs, and would read a uuid as always."""
    await register(vectors, "uuid", "pg_catalog", lambda written: f"id {written[:8]}")
    await register(vectors, "jsonb", "pg_catalog", lambda written: ("parsed", json.loads(written)), json.dumps)
    statement = f"select '{ID}'::uuid as u, '[1]'::jsonb as j, '{ID}' as t from generate_series(1, {rows})"

    got = await frame(vectors, statement)

    pd.testing.assert_frame_equal(got, await to_frame_of(vectors, statement), check_dtype=False)
    assert got.iloc[0].tolist() == ["id a0eebc99", ("parsed", [1]), ID]
    assert (await table(vectors, statement.replace("'[1]'::jsonb as j, ", "")))["u"].to_pylist() == [
        "id a0eebc99"
    ] * rows


async def to_frame_of(session: AsyncSession, statement: str) -> pd.DataFrame:
    return to_frame(await session.execute(text(statement.replace(":", r"\:"))))


@pytest.mark.parametrize("rows", [1, 5_000], ids=["few", "many"])
async def test_a_codec_gives_the_empty_elements_of_an_array(session: AsyncSession, rows: int) -> None:
    """asyncpg shifts them, and gives what is no object, where a codec reads text."""
    await session.execute(text("create type frame_mood as enum ('a', '', 'b \"c')"))
    await register(session, "frame_mood", (await session.execute(text("select current_schema()"))).scalar_one(), list)
    arrays = "array['', null, 'a']::frame_mood[] as x, array[['a', ''], ['b \"c', '']]::frame_mood[] as y"

    got = await frame(session, f"select {arrays} from generate_series(1, {rows})")

    assert got["x"].tolist() == [[[], None, ["a"]]] * rows
    assert got["y"].tolist() == [[[["a"], []], [["b", " ", '"', "c"], []]]] * rows
    assert (await table(session, f"select {arrays}"))["x"].to_pylist() == [[[], None, ["a"]]]


async def test_a_codec_counts_from_when_it_is_registered(session: AsyncSession) -> None:
    """Also for a statement that is kept prepared, and no longer when it is taken back."""
    statement = f"select '{ID}'::uuid as u"
    await session.commit()  # in a transaction that may have changed the schema, nothing is kept
    connection = await driver(session)
    seen = [str((await frame(session, statement))["u"][0]) for _ in range(3)]

    await register(session, "uuid", "pg_catalog", lambda written: written[:8])
    seen += [(await frame(session, statement))["u"][0] for _ in range(3)]
    await connection.reset_type_codec("uuid", schema="pg_catalog")
    seen += [str((await frame(session, statement))["u"][0]) for _ in range(3)]

    assert seen == [ID] * 3 + [ID[:8]] * 3 + [ID] * 3


@pytest.mark.parametrize("rows", [1, 5_000], ids=["few", "many"])
async def test_a_codec_writes_the_values_of_binds(vectors: AsyncSession, rows: int) -> None:
    """A value is handed to it as it was given; no literal is put in its place."""
    await register(vectors, "uuid", "pg_catalog", str, lambda given: ID if given == "the first" else "")
    await register(vectors, "vector", "codecs", Vector.read, Vector.write)
    statement = (
        "select cast(:id as uuid)::text as u, cast(:v as vector)::text as v, cast(:many as vector[])::text as m "
        f"from generate_series(1, {rows})"
    )

    got = await frame(vectors, statement, {"id": "the first", "v": Vector([1.5]), "many": [Vector([2.0]), None]})

    assert got.drop_duplicates().to_numpy().tolist() == [[ID, "[1.5]", "{[2.0],NULL}"]]


async def test_an_anonymous_row_with_such_a_value_is_refused(vectors: AsyncSession) -> None:
    """Its values are read from bytes, which no codec sees; the advice is typed here."""
    await register(vectors, "uuid", "pg_catalog", str)

    with pytest.raises(FrameError, match=r"holds a uuid.*codec.*row\(value::text\)"):
        await frame(vectors, f"select row('{ID}'::uuid, 1) as r")

    assert (await frame(vectors, f"select row('{ID}'::uuid::text, 1) as r"))["r"].tolist() == [(ID, 1)]


async def test_the_codecs_of_sqlalchemy_and_of_this_package_are_no_users(vectors: AsyncSession) -> None:
    got = await frame(vectors, "select '{\"a\": 1}'::jsonb as j, date '2024-02-29' as d, now()::timestamp as t")

    assert [str(dtype) for dtype in got.dtypes] == ["object", "date32[day][pyarrow]", "datetime64[us]"]
    assert got["j"].tolist() == [{"a": 1}]
