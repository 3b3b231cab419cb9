"""What a session writes and reads: a date is that date, and infinity is infinity."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import ARRAY, Date, DateTime, insert, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from asyncdb_nb import Database, frame

MOMENT = dt.datetime(9999, 12, 31, 23, 59, 59, 999999)


class Base(DeclarativeBase):
    pass


class Validity(Base):
    __tablename__ = "exact_dates"

    id: Mapped[int] = mapped_column(primary_key=True)
    day: Mapped[dt.date | None]
    at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=False))
    moment: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    days: Mapped[list[dt.date] | None] = mapped_column(ARRAY(Date))


@pytest.fixture
async def session(fresh_database_url: str) -> AsyncIterator[AsyncSession]:
    async with Database(fresh_database_url) as db, db.session() as session:
        await (await session.connection()).run_sync(Base.metadata.create_all)
        yield session


@pytest.mark.parametrize(
    "value", [dt.date.max, dt.date(9999, 12, 31), dt.date.min, dt.date(2024, 2, 29), dt.date(1999, 12, 31)]
)
async def test_scenario_59_a_session_writes_and_finds_the_day_that_it_is_given(
    session: AsyncSession, value: dt.date
) -> None:
    """As a date, a time stamp, a moment and in an array; by the ORM, by Core and by text."""
    at = dt.datetime(value.year, value.month, value.day)
    moment = at.replace(tzinfo=dt.UTC)
    session.add(Validity(id=1, day=value, at=at, moment=moment, days=[value]))
    await session.flush()
    await session.execute(insert(Validity).values(id=2, day=value, at=at, moment=moment, days=[value]))
    await session.execute(
        text("insert into exact_dates values (:id, :day, :at, :moment, :days)"),
        [{"id": id_, "day": value, "at": at, "moment": moment, "days": [value]} for id_ in (3, 4)],
    )

    found = await session.scalars(
        select(Validity.id).where(
            Validity.day == value, Validity.at == at, Validity.moment == moment, Validity.days == [value]
        )
    )

    assert sorted(found) == [1, 2, 3, 4]
    written = await session.execute(text("select distinct day::text, at::text, days::text from exact_dates"))
    assert written.all() == [(value.isoformat(), f"{value.isoformat()} 00:00:00", f"{{{value.isoformat()}}}")]
    again = await session.execute(select(Validity.day, Validity.at, Validity.moment, Validity.days).distinct())
    assert again.all() == [(value, at, moment, [value])]


async def test_the_last_microsecond_is_no_infinity(session: AsyncSession) -> None:
    session.add(Validity(id=1, at=MOMENT, moment=MOMENT.replace(tzinfo=dt.UTC)))
    await session.flush()

    row = (await session.execute(text("select at, at::text, isfinite(at), isfinite(moment) from exact_dates"))).one()

    assert tuple(row) == (MOMENT, "9999-12-31 23:59:59.999999", True, True)


async def test_what_was_read_as_infinity_is_written_as_infinity(session: AsyncSession) -> None:
    """asyncpg gives one object for each, which equals the last day, and is told from it."""
    await session.execute(
        text("insert into exact_dates values (1, 'infinity', '-infinity', 'infinity', '{infinity,9999-12-31}')")
    )
    read = (await session.execute(select(Validity).where(Validity.id == 1))).scalar_one()
    session.add(Validity(id=2, day=read.day, at=read.at, moment=read.moment, days=read.days))
    await session.flush()

    written = await session.execute(text("select day::text, at::text, moment::text, days::text from exact_dates"))

    assert set(written.all()) == {("infinity", "-infinity", "infinity", "{infinity,9999-12-31}")}
    assert (await frame(session, "select id from exact_dates where day = :d order by 1", {"d": read.day}))[
        "id"
    ].tolist() == [1, 2]
    assert len(await frame(session, "select id from exact_dates where day = :d", {"d": dt.date.max})) == 0


@pytest.mark.parametrize("wrong", ["2024-02-01", 5, dt.timedelta(1)])
async def test_what_is_no_date_is_refused_as_ever(session: AsyncSession, wrong: object) -> None:
    with pytest.raises(DBAPIError, match=r"expected a datetime\.date or datetime\.datetime instance"):
        await session.execute(text("select cast(:day as date)"), {"day": wrong})
    await session.rollback()


@pytest.mark.parametrize(
    ("expression", "day"),
    [
        ("date '10000-01-01'", "10000-01-01"),
        ("date '0001-01-01 BC'", "0001-01-01 BC"),
        ("date '0045-02-29 BC' + 365", "0044-02-28 BC"),
        ("timestamp '4713-11-24 BC'", "4713-11-24 BC"),
        ("timestamptz '294276-12-31 00:00+00'", "294276-12-31"),
        ("timestamptz '0001-01-01 00:00+05'", "0001-12-31 BC"),
        ("array[date '10000-01-01']", "10000-01-01"),
        ("daterange('2024-01-01', '10000-02-29')", "10000-02-29"),
        ("row(date '10000-01-01')", "10000-01-01"),
    ],
)
async def test_a_day_that_python_cannot_hold_is_named(session: AsyncSession, expression: str, day: str) -> None:
    """The session goes on, and what the message says to type works."""
    with pytest.raises(ValueError, match=f"the day {day}, and Python's date .* Select it as text: `column::text`"):
        await session.execute(text(f"select {expression}"))

    assert (await session.scalar(text(f"select ({expression})::text")))  # fmt: skip
