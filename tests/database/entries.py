"""A mapped class whose columns are not as the server has them: another name, an Enum, a TypeDecorator."""

from __future__ import annotations

import enum

from sqlalchemy import Dialect, Enum, String, TypeDecorator
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


class Level(enum.Enum):
    LOW = 1
    HIGH = 2


class Reversed(TypeDecorator[str]):
    """Text that is stored backwards."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else value[::-1]

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else value[::-1]


class Entry(Base):
    __tablename__ = "entries"

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str] = mapped_column(default="a")
    title: Mapped[str | None] = mapped_column("entry_title")
    level: Mapped[Level | None] = mapped_column(Enum(Level, native_enum=False))
    secret: Mapped[str | None] = mapped_column(Reversed)
    log: Mapped[str | None] = mapped_column(deferred=True)
