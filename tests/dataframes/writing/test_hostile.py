"""Hostile names and values: what is written is what was given, and nothing else has changed."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncSession

from asyncdb_nb import write

PIECES = [
    *"\"'`;:%$?\\,.(){}[]*-/ \n\r\tAaZzéß😀\u202e\x7f",
    *(
        "--",
        "/*",
        "$$",
        "$1",
        ":name",
        "%s",
        "%(x)s",
        "{0}",
        "\\.",
        "\\N",
        "NULL",
        "pg_catalog",
        "; drop table kept; --",
    ),
    *("select", "user", "excluded", "x" * 40, "'; drop table kept; --", '"; drop table kept; --'),
]
VALUES = st.lists(st.sampled_from(PIECES), max_size=6).map("".join) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30
)
NAMES = VALUES.map(lambda name: name.encode()[:63].decode(errors="ignore")).filter(bool)
QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much]


@st.composite
def cases(draw: st.DrawFn) -> tuple[str, str, list[str], list[list[str]]]:
    """Draw a schema, a table, columns, and rows whose first value is a key."""
    columns = draw(st.lists(NAMES, min_size=2, max_size=4, unique=True))
    row = st.lists(VALUES, min_size=len(columns), max_size=len(columns))
    rows = draw(st.lists(row, min_size=1, max_size=4, unique_by=lambda row: row[0]))
    schema = draw(
        NAMES.filter(lambda name: not name.startswith("pg_") and name not in ("public", "information_schema"))
    )
    return schema, draw(NAMES), columns, rows


@settings(max_examples=40, deadline=None, suppress_health_check=QUIET)
@given(cases())
async def test_hostile_names_and_values_are_names_and_values(session: AsyncSession, case: Any) -> None:
    await written_as_given(session, *case)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@settings(max_examples=2_000, deadline=None, suppress_health_check=QUIET)
@given(cases())
async def test_many_hostile_names_and_values_are_names_and_values(session: AsyncSession, case: Any) -> None:
    await written_as_given(session, *case)


async def written_as_given(
    session: AsyncSession, schema: str, table: str, columns: list[str], rows: list[list[str]]
) -> None:
    name = f"{quoted(schema)}.{quoted(table)}"
    data = pd.DataFrame(rows, columns=columns)
    async with session.begin_nested() as savepoint:
        raw: Any = (await (await session.connection()).get_raw_connection()).driver_connection
        await raw.execute(f"create schema {quoted(schema)}; create temp table kept (a text)")
        before = await objects(raw)

        made = await write(session, data, name, if_exists="fail", key=columns[0])
        changed = data.assign(**{columns[-1]: data[columns[-1]] + "'\""})
        again = await write(session, changed, name, if_exists="upsert", key=columns[0])

        assert (made.inserted, again.updated, again.inserted) == (len(rows), len(rows), 0)
        found = await raw.fetch(f"select * from {name} -- {uuid4()}")  # asyncpg remembers statements by their text
        assert list(found[0].keys()) == columns
        assert sorted(map(tuple, found)) == sorted(changed.itertuples(index=False, name=None))
        assert [each for each in await objects(raw) if each not in before] == [(schema, table)]
        assert [each for each in before if each not in await objects(raw)] == []
        await savepoint.rollback()


async def objects(raw: Any) -> list[tuple[str, str]]:
    """List the tables and views that are not the system's."""
    query = (
        "select nspname::text, relname::text from pg_class c join pg_namespace n on n.oid = relnamespace "
        "where relkind in ('r', 'v') and c.oid >= 16384"
    )
    return [tuple(row) for row in await raw.fetch(query)]


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
