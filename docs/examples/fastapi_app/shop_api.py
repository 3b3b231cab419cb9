"""A shop's orders by HTTP: a FastAPI application with an engine at module level and a lifespan."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from asyncdb_nb import LoopBoundPool

engine = create_async_engine(os.environ["DATABASE_URL"], poolclass=LoopBoundPool)
new_session = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    item: Mapped[str]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


async def get_session() -> AsyncIterator[AsyncSession]:
    async with new_session() as session:
        yield session


InSession = Annotated[AsyncSession, Depends(get_session)]


@app.post("/orders", status_code=201)
async def add(item: str, session: InSession) -> int:
    session.add(order := Order(item=item))
    await session.commit()
    return order.id


@app.get("/orders")
async def orders(session: InSession) -> list[str]:
    return list(await session.scalars(select(Order.item).order_by(Order.id)))
