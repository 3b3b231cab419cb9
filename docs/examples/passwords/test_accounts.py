"""The password is changed, and the file after it; connections that are opened from then on have the new one."""

import os
import secrets
from pathlib import Path

import pytest
from accounts import by_function, by_listener, user
from asyncpg import InvalidPasswordError
from conftest import USER
from example_server import on_server
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

REFUSED = (DBAPIError, InvalidPasswordError)  # of SQLAlchemy from 2.1 on, of the driver before
each_engine = pytest.mark.parametrize("engine", [by_function, by_listener], ids=["function", "listener"])


@each_engine
async def test_a_rotated_password_is_used_for_the_next_connection(engine: AsyncEngine) -> None:
    assert await user(engine) == USER
    await rotate()
    await engine.dispose()

    assert await user(engine) == USER


@each_engine
async def test_open_connections_outlive_their_password(engine: AsyncEngine) -> None:
    assert await user(engine) == USER
    new = secrets.token_hex()
    await on_server(f"alter role {USER} password '{new}'")
    assert await user(engine) == USER

    await engine.dispose()
    with pytest.raises(REFUSED, match="password authentication failed"):
        await user(engine)
    keep(new)
    assert await user(engine) == USER


async def rotate() -> None:
    new = secrets.token_hex()
    await on_server(f"alter role {USER} password '{new}'")
    keep(new)


def keep(password: str) -> None:
    Path(os.environ["PASSWORD_FILE"]).write_text(password)
