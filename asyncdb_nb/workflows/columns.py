"""
Find out which column of an event log is which.

A column that is named by the caller is that column. The others are guessed from the header, and only from names that
mean one thing: first those of the XES standard (`case:concept:name`, `time:timestamp`, …), as they are; then those that
the usual tools write (`Case ID`, `Activity`, `Complete Timestamp`, …), where case, spaces and punctuation do not
matter. Two candidates for one role are a question, not a guess.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from asyncdb_nb.errors import EventLogError

_STANDARD = {
    "case": "case:concept:name",
    "activity": "concept:name",
    "timestamp": "time:timestamp",
    "resource": "org:resource",
    "start": "start_timestamp",  # pm4py's, beside the standard's names
    "lifecycle": "lifecycle:transition",
}
_USUAL = {
    "case": ("caseid", "case", "casename", "traceid"),
    "activity": ("activity", "activityname", "eventname"),
    "timestamp": ("timestamp", "completetimestamp", "completiontimestamp", "endtimestamp"),
    "resource": ("resource", "resourcename"),
    "start": ("starttimestamp",),
    "lifecycle": ("lifecycletransition", "lifecycle"),
}
_REQUIRED = ("case", "activity", "timestamp")
_RENAME = "Rename one in the file."


@dataclass(frozen=True)
class Columns:
    """
    Where each role is found: positions in a row, from 0. None where the log has no such column.

    Attributes:
        width: How many fields a row has.
        attributes: Names and positions of the columns that are kept as they are.
    """

    case: int
    activity: int
    timestamp: int
    resource: int | None
    start: int | None
    lifecycle: int | None
    cost: int | None
    attributes: tuple[tuple[str, int], ...]
    width: int


def find_columns(header: Sequence[str], named: Mapping[str, str | None], attributes: Iterable[str] = ()) -> Columns:
    """
    Match a header with the roles.

    Args:
        header: The names in the first row of the file.
        named: The column of each role, where the caller named it; "" where an optional role is to have none.
        attributes: Columns to be kept as they are.

    Raises:
        EventLogError: A named column is not there, a required one cannot be guessed, or a name occurs twice.
    """
    found = {role: _named(header, role, name) for role, name in named.items() if name}
    for role in _STANDARD:
        if named.get(role) is None:
            position = _guessed(header, role, set(found.values()))
            if position is not None:
                found[role] = position
    missing = [role for role in _REQUIRED if role not in found]
    if missing:
        raise EventLogError(f"An event log needs a column for {missing[0]}, and '' is none. {_listed(header)}")
    kept = tuple((name, _named(header, "attributes", name)) for name in attributes)
    return Columns(
        case=found["case"],
        activity=found["activity"],
        timestamp=found["timestamp"],
        resource=found.get("resource"),
        start=found.get("start"),
        lifecycle=found.get("lifecycle"),
        cost=found.get("cost"),
        attributes=kept,
        width=len(header),
    )


def _named(header: Sequence[str], role: str, name: str) -> int:
    positions = [position for position, column in enumerate(header) if column == name]
    if not positions:
        raise EventLogError(f"There is no column {name!r} for {role}. {_listed(header)}")
    if len(positions) > 1:
        raise EventLogError(
            f"The column {name!r}, for {role}, occurs {len(positions)} times. {_RENAME} {_listed(header)}"
        )
    return positions[0]


def _guessed(header: Sequence[str], role: str, taken: set[int]) -> int | None:
    free = [(position, column) for position, column in enumerate(header) if position not in taken]
    standard = [position for position, column in free if column == _STANDARD[role]]
    positions = standard or [position for position, column in free if _plain(column) in _USUAL[role]]
    if len(positions) == 1:
        return positions[0]
    if len({header[position] for position in positions}) == 1:
        name = header[positions[0]]
        raise EventLogError(
            f"The column {name!r}, for {role}, occurs {len(positions)} times. {_RENAME} {_listed(header)}"
        )
    if len(positions) > 1:
        candidates = ", ".join(repr(header[position]) for position in positions)
        raise EventLogError(f"Several columns may be the {role}: {candidates}. {_advice(role, header[positions[0]])}")
    if role in _REQUIRED:
        example = next((column for _, column in free if column), "")
        raise EventLogError(f"No column is known to be the {role}. {_advice(role, example)} {_listed(header)}")
    return None


def _plain(column: str) -> str:
    return re.sub(r"[^a-z0-9]", "", column.lower())


def _advice(role: str, example: str) -> str:
    return f"Name it: {role}={example!r} (on the command line, --{role} {example!r})."


def _listed(header: Sequence[str]) -> str:
    return f"The header has: {', '.join(map(repr, header))}."
