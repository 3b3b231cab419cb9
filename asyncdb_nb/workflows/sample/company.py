"""
What the sample company runs: its steps, the workers that do them, and the workflows made of them.

Plain data that the simulation reads. A step is done by one kind of worker; machines work round the clock, people only
in office hours, which is why work that waits for a person waits long.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from itertools import product
from math import exp
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Crew:
    """
    A kind of worker.

    Attributes:
        hourly: What an hour of work costs.
        load: The share of its time that a worker is busy, on average; the number of workers follows from it.
        office_hours: Whether work starts only from 8 to 18 o'clock (UTC) on weekdays.
        errors: Why its tasks fail, the commonest first.
    """

    hourly: float
    load: float
    errors: tuple[str, ...]
    office_hours: bool = False


@dataclass(frozen=True)
class Step:
    """
    One thing to be done.

    Attributes:
        name: What analysts see.
        crew: Who does it.
        median: The median time it takes, in seconds.
        spread: The sigma of the lognormal around it: 0.5 is steady, above 1 has a long tail.
        failing: How often an attempt fails, of 1.
    """

    name: str
    crew: str
    median: float
    spread: float
    failing: float


@dataclass(frozen=True)
class Plan:
    """A workflow of the sample: what it is called, who owns it, and the steps of a run."""

    name: str
    owner: str
    priority: int
    tags: list[str]
    steps: tuple[Step, ...]
    speed: float  # times every step's median
    flakiness: float  # times every step's `failing`


CREWS = {
    "io": Crew(
        hourly=0.35, load=0.35, errors=("connection reset by peer", "HTTP 503 from upstream", "timeout after 600 s")
    ),
    "cpu": Crew(hourly=0.9, load=0.42, errors=("out of memory", "schema mismatch", "division by zero")),
    "gpu": Crew(hourly=3.2, load=0.4, errors=("out of memory", "no device available")),
    "people": Crew(hourly=48.0, load=0.11, errors=("rejected by reviewer", "information missing"), office_hours=True),
}

STEPS = {
    step.name: step
    for step in (
        Step("fetch", "io", 180, 0.9, 0.03),
        Step("validate", "cpu", 120, 0.6, 0.02),
        Step("enrich", "io", 300, 1.2, 0.05),
        Step("transform", "cpu", 600, 1.0, 0.02),
        Step("score", "gpu", 840, 1.0, 0.03),
        Step("review", "people", 900, 0.7, 0.04),
        Step("reconcile", "cpu", 480, 0.8, 0.03),
        Step("load", "io", 240, 0.8, 0.02),
        Step("publish", "io", 90, 0.6, 0.01),
        Step("notify", "io", 8, 0.4, 0.004),
    )
}

OUTAGE_STEP = "enrich"  # its upstream breaks down once; see simulation.py
OUTAGE_ERROR = "HTTP 503 from upstream"

_SUBJECTS = (
    ("orders", "sales"),
    ("invoices", "finance"),
    ("customers", "marketing"),
    ("shipments", "logistics"),
    ("payments", "finance"),
    ("claims", "legal"),
    ("inventory", "logistics"),
    ("contracts", "legal"),
    ("payroll", "people"),
    ("tickets", "support"),
)
_KINDS = {
    "import": ("fetch", "validate", "transform", "load", "notify"),
    "report": ("fetch", "transform", "score", "publish", "notify"),
    "approval": ("fetch", "validate", "enrich", "review", "publish"),
}
_EXTRA_STEP = {"import": "enrich", "report": "reconcile", "approval": "score"}
_TAGS = ("critical", "gdpr", "legacy", "nightly", "sox")


def plans(count: int, rng: np.random.RandomState) -> list[Plan]:
    """Draw `count` workflows, no two of one name, the busiest first."""
    names = list(product(_KINDS, _SUBJECTS))
    order = rng.permutation(len(names))
    chosen = (names[order[number % len(names)]] for number in range(count))
    return [_plan(number, kind, subject, rng) for number, (kind, subject) in enumerate(chosen)]


def _plan(number: int, kind: str, subject: tuple[str, str], rng: np.random.RandomState) -> Plan:
    name, owner = subject
    generation = number // (len(_KINDS) * len(_SUBJECTS)) + 1
    steps = list(_KINDS[kind])
    if rng.random_sample() < 0.3:
        steps.insert(3, _EXTRA_STEP[kind])
    return Plan(
        name=f"{name}-{kind}" + (f"-v{generation}" if generation > 1 else ""),
        owner=owner,
        priority=bisect_left((0.1, 0.3, 0.7, 0.9), rng.random_sample()) + 1,
        tags=[kind, *(tag for tag in _TAGS if rng.random_sample() < 0.25)],
        steps=tuple(STEPS[step] for step in steps),
        speed=exp(rng.standard_normal() * 0.4),
        flakiness=exp(rng.standard_normal() * 0.7),
    )
