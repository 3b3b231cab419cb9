"""Event logs beside the sample: each in a schema of its own, and never in the sample's figures."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from sqlalchemy import text

from asyncdb_nb import Database, EventLogError, session_scope
from asyncdb_nb.errors import SchemaTakenError
from asyncdb_nb.workflows import (
    Workflow,
    WorkflowRepository,
    create_tables,
    load_event_log,
    seed_workflows,
    unload_event_log,
)
from asyncdb_nb.workflows.event_log.schemas import schema_for
from asyncdb_nb.workflows.models import our_schemas

QUESTIONS = (
    *("overview", "failures", "durations", "throughput", "time_lost", "retries", "busiest_hours", "slowest_runs"),
    *("variants", "bottlenecks", "handovers", "transitions"),
)
LOG = "case,activity,timestamp\n1,a,2024-03-01 09:00\n1,b,2024-03-01 10:00\n2,a,2024-03-01 11:00\n"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    (path := tmp_path / "receipt.csv").write_text(LOG)
    return path


async def answers(db: Database, **options: str) -> list[pd.DataFrame]:
    async with db.session(readonly=True) as session:
        repository = WorkflowRepository(session, **options)
        return [await getattr(repository, question)() for question in QUESTIONS]


async def schemas(db: Database) -> list[str]:
    async with db.session() as session:
        return await our_schemas(await session.connection())


async def test_scenario_74_logs_beside_the_sample_change_none_of_its_figures(db: Database, log: Path):
    """Every question answers as before, by ids and all; and for each log when it is pointed at that."""
    await seed_workflows(db, runs=40, workflows=3, seed=1)
    before = await answers(db)

    loaded = [await load_event_log(db, log, name=name) for name in ("receipt", "Permits 2024", "user")]

    assert [each.schema for each in loaded] == ["receipt", "permits_2024", "user"]
    for old, new in zip(before, await answers(db), strict=True):
        pd.testing.assert_frame_equal(old, new)
    for each in loaded:
        overview, *_, transitions = await answers(db, schema=each.schema)
        assert overview[["workflow", "runs"]].to_numpy().tolist() == [[each.name, 2]]
        assert transitions["times"].sum() == 5


async def test_a_log_goes_with_its_schema(db: Database, log: Path):
    await seed_workflows(db, runs=5, workflows=1, seed=1)
    await load_event_log(db, log)
    await load_event_log(db, log, name="user")
    await load_event_log(db, log, name="mine", schema="mine")
    async with session_scope(db.engine.execution_options(schema_translate_map={"workflows": "mine"})) as session:
        session.add(Workflow(name="written by hand"))

    assert [await unload_event_log(db, name) for name in ("receipt", "user", "mine")] == [2, 2, 2]

    assert await schemas(db) == ["mine", "workflows"]
    async with db.session() as session:
        sample = await session.scalar(text("select name from workflows.workflow"))
    for name in (sample, "receipt", "written by hand"):
        with pytest.raises(EventLogError, match=f"There is no event log '{name}'. None is loaded"):
            await unload_event_log(db, name)


async def test_a_log_of_an_older_version_lies_among_the_sample_and_can_go(db: Database):
    """They had no schema of their own."""
    await seed_workflows(db, runs=5, workflows=1, seed=1)
    async with db.session() as session:
        session.add(Workflow(name="old", source="old.csv"))

    assert await unload_event_log(db, "old") == 0
    assert await schemas(db) == ["workflows"]


async def test_where_names_meet_the_caller_is_asked(db: Database, log: Path):
    await load_event_log(db, log, name="a b")
    with pytest.raises(EventLogError, match=r"'a_b' has another log, 'a b'.*schema='a_b_2'"):
        await load_event_log(db, log, name="a-b")
    await load_event_log(db, log, name="a b", schema="other")
    with pytest.raises(EventLogError, match=r"'a b' is in a_b and in other.*schema='a_b'"):
        await unload_event_log(db, "a b")
    with pytest.raises(EventLogError, match=r"no event log 'a b' in the schema 'b'\. Loaded are: 'a b', 'a b'"):
        await unload_event_log(db, "a b", schema="b")

    assert await unload_event_log(db, "a b", schema="other") == 2
    assert await schemas(db) == ["a_b"]

    together = [await load_event_log(db, log, name=name, schema="logs") for name in ("one", "two")]
    assert [each.schema for each in together] == ["logs", "logs"]
    with pytest.raises(EventLogError, match="'one' is the name of a workflow that is no event log"):
        async with session_scope(db.engine.execution_options(schema_translate_map={"workflows": "logs"})) as session:
            await session.execute(text("update logs.workflow set source = 'user'"))
            await load_event_log(session, log, name="one", schema="logs", replace=True)


async def test_a_schema_of_somebody_else_is_left_alone(db: Database, log: Path):
    async with db.session() as session:
        await session.execute(text("create schema receipt"))

    for options in ({}, {"schema": "public"}):
        with pytest.raises(SchemaTakenError, match=r"asyncdb_nb did not make.*Name another: schema="):
            await load_event_log(db, log, **options)

    assert (await load_event_log(db, log, schema="receipt_log")).cases == 2


async def test_a_load_in_a_session_makes_and_keeps_nothing_of_its_own(db: Database, log: Path):
    """Its schema comes and goes with the caller's transaction; the session then still asks the sample."""
    await seed_workflows(db, runs=5, workflows=1, seed=1)
    with pytest.raises(ZeroDivisionError):
        async with db.session() as session:
            loaded = await load_event_log(session, log)
            assert await WorkflowRepository(session, schema=loaded.schema).count() == 1
            assert await WorkflowRepository(session).exists(Workflow.source == "sample")
            raise ZeroDivisionError

    assert await schemas(db) == ["workflows"]


async def test_a_repository_of_a_log_gives_frames_and_no_entities(db: Database, log: Path):
    """Nothing of the sample can be changed through it by mistake; and what it says to type, works."""
    async with db.session() as session:
        await create_tables(await session.connection())
    await load_event_log(db, log)
    async with db.session() as session:
        repository = WorkflowRepository(session, schema="receipt")
        assert (await repository.frame(Workflow.name == "receipt"))["source"].tolist() == ["receipt.csv"]
        for use in (
            repository.list(),
            repository.get(1),
            repository.by_name("receipt"),
            repository.add(Workflow(name="x")),
            repository.delete_where(Workflow.name == "receipt"),
        ):
            with pytest.raises(ValueError, match="asks the schema 'receipt', and a session knows the entities of one"):
                await use

    async with session_scope(db.engine.execution_options(schema_translate_map={"workflows": "receipt"})) as session:
        workflow = await WorkflowRepository(session).by_name("receipt")
        workflow.owner = "me"

    assert (await db.frame("select owner from receipt.workflow"))["owner"].tolist() == ["me"]
    assert not len(await db.frame("select * from workflows.workflow"))


async def test_a_schema_that_is_not_there_is_named(db: Database):
    async with db.session(readonly=True) as session:
        with pytest.raises(Exception, match=r'relation "nowhere\.\w+" does not exist'):
            await WorkflowRepository(session, schema="nowhere").overview()


@pytest.mark.parametrize(
    ("name", "schema"),
    [
        ("receipt", "receipt"),
        ("BPI Challenge 2017", "bpi_challenge_2017"),
        ("2024-03", "log_2024_03"),
        ("workflows", "log_workflows"),
        ("Public", "log_public"),
        ("pg_log", "log_pg_log"),
        ("...", "log_"),
        ("Vorgänge", "vorgänge"),
        ("ä" * 60, "ä" * 31),
    ],
)
def test_a_schema_is_named_like_the_log(name: str, schema: str):
    """Never like the sample's, nor as PostgreSQL names its own."""
    assert schema_for(name) == schema
