"""Make what a test of collections reads or writes."""

from __future__ import annotations

from sqlalchemy import text

from asyncdb_nb import Database, run


def make(db: Database, *statements: str) -> None:
    """Execute statements, in one transaction."""

    async def execute() -> None:
        async with db.session() as session:
            for statement in statements:
                await session.execute(text(statement.replace(":", r"\:")))

    run(execute())
