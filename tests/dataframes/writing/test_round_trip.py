"""What was read is written as it was: random columns of every type, by every dtype backend and by Arrow."""

from __future__ import annotations

import json
import re
from typing import Any, Literal
from uuid import uuid4

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_types import NAMES, OWN_TYPES, Column, columns
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from asyncdb_nb import frame, table, write

Backend = Literal["numpy_nullable", "pyarrow", "arrow"] | None
BACKENDS: list[Backend] = [None, "numpy_nullable", "pyarrow", "arrow"]
BOUNDS = re.compile(r"\[-?\d+:-?\d+\](\[-?\d+:-?\d+\])*=")  # where subscripts start, which no value says


class Case:
    """A table of random columns, as SQL."""

    def __init__(self, chosen: list[Column], names: list[str], rows: list[list[str | None]]) -> None:
        self.columns, self.names, self.rows = chosen, names, rows

    def __repr__(self) -> str:
        return f"{list(zip(self.names, self.columns, strict=True))} {self.rows}"

    @property
    def selected(self) -> str:
        inner = [f"v{number}" for number in range(len(self.columns))]
        shown = ", ".join(
            f"{column.expression.format(name)} as {identifier(shown)}"
            for column, name, shown in zip(self.columns, inner, self.names, strict=True)
        )
        lines = [["null::text"] * len(inner), *([*map(quoted, row)] for row in self.rows)]
        values = ", ".join(f"({', '.join(line)})" for line in lines)
        return f"select {shown} from (values {values}) v({', '.join(inner)}) offset 1"


def _is_written(sql: str) -> bool:
    """Leave out rows of no type, of which there are no columns, and vectors in arrays: an empty one is not received."""
    return "record" not in sql and not sql.endswith("vector[]")


@st.composite
def cases(draw: st.DrawFn) -> Case:
    filled = draw(st.lists(columns().filter(lambda drawn: _is_written(drawn[0].sql)), min_size=1, max_size=6))
    names = draw(st.lists(st.sampled_from(NAMES), min_size=len(filled), max_size=len(filled), unique=True))
    pools = [pool for _, pool in filled]
    count = draw(st.sampled_from([0, 1, 2, 3, 5, 40]))
    rows = [[pool[(row * 7 + number) % len(pool)] for number, pool in enumerate(pools)] for row in range(count)]
    return Case([column for column, _ in filled], names, rows)


@pytest.fixture
async def types(session: AsyncSession) -> AsyncSession:
    """A session whose transaction has the types of `random_types`."""
    for statement in ["create schema frame_types", "set local search_path to frame_types, public", *OWN_TYPES]:
        await session.execute(text(statement))
    return session


QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much]


@settings(max_examples=25, deadline=None, suppress_health_check=QUIET)
@given(case=cases(), backend=st.sampled_from(BACKENDS))
async def test_scenario_78_what_was_read_is_written_as_it_was(
    types: AsyncSession, case: Case, backend: Backend
) -> None:
    await round_trip(types, case, backend)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@settings(max_examples=10_000, deadline=None, suppress_health_check=QUIET)
@given(case=cases(), backend=st.sampled_from(BACKENDS))
async def test_all_that_was_read_is_written_as_it_was(types: AsyncSession, case: Case, backend: Backend) -> None:
    await round_trip(types, case, backend)


async def round_trip(session: AsyncSession, case: Case, backend: Backend) -> None:
    """Write a table into one like it, and into one that is made for it; compare both with it."""
    async with session.begin_nested() as savepoint:
        raw = (await (await session.connection()).get_raw_connection()).driver_connection
        await raw.execute(f"create temp table source as {case.selected}; create temp table same (like source)")
        data = await read(session, "source", backend)

        written = await write(session, data, "same")
        made = await write(session, data, "made", if_exists="fail")

        assert (written.inserted, made.inserted, made.created) == (len(case.rows), len(case.rows), True)
        lossy = _lossy(data)
        for copy in ("same", "made"):
            again = await read(session, copy, backend)
            assert shown(again) == shown(data), copy
            theirs, ours = await texts(raw, "source"), await texts(raw, copy)
            for name, column in zip(case.names, case.columns, strict=True):
                if name not in lossy and not _says_less(column.sql):
                    pairs = zip(theirs[name], ours[name], strict=True)
                    assert all(_is_same(*pair, column.sql, backend) for pair in pairs), (copy, name, column)
        if not any("domain" in column.sql or column.sql in ("price", "many") for column in case.columns):
            assert await declared(raw, "made") == await declared(raw, "source")  # the server calls a domain its base
        await savepoint.rollback()


def _lossy(data: Any) -> set[str]:
    if isinstance(data, pd.DataFrame):
        return set(data.attrs["asyncdb"]["lossy"])
    return set(json.loads(data.schema.metadata[b"asyncdb"])["lossy"])


def _says_less(sql: str) -> bool:
    """Say whether a value leaves something out: how JSON was laid out, where subscripts inside a row start."""
    return any(word in sql for word in ("json", "row"))


def _is_same(theirs: str | None, ours: str | None, sql: str, backend: Backend) -> bool:
    if sql.startswith("float") and not sql.endswith("[]") and theirs == "NaN" and backend in (None, "numpy_nullable"):
        return ours is None  # where NULL is NaN, NaN is NULL
    return (theirs is None) == (ours is None) and BOUNDS.sub("", theirs or "", count=1) == (ours or "")


async def read(session: AsyncSession, name: str, backend: Backend) -> Any:
    if backend == "arrow":
        return await table(session, f"select * from {name}")
    return await frame(session, f"select * from {name}", dtype_backend=backend)


async def texts(raw: Any, name: str) -> dict[str, list[str | None]]:
    names = [row[0] for row in await declared(raw, name)]
    columns = ", ".join(f"{identifier(each)}::text" for each in names)
    rows = await raw.fetch(f"select {columns} from {name} -- {uuid4()}")  # asyncpg remembers statements by their text
    return {each: [row[position] for row in rows] for position, each in enumerate(names)}


async def declared(raw: Any, name: str) -> list[tuple[str, str]]:
    rows = await raw.fetch(
        "select attname::text, format_type(atttypid, atttypmod) from pg_attribute "
        f"where attrelid = '{name}'::regclass and attnum > 0 order by attnum"
    )
    return [tuple(row) for row in rows]


def shown(data: Any) -> list[tuple[str, str, str]]:
    """Name, dtype and every value of each column, so that 0.0 and -0.0, 1 and True, 1.5 and 1.50 differ."""
    if isinstance(data, pa.Table):
        columns = zip(data.column_names, data.columns, strict=True)
        return [(name, str(column.type), repr(counted(column).to_pylist())) for name, column in columns]
    return [(str(name), str(data[name].dtype), repr(_values(data[name]))) for name in data.columns]


def _values(series: Any) -> list[Any]:
    arrow = isinstance(series.dtype, pd.ArrowDtype)
    if series.dtype.kind == "M" and not arrow:
        return list(series.array.asi8)
    return list(counted(pa.array(series.array)).to_pylist()) if arrow else list(series.tolist())


def counted(array: Any) -> Any:
    """Give dates and times as numbers: Python has not all years."""
    temporal = pa.types.is_temporal(array.type) and not pa.types.is_interval(array.type)
    return array.cast(f"int{array.type.bit_width}") if temporal else array


def identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def quoted(literal: str | None) -> str:
    return "null" if literal is None else "'" + literal.replace("'", "''") + "'"
