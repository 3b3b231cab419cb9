"""An arrow of a flow, and how its time is written."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Arrow:
    """One step that follows another directly; None stands for the begin and the end of runs."""

    source: str | None
    target: str | None
    times: int
    median: float | None
    coverage: float


def duration(seconds: float) -> str:
    """Write seconds as people say them: `45 s`, `12 min`, `3.4 h`, `2.1 d`."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            value = seconds / size
            return f"{value:,.0f} {unit}" if value >= 10 or unit == "min" else f"{value:.1f} {unit}"
    return f"{seconds:.0f} s"
