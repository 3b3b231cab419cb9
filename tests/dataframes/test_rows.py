"""Results that are here already → frames."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections import namedtuple
from decimal import Decimal
from typing import Any

import pytest
from models import Base, Job, Level, Owner
from pandas_versions import STR
from pydantic import BaseModel
from sqlalchemy import func, literal, make_url, select, text
from sqlalchemy.dialects.postgresql import Range
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import load_only

from asyncdb_nb import FrameError, to_frame
from asyncdb_nb.dataframes.columns.column import from_native
from asyncdb_nb.dataframes.types.table import column_type


@dataclasses.dataclass
class Point:
    x: int | None
    y: float | None = None
    labels: list[str] | None = None


class Model(BaseModel):
    x: int | None
    when: dt.date | None = None


Pair = namedtuple("Pair", "x y")


@pytest.mark.parametrize(
    ("results", "dtypes"),
    [
        ([Point(1, 2.5, ["a"]), Point(None)], {"x": "Int64", "y": "float64", "labels": "object"}),
        ([Point(None)], {"x": "Int64", "y": "float64", "labels": "object"}),
        ([Model(x=1)], {"x": "Int64", "when": "date32[day][pyarrow]"}),
        (Model(x=1), {"x": "Int64", "when": "date32[day][pyarrow]"}),
        ([Pair(1, "a")], {"x": "Int64", "y": STR}),
        ([(1, True)], {0: "Int64", 1: "boolean"}),
        ([{"a": 1}, {"b": b"x"}], {"a": "Int64", "b": "object"}),
        ({"a": Decimal("1.5")}, {"a": "object"}),
        ([1, 2, None], {"value": "Int64"}),
        ([1, 2.5], {"value": "float64"}),
        ([1, "a"], {"value": "object"}),
        ([2**70], {"value": "object"}),
        ([dt.datetime(2024, 1, 1)], {"value": "datetime64[us]"}),
        ([dt.datetime(2024, 1, 1, tzinfo=dt.UTC)], {"value": "datetime64[us, UTC]"}),
        ([None], {"value": "object"}),
        (iter([(1,)]), {0: "Int64"}),
        ([], {}),
    ],
    ids=lambda value: "" if isinstance(value, dict) else repr(value)[:40].partition(" object at")[0],
)
def test_plain_results_become_frames(results: Any, dtypes: dict[Any, str]) -> None:
    """Annotations decide where there are any, values elsewhere."""
    got = to_frame(results)

    assert {name: str(dtype) for name, dtype in got.dtypes.items()} == dtypes


@pytest.mark.parametrize(
    ("results", "match"),
    [
        ([Point(1), {"x": 1}], "several kinds: dataclass, mapping"),
        ([(1, 2), (1,)], "2 columns"),
        ([Owner(id=1), Job(id=1)], "several mapped classes: Job, Owner"),
    ],
    ids=["kinds", "lengths", "classes"],
)
def test_mixed_results_are_refused(results: Any, match: str) -> None:
    with pytest.raises(FrameError, match=match):
        to_frame(results)


async def test_entities_have_the_dtypes_of_their_columns(jobs: AsyncSession) -> None:
    """As `frame(session, select(Job))` has, whether the values are there or all NULL."""
    jobs.expunge_all()
    both = (await jobs.scalars(select(Job).order_by(Job.id))).all()

    got, nulls = to_frame(both), to_frame(both[:1])

    assert got.dtypes.equals(nulls.dtypes)
    assert str(got["cost"].dtype) == "decimal128(12, 2)[pyarrow]"
    assert str(got["id"].dtype) == "Int64"
    assert got["level"].tolist() == [None, Level.HIGH]
    assert got["secret"].tolist() == [None, "xyz"]


async def test_scenario_40_entities_after_a_commit_need_no_connection(fresh_database_url: str) -> None:
    """An unloaded relationship and a deferred column are left out; nothing is loaded, so no MissingGreenlet."""
    engine = create_async_engine(make_url(fresh_database_url).set(drivername="postgresql+asyncpg"))
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with AsyncSession(engine, expire_on_commit=False) as session:
        session.add(Job(id=1, owner=Owner(id=1, name="Ada")))
        await session.commit()
        session.expunge_all()
        entities = (await session.scalars(select(Job))).all()
        await session.commit()
    await engine.dispose()

    got = to_frame(entities)
    assert not {"owner", "log"} & set(got)
    assert got["owner_id"].tolist() == [1]


async def test_scenario_40_expired_entities_are_a_named_error(jobs: AsyncSession) -> None:
    entities = (await jobs.scalars(select(Job))).all()
    jobs.expire_all()

    with pytest.raises(FrameError, match=r"The Job entities have expired.*expire_on_commit=False"):
        to_frame(entities)


async def test_scenario_40_an_attribute_of_some_entities_is_a_named_error(jobs: AsyncSession) -> None:
    entities = (await jobs.scalars(select(Job))).all()
    jobs.expire(entities[0], ["cost"])

    with pytest.raises(FrameError, match=r"Job.cost is loaded on 1 of 2 entities"):
        to_frame(entities)


async def test_columns_that_were_not_loaded_are_left_out(jobs: AsyncSession) -> None:
    jobs.expunge_all()
    entities = (await jobs.scalars(select(Job).options(load_only(Job.title)))).all()

    assert list(to_frame(entities)) == ["id", "title"]


@pytest.mark.parametrize("where", ["true", "false"], ids=["full", "empty"])
async def test_a_result_has_the_servers_types(session: AsyncSession, where: str) -> None:
    statement = f"select 1::int2 as a, null::bool as b, now() as c where {where}"

    got = to_frame(await session.execute(text(statement)))

    assert [str(dtype) for dtype in got.dtypes] == ["Int16", "boolean", "datetime64[us, UTC]"]


async def test_columns_of_a_result_have_their_own_types_whatever_they_are_called(jobs: AsyncSession) -> None:
    """SQLAlchemy's keys and the server's names are not the same where a name is made up or repeated."""
    made_up = select(func.max(Job.id), func.max(Job.title))
    beside = select(Owner, Job.id).join(Job.owner)

    assert to_frame(await jobs.execute(made_up)).iloc[0].tolist() == [2**53 + 1, "load"]
    assert to_frame(await jobs.execute(made_up.where(Job.id < 0).group_by(Job.id))).dtypes.tolist() == ["Int64", STR]
    assert to_frame(await jobs.execute(beside)).iloc[0].tolist() == [1, "Ada", 2**53 + 1]
    repeated = to_frame(await jobs.execute(text("select 1::int2 as a, 2::int8 as a")))
    assert [str(dtype) for dtype in repeated.dtypes] == ["Int16", "Int64"]


async def test_rows_mappings_and_scalars_of_a_result(jobs: AsyncSession) -> None:
    jobs.expunge_all()
    statement = select(Job.title, Job.cost).order_by(Job.id)

    assert list(to_frame((await jobs.execute(statement)).all())) == ["title", "cost"]
    assert list(to_frame((await jobs.execute(statement)).mappings())) == ["title", "cost"]
    assert to_frame(await jobs.scalars(statement))["value"].tolist()[1] == "load"
    assert str(to_frame(await jobs.execute(statement))["cost"].dtype) == "decimal128(12, 2)[pyarrow]"
    assert list(to_frame((await jobs.execute(select(Owner, Job.title).join(Owner.jobs))).all())) == [
        "id",
        "name",
        "title",
    ]


async def test_a_streamed_result_says_what_to_do(session: AsyncSession) -> None:
    result = await session.stream(text("select 1"))

    with pytest.raises(FrameError, match=r"await result\.all"):
        to_frame(result)
    await result.close()


async def test_what_asyncpg_spoiled_is_told(session: AsyncSession) -> None:
    """Rows that asyncpg decoded: infinity is recognised, a month cannot be."""
    rows = (await session.execute(text(r"select 'infinity'\:\:timestamptz as t, interval '1 mon' as i"))).all()

    got = to_frame(rows)
    assert got["i"].tolist()[0].kwds["days"] == 30
    from_result = to_frame(await session.execute(text(r"select 'infinity'\:\:timestamptz as t")))
    assert from_result["t"].isna().all()


@pytest.mark.parametrize(
    ("oid", "value", "shown"),
    [
        (3220, -(2**32), "FFFFFFFF/0"),
        (1700, Decimal("9E+80"), Decimal("9" + "0" * 80)),
        (6157, [[Range(1, 2)], []], [[Range(1, 2)], []]),
        (6157, [[[Range(1, 2)]], [None]], [[[Range(1, 2)]], [None]]),
        (5038, (10, 20, (10, 14)), "10:20:10,14"),
    ],
    ids=["pg_lsn", "numeric", "multirange[]", "multirange[][]", "pg_snapshot"],
)
def test_what_asyncpg_gives_in_a_form_of_its_own_is_brought_to_ours(oid: int, value: Any, shown: Any) -> None:
    """It reads pg_lsn as a signed number, leaves zeros out, and has lists for both arrays and multiranges."""
    [got] = from_native("x", column_type(oid), [value]).objects()

    assert repr(got) == repr(shown)


async def test_infinities_alone_keep_the_time_zone_of_their_column(session: AsyncSession) -> None:
    """asyncpg's infinity has no time zone; the server's type has, as in a frame, whatever the rows are."""
    for moments in ("{infinity}", "{-infinity,infinity}", "{infinity,NULL}", "{infinity,2024-01-01 00:00+00}"):
        statement = text(f"select t from unnest(cast('{moments}' as timestamptz[])) t")
        got = to_frame(await session.execute(statement))
        assert got.dtypes.astype(str).to_dict() == {"t": "datetime64[us, UTC]"}, moments
        lost = moments.count("infinity")
        assert got.attrs["asyncdb"]["lossy"] == {"t": f"NA for infinity ({lost})"}


async def test_infinity_among_moments_is_na_and_told(session: AsyncSession) -> None:
    """asyncpg's infinity has no time zone; the column keeps its own, by the server's type and by the values."""
    statement = text("select t from unnest(array['infinity', '2024-01-01 00:00+00']::timestamptz[]) t")

    for got in (to_frame(await session.execute(statement)), to_frame((await session.execute(statement)).all())):
        assert str(got["t"].dtype) == "datetime64[us, UTC]"
        assert got.attrs["asyncdb"]["lossy"] == {"t": "NA for infinity (1)"}


async def test_a_piece_of_text_in_a_select_has_the_servers_name(session: AsyncSession) -> None:
    statement = select(text("1.5 as a"), literal(2).label("b"))

    assert list(to_frame(await session.execute(statement))) == ["a", "b"]


def test_structs_have_columns() -> None:
    """msgspec's classes name their fields in `__struct_fields__`."""

    class Struct:
        __struct_fields__ = ("a", "b")
        a: int
        b: str | None

        def __init__(self, a: int, b: str | None) -> None:
            self.a, self.b = a, b

    got = to_frame([Struct(1, None), Struct(2, "x")])

    assert list(got) == ["a", "b"]
    assert [str(dtype) for dtype in got.dtypes] == ["Int64", STR]
