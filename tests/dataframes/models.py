"""Mapped classes that the tests of frames share; `tables` creates them."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

from column_types import Level, Reversed
from sqlalchemy import BigInteger, DateTime, Dialect, Enum, ForeignKey, Interval, Numeric, String, TypeDecorator
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Base(DeclarativeBase):
    pass


class Hours(TypeDecorator[float]):
    """A number of hours that is stored as an interval."""

    impl = Interval
    cache_ok = True

    def process_bind_param(self, value: float | None, dialect: Dialect) -> dt.timedelta | None:
        return None if value is None else dt.timedelta(hours=value)

    def process_result_value(self, value: dt.timedelta | None, dialect: Dialect) -> float | None:
        return None if value is None else value / dt.timedelta(hours=1)


class Owner(Base):
    __tablename__ = "frame_owners"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    jobs: Mapped[list[Job]] = relationship(back_populates="owner", order_by="Job.id")


class Job(Base):
    __tablename__ = "frame_jobs"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    title: Mapped[str | None] = mapped_column("job_title")
    tenant: Mapped[str] = mapped_column(default="a")
    cost: Mapped[Decimal | None] = mapped_column(Numeric(12, 2))
    ratio: Mapped[float | None]
    done: Mapped[bool | None]
    started: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    day: Mapped[dt.date | None]
    took: Mapped[dt.timedelta | None]
    waited: Mapped[float | None] = mapped_column(Hours)
    level: Mapped[Level | None] = mapped_column(Enum(Level, native_enum=False))
    secret: Mapped[str | None] = mapped_column(Reversed)
    tags: Mapped[list[str] | None] = mapped_column(ARRAY(String))
    context: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    log: Mapped[str | None] = mapped_column(deferred=True, default="long")
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("frame_owners.id"))
    owner: Mapped[Owner | None] = relationship(back_populates="jobs")
