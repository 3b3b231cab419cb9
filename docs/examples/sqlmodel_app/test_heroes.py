"""A loop for each test, as pytest-asyncio has it, and `asyncio.run` in a synchronous one."""

import asyncio

import pytest
from heroes import Hero, add, create_tables, engine, older_than
from sqlmodel import SQLModel


@pytest.fixture(autouse=True)
async def tables() -> None:
    async with engine.begin() as connection:
        await connection.run_sync(SQLModel.metadata.drop_all)
    await create_tables()


@pytest.mark.parametrize(("age", "names"), [(30, ["Rusty-Man", "Tarantula"]), (40, ["Rusty-Man"]), (50, [])])
async def test_heroes_are_found_by_age(age: int, names: list[str]) -> None:
    await add(Hero(name="Tarantula", age=32), Hero(name="Rusty-Man", age=48), Hero(name="Deadpond"))

    assert [hero.name for hero in await older_than(age)] == names


async def test_two_tasks_ask_at_once() -> None:
    await add(Hero(name="Tarantula", age=32))

    assert [len(found) for found in await asyncio.gather(older_than(30), older_than(40))] == [1, 0]


def test_a_script_that_runs_twice() -> None:
    """As a command of the application does."""
    asyncio.run(add(Hero(name="Tarantula", age=32)))

    assert len(asyncio.run(older_than(30))) == 1
