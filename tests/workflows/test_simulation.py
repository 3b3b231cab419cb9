"""The simulated history looks like life, and is the same each time."""

from __future__ import annotations

import hashlib
from collections import Counter
from itertools import pairwise
from statistics import mean, median

import pytest

from asyncdb_nb.workflows.models import Status
from asyncdb_nb.workflows.sample.simulation import History, Simulation

HOUR, DAY = 3600, 86_400


@pytest.fixture(scope="module")
def histories() -> list[History]:
    return list(Simulation(runs=3_000, workflows=30, seed=7).histories())


def attempts(histories: list[History]):
    return [attempt for history in histories for attempt in history.attempts]


def digest(histories: list[History]) -> str:
    lines = [
        f"{history.number} {history.plan.name} {history.status} "
        + ";".join(f"{a.step.name} {a.status} {a.queued:.3f} {a.worker} {a.error}" for a in history.attempts)
        for history in histories
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def test_the_same_seed_gives_the_same_history_on_every_machine():
    """The digest was taken once; a change here changes every lesson's outputs."""
    small = list(Simulation(runs=200, workflows=10, seed=1).histories())

    assert digest(small) == "2422be3d593c06f6"
    assert digest(list(Simulation(runs=200, workflows=10, seed=2).histories())) != "2422be3d593c06f6"


def test_every_run_that_arrived_is_told_of_once(histories: list[History]):
    assert sorted(history.number for history in histories) == list(range(3_000))
    assert 4 * 3_000 < len(attempts(histories)) < 7 * 3_000


def test_nights_and_weekends_are_quiet(histories: list[History]):
    by_hour = Counter(int(history.queued % DAY // HOUR) for history in histories)
    by_weekday = Counter(int(history.queued // DAY % 7) for history in histories)

    assert by_hour[9] > 10 * by_hour[3]
    assert by_weekday[1] > 3 * by_weekday[5]


def test_load_grows_over_the_weeks(histories: list[History]):
    by_week = Counter(int(history.queued // (7 * DAY)) for history in histories)

    assert by_week[7] > 1.2 * by_week[0]


def test_durations_have_a_long_tail(histories: list[History]):
    worked = [a.finished - a.started for a in attempts(histories) if a.finished and a.started]

    assert mean(worked) > 1.5 * median(worked)
    assert max(worked) > 30 * median(worked)


def test_work_waits_for_workers_and_most_of_all_for_people(histories: list[History]):
    waits = {"people": [], "io": []}
    for attempt in attempts(histories):
        if attempt.started is not None and attempt.step.crew in waits:
            waits[attempt.step.crew].append(attempt.started - attempt.queued)

    assert mean(waits["people"]) > 10 * mean(waits["io"]) > 0


def test_people_begin_work_in_office_hours_only(histories: list[History]):
    begun = [a.started for a in attempts(histories) if a.step.crew == "people" and a.started is not None]

    assert {int(moment // DAY % 7) for moment in begun} == {0, 1, 2, 3, 4}
    assert {int(moment % DAY // HOUR) for moment in begun} == set(range(8, 18))


def test_no_worker_does_two_things_at_once(histories: list[History]):
    by_worker: dict[str, list[tuple[float, float]]] = {}
    for attempt in attempts(histories):
        if attempt.worker and attempt.started is not None:
            by_worker.setdefault(attempt.worker, []).append((attempt.started, attempt.finished or float("inf")))

    assert len(by_worker) >= 6
    for spans in by_worker.values():
        spans.sort()
        assert all(end <= begin for (_, end), (begin, _) in pairwise(spans))


def test_what_fails_is_tried_again_and_some_of_it_fails_for_good(histories: list[History]):
    failed = [history for history in histories if history.status is Status.FAILED]
    recovered = [
        history
        for history in histories
        if history.status is Status.SUCCEEDED and any(a.status is Status.FAILED for a in history.attempts)
    ]

    assert 0.02 < len(failed) / len(histories) < 0.08
    assert len(recovered) > len(failed)
    assert all(history.attempts[-1].number == 3 and history.attempts[-1].error for history in failed)


def test_one_day_an_upstream_breaks_down(histories: list[History]):
    by_day = Counter(
        int(a.finished // DAY) for a in attempts(histories) if a.step.name == "enrich" and a.error and a.finished
    )

    assert by_day.most_common(1)[0][0] == 37


def test_the_history_ends_in_mid_work(histories: list[History]):
    ends = Counter(history.status for history in histories)

    assert ends[Status.RUNNING] + ends[Status.QUEUED] > 0
    assert ends[Status.CANCELLED] > 0
    assert all(history.finished is None for history in histories if history.status in ("running", "queued"))


@pytest.mark.parametrize("runs", [0, 1])
def test_a_tiny_company_works_too(runs: int):
    assert len(list(Simulation(runs=runs, workflows=1, seed=3).histories())) == runs
