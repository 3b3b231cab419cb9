"""Passwords that rotate: another program writes them into a file, as Vault's agent or Kubernetes' secrets do."""

import os
from pathlib import Path
from typing import Any

from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from asyncdb_nb import LoopBoundPool


def password() -> str:
    """What the file holds now. Instead, a coroutine function could ask a cloud for a token."""
    return Path(os.environ["PASSWORD_FILE"]).read_text().strip()


def engine_of(**connect_args: Any) -> AsyncEngine:
    return create_async_engine(os.environ["ACCOUNTS_URL"], poolclass=LoopBoundPool, connect_args=connect_args)


by_function = engine_of(password=password)
by_listener = engine_of()


@event.listens_for(by_listener.sync_engine, "do_connect")
def give_password(dialect: Any, record: Any, arguments: Any, parameters: dict[str, Any]) -> None:
    parameters["password"] = password()


async def user(engine: AsyncEngine) -> str:
    async with engine.connect() as connection:
        return str(await connection.scalar(text("select current_user")))
