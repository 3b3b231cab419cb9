"""An inventory: models and the engine, which the migrations use as well as the application."""

import os

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from asyncdb_nb import LoopBoundPool

engine = create_async_engine(os.environ["DATABASE_URL"], poolclass=LoopBoundPool)


class Base(DeclarativeBase):
    pass


class Part(Base):
    __tablename__ = "part"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    in_stock: Mapped[int] = mapped_column(server_default="0")


async def add(name: str) -> None:
    async with AsyncSession(engine) as session, session.begin():
        session.add(Part(name=name))


async def stock() -> dict[str, int]:
    async with AsyncSession(engine) as session:
        rows = await session.execute(select(Part.name, Part.in_stock).order_by(Part.name))
        return {row.name: row.in_stock for row in rows}
