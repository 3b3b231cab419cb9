"""The engine of the service."""

import os

from models import Base
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine


class DatabaseConnection:
    def __init__(self):
        self.engine = None
        self.sessions = None

    async def initialize(self):
        if self.engine is not None:
            return
        self.engine = create_async_engine(os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+asyncpg://"))
        self.sessions = async_sessionmaker(self.engine, expire_on_commit=False)
        async with self.engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)

    async def close(self):
        if self.engine is not None:
            await self.engine.dispose()


db = DatabaseConnection()
