"""Loading the sample."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import create_async_engine
from waiting import HANG

from asyncdb_nb import Database, LoopBoundPool
from asyncdb_nb.errors import SchemaTakenError
from asyncdb_nb.workflows import Run, Seeded, Task, Workflow, drop_tables, ensure_sample, seed_workflows

SMALL = {"runs": 60, "workflows": 5, "seed": 1}
EVERYTHING = text(
    "select md5(string_agg(t::text, '' order by id)) from workflows.task t"
    " union all select md5(string_agg(r::text, '' order by id)) from workflows.run r"
    " union all select md5(string_agg(w::text, '' order by id)) from workflows.workflow w"
)


async def everything(db: Database) -> list[str]:
    async with db.session() as session:
        await session.execute(text("set local timezone = 'UTC'"))
        return list(await session.scalars(EVERYTHING))


async def test_loading_again_gives_the_same_rows(db: Database):
    await seed_workflows(db, **SMALL)
    first = await everything(db)
    seeded = await seed_workflows(db, **SMALL, replace=True)

    assert await everything(db) == first
    assert (seeded.workflows, seeded.runs) == (5, 60)
    assert str(seeded) == f"5 workflows, 60 runs, {seeded.tasks} tasks"


async def test_a_sample_that_is_there_is_not_replaced_unasked(db: Database):
    await seed_workflows(db, **SMALL)

    with pytest.raises(ValueError, match=r"loaded already \(5 workflows, 60 runs, .*replace=True"):
        await seed_workflows(db, runs=10)


@pytest.mark.parametrize("wrong", [{"runs": -1}, {"workflows": 0}, {"seed": -1}], ids=str)
async def test_numbers_out_of_range_are_refused(db: Database, wrong: dict[str, int]):
    with pytest.raises(ValueError, match="takes runs of 0 or more"):
        await seed_workflows(db, **wrong)


async def test_many_who_ensure_the_sample_at_once_load_it_once(db: Database, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("asyncdb_nb.workflows.sample.seed.RUNS", 40)

    seeded = await asyncio.gather(*(ensure_sample(db) for _ in range(4)))

    assert set(seeded) == {seeded[0]}
    assert seeded[0].runs == 40


async def test_ensuring_a_sample_that_is_there_waits_for_nobody(db: Database):
    """Another kernel's open transaction, which has loaded something, does not block `connect()`."""
    await seed_workflows(db, **SMALL)
    async with db.session() as other:
        await seed_workflows(other, **SMALL, replace=True)

        async with asyncio.timeout(HANG):
            assert isinstance(await ensure_sample(db), Seeded)


async def test_in_a_session_it_is_part_of_the_callers_transaction(db: Database):
    async with db.session() as session:
        await seed_workflows(session, **SMALL)
        assert await session.scalar(select(func.count(Run.id))) == 60
        await session.rollback()

    async with db.session() as session:
        assert await session.scalar(text("select to_regclass('workflows.run')")) is None


async def test_a_bare_engine_will_do(fresh_database_url: str):
    engine = create_async_engine(
        fresh_database_url.replace("postgresql:", "postgresql+asyncpg:"), poolclass=LoopBoundPool
    )

    assert (await seed_workflows(engine, **SMALL)).runs == 60

    await engine.dispose()


async def test_rows_added_later_get_ids_of_their_own(db: Database):
    await seed_workflows(db, **SMALL)

    async with db.session() as session:
        session.add(added := Workflow(name="mine"))

    assert added.id == 6
    assert (added.priority, added.tags, added.source) == (3, [], "user")


async def test_a_schema_of_that_name_that_is_not_ours_is_left_alone(db: Database):
    async with db.session() as session:
        await session.execute(text("create schema workflows"))

    with pytest.raises(SchemaTakenError, match="'workflows'"):
        await seed_workflows(db, **SMALL)

    async with db.engine.begin() as connection:
        with pytest.raises(SchemaTakenError):
            await drop_tables(connection)


async def test_dropping_the_tables_leaves_nothing(db: Database):
    await seed_workflows(db, **SMALL)

    async with db.engine.begin() as connection:
        await drop_tables(connection)
        await drop_tables(connection)

    async with db.session() as session:
        assert await session.scalar(text("select to_regnamespace('workflows')")) is None


async def test_a_relationship_that_was_not_loaded_says_so(db: Database):
    """Nothing is loaded behind one's back, which async code could not do anyway."""
    await seed_workflows(db, **SMALL)

    async with db.session() as session:
        task = await session.scalar(select(Task).limit(1))
        with pytest.raises(InvalidRequestError, match="lazy='raise'"):
            _ = task.run


async def test_generated_columns_are_fresh_after_a_flush(db: Database):
    await seed_workflows(db, **SMALL)

    async with db.session() as session:
        task = await session.scalar(select(Task).where(Task.finished_at.is_not(None)).limit(1))
        task.finished_at = task.started_at
        await session.flush()

        assert task.working_seconds == 0


def test_models_can_be_imported_again(run_script: Callable[..., object]):
    """A cell that reloads the module does not meet "Table already defined"."""
    run_script(
        "from importlib import reload\n"
        "from asyncdb_nb.workflows import models\n"
        "first = models.Run\n"
        "assert reload(reload(models)).Run is not first\n"
    )
