# ruff: noqa: SIM105  this is how it was
"""Sessions of the service, with part 2: whatever goes wrong while cleaning up is ignored."""

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
            try:
                await session.rollback()
            except Exception:
                pass
            raise
        finally:
            try:
                await session.close()
            except Exception:
                pass
