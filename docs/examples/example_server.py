"""The server that the examples run on, and one statement at a time for it."""

import os

from sqlalchemy import NullPool, make_url, text
from sqlalchemy.ext.asyncio import create_async_engine


def url(**parts: str) -> str:
    """Give `$DATABASE_URL` as asyncpg's dialect wants it, with other parts."""
    given = make_url(os.environ["DATABASE_URL"])
    return given.set(drivername="postgresql+asyncpg", **parts).render_as_string(hide_password=False)


async def on_server(statement: str) -> None:
    """Run a statement outside of transactions, on a connection of its own."""
    engine = create_async_engine(url(), poolclass=NullPool, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.execute(text(statement))
    await engine.dispose()
