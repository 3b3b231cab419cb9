"""Write a profile as text: a line for each column, `~` before what comes from a sample."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from asyncdb_nb.explore.profile_figures import ColumnProfile, Figures

HEADS = ("column", "type", "missing", "distinct", "min", "median", "max", "mean", "most frequent")
TO_THE_RIGHT = {"missing", "distinct", "mean"}
_WIDEST = 24  # characters of a value
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def text_of(profile: Figures) -> str:
    """Write a profile."""
    cells = [list(HEADS), *(cells_of(column) for column in profile.columns)]
    widths = [max(len(row[place]) for row in cells) for place in range(len(HEADS))]
    lines = [title_of(profile)]
    for row in cells if profile.columns else ():
        aligned = (
            cell.rjust(width) if head in TO_THE_RIGHT else cell.ljust(width)
            for cell, width, head in zip(row, widths, HEADS, strict=True)
        )
        lines.append("  ".join(aligned).rstrip())
    return "\n".join([*lines, *notes_of(profile)])


def title_of(profile: Figures) -> str:
    """Say what was profiled."""
    what = profile.kind if profile.kind == profile.title else f"{profile.kind} {profile.title}"
    return f"{what}: {profile.rows:,} rows, {len(profile.columns)} columns"


def notes_of(profile: Figures) -> list[str]:
    """Say what is not exact, and what could not be read."""
    notes = [f"~ from a sample: {profile.sample}." if profile.sample else "Every figure is exact."]
    if hidden := [column.column for column in profile.columns if column.present is None]:
        notes.append(f"You may not read: {', '.join(hidden)}.")
    return notes


def cells_of(column: ColumnProfile) -> list[str]:
    """Write the figures of a column, in the order of `HEADS`."""
    if column.present is None:
        return [shown(column.column), column.type, *[""] * (len(HEADS) - 2)]
    present = column.present
    missing = "" if not column.missing else percent(column.missing / (column.rows or 1))
    top = ", ".join(f"{shown(value)} {percent(share)}" for value, share in (column.top or ())[:2] if _repeats(column))
    mean = "" if column.mean is None else number(column.mean)
    written = {
        "column": shown(column.column),
        "type": column.type,
        "missing": missing,
        "distinct": f"{column.distinct:,}" if column.distinct is not None else "",
        "min": _value(column.min),
        "median": _value(column.median),
        "max": _value(column.max),
        "mean": mean,
        "most frequent": top or _instead(column, present),
    }
    figures = {**dict.fromkeys(HEADS, ""), "distinct": "distinct", "median": "median", "most frequent": "top"}
    if not present:
        return list(written.values())
    return [
        f"~{written[head]}" if written[head] and figures[head] and column.is_sampled(figures[head]) else written[head]
        for head in HEADS
    ]


def shown(value: Any) -> str:
    """Write a value in a few characters and one line."""
    if isinstance(value, datetime):
        text = value.strftime("%Y-%m-%d %H:%M:%S") if value.second or value.microsecond else f"{value:%Y-%m-%d %H:%M}"
        text = text.removesuffix(" 00:00")
    elif isinstance(value, bool) or value is None:
        text = str(value).lower()
    elif isinstance(value, int | float | Decimal):
        text = number(value)
    else:
        text = "".join(letter if letter.isprintable() else "·" for letter in str(value))
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"


def number(value: float | Decimal) -> str:
    """Write a number with four figures at least, and an integer whole."""
    if isinstance(value, int):
        return f"{value:,}" if abs(value) < 10**15 else f"{value:.3e}"
    if value != value or value in (float("inf"), float("-inf")):
        return str(value)
    size: Any = abs(value)
    if size != 0 and (size >= 10**15 or size < Decimal("0.0001")):
        return f"{value:.3e}"
    return f"{value:,.0f}" if size >= 10_000 else f"{value:,.4g}"


def percent(share: float) -> str:
    """Write a share."""
    if share in (0, 1):
        return f"{share:.0%}"
    return "<0.1%" if share < 0.001 else ">99.9%" if share > 0.999 else f"{100 * share:.1f}%"


def duration(seconds: float) -> str:
    """Write a time in the unit that suits it."""
    for unit, size in (("days", _DAY), ("h", _HOUR), ("min", _MINUTE)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:,.3g} s"


def _value(value: Any) -> str:
    return "" if value is None else shown(value)


def _repeats(column: ColumnProfile) -> bool:
    """Say whether the most frequent value says something: it comes more than once."""
    return bool(column.top) and column.distinct is not None and column.distinct < (column.present or 0)


def _instead(column: ColumnProfile, present: int) -> str:
    """Say something of a column in which no value comes twice."""
    if not present:
        return "all missing" if column.rows else ""
    if column.keys:
        return "keys: " + ", ".join(key for key, _ in column.keys[:4])
    return "each once"
