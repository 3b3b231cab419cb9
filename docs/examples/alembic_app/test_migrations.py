"""Migrations up and down around tests that use the application."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from inventory import add, engine, stock
from sqlalchemy import inspect


@pytest.fixture
def config() -> Iterator[Config]:
    """The newest schema, and none after the test."""
    config = Config(Path(__file__).parent / "alembic.ini")
    command.upgrade(config, "head")
    yield config
    command.downgrade(config, "base")


@pytest.mark.parametrize("name", ["bolt", "nut"])
async def test_a_new_part_is_not_in_stock(config: Config, name: str) -> None:
    await add(name)

    assert await stock() == {name: 0}


def test_the_models_are_what_the_migrations_make(config: Config) -> None:
    command.check(config)


async def test_a_step_back_and_forth_keeps_the_parts(config: Config) -> None:
    await add("bolt")
    await asyncio.to_thread(command.downgrade, config, "0001")
    async with engine.connect() as connection:
        columns = await connection.run_sync(lambda sync: inspect(sync).get_columns("part"))
    await asyncio.to_thread(command.upgrade, config, "head")

    assert [column["name"] for column in columns] == ["id", "name"]
    assert await stock() == {"bolt": 0}
