"""The engine of the service, with part 1 (one connection, no ping) and part 3 (a close that never fails)."""

import logging
import os

from models import Base
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

logger = logging.getLogger(__name__)


class DatabaseConnection:
    def __init__(self):
        self.engine = None
        self.sessions = None

    async def initialize(self):
        if self.engine is not None:
            return
        self.engine = create_async_engine(
            os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+asyncpg://"),
            pool_size=1,
            max_overflow=0,
            pool_pre_ping=False,
            pool_recycle=-1,
        )
        self.sessions = async_sessionmaker(self.engine, expire_on_commit=False)
        async with self.engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)

    async def close(self):
        if self.engine is not None:
            try:
                await self.engine.dispose()
            except Exception as error:
                logger.warning("Closing failed: %s", error)


db = DatabaseConnection()
