"""A mapped class whose columns are not as the server has them: another name, an Enum, a TypeDecorator."""

from __future__ import annotations

from column_types import Level, Reversed
from sqlalchemy import Enum
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


class Entry(Base):
    __tablename__ = "entries"

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str] = mapped_column(default="a")
    title: Mapped[str | None] = mapped_column("entry_title")
    level: Mapped[Level | None] = mapped_column(Enum(Level, native_enum=False))
    secret: Mapped[str | None] = mapped_column(Reversed)
    log: Mapped[str | None] = mapped_column(deferred=True)
