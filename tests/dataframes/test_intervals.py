"""Intervals → durations."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from asyncdb_nb import FrameError, frame, table, to_frame, to_timedelta

TOOK = """
select took from (values (1, interval '1 day 2 hours'), (2, null), (3, interval '-0.000001 seconds')) v(id, took)
order by id
"""
DAY = dt.timedelta(days=1, hours=2)


async def test_a_column_of_intervals_becomes_durations(session: AsyncSession) -> None:
    """They have sums and an order, and the index and the name of the column."""
    read = (await frame(session, TOOK)).set_axis(["a", "b", "c"])

    got = to_timedelta(read["took"])

    assert (str(got.dtype), got.name, list(got.index)) == ("timedelta64[us]", "took", ["a", "b", "c"])
    assert got.sum() == DAY - dt.timedelta(microseconds=1)
    assert got.sort_values().index.tolist() == ["c", "a", "b"]


@pytest.mark.parametrize("route", ["rows", "dataframe of pyarrow", "list"])
async def test_intervals_of_every_route_become_durations(session: AsyncSession, route: str) -> None:
    rows = (await session.execute(text(TOOK))).all()
    columns: dict[str, Any] = {
        "rows": to_frame(rows)["took"],
        "dataframe of pyarrow": (await frame(session, TOOK, dtype_backend="pyarrow"))["took"],
        "list": [row.took for row in rows],
    }

    assert to_timedelta(columns[route]).tolist()[0] == DAY
    assert to_timedelta(columns[route]).isna().tolist() == [False, True, False]


async def test_a_column_of_a_table_becomes_durations_of_arrow(session: AsyncSession) -> None:
    """Which polars takes, as it does not take intervals."""
    read = await table(session, TOOK)

    made = read.set_column(0, "took", to_timedelta(read["took"]))

    assert made.schema.field("took").type == pa.duration("us")
    assert made["took"].to_pylist() == [DAY, None, dt.timedelta(microseconds=-1)]


async def test_a_month_is_an_error_unless_it_is_said_what_it_counts(session: AsyncSession) -> None:
    statement = "select * from unnest(array[interval '1 hour', interval '1 year 1 day']) took"
    read = await frame(session, statement)

    with pytest.raises(FrameError, match=r"Row 1 is .*months=12.*days_per_month=30"):
        to_timedelta(read["took"])
    assert to_timedelta(read["took"], days_per_month=30).max() == dt.timedelta(days=361)
    assert to_timedelta((await table(session, statement))["took"], days_per_month=30).to_pylist()[1].days == 361


@pytest.mark.parametrize(
    ("value", "match"),
    [
        ("infinity", "Row 0 is 'infinity': no interval with a length"),
        (7, "Row 0 is 7"),
        (pd.Timedelta(1, "ns"), "in microseconds"),
        (pd.DateOffset(days=2**40), "292,000 years"),
    ],
    ids=str,
)
def test_what_has_no_length_is_an_error_that_names_it(value: Any, match: str) -> None:
    with pytest.raises(FrameError, match=match):
        to_timedelta([value])


def test_no_intervals_are_no_durations() -> None:
    assert str(to_timedelta([]).dtype) == "timedelta64[us]"
    assert to_timedelta(pa.array([], pa.month_day_nano_interval())).type == pa.duration("us")
    assert to_timedelta(pd.Series([pd.NaT, pd.Timedelta(1, "s")])).isna().tolist() == [True, False]
