"""The same tasks at once in the caller, in a worker's thread, and in worker processes of their own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery
from celery.contrib.testing.worker import start_worker
from reports import app, largest, squares

SECONDS = 240  # which only a worker that hangs needs


@pytest.fixture
def eager() -> Iterator[None]:
    app.conf.update(task_always_eager=True, task_eager_propagates=True)
    yield
    app.conf.update(task_always_eager=False, task_eager_propagates=False)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_task_is_run_by_its_caller(eager: None, number: int) -> None:
    assert squares.delay(number).get() == sum(n * n for n in range(number + 1))


def test_a_worker_runs_one_task_after_the_other() -> None:
    with start_worker(app, pool="solo", perform_ping_check=False, loglevel="ERROR"):
        results = [squares.delay(number).get(timeout=SECONDS) for number in (1, 2, 3)]
        most = largest.delay([1, 4, 2]).get(timeout=SECONDS)

    assert (results, most) == ([1, 5, 14], 30)


@pytest.mark.parametrize("pool", ["solo", "prefork"])
def test_worker_processes_run_one_task_after_the_other(pool: str, tmp_path: Path) -> None:
    """The broker is a folder, and so is where the results go."""
    for name in ("queue", "control", "results"):
        (tmp_path / name).mkdir()
    options = {"data_folder_in": f"{tmp_path}/queue", "data_folder_out": f"{tmp_path}/queue",
               "control_folder": f"{tmp_path}/control"}  # fmt: skip
    outside = Celery("reports", broker="filesystem://", backend=f"file://{tmp_path}/results")
    outside.conf.broker_transport_options = options
    (tmp_path / "worker.py").write_text(
        f"from reports import app\napp.conf.update(broker_url='filesystem://', result_backend='file://{tmp_path}/results',"
        f" broker_transport_options={options!r})\n"
    )
    command = [sys.executable, "-m", "celery", "-A", "worker", "worker", "-P", pool, "-c", "1", "-l", "ERROR"]
    folders = os.pathsep.join([str(tmp_path), str(Path(__file__).parent)])
    worker = subprocess.Popen(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": folders})
    try:
        sent = [outside.send_task("reports.squares", [number]) for number in (1, 2, 3)]
        assert [result.get(timeout=SECONDS) for result in sent] == [1, 5, 14]
    finally:
        worker.terminate()
        worker.wait(SECONDS)
