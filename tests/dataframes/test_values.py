"""No conversion changes a value: the server's type counts, then the declared one, then the values."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import ipaddress
import uuid
from collections import namedtuple
from decimal import Decimal
from typing import Any, NamedTuple

import attrs
import numpy as np
import pandas as pd
import pytest
from models import Job, Owner
from pandas_versions import STR
from pydantic import BaseModel, ConfigDict
from sqlalchemy import (
    ARRAY,
    Float,
    Integer,
    Numeric,
    String,
    case,
    cast,
    func,
    literal,
    literal_column,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import INT4RANGE, Range
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, selectinload

from asyncdb_nb import FrameError, frame, to_frame
from asyncdb_nb.dataframes.columns.column import from_native
from asyncdb_nb.dataframes.type_families.python_processed import PYTHON
from asyncdb_nb.dataframes.types.table import column_type

D = Decimal
UTC = dt.UTC
EAST = dt.timezone(dt.timedelta(hours=2))
NOON = dt.datetime(2024, 5, 6, 12)
A_UUID = uuid.UUID(int=7)
NAN = float("nan")


# What the server computes ------------------------------------------------------------------------


COMPUTED: dict[str, Any] = {
    "median": func.percentile_cont(0.5).within_group(Job.id),
    "coalesce of an average": func.coalesce(func.avg(Job.id), 0),
    "case": case((func.count() > 1, func.avg(Job.id)), else_=0),
    "a sum beyond int4": func.sum(cast(Job.id, Integer)),
    "a division": func.sum(Job.id) / 3,
    "greatest": func.greatest(func.max(Job.id), func.avg(Job.id)),
    "a sum of numerics": func.sum(Job.cost),
    "an average of numerics": func.avg(Job.cost),
    "mode": func.mode().within_group(Job.cost),
    "a literal": literal(1.5) + func.max(Job.id),
    "extract": func.extract("epoch", func.max(Job.started)),
    "extract, of an interval": func.date_part("epoch", func.max(Job.took)),
    "a json operator": func.max(Job.context["k"].astext),
    "json": func.jsonb_agg(Job.title),
    "a wrong type": func.avg(Job.id, type_=Integer),
    "a wrong string": func.max(Job.id, type_=String),
    "a wrong scale": func.avg(Job.cost, type_=Numeric(12, 2)),
    "array": func.array_agg(Job.cost, type_=ARRAY(Integer)),
    "max of dates, told to be a string": func.max(Job.day, type_=String),
    "a literal column": literal_column("12345678901", Integer),
}


@pytest.fixture
async def two(tables: AsyncSession) -> AsyncSession:
    tables.add_all(
        [
            Job(id=2**31 - 1, title="a", cost=D("10.25"), started=NOON.replace(tzinfo=UTC), context={"k": "x"}),
            Job(id=2**31 - 2, title="b", cost=D("2.50"), took=dt.timedelta(seconds=90), day=dt.date(2024, 1, 2)),
        ]
    )
    await tables.flush()
    tables.expunge_all()
    return tables


@pytest.mark.parametrize("name", COMPUTED)
async def test_scenario_55_what_the_server_computes_is_what_a_result_gives(two: AsyncSession, name: str) -> None:
    """As frame has it; in a result, its rows, mappings, scalars, and a column of it, also beside an entity."""
    statement = select(COMPUTED[name].label("x"))
    expected = await frame(two, statement)
    beside = select(Owner, COMPUTED[name].label("x")).outerjoin(Owner, literal_column("false")).group_by(Owner.id)

    results = {
        "result": to_frame(await two.execute(statement)),
        "rows": to_frame((await two.execute(statement)).all()),
        "mappings": to_frame((await two.execute(statement)).mappings()),
        "scalars": to_frame(await two.scalars(statement)).rename(columns={"value": "x"}),
        "columns": to_frame((await two.execute(statement.add_columns(literal(1)))).columns("x")),
        "beside": to_frame(await two.execute(beside.select_from(Job)))[["x"]],
    }

    for route, got in results.items():
        assert got["x"].tolist() == expected["x"].tolist(), route
        if route != "rows":
            assert got["x"].dtype == expected["x"].dtype, route


async def test_the_empty_result_of_an_expression_has_the_servers_type(two: AsyncSession) -> None:
    statement = select(func.coalesce(func.avg(Job.id), 0).label("x")).group_by(Job.id).limit(0)

    assert to_frame(await two.execute(statement)).dtypes.equals((await frame(two, statement)).dtypes)


async def test_json_that_sqlalchemy_leaves_as_text_is_parsed(session: AsyncSession) -> None:
    statement = text("select '{\"a\": [1]}'\\:\\:jsonb as x, null\\:\\:json as y")

    got = to_frame(await session.execute(statement))

    assert got.iloc[0].tolist() == [{"a": [1]}, None]


# A model that differs from its table -------------------------------------------------------------


class Base(DeclarativeBase):
    pass


class Wrong(Base):
    __tablename__ = "frame_wrong"

    id: Mapped[int] = mapped_column(primary_key=True)
    naive: Mapped[dt.datetime | None]
    whole: Mapped[int | None]
    small: Mapped[int | None]
    token: Mapped[str | None]
    address: Mapped[str | None]
    day: Mapped[dt.datetime | None]
    moment: Mapped[dt.date | None]
    amount: Mapped[Decimal | None] = mapped_column(Numeric(6, 1))
    single: Mapped[float | None] = mapped_column(Float(24))
    flag: Mapped[int | None]
    list_: Mapped[list[int] | None] = mapped_column("list", ARRAY(Integer))
    span: Mapped[Any] = mapped_column(INT4RANGE, nullable=True)


WRONG = """
create table frame_wrong (
    id int primary key, naive timestamptz, whole numeric, small bigint, token uuid, address inet, day date,
    moment timestamp, amount numeric(30, 6), single float8, flag boolean, list numeric[], span numrange)
"""
FILLED = """
insert into frame_wrong values (
    1, '2024-05-06 12:00+02', 4.5, 12345678901, '00000000-0000-0000-0000-000000000007', '10.0.0.1', '2024-05-06',
    '2024-05-06 12:34', 123456789.123456, 0.1, true, '{4.5}', '[1.5,2.5)'), (2)
"""


async def test_scenario_56_a_model_that_differs_from_its_table_changes_no_value(session: AsyncSession) -> None:
    """The frame of the table is the frame of the entities, and of the results."""
    await session.execute(text(WRONG))
    await session.execute(text(FILLED.replace(":", "\\:").replace(", (2)", "")))
    await session.execute(text("insert into frame_wrong values (2)"))
    statement = select(Wrong).order_by(Wrong.id)
    expected = await frame(session, "select * from frame_wrong order by id")

    results = {
        "frame": await frame(session, statement),
        "entities": to_frame((await session.scalars(statement)).all()),
        "result": to_frame(await session.execute(statement)),
        "columns": to_frame(await session.execute(select(*Wrong.__table__.columns).order_by(Wrong.id))),
    }

    for route, got in results.items():
        for name, other in zip(expected, got, strict=True):
            assert got[other].isna().tolist() == expected[name].isna().tolist(), (route, name)
            assert got[other].dropna().tolist() == expected[name].dropna().tolist(), (route, name)


# What no column takes ----------------------------------------------------------------------------


CHANGED: dict[str, tuple[int, Any]] = {
    "float, integer": (23, 1.5),
    "float without a fraction, integer": (23, 2.0),
    "Decimal, integer": (20, D("1.5")),
    "bool, integer": (23, True),
    "NaN, integer": (20, NAN),
    "beyond int4": (23, 2**31),
    "beyond int2": (21, -(2**15) - 1),
    "beyond int8": (20, 2**63),
    "negative oid": (26, -1),
    "int, boolean": (16, 1),
    "large int, double": (701, 2**53 + 1),
    "huge int, double": (701, 10**400),
    "long Decimal, double": (701, D("0.12345678901234567890")),
    "bool, double": (701, True),
    "double, real": (700, 0.1),
    "beyond real": (700, 1e300),
    "text, double": (701, "1.5"),
    "bool, numeric": (1700, True),
    "text, numeric": (1700, "1.5"),
    "bytes, text": (25, b"a"),
    "UUID, text": (25, A_UUID),
    "int, text": (25, 1),
    "text, bytea": (17, "a"),
    "datetime, date": (1082, NOON),
    "date, timestamp": (1114, NOON.date()),
    "zone, timestamp": (1114, NOON.replace(tzinfo=EAST)),
    "no zone, timestamptz": (1184, NOON),
    "nanoseconds, timestamp": (1114, pd.Timestamp("2024-01-01 00:00:00.000000001")),
    "nanoseconds, interval": (1186, pd.Timedelta(1, "ns")),
    "zone, time": (1083, dt.time(12, tzinfo=EAST)),
    "no zone, timetz": (1266, dt.time(12)),
    "text, uuid": (2950, "7"),
    "int, uuid": (2950, 7),
    "int, interval": (1186, 7),
    "fractions, int[]": (1007, [1, 2.5]),
    "datetimes, date[]": (1182, [[NOON]]),
    "fractions, int4range": (3904, Range(D("1.5"), None)),
    "money of another locale": (790, "1.234,500"),
}


@pytest.mark.parametrize("case_", CHANGED)
def test_a_value_that_would_change_is_an_error_that_names_it(case_: str) -> None:
    """Without the check, pyarrow would cut, round or reinterpret it, mostly without a word."""
    oid, value = CHANGED[case_]

    with pytest.raises(FrameError, match=r"Column 'x' .*") as raised:
        from_native("x", column_type(oid), [None, value]).to_arrow()
    assert repr(value)[:60] in str(raised.value)


SHOWN = {"zone, time": "12:00:00+02"}


@pytest.mark.parametrize("case_", CHANGED)
def test_a_value_that_would_change_gets_a_column_that_it_fits(case_: str) -> None:
    """As a field that is annotated with another type."""
    _, value = CHANGED[case_]

    [got] = to_frame([{"x": value}, {"x": None}])["x"].head(1).tolist()

    assert repr(got) == repr(value) or got == SHOWN.get(case_, value)


@pytest.mark.parametrize(
    ("oid", "value", "shown"),
    [
        (701, 2, 2.0),
        (701, D("0.1"), 0.1),
        (701, np.float32(0.1), float(np.float32(0.1))),
        (700, 0.5, 0.5),
        (1700, 0.1, D("0.1")),
        (1700, 7, D(7)),
        (1700, D("NaN"), D("NaN")),
        (20, np.int64(7), 7),
        (16, np.bool_(True), True),
        (25, np.str_("a"), "a"),
        (1184, NOON.replace(tzinfo=EAST), NOON.replace(hour=10, tzinfo=UTC)),
        (1114, pd.Timestamp(NOON), pd.Timestamp(NOON)),
    ],
    ids=str,
)
def test_a_value_of_another_class_that_is_equal_is_taken(oid: int, value: Any, shown: Any) -> None:
    [got] = pd.Series(from_native("x", column_type(oid), [value]).to_pandas()).tolist()

    assert repr(got) == repr(shown) or got == shown


def test_python_values_that_arrow_cannot_hold_together_are_an_error() -> None:
    """pyarrow makes a date of a date and a datetime, and drops the zone of one beside one without."""
    for values in ([NOON.date(), NOON], [NOON, NOON.replace(tzinfo=EAST)]):
        with pytest.raises(FrameError, match=r"Column 'x' cannot hold .*datetime"):
            from_native("x", PYTHON, values).to_arrow()


# Lists of other people's objects -----------------------------------------------------------------


@attrs.define
class Attrs:
    x: int
    when: dt.date | None = None


@attrs.frozen(slots=False)
class Frozen:
    x: float


class Named(NamedTuple):
    x: float
    y: str | None = None


@dataclasses.dataclass
class Parent:
    x: int


@dataclasses.dataclass
class Child(Parent):
    y: str = "b"


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    x: int


class Colour(enum.Enum):
    RED = 1


LISTS: dict[str, tuple[Any, dict[Any, list[Any]], dict[Any, str]]] = {
    "attrs": ([Attrs(1), Attrs(2, NOON.date())], {"x": [1, 2], "when": [None, NOON.date()]}, {"x": "Int64"}),
    "attrs, one": (Attrs(1), {"x": [1], "when": [None]}, {"x": "Int64", "when": "date32[day][pyarrow]"}),
    "attrs, unslotted": ([Frozen(1.5)], {"x": [1.5]}, {"x": "float64"}),
    "attrs, wrong": ([Attrs(1.5)], {"x": [1.5], "when": [None]}, {"x": "float64"}),  # type: ignore[arg-type]
    "NamedTuples": ([Named(1, "a"), Named(2.5)], {"x": [1.0, 2.5], "y": ["a", None]}, {"x": "float64", "y": STR}),
    "NamedTuples without values": ([Named(1, None)], {"x": [1.0], "y": [None]}, {"y": STR}),
    "a NamedTuple": (Named(1, "a"), {"x": [1.0], "y": ["a"]}, {"x": "float64"}),
    "dataclasses that inherit": ([Parent(1), Child(2)], {"x": [1, 2], "y": [None, "b"]}, {"x": "Int64", "y": STR}),
    "pydantic, extra": ([Open(x=1, z="q"), Open(x=2)], {"x": [1, 2], "z": ["q", None]}, {"z": STR}),
    "NaT": ([{"a": pd.NaT}, {"a": NOON}], {"a": [None, pd.Timestamp(NOON)]}, {"a": "datetime64[us]"}),
    "NA": ([{"a": pd.NA}, {"a": 1}], {"a": [None, 1]}, {"a": "Int64"}),
    "NaN among texts": ([{"a": NAN}, {"a": "x"}], {"a": [None, "x"]}, {"a": STR}),
    "NaN among dates": ([{"a": NAN}, {"a": NOON.date()}], {"a": [None, NOON.date()]}, {"a": "date32[day][pyarrow]"}),
    "NaN among bools": ([{"a": NAN}, {"a": True}], {"a": [None, True]}, {"a": "boolean"}),
    "NaN among ints": ([{"a": NAN}, {"a": 1}], {"a": [None, 1.0]}, {"a": "float64"}),
    "NaN among large ints": ([{"a": 2**53 + 1}, {"a": 0.5}], {"a": [2**53 + 1, 0.5]}, {"a": "object"}),
    "ints and floats": ([1, 2.5], {"value": [1.0, 2.5]}, {"value": "float64"}),
    "Decimals and ints": ([D("1.5"), 1], {"value": [D("1.5"), 1]}, {"value": "object"}),
    "bools and ints": ([True, 1], {"value": [True, 1]}, {"value": "object"}),
    "dates and datetimes": ([NOON.date(), NOON], {"value": [NOON.date(), NOON]}, {"value": "object"}),
    "zones and none": ([NOON, NOON.replace(tzinfo=UTC)], {"value": [NOON, NOON.replace(tzinfo=UTC)]}, {}),
    "times with zones": ([dt.time(1, tzinfo=EAST)], {"value": ["01:00:00+02"]}, {"value": STR}),
    "numpy": ([{"a": np.int64(1), "b": np.bool_(True), "c": np.float32(0.5)}], {"a": [1], "b": [True], "c": [0.5]}, {}),
    "nanoseconds": ([pd.Timestamp(1)], {"value": [pd.Timestamp(1)]}, {"value": "object"}),
    "addresses": ([ipaddress.ip_address("::1")], {"value": ["::1"]}, {"value": STR}),
    "enums": ([Colour.RED, None], {"value": [Colour.RED, None]}, {"value": "object"}),
    "lists of several types": ([{"a": [1]}, {"a": [2.5]}, {"a": []}], {"a": [[1], [2.5], []]}, {"a": "object"}),
    "fields of several classes": ([Attrs(1), Attrs(2)], {"x": [1, 2], "when": [None, None]}, {}),
}


@pytest.mark.parametrize("name", LISTS)
def test_objects_become_columns_with_the_values_that_they_have(name: str) -> None:
    results, values, dtypes = LISTS[name]

    got = to_frame(results)

    shown = got.astype(object)
    assert {column: shown[column].where(shown[column].notna(), None).tolist() for column in shown} == values
    assert {column: str(got[column].dtype) for column in dtypes} == dtypes


def test_rows_of_several_results_are_refused() -> None:
    """They would get each other's names."""
    with pytest.raises(FrameError, match=r"several names for their columns.*'a'.*'b'"):
        to_frame([namedtuple("One", "a")(1), namedtuple("Other", "b")(2)])


async def test_scenario_60_asyncpg_records_are_rows(session: AsyncSession) -> None:
    """One of them, several, and none of their values changed."""
    raw = (await (await session.connection()).get_raw_connection()).driver_connection
    query = """
        select g as id, g::numeric / 4 as part, timestamptz '2024-05-06 12:00Z' as at, null::text as nothing,
            int4range(g, 9) as span, point(g, 2) as place, b'101' as bits, inet '10.0.0.1' as host, array[g] as list,
            g as id
        from generate_series(1, 2) g
        """
    records = await raw.fetch(query)

    got, one = to_frame(records), to_frame(records[0])

    expected = await frame(session, query)
    assert list(got) == list(expected)
    for position, name in enumerate(got):
        assert got.iloc[:, position].dropna().tolist() == expected.iloc[:, position].dropna().tolist(), name
    assert len(one) == 1


# Entities ----------------------------------------------------------------------------------------


async def test_columns_do_not_depend_on_what_is_loaded(jobs: AsyncSession) -> None:
    """A relationship is no column: whether it was loaded, by the select or by anybody else in the session, or not."""
    jobs.expunge_all()
    plain = to_frame((await jobs.scalars(select(Owner))).all())
    loaded = (await jobs.scalars(select(Owner).options(selectinload(Owner.jobs)))).all()

    assert list(to_frame(loaded)) == list(plain) == ["id", "name"]
    assert list(await frame(jobs, select(Owner).options(selectinload(Owner.jobs)))) == ["id", "name"]


async def test_an_entity_that_an_outer_join_did_not_find_is_null(jobs: AsyncSession) -> None:
    """In a result, in its rows and mappings; also when it found none at all."""
    jobs.expunge_all()
    statement = select(Owner, Job).outerjoin(Job, (Job.owner_id == Owner.id) & (Job.title == "none"))
    expected = await frame(jobs, statement)

    for results in (await jobs.execute(statement), (await jobs.execute(statement)).mappings()):
        got = to_frame(results)
        assert list(got) == list(expected)
        assert got.dtypes.equals(expected.dtypes)
        assert got["title"].isna().all()
    jobs.add(Owner(id=2, name="Bo"))
    found = select(Owner, Job).outerjoin(Job, Job.owner_id == Owner.id).order_by(Owner.id)
    rows = to_frame((await jobs.execute(found)).all())
    assert rows.astype(object)["title"].isna().tolist() == [False, True]
    assert list(rows) == list(await frame(jobs, found))


async def test_what_is_lost_is_told(session: AsyncSession) -> None:
    """Infinity, which no timestamp of pandas is, and a month, which asyncpg has as 30 days."""
    rows = (await session.execute(text(r"select 'infinity'\:\:timestamptz as t, interval '1 mon' as i"))).all()

    lossy = to_frame(rows).attrs["asyncdb"]["lossy"]

    assert lossy["t"] == "NA for infinity (1)"
    assert "30 days" in lossy["i"]
