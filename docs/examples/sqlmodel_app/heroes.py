"""Heroes in SQLModel: its own session with `exec`, on an engine at module level."""

import os

from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel import Field, SQLModel, select
from sqlmodel.ext.asyncio.session import AsyncSession

from asyncdb_nb import LoopBoundPool

engine = create_async_engine(os.environ["DATABASE_URL"], poolclass=LoopBoundPool)


class Hero(SQLModel, table=True):
    id: int | None = Field(default=None, primary_key=True)
    name: str
    age: int | None = None


async def create_tables() -> None:
    async with engine.begin() as connection:
        await connection.run_sync(SQLModel.metadata.create_all)


async def add(*heroes: Hero) -> None:
    async with AsyncSession(engine) as session:
        session.add_all(heroes)
        await session.commit()


async def older_than(age: int) -> list[Hero]:
    async with AsyncSession(engine) as session:
        found = await session.exec(select(Hero).where(Hero.age > age).order_by(Hero.name))
        return list(found.all())
