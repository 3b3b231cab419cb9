"""Sessions of the service."""

from contextlib import asynccontextmanager

from connection import db


class AsyncSessionFactory:
    @staticmethod
    async def create_session():
        await db.initialize()
        return db.sessions()

    @staticmethod
    @asynccontextmanager
    async def session_scope():
        session = await AsyncSessionFactory.create_session()
        try:
            yield session
        except Exception:
            await session.rollback()
            raise
        finally:
            await session.close()
