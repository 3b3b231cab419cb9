"""
What follows what, and the paths of runs, equal by value what pm4py discovers from the same log.

pm4py's licence is the AGPL, so it is no dependency: it runs in a process and an environment of its own, whose Python
`PM4PY_PYTHON` names. `EVENT_LOGS` names a folder with further logs in CSV, of one event a task, whose columns have the
names that pm4py gives them.
"""

from __future__ import annotations

import asyncio
import csv
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import text

from asyncdb_nb import Database
from asyncdb_nb.workflows import WorkflowRepository, load_event_log, seed_workflows

PYTHON = os.environ.get("PM4PY_PYTHON") or (sys.executable if find_spec("pm4py") else None)
FOLDER = os.environ.get("EVENT_LOGS")
LOGS = sorted(Path(FOLDER).glob("*.csv")) if FOLDER else []
COLUMNS = ("case:concept:name", "concept:name", "time:timestamp")
MONDAY = datetime(2024, 3, 4, 9, tzinfo=UTC)
DISCOVER = """
import json, sys, pandas, pm4py
log = pandas.read_csv(sys.argv[1], dtype={"case:concept:name": str, "concept:name": str}, keep_default_na=False)
log = log[["case:concept:name", "concept:name", "time:timestamp"]]
log["time:timestamp"] = pandas.to_datetime(log["time:timestamp"], utc=True, format="ISO8601")
log = pm4py.format_dataframe(log)
pairs, begins, ends = pm4py.discover_dfg(log)
medians = pm4py.discover_performance_dfg(log, perf_aggregation_key="median")[0]
print(json.dumps({
    "pairs": [[*pair, int(times)] for pair, times in pairs.items()],
    "begins": {step: int(times) for step, times in begins.items()},
    "ends": {step: int(times) for step, times in ends.items()},
    "variants": [[list(path), int(runs)] for path, runs in pm4py.get_variants(log).items()],
    "medians": [[*pair, float(seconds)] for pair, seconds in medians.items()],
}))
"""

pytestmark = [
    pytest.mark.second_tier,
    pytest.mark.skipif(PYTHON is None, reason="pm4py (AGPL, so no dependency) is missing: PM4PY_PYTHON names one"),
]


def loops(draw: random.Random) -> Iterator[list[str]]:
    """Steps that come again at once, after one other, and after many."""
    for _ in range(200):
        path = ["receive", "check"]
        while draw.random() < 0.5:
            path += draw.choice([["check"], ["ask", "check"], ["ask", "ask", "wait", "receive", "check"]])
        yield [*path, draw.choice(["grant", "refuse"])]


def unlike(draw: random.Random) -> Iterator[list[str]]:
    """Hardly two runs of forty steps alike, with names that are hard to tell apart or to quote."""
    steps = [f"step {i}" for i in range(34)] + ["a → b", "it's", '"quoted"', "Step 1", "ß, ü"]
    for _ in range(150):
        yield draw.choices(steps, k=draw.randint(1, 25))


@pytest.fixture(params=["loops", "unlike", "ties"])
def generated(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A log whose events lie between each other, with several at the same moment among the ties."""
    draw = random.Random(18)
    paths = list(unlike(draw) if request.param == "unlike" else loops(draw))
    longest = timedelta(seconds=3) if request.param == "ties" else timedelta(days=2)
    events = []
    for case, path in enumerate(paths):
        at = MONDAY + timedelta(minutes=case)
        for step in path:
            at += timedelta(seconds=draw.randrange(0 if request.param == "ties" else 1, int(longest.total_seconds())))
            events.append((f"case {case}", step, at.isoformat()))
    if request.param != "ties":
        draw.shuffle(events)
    return written(tmp_path / "generated.csv", events)


def written(path: Path, events: list[tuple[Any, ...]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([COLUMNS, *events])
    return path


async def assert_equal(repository: WorkflowRepository, path: Path, medians: bool = True) -> None:
    """Compare what the server counts with what pm4py discovers in a file."""
    command = [str(PYTHON), "-c", DISCOVER, path]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    theirs = json.loads(done.stdout.strip().splitlines()[-1])
    flow, variants = (await repository.flow()).frame(), await repository.variants()
    inner = flow.dropna(subset=["from_step", "to_step"])
    begins, ends = flow[flow["from_step"].isna()], flow[flow["to_step"].isna()]

    assert counted(inner, "from_step", "to_step", "times") == {(a, b): times for a, b, times in theirs["pairs"]}
    assert counted(begins, "to_step", "times") == {(step,): times for step, times in theirs["begins"].items()}
    assert counted(ends, "from_step", "times") == {(step,): times for step, times in theirs["ends"].items()}
    ours = dict(zip(map(tuple, variants["path"]), variants["runs"], strict=True))
    assert ours == {tuple(path): runs for path, runs in theirs["variants"]}
    if medians:
        seconds = {(a, b): pytest.approx(seconds, abs=1e-5) for a, b, seconds in theirs["medians"]}
        assert counted(inner, "from_step", "to_step", "p50_seconds") == seconds


def counted(frame: pd.DataFrame, *columns: str) -> dict[tuple[str, ...], Any]:
    return {row[:-1]: row[-1] for row in frame[list(columns)].itertuples(index=False, name=None)}


async def assert_equal_when_loaded(db: Database, path: Path) -> None:
    names = dict(zip(("case", "activity", "timestamp"), COLUMNS, strict=True))
    log = await load_event_log(db, path, name="log", **names)
    async with db.session(readonly=True) as session:
        await assert_equal(WorkflowRepository(session, schema=log.schema), path)


async def test_a_generated_log(db: Database, generated: Path):
    """Loops, forty steps, and events at the same moment, which follow each other as the lines of the log do."""
    await assert_equal_when_loaded(db, generated)


async def test_the_sample(db: Database, tmp_path: Path):
    """Its finished runs, by the moments at which tasks began; the file knows no ends, so medians are not compared."""
    await seed_workflows(db, runs=400, seed=3)
    async with db.session() as session:
        await session.execute(text("delete from workflows.run where finished_at is null"))
        began = "coalesce(task.started_at, task.finished_at)"
        events = await session.execute(text(f"select run_id, step, {began} from workflows.task order by 1, 3"))
        path = written(tmp_path / "sample.csv", [(case, step, at.isoformat()) for case, step, at in events])
        await assert_equal(WorkflowRepository(session), path, medians=False)


@pytest.mark.parametrize("path", LOGS, ids=lambda path: path.stem)
async def test_a_log_of_the_folder(db: Database, path: Path):
    """Public logs, which this project does not pass on."""
    await assert_equal_when_loaded(db, path)
