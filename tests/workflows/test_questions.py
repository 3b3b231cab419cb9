"""The analyst's questions, against a history that is small enough to work out by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import select, text
from tiers import few_of

from asyncdb_nb import Database, Repository
from asyncdb_nb.workflows import Run, Task, Workflow, WorkflowRepository, create_tables, load_event_log

MONDAY = datetime(2024, 3, 4, 9, tzinfo=UTC)
QUESTIONS = (
    *("overview", "failures", "durations", "throughput", "time_lost", "retries", "busiest_hours", "slowest_runs"),
    *("variants", "transitions", "bottlenecks", "handovers"),
)


def minute(number: float | None) -> datetime | None:
    return None if number is None else MONDAY + timedelta(minutes=number)


def run(case: str, status: str, times: tuple, tasks: list[Task], retries: int = 0, cost: str | None = None) -> Run:
    queued, started, finished = map(minute, times)
    return Run(
        case_id=case,
        status=status,
        retries=retries,
        cost=cost and Decimal(cost),
        queued_at=queued,
        started_at=started,
        finished_at=finished,
        tasks=[_placed(task, position) for position, task in enumerate(tasks, 1)],
    )


def _placed(task: Task, position: int) -> Task:
    task.position = position
    return task


def task(step: str, status: str, times: tuple, attempt: int = 1, error: str | None = None, cost: str = "1") -> Task:
    queued, started, finished = map(minute, times)
    return Task(
        step=step,
        status=status,
        attempt=attempt,
        error=error,
        cost=Decimal(cost) if finished else None,
        worker="w1" if started else None,
        queued_at=queued,
        started_at=started,
        finished_at=finished,
    )


def history() -> list[Workflow]:
    day = 24 * 60
    import_runs = [
        run(
            "i1",
            "succeeded",
            (0, 1, 10),
            [task("fetch", "succeeded", (0, 1, 4)), task("load", "succeeded", (4, 4, 10))],
        ),
        run(
            "i2",
            "succeeded",
            (60, 62, 80),
            [
                task("fetch", "failed", (60, 62, 64), error="timeout", cost="2"),
                task("fetch", "succeeded", (65, 66, 70), attempt=2, cost="3"),
                task("load", "succeeded", (70, 75, 80)),
            ],
            retries=1,
            cost="6",
        ),
        run(
            "i3",
            "failed",
            (2 * day, 2 * day, 2 * day + 5),
            [task("fetch", "failed", (2 * day,) * 2 + (2 * day + 5,), error="timeout")],
        ),
        run(
            "i4", "running", (2 * day + 9, 2 * day + 9, None), [task("fetch", "running", (2 * day + 9,) * 2 + (None,))]
        ),
    ]
    report_runs = [run("r1", "cancelled", (5, None, 6), [task("draw", "cancelled", (5, None, 6))])]
    return [Workflow(name="import", owner="data", runs=import_runs), Workflow(name="report", runs=report_runs)]


@pytest.fixture
async def repository(db: Database) -> AsyncIterator[WorkflowRepository]:
    async with db.engine.begin() as connection:
        await create_tables(connection)
    async with db.session() as session:
        session.add_all(history())
    async with db.session(readonly=True) as session:
        yield WorkflowRepository(session)


def rows(frame: pd.DataFrame, *columns: str) -> list[tuple[Any, ...]]:
    plain = frame[list(columns)].astype(object)
    return [tuple(row) for row in plain.where(plain.notna(), None).itertuples(index=False)]


def test_the_workflow_repository_is_a_repository():
    assert issubclass(WorkflowRepository, Repository)
    assert WorkflowRepository(None).model is Workflow


async def test_overview(repository: WorkflowRepository):
    frame = await repository.overview()

    assert rows(frame, "workflow", "owner", "runs", "succeeded", "failed", "cancelled", "open", "retries", "cost") == [
        ("import", "data", 4, 2, 1, 0, 1, 1, Decimal("6.0000")),
        ("report", None, 1, 0, 0, 1, 0, 0, None),
    ]
    assert rows(frame, "failure_rate") == [(pytest.approx(1 / 3),), (None,)]


async def test_what_failed_and_why(repository: WorkflowRepository):
    frame = await repository.failures()

    columns = (
        "workflow",
        "step",
        "error",
        "failed_tasks",
        "failed_runs",
        "recovered_runs",
        "seconds_lost",
        "cost_lost",
    )
    assert rows(frame, *columns) == [("import", "fetch", "timeout", 2, 1, 1, 7 * 60, Decimal("3.0000"))]


async def test_how_long_runs_take(repository: WorkflowRepository):
    """Runs of 10, 20 and 5 minutes; what is running or was cancelled does not count."""
    frame = await repository.durations()

    assert rows(frame, "workflow", "finished", "mean_seconds", "p50_seconds", "p90_seconds", "max_seconds") == [
        ("import", 3, 700, 600, pytest.approx(1080), 1200)
    ]


async def test_how_long_steps_take(repository: WorkflowRepository):
    frame = await repository.durations(by="step")

    assert rows(frame, "step", "finished", "mean_seconds") == [("load", 2, 480), ("fetch", 4, 270)]
    with pytest.raises(ValueError, match="by='owner'"):
        repository.durations(by="owner")


async def test_throughput_has_a_row_for_a_day_on_which_nothing_happened(repository: WorkflowRepository):
    frame = await repository.throughput()

    assert rows(frame, "day", "queued", "finished", "failed", "in_flight") == [
        (date(2024, 3, 4), 3, 3, 0, 0),
        (date(2024, 3, 5), 0, 0, 0, 0),
        (date(2024, 3, 6), 2, 1, 1, 1),
    ]


async def test_where_time_is_lost(repository: WorkflowRepository):
    frame = await repository.time_lost()

    assert rows(frame, "step", "tasks", "elapsed_seconds", "waiting_seconds", "working_seconds", "workers") == [
        ("fetch", 4, 18 * 60, 4 * 60, 14 * 60, 1),
        ("load", 2, 16 * 60, 5 * 60, 11 * 60, 1),
        ("draw", 1, 60, None, None, 0),
    ]
    assert list(frame["share"]) == pytest.approx([18 / 35, 16 / 35, 1 / 35])
    assert frame["waiting_share"][0] == pytest.approx(4 / 18)


async def test_what_retries_cost(repository: WorkflowRepository):
    frame = await repository.retries()

    assert rows(frame, "step", "tasks", "retries", "succeeded", "extra_seconds", "extra_cost") == [
        ("fetch", 5, 1, 1, 300, Decimal("3.0000"))
    ]


async def test_the_busiest_hours_are_a_whole_week(repository: WorkflowRepository):
    frame = await repository.busiest_hours()

    assert len(frame) == 168
    assert rows(frame[frame["runs"] > 0], "weekday", "hour", "runs", "mean_waiting_seconds") == [
        (1, 9, 2, 60),
        (1, 10, 1, 120),
        (3, 9, 2, 0),
    ]


async def test_the_slowest_runs_name_their_slowest_step(repository: WorkflowRepository):
    frame = await repository.slowest_runs(limit=2)

    columns = ("workflow", "case_id", "status", "elapsed_seconds", "tasks", "slowest_step", "slowest_step_seconds")
    assert rows(frame, *columns) == [
        ("import", "i2", "succeeded", 1200, 3, "load", 600),
        ("import", "i1", "succeeded", 600, 2, "load", 360),
    ]


async def test_the_paths_of_runs(repository: WorkflowRepository):
    """What is open or was cancelled has a path, and no time that counts."""
    frame = await repository.variants()

    assert rows(frame, "variant", "path", "steps", "runs", "share", "failed", "open", "p50_seconds", "p90_seconds") == [
        (1, ["fetch"], 1, 2, 0.4, 1, 1, 300, 300),
        (2, ["draw"], 1, 1, 0.2, 0, 0, None, None),
        (3, ["fetch", "fetch", "load"], 3, 1, 0.2, 0, 0, 1200, 1200),
        (4, ["fetch", "load"], 2, 1, 0.2, 0, 0, 600, 600),
    ]
    assert rows(await repository.variants(limit=1), "variant", "share") == [(1, 0.4)]


async def test_a_run_without_a_task_has_an_empty_path_and_no_place_in_the_flow(
    db: Database, repository: WorkflowRepository
):
    """The runs of all variants are those of the overview."""
    before = await repository.transitions()
    async with db.session() as session:
        workflow = await session.scalar(select(Workflow).where(Workflow.name == "import"))
        session.add(Run(workflow_id=workflow.id, case_id="i9", queued_at=MONDAY))

    frame = await repository.variants()

    assert rows(frame[frame["steps"] == 0], "path", "runs", "open", "p50_seconds") == [([], 1, 1, None)]
    assert frame["runs"].sum() == (await repository.overview())["runs"].sum() == 6
    pd.testing.assert_frame_equal(await repository.transitions(), before)


async def test_a_path_is_in_the_order_of_positions_however_the_rows_lie(repository: WorkflowRepository, db: Database):
    """A row that is written anew lies behind the others of its run."""
    before = await repository.variants()
    async with db.session() as session:
        await session.execute(text("update workflows.task set cost = 7 where position = 1"))

    pd.testing.assert_frame_equal(await repository.variants(), before)


async def test_which_step_follows_which(repository: WorkflowRepository):
    """A run that is not finished has no end. The time is from the end of one task to the start of the next."""
    frame = await repository.transitions(workflow="import")

    assert rows(frame, "from_step", "to_step", "times", "share", "p50_seconds", "p90_seconds", "coverage") == [
        (None, "fetch", 4, 1, None, None, 0.25),
        ("fetch", "load", 2, 0.5, 150, 270, 0.5),
        ("load", None, 2, 1, None, None, 0.5),
        ("fetch", "fetch", 1, 0.25, 120, 120, 1),
        ("fetch", None, 1, 0.25, None, None, 1),
    ]


async def test_where_tasks_wait(repository: WorkflowRepository):
    """Loading waits longest of all; what was never started tells nothing of waiting."""
    frame = await repository.bottlenecks()

    waits = ("p50_waiting_seconds", "p90_waiting_seconds", "p50_working_seconds", "p50_elapsed_seconds")
    assert rows(frame, "step", "tasks", "open", "workers", *waits) == [
        ("load", 2, 0, 1, 150, 270, 330, 480),
        ("fetch", 5, 1, 1, 60, pytest.approx(96), 210, 270),
        ("draw", 1, 0, 0, None, None, None, 60),
    ]
    span = 2 * 24 * 60 + 5
    assert list(frame["waiting_share"][:2]) == pytest.approx([5 / 16, 4 / 18])
    assert list(frame["waiting_tasks"][:2]) == pytest.approx([5 / span, 4 / span])
    assert list(frame["working_tasks"][:2]) == pytest.approx([11 / span, 14 / span])


async def test_who_hands_over_to_whom(db: Database, tmp_path):
    """A worker who goes on is a pair as well, and nobody is left out because nobody knows who it was."""
    path = tmp_path / "log.csv"
    events = ["1,a,Ada,09:00", "1,b,Ben,10:00", "1,c,Ben,10:30", "2,a,Ada,09:00", "2,b,Ben,12:00", "2,c,,12:10"]
    path.write_text(
        "\n".join(
            [
                "case,activity,resource,timestamp",
                *(f"{','.join(row.split(',')[:3])},2024-03-04 {row[-5:]}" for row in events),
            ]
        )
    )
    await load_event_log(db, path)

    async with db.session(readonly=True) as session:
        frame = await WorkflowRepository(session, schema="log").handovers()

    assert rows(frame, "from_worker", "to_worker", "times", "share", "runs", "p50_seconds") == [
        ("Ada", "Ben", 2, 1, 2, 7200),
        ("Ben", "Ben", 1, 0.5, 1, 1800),
        ("Ben", None, 1, 0.5, 1, 600),
    ]


async def test_the_time_between_tasks_that_overlap_is_nought(db: Database, tmp_path):
    """They follow each other in the order in which they began."""
    path = tmp_path / "log.csv"
    events = ["1,b,2024-03-04 10:00,2024-03-04 11:00", "1,a,2024-03-04 09:00,2024-03-04 12:00"]
    path.write_text("\n".join(["case,activity,start_timestamp,timestamp", *events]))
    await load_event_log(db, path)

    async with db.session(readonly=True) as session:
        frame = await WorkflowRepository(session, schema="log").transitions()

    assert rows(frame.dropna(subset=["from_step", "to_step"]), "from_step", "to_step", "p50_seconds") == [("a", "b", 0)]


@pytest.mark.parametrize("question", few_of(QUESTIONS, 6))
async def test_an_answer_has_the_same_columns_and_dtypes_when_nothing_is_found(
    repository: WorkflowRepository, question: str
):
    full = await getattr(repository, question)()
    none = await getattr(repository, question)(workflow="no such")

    assert none.dtypes.to_dict() == full.dtypes.to_dict()
    assert len(none) == (168 if question == "busiest_hours" else 0)


@pytest.mark.parametrize(
    "moment",
    [date(2024, 3, 6), datetime(2024, 3, 6, 9), datetime(2024, 3, 6, 9, tzinfo=UTC)],
    ids=["date", "no time zone", "exactly when a run was queued"],
)
async def test_answers_can_be_limited_to_a_span_of_time(repository: WorkflowRepository, moment: date):
    """From its first moment on, up to before its last; in UTC, wherever the session is."""
    await repository.session.execute(text("set local timezone = 'Asia/Tokyo'"))

    assert rows(await repository.overview(since=moment), "workflow", "runs") == [("import", 2)]
    assert rows(await repository.overview(until=moment), "workflow", "runs") == [("import", 2), ("report", 1)]


async def test_a_text_is_no_day(repository: WorkflowRepository):
    with pytest.raises(TypeError, match=r"such as `date\(2024, 2, 1\)`; not '2024-02-01'\.$"):
        await repository.overview(since="2024-02-01")  # type: ignore[arg-type]


@pytest.mark.parametrize("question", ["retries", "flow"])
async def test_a_question_without_its_await_says_what_to_type(repository: WorkflowRepository, question: str):
    call = getattr(repository, question)()

    assert repr(call) == f"Nothing was read yet. Type: await WorkflowRepository(session).{question}(...)"


async def test_questions_answer_for_an_event_log_of_completions_only(db: Database, tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("case,activity,timestamp\n1,a,2024-03-04 09:00\n1,b,2024-03-04 10:00\n2,a,2024-03-04 09:30\n")
    await load_event_log(db, path)

    async with db.session(readonly=True) as session:
        repository = WorkflowRepository(session, schema="log")
        for question in QUESTIONS:
            await getattr(repository, question)()
        lost = await repository.time_lost()

    assert rows(lost, "step", "tasks", "elapsed_seconds", "share", "waiting_seconds") == [
        ("b", 1, 3600, 1, None),
        ("a", 2, 0, 0, None),
    ]
