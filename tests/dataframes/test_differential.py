"""Random results by every way: COPY, however it is cut; rows; and asyncpg's own values. All are the same frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncSession
from test_types import BEYOND, CASES, OWN_TYPES, types

from asyncdb_nb import frame
from asyncdb_nb.dataframes import copy, execute
from asyncdb_nb.dataframes.columns import from_native, to_frame
from asyncdb_nb.dataframes.prepared import prepare

assert OWN_TYPES
assert types  # the fixture

# What asyncpg itself gets wrong, or gives in a form that has lost something.
ASYNCPG_ERRORS = {
    "interval": "months are 30 days",
    "spans": "its bounds are intervals",
    "timetz": "seconds of an offset are dropped",
    "timestamp": "a year before 1 or after 9999 is an error",
    "timestamptz[]": "the same, and infinity is the year 9999",
    "daterange": "infinity is the year 9999",
    "date[]": "infinity is the year 9999",
    "outer_row": "infinity is the year 9999",
    "timestamptz": "infinity is the year 9999",
    "date": "a year before 1 is an error, infinity is the year 9999",
    "time": "24:00 is an error",
}
AS_TEXT = {"macaddr", "regclass", "tsvector"}  # their binary form is not what PostgreSQL writes; asyncpg asks for text
KNOWN: dict[str, list[str]] = {}
for sql, literal, *_ in [*CASES, *BEYOND]:
    KNOWN.setdefault(sql, []).append(literal)
_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
GENERATED: dict[str, st.SearchStrategy[str]] = {
    "int2": st.integers(-(2**15), 2**15 - 1).map(str),
    "int4": st.integers(-(2**31), 2**31 - 1).map(str),
    "int8": st.integers(-(2**63), 2**63 - 1).map(str),
    "float4": st.floats(width=32).map(str),
    "float8": st.floats().map(str),
    "numeric": (st.decimals(-(10**60), 10**60).map(str) | st.just("NaN")),
    "numeric(12,2)": st.decimals(-(10**9), 10**9, places=2).map(str),
    "text": _TEXT,
    "bytea": st.binary(max_size=30).map(lambda data: "\\x" + data.hex()),
    "date": st.dates().map(str),
    "timestamp": st.datetimes().map(str),
    "timestamptz": st.datetimes().map(lambda moment: f"{moment}+00"),
    "uuid": st.uuids().map(str),
    "bool": st.booleans().map(str),
}


def _values(sql: str) -> st.SearchStrategy[str]:
    known = st.sampled_from(KNOWN.get(sql, ["1"]))
    return known | GENERATED[sql] if sql in GENERATED else known


@st.composite
def results(draw: st.DrawFn) -> tuple[list[str], list[list[str | None]]]:
    """Column types, and rows of literals of them."""
    columns = draw(st.lists(st.sampled_from(sorted(KNOWN)), min_size=1, max_size=8))
    pools = [draw(st.lists(st.none() | _values(sql), min_size=1, max_size=4)) for sql in columns]
    count = draw(st.integers(0, 12) | st.just(200))
    return columns, [
        [pool[(row * 7 + number) % len(pool)] for number, pool in enumerate(pools)] for row in range(count)
    ]


def _statement(columns: Sequence[str], rows: Sequence[Sequence[str | None]]) -> str:
    names = [f"v{number}" for number in range(len(columns))]
    selected = ", ".join(f"{name}::{sql} as {name}" for name, sql in zip(names, columns, strict=True))
    lines = [[*map(_quoted, row)] for row in rows] or [["null"] * len(columns)]
    values = ", ".join(f"({', '.join(line)})" for line in lines)
    end = "" if rows else " where false"
    return (
        f"select {selected} from (values ({', '.join(['null::text'] * len(columns))}), {values}) v({', '.join(names)}) "
        f"{end} offset {1 if rows else 0}"
    )


def _quoted(literal: str | None) -> str:
    return "null" if literal is None else "'" + literal.replace("'", "''") + "'"


async def _same_by_every_way(session: AsyncSession, columns: list[str], rows: Any, chunk: int) -> None:
    statement = _statement(columns, rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copy, "_CHUNK", chunk)
        patch.setattr(execute, "gave_few", lambda dialect, statement: False)
        async with session.begin_nested():  # or one failure would be the failure of all that follow
            copied = await frame(session, statement)
            patch.setattr(execute, "gave_few", lambda dialect, statement: True)
            plain = await frame(session, statement)

    path = "copy" if AS_TEXT.isdisjoint(columns) else "rows"
    assert (copied.attrs["asyncdb"]["path"], plain.attrs["asyncdb"]["path"]) == (path, "rows")
    assert copied.attrs["asyncdb"]["lossy"] == plain.attrs["asyncdb"]["lossy"]
    pd.testing.assert_frame_equal(copied, plain)
    assert len(copied) == len(rows)
    right = [number for number, sql in enumerate(columns) if sql not in ASYNCPG_ERRORS]
    if right:
        own = await _asyncpgs(session, statement, right)
        pd.testing.assert_frame_equal(own, copied.iloc[:, right].set_axis(range(len(right)), axis=1))


async def _asyncpgs(session: AsyncSession, statement: str, positions: Sequence[int]) -> pd.DataFrame:
    """Some columns of a statement as asyncpg decodes them."""
    raw = (await (await session.connection()).get_raw_connection()).driver_connection
    chosen = f"select {', '.join(f'v{n} as v{n}' for n in positions)} from ({statement}) s"
    _, described = await prepare(raw, chosen, None)
    records = await raw.fetch(chosen)
    columns = [
        from_native(str(number), column.type, [record[number] for record in records])
        for number, column in enumerate(described or ())
    ]
    return to_frame(columns, len(records)).set_axis(range(len(columns)), axis=1)


QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@settings(max_examples=25, deadline=None, suppress_health_check=QUIET)
@given(result=results(), chunk=st.sampled_from([1, 100, 4 * 2**20]))
async def test_random_results_are_the_same_by_every_way(types: AsyncSession, result: Any, chunk: int) -> None:
    await _same_by_every_way(types, *result, chunk)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@settings(max_examples=10_000, deadline=None, suppress_health_check=QUIET)
@given(result=results(), chunk=st.sampled_from([1, 100, 4 * 2**20]))
async def test_many_random_results_are_the_same_by_every_way(types: AsyncSession, result: Any, chunk: int) -> None:
    await _same_by_every_way(types, *result, chunk)
