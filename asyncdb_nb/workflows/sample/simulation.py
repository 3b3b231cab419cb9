"""
A simulated company at work: runs arrive, wait for workers, take their time, fail and are tried again.

It is a queueing simulation in simulated time, without a clock, a thread or a database: the same seed gives the same
history, on any machine. What makes it look like life:

- runs arrive by the hour of the week (busy mornings, quiet nights and weekends), and load grows by half over the span;
- every crew has a fixed number of workers, so at busy hours work queues, the urgent first;
- times are lognormal: most tasks are quick, a few take very long;
- an attempt may fail and is tried again, up to three times, after a pause that doubles; then the run has failed;
- the upstream of one step breaks down for a day; some runs are cancelled while they wait;
- the history ends in mid-work: the last runs are still queued or running.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import ceil, exp, log
from typing import Any

import numpy as np

from asyncdb_nb.workflows.models import Status
from asyncdb_nb.workflows.sample.company import CREWS, OUTAGE_ERROR, OUTAGE_STEP, Plan, Step, plans

DAYS = 56

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86_400.0
_END = DAYS * _DAY
_BY_HOUR = (2, 1, 1, 1, 1, 2, 4, 7, 12, 15, 14, 12, 9, 11, 13, 12, 9, 7, 5, 4, 3, 3, 2, 2)
_BY_WEEKDAY = (1.15, 1.1, 1.0, 1.0, 0.9, 0.2, 0.15)
_GROWTH = 0.5
_OUTAGE = (37 * _DAY + 9 * _HOUR, 38 * _DAY + 3 * _HOUR)  # from a Wednesday morning into the night
_OUTAGE_FAILING = 0.85
_MAX_ATTEMPTS = 3
_FAILING_AGAIN = 0.5  # what failed once is likelier to fail again
_PAUSE = 60.0  # seconds before the second attempt, twice as long before the third
_CANCELLED = 0.012


@dataclass(slots=True)
class Attempt:
    """One task; times are seconds since midnight of the first Monday, None where it has not come to that."""

    step: Step
    number: int
    queued: float
    status: Status = Status.QUEUED
    started: float | None = None
    finished: float | None = None
    worker: str | None = None
    error: str | None = None


@dataclass(slots=True)
class History:
    """One run, as far as it has come; `number` counts runs by arrival, from 0."""

    number: int
    plan: Plan
    queued: float
    status: Status = Status.QUEUED
    finished: float | None = None
    attempts: list[Attempt] = field(default_factory=list)


class Simulation:
    """
    A company with so many workflows, and so many runs of them in `DAYS` days.

    Args:
        runs: How many runs arrive. The number of workers grows with it, so queues look alike at any size.
        workflows: How many workflows there are.
        seed: The same seed gives the same history.
    """

    def __init__(self, runs: int, workflows: int, seed: int) -> None:
        rng = np.random.RandomState(seed)  # its streams never change (NEP 19); those of default_rng may
        self.plans = plans(workflows, rng)
        choices = _choices(runs, workflows, rng)
        self._arrivals = zip(_arrivals(runs, rng), choices, strict=True)
        self._normal, self._uniform = _stream(rng.standard_normal), _stream(rng.random_sample)
        self._free = _workers(self.plans, choices)
        self._waiting: dict[str, list[tuple[int, float, int, History]]] = {crew: [] for crew in CREWS}
        self._agenda: list[tuple[float, int, Callable[..., None], Any]] = []
        self._entries = 0
        self._unfinished: dict[int, History] = {}
        self._ended: list[History] = []
        self._arrived = 0

    def histories(self) -> Iterator[History]:
        """Yield each run with its attempts: as they end, then the unfinished by arrival. Can be walked once."""
        self._expect_next()
        while self._agenda and self._agenda[0][0] < _END:
            now, _, happen, subject = heappop(self._agenda)
            happen(now, subject)
            yield from self._ended
            self._ended.clear()
        yield from self._unfinished.values()

    def _at(self, moment: float, happen: Callable[..., None], subject: Any) -> None:
        self._entries += 1  # decides between events of the same moment
        heappush(self._agenda, (round(moment, 3), self._entries, happen, subject))

    def _expect_next(self) -> None:
        for moment, choice in self._arrivals:
            self._at(moment, self._arrive, self.plans[choice])
            return

    def _arrive(self, now: float, plan: Plan) -> None:
        history = History(self._arrived, plan, now)
        self._arrived += 1
        self._unfinished[history.number] = history
        self._expect_next()
        if next(self._uniform) < _CANCELLED:
            history.attempts.append(Attempt(plan.steps[0], 1, now))
            self._at(now - log(1 - next(self._uniform)) * 20 * _MINUTE, self._cancel, history)
        else:
            self._queue(now, history)

    def _cancel(self, now: float, history: History) -> None:
        attempt = history.attempts[-1]
        attempt.status, attempt.finished = Status.CANCELLED, now
        self._end(now, history, Status.CANCELLED)

    def _queue(self, now: float, history: History) -> None:
        """Let a run wait for a worker: for its first step, the next one, or the same again after a failure."""
        last = history.attempts[-1] if history.attempts else None
        if last is None:
            attempt = Attempt(history.plan.steps[0], 1, now)
        elif last.status is Status.FAILED:
            attempt = Attempt(last.step, last.number + 1, now)
        else:
            done = sum(each.status is Status.SUCCEEDED for each in history.attempts)
            attempt = Attempt(history.plan.steps[done], 1, now)
        history.attempts.append(attempt)
        crew = attempt.step.crew
        heappush(self._waiting[crew], (history.plan.priority, now, history.number, history))
        self._hand_out(now, crew)

    def _hand_out(self, now: float, crew: str) -> None:
        """Give waiting work to free workers: the urgent first, then the oldest."""
        opens = _opening(now) if CREWS[crew].office_hours else now
        if opens > now:
            self._at(opens, self._hand_out, crew)
            return
        while self._waiting[crew] and self._free[crew]:
            *_, history = heappop(self._waiting[crew])
            attempt = history.attempts[-1]
            attempt.status, attempt.started, attempt.worker = Status.RUNNING, now, heappop(self._free[crew])
            history.status = Status.RUNNING
            seconds = attempt.step.median * history.plan.speed * exp(attempt.step.spread * next(self._normal))
            self._at(now + max(seconds, 0.05), self._finish, history)

    def _finish(self, now: float, history: History) -> None:
        attempt, plan = history.attempts[-1], history.plan
        attempt.finished, attempt.error = now, self._failure(now, attempt, plan.flakiness)
        attempt.status = Status.FAILED if attempt.error else Status.SUCCEEDED
        heappush(self._free[attempt.step.crew], attempt.worker or "")
        if attempt.error and attempt.number == _MAX_ATTEMPTS:
            self._end(now, history, Status.FAILED)
        elif attempt.error:
            self._at(now + _PAUSE * 2 ** (attempt.number - 1), self._queue, history)
        elif sum(each.status is Status.SUCCEEDED for each in history.attempts) == len(plan.steps):
            self._end(now, history, Status.SUCCEEDED)
        else:
            self._queue(now, history)
        self._hand_out(now, attempt.step.crew)

    def _failure(self, now: float, attempt: Attempt, flakiness: float) -> str | None:
        """Why this attempt fails, if it does."""
        step = attempt.step
        failing = step.failing * flakiness if attempt.number == 1 else _FAILING_AGAIN
        chance, which = next(self._uniform), next(self._uniform)
        if step.name == OUTAGE_STEP and _OUTAGE[0] <= now < _OUTAGE[1] and chance < _OUTAGE_FAILING:
            return OUTAGE_ERROR
        errors = CREWS[step.crew].errors
        return errors[int(which**2 * len(errors))] if chance < failing else None

    def _end(self, now: float, history: History, status: Status) -> None:
        history.status, history.finished = status, now
        self._ended.append(self._unfinished.pop(history.number))


def _arrivals(runs: int, rng: np.random.RandomState) -> list[float]:
    """Draw when runs arrive, in seconds since the first midnight, ascending."""
    hours = np.arange(DAYS * 24)
    weight = np.array(_BY_HOUR)[hours % 24] * np.array(_BY_WEEKDAY)[hours // 24 % 7]
    growing = np.cumsum(weight * (1 + _GROWTH * hours / len(hours)))
    share = np.concatenate(([0.0], growing / growing[-1]))
    drawn = np.interp(np.sort(rng.random_sample(runs)), share, np.arange(len(share)) * _HOUR)
    arrivals: list[float] = np.minimum(drawn, _END - 0.001).tolist()
    return arrivals


def _choices(runs: int, workflows: int, rng: np.random.RandomState) -> list[int]:
    """Draw which workflow each run is of: a few run all the time, most now and then."""
    popularity = np.cumsum(1.0 / np.arange(1, workflows + 1) ** 0.7)
    choices: list[int] = np.searchsorted(popularity / popularity[-1], rng.random_sample(runs)).tolist()
    return choices


def _workers(known: list[Plan], choices: list[int]) -> dict[str, list[str]]:
    """Name the workers of each crew, so many that it is as busy as its `load` says."""
    seconds = dict.fromkeys(CREWS, 0.0)
    for choice, times in sorted(Counter(choices).items()):
        for step in known[choice].steps:
            seconds[step.crew] += times * step.median * known[choice].speed * exp(step.spread**2 / 2)
    counts = {crew: max(1, ceil(seconds[crew] / (_END * CREWS[crew].load))) for crew in CREWS}
    return {
        crew: [f"{crew}-{number:0{len(str(count))}}" for number in range(1, count + 1)]
        for crew, count in counts.items()
    }


def _opening(now: float) -> float:
    """The next moment at which people begin work: now, or 8 o'clock of the next weekday."""
    day, second = divmod(now, _DAY)
    if second < 8 * _HOUR and day % 7 < 5:
        return day * _DAY + 8 * _HOUR
    if second < 18 * _HOUR and day % 7 < 5:
        return now
    days_ahead = {4: 3, 5: 2}.get(int(day % 7), 1)
    return (day + days_ahead) * _DAY + 8 * _HOUR


def _stream(draw: Callable[[int], Any]) -> Iterator[float]:
    """Draw one number at a time, at numpy's speed."""
    while True:
        yield from draw(16_384).tolist()
