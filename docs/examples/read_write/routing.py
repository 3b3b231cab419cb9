"""Reads go to a replica, writes to the primary: SQLAlchemy's recipe for two engines under one session."""

import os
from typing import Any

from sqlalchemy import Delete, Engine, Insert, Update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from asyncdb_nb import LoopBoundPool

READ_ONLY = {"server_settings": {"default_transaction_read_only": "on"}}


def engine_of(url: str, **options: Any) -> AsyncEngine:
    return create_async_engine(url, poolclass=LoopBoundPool, **options)


primary = engine_of(os.environ["DATABASE_URL"])
replica = engine_of(os.environ.get("REPLICA_URL", os.environ["DATABASE_URL"]), connect_args=READ_ONLY)


class Routed(Session):
    """What changes something, and all that follows it in the transaction, goes to the primary."""

    def get_bind(self, mapper: Any = None, *, clause: Any = None, **options: Any) -> Engine:
        if self._flushing or isinstance(clause, Insert | Update | Delete):
            self.info["writes"] = True
        return (primary if self.info.get("writes") else replica).sync_engine


def session(*, writes: bool = False) -> AsyncSession:
    """Open a session; with `writes`, its reads go to the primary too, for a text that writes or to see the newest."""
    return AsyncSession(sync_session_class=Routed, expire_on_commit=False, info={"writes": writes})


class Base(DeclarativeBase):
    pass


class Page(Base):
    __tablename__ = "page"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
