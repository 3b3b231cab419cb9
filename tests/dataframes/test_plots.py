"""Decimals and dates as floats and time stamps: for a call, for a database, and said in the frame."""

from __future__ import annotations

import datetime as dt
import pickle
from collections.abc import AsyncIterator

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from asyncdb_nb import Database, connect
from asyncdb_nb.errors import UnknownOptionError

DAYS = ["2024-02-29", "0001-01-01", "9999-12-31", None, "1969-12-31"]
STATEMENT = """
select day::date, (n * 1.1)::numeric(10, 2) as cost, n::numeric / 3 as share
from (values ('2024-02-29', 1), ('0001-01-01', 2), ('9999-12-31', 3), (null, null), ('1969-12-31', -5)) v(day, n)
"""
MANY = f"select v.* from ({STATEMENT}) v, generate_series(1, 200)"  # by COPY


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    async with Database(database_url, numeric="float", dates="timestamp") as db:
        yield db


@pytest.mark.parametrize("backend", [None, "numpy_nullable", "pyarrow"])
@pytest.mark.parametrize(("statement", "times"), [(STATEMENT, 1), (MANY, 200)], ids=["few rows", "many rows"])
async def test_a_date_is_the_time_stamp_of_its_midnight(
    db: Database, statement: str, times: int, backend: str | None
) -> None:
    expected = [None if day is None else dt.datetime.fromisoformat(day) for day in DAYS]

    for _ in range(2):  # rows at first, or COPY; then the other, where the number of rows is known
        got = await db.frame(statement, dtype_backend=backend)
        values = got["day"].astype("datetime64[us]")
        assert str(got["day"].dtype) == ("timestamp[us][pyarrow]" if backend == "pyarrow" else "datetime64[us]")
        assert sorted(values.dropna().tolist()) == sorted([each for each in expected if each] * times)
        assert values.isna().sum() == times


async def test_days_that_no_time_stamp_holds_are_missing_and_counted(db: Database) -> None:
    days = "values ('infinity'::date), ('-infinity'), ('5874897-12-31'), ('294246-12-31'), ('4713-01-01 BC'), (null)"
    kept = await db.frame(
        "select date '294246-12-31' - date '1970-01-01' as a, date '4713-01-01 BC' - '1970-01-01' as b"
    )
    expected = kept.iloc[0].tolist()
    for statement in (days, f"select v.* from ({days}) v, generate_series(1, 300)"):
        got = await db.frame(f"select column1 as day from ({statement}) v")
        lost = got.attrs["asyncdb"]["lossy"]["day"]
        times = len(got) // 6
        assert lost == f"NA for a year after 294246 ({times:,}); NA for infinity ({2 * times:,})"
        assert got["day"].isna().sum() == 4 * times
        assert (got["day"].dropna().astype("int64") // 86_400_000_000).unique().tolist() == expected


async def test_floats_are_numpys_nearest(db: Database) -> None:
    got = await db.frame(STATEMENT)

    np.testing.assert_array_equal(got["cost"].to_numpy(), np.array([1.1, 2.2, 3.3, np.nan, -5.5]))
    np.testing.assert_array_equal(got["share"].to_numpy(), np.array([1, 2, 3, np.nan, -5]) / 3)
    assert "exact" in got.attrs["asyncdb"]
    assert got.attrs["asyncdb"]["exact"] == {}
    assert got.attrs["asyncdb"]["lossy"] == {
        "cost": "numeric read as the nearest float64",
        "share": "numeric read as the nearest float64; digits beyond the first 15 may be lost",
    }


async def test_frames_are_exact_unless_asked_and_say_how_to_ask(database_url: str) -> None:
    async with Database(database_url) as db:
        exact = await db.frame(STATEMENT)
        once = await db.frame(STATEMENT, dates="timestamp")

    assert [str(dtype) for dtype in exact.dtypes] == ["date32[day][pyarrow]", "decimal128(10, 2)[pyarrow]", "object"]
    assert exact.attrs["asyncdb"]["exact"] == {
        "day": 'dates="timestamp"',
        "cost": 'numeric="float"',
        "share": 'numeric="float"',
    }
    assert str(once["day"].dtype) == "datetime64[us]"


async def test_what_a_database_reads_as_holds_for_all_its_readers_and_a_call_wins(db: Database) -> None:
    types = [pa.timestamp("us"), pa.float64(), pa.float64()]

    assert (await db.table(STATEMENT)).schema.types == types
    assert [batch.schema.types async for batch in db.batches(STATEMENT)] == [types]
    assert [[str(d) for d in part.dtypes] async for part in db.frames(STATEMENT)] == [
        ["datetime64[us]", "float64", "float64"]
    ]
    assert str((await db.execute(STATEMENT))["day"].dtype) == "datetime64[us]"
    exact = await db.frame(STATEMENT, numeric="decimal", dates="date")
    assert str(exact["day"].dtype) == "date32[day][pyarrow]"
    empty = await db.frame(f"select * from ({STATEMENT}) v where false")
    assert [str(dtype) for dtype in empty.dtypes] == ["datetime64[us]", "float64", "float64"]


async def test_it_survives_pickling_and_is_part_of_what_connect_tells_apart(db: Database, database_url: str) -> None:
    async with pickle.loads(pickle.dumps(db)) as copy:
        assert str((await copy.frame("select current_date as day"))["day"].dtype) == "datetime64[us]"
    exact = await connect(database_url)
    floats = await connect(database_url, numeric="float")
    try:
        assert exact is not floats
        assert floats is await connect(database_url, numeric="float")
        assert "\n  frames    numeric as float\n" in repr(floats)
        assert "\n  frames  " not in repr(exact)
    finally:
        await exact.aclose()
        await floats.aclose()


async def test_a_wrong_choice_is_refused_at_the_call(database_url: str) -> None:
    with pytest.raises(ValueError, match=r"numeric='exact': it is 'decimal' or 'float'\."):
        Database(database_url, numeric="exact")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"dates='datetime': it is 'date' or 'timestamp'\."):
        Database(database_url, dates="datetime")  # type: ignore[arg-type]
    async with Database(database_url) as db:
        with pytest.raises(ValueError, match="dates='datetime'"):
            await db.frame("select 1", dates="datetime")
        with pytest.raises(UnknownOptionError, match="numeric, dates"):
            db.frame("select 1", date="timestamp")


@pytest.mark.parametrize("what", ["plot", "resample", "quantile", "compare"])
async def test_what_fails_on_exact_values_works_then(db: Database, what: str) -> None:
    pytest.importorskip("matplotlib").use("Agg")
    got = await db.frame("select date '2024-01-01' + g as day, g / 3.0 as cost from generate_series(1, 30) g")

    match what:
        case "plot":
            assert len(got.plot(x="day", y="cost").lines[0].get_xdata()) == 30
        case "resample":
            assert got.resample("W", on="day")["cost"].sum().sum() == pytest.approx(sum(range(31)) / 3)
        case "quantile":
            assert got["cost"].quantile(0.5) == pytest.approx(31 / 6)
        case "compare":
            assert (got["day"] > "2024-01-11").sum() == 20
            assert (got["day"] > pd.Timestamp("2024-01-11")).sum() == 20
