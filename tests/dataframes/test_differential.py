"""Random results by every way: COPY, however it is cut; rows; and asyncpg's own values. All are the same frame."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_types import NAMES, OWN_TYPES, Column, columns, is_copyable
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from asyncdb_nb import frame, table
from asyncdb_nb.dataframes.columns.column import from_native, to_frame
from asyncdb_nb.dataframes.copy_binary import numeric_text
from asyncdb_nb.dataframes.query import capture, copy
from asyncdb_nb.dataframes.query.describe import prepare
from asyncdb_nb.engine import _asyncpg, copy_protocol

# What asyncpg itself gets wrong, or gives in a form that has lost something: SQL types, literals, and how.
ASYNCPG_ERRORS = [
    ("wide|text_row", "", "a row with a macaddr, or another type that asyncpg has as text, is refused"),
    (
        r"(citext|hstore|ltree|mood|refcursor|tsquery|tsvector|xml)\w*\[\]",
        '""',
        "an empty text in an array ends the process",
    ),
    ("interval|spans", "mon|year|infinity", "months are 30 days, infinity is an error"),
    ("timetz", r"[+-]\d\d:\d\d:\d\d", "seconds of an offset are dropped"),
    ("date|time|row|ts", r"\bBC\b|\d{5,}-\d\d-\d\d", "a year before 1 or after 9999 is an error"),
    ("time", "24:00", "24:00 is an error"),
    ("record", "", "its values are of asyncpg's own classes"),
]
BACKENDS: list[Literal["numpy_nullable", "pyarrow"] | None] = [None, "numpy_nullable", "pyarrow"]


@dataclass
class Case:
    """A result, and how it is to be read."""

    columns: list[Column]
    names: list[str]
    rows: list[list[str | None]]
    piece: int  # bytes that come at a time
    backend: Literal["numpy_nullable", "pyarrow"] | None
    numeric: Literal["decimal", "float"]

    @property
    def statement(self) -> str:
        inner = [f"v{number}" for number in range(len(self.columns))]
        selected = ", ".join(
            f"{column.expression.format(name)} as {_identifier(shown)}"
            for column, name, shown in zip(self.columns, inner, self.names, strict=True)
        )
        lines = [["null::text"] * len(inner), *([*map(_quoted, row)] for row in self.rows)]
        values = ", ".join(f"({', '.join(line)})" for line in lines)
        return f"select {selected} from (values {values}) v({', '.join(inner)}) offset 1"


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Columns of random types, and rows of literals of them."""
    filled = draw(st.lists(columns(), min_size=1, max_size=8))
    chosen, pools = [column for column, _ in filled], [pool for _, pool in filled]
    count = draw(st.sampled_from([*range(13), 200]))
    return Case(
        chosen,
        [draw(st.sampled_from(NAMES)) for _ in chosen],
        [[pool[(row * 7 + number) % len(pool)] for number, pool in enumerate(pools)] for row in range(count)],
        draw(st.sampled_from([7, 100, 1000, 4 * 2**20])),
        draw(st.sampled_from(BACKENDS)),
        draw(st.sampled_from(["decimal", "decimal", "float"])),
    )


@pytest.fixture
async def types(session: AsyncSession) -> AsyncSession:
    """A session whose transaction has the types of `random_types`."""
    for statement in ["create schema frame_types", "set local search_path to frame_types, public", *OWN_TYPES]:
        await session.execute(text(statement))
    return session


QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@settings(max_examples=25, deadline=None, suppress_health_check=QUIET)
@given(cases())
async def test_random_results_are_the_same_by_every_way(types: AsyncSession, case: Case) -> None:
    await _same_by_every_way(types, case)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@settings(max_examples=10_000, deadline=None, suppress_health_check=QUIET)
@given(cases())
async def test_many_random_results_are_the_same_by_every_way(types: AsyncSession, case: Case) -> None:
    await _same_by_every_way(types, case)


async def _same_by_every_way(session: AsyncSession, case: Case) -> None:
    async def read() -> pd.DataFrame:
        return await frame(session, case.statement, dtype_backend=case.backend, numeric=case.numeric)

    async def read_table() -> pa.Table:
        return await table(session, case.statement, numeric=case.numeric)

    async with session.begin_nested():  # or one failure would be the failure of all that follow
        copied, in_pieces, plain = await _by_every_way(read, case.piece)
        in_arrow = await _by_every_way(read_table, case.piece) if case.backend is None else None
        own = await _asyncpgs(session, case)

    path = "copy" if all(is_copyable(column.sql) for column in case.columns) else "rows"
    ways = (copied, in_pieces, plain)
    assert [way.attrs["asyncdb"]["path"] for way in ways] == [path, path, "rows"]
    assert copied.attrs["asyncdb"]["lossy"] == in_pieces.attrs["asyncdb"]["lossy"] == plain.attrs["asyncdb"]["lossy"]
    assert len(copied) == len(case.rows)
    assert list(copied) == case.names
    assert _shown(copied) == _shown(in_pieces) == _shown(plain)
    shown_in_arrow = [] if in_arrow is None else list(map(_arrow_shown, in_arrow))
    assert shown_in_arrow[:1] * len(shown_in_arrow) == shown_in_arrow
    shown = _shown(copied)
    for position, own_column in own.items():
        assert shown[position] == own_column, case.columns[position]


async def _by_every_way(read: Callable[[], Awaitable[Any]], piece: int) -> tuple[Any, Any, Any]:
    """By COPY as messages, handed over in small blocks; by COPY as asyncpg gives it, in pieces; and by rows."""
    take = copy.Receiver._take

    async def take_in_pieces(receiver: Any, data: bytes) -> None:
        for start in range(0, len(data), piece):
            await take(receiver, data[start : start + piece])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copy_protocol, "_BLOCK", 10 + piece)
        patch.setattr(copy_protocol, "_ENOUGH", 1)
        patch.setattr(copy, "_CHUNK", 1)
        patch.setattr(numeric_text, "_FEW", 0)
        patch.setattr(capture, "gave_few", lambda dialect, statement: False)
        by_messages = await read()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_asyncpg, "own_transport", lambda connection: None)
        patch.setattr(copy.Receiver, "_take", take_in_pieces)
        patch.setattr(copy, "_CHUNK", 1 if piece >= 1000 else 20 * piece)
        patch.setattr(numeric_text, "_FEW", 0)
        patch.setattr(capture, "gave_few", lambda dialect, statement: False)
        in_pieces = await read()
        patch.setattr(capture, "gave_few", lambda dialect, statement: True)
        return by_messages, in_pieces, await read()


async def _asyncpgs(session: AsyncSession, case: Case) -> dict[int, Any]:
    """The columns that asyncpg decodes without an error of its own, by position; shown as `_shown` does."""
    right = [
        position
        for position, column in enumerate(case.columns)
        if not any(_errs(column.sql, literal) for literal in ["", *(row[position] for row in case.rows)])
    ]
    raw = (await (await session.connection()).get_raw_connection()).driver_connection
    names = ", ".join(f"c{position}" for position in range(len(case.columns)))
    query = f"select {', '.join(f'c{p}' for p in right)} from ({case.statement}) s({names})"
    _, described = await prepare(raw, query, "")
    records = await raw.fetch(query) if right else []
    made = [
        from_native(case.names[right[number]], _type(column.type, case), [record[number] for record in records])
        for number, column in enumerate(described or ())
    ]
    return dict(zip(right, _shown(to_frame(made, len(records), case.backend)), strict=True))


def _type(type_: Any, case: Case) -> Any:
    return type_.as_float() if case.numeric == "float" else type_


def _errs(sql: str, literal: str | None) -> bool:
    return literal is not None and any(
        re.search(types, sql) and re.search(literals, literal) for types, literals, _ in ASYNCPG_ERRORS
    )


def _shown(frame: pd.DataFrame) -> list[tuple[str, str, list[str]]]:
    """Name, dtype and every value of each column, so that 0.0 and -0.0, 1 and True, 1.5 and 1.50 differ."""
    series = [frame.iloc[:, position] for position in range(frame.shape[1])]
    return [(str(one.name), str(one.dtype), _values(one)) for one in series]


def _values(series: Any) -> list[str]:
    arrow = isinstance(series.dtype, pd.ArrowDtype)
    if series.dtype.kind == "M" and not arrow:
        return [repr(value) for value in series.array.asi8]
    return [repr(value) for value in (_counted(pa.array(series)).to_pylist() if arrow else series.tolist())]


def _counted(array: Any) -> Any:
    """Give dates and times as numbers: Python has not all years."""
    temporal = pa.types.is_temporal(array.type) and not pa.types.is_interval(array.type)
    return array.cast(f"int{array.type.bit_width}") if temporal else array


def _arrow_shown(made: pa.Table) -> list[tuple[str, str, str]]:
    return [
        (name, str(column.type), repr(_counted(column).to_pylist()))
        for name, column in zip(made.column_names, made.columns, strict=True)
    ]


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _quoted(literal: str | None) -> str:
    return "null" if literal is None else "'" + literal.replace("'", "''") + "'"
