"""
Find out which column of an event log is which.

A column that is named by the caller is that column. The others are guessed from the header, and only from names that
mean one thing: first those of the XES standard (`case:concept:name`, `time:timestamp`, …), as they are; then those that
the usual tools write (`Case ID`, `Activity`, `Complete Timestamp`, …), where case, spaces and punctuation do not
matter. Two candidates for one role are a question, not a guess.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from asyncdb_nb.errors import EventLogError
from asyncdb_nb.workflows.event_log.proposal import NOTHING, Proposal
from asyncdb_nb.workflows.event_log.time_format_proposals import forms_of
from asyncdb_nb.workflows.event_log.unreadable import cut
from asyncdb_nb.workflows.event_log.vocabulary import plain

ROLES = ("case", "activity", "timestamp", "resource", "start", "lifecycle", "status", "cost")
REQUIRED = ("case", "activity", "timestamp")
IN_TWO = ("timestamp", "start")
"""Roles that may have several columns: the date in one and the time in the next."""

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
_RENAME = "Rename one in the file."


@dataclass(frozen=True)
class Columns:
    """
    Where each role is found: positions in a row, from 0. None where the log has no such column.

    Attributes:
        timestamp: One position, or several whose values are joined by a space.
        start: Likewise; none where the log has no such column.
        width: How many fields a row has.
        attributes: Names and positions of the columns that are kept as they are.
    """

    case: int
    activity: int
    timestamp: tuple[int, ...]
    resource: int | None
    start: tuple[int, ...]
    lifecycle: int | None
    status: int | None
    cost: int | None
    attributes: tuple[tuple[str, int], ...]
    width: int

    @property
    def paired(self) -> bool:
        """Whether starts and completions may be rows of their own."""
        return self.lifecycle is not None or (self.status is not None and not self.start)

    def named(self, header: Sequence[str]) -> dict[str, str]:
        """Name the columns that were found, by role; of several for one role, with a `+` between them."""
        positions = ((role, getattr(self, role)) for role in ROLES)
        found = ((role, at if isinstance(at, tuple) else (at,)) for role, at in positions if at is not None)
        return {role: " + ".join(header[each] for each in at) for role, at in found if at}


def find_columns(
    header: Sequence[str],
    named: Mapping[str, str | Sequence[str] | None],
    attributes: Iterable[str] = (),
    proposal: Proposal = NOTHING,
) -> Columns:
    """
    Match a header with the roles.

    Args:
        header: The names in the first row of the file.
        named: The column of each role, where the caller named it; "" where an optional role is to have none.
        attributes: Columns to be kept as they are.
        proposal: What to propose where a required column cannot be guessed.

    Raises:
        EventLogError: A named column is not there, a required one cannot be guessed, or a name occurs twice.
    """
    found = {role: _all_named(header, role, names) for role, names in named.items() if names}
    for role in _STANDARD:
        if named.get(role) is None:
            position = _guessed(header, role, {each for positions in found.values() for each in positions})
            if position is not None:
                found[role] = (position,)
    missing = [role for role in REQUIRED if role not in found]
    if missing:
        _refuse_missing(header, missing, named, proposal)
    single: dict[str, Any] = {role: found.get(role, (None,))[0] for role in ROLES if role not in IN_TWO}
    kept = tuple((name, _named(header, "attributes", name)) for name in attributes)
    return Columns(
        **single, timestamp=found["timestamp"], start=found.get("start", ()), attributes=kept, width=len(header)
    )


def _refuse_missing(
    header: Sequence[str], missing: Sequence[str], named: Mapping[str, Any], proposal: Proposal
) -> NoReturn:
    role = next((role for role in missing if role not in proposal.options), missing[0])
    if named.get(role) is not None:
        problem = f"An event log needs a column for {role}, and '' is none. {_listed(header)}"
        raise EventLogError(problem, proposal.options)
    if data := [name for name in header if not name.isdigit() and forms_of([name])]:
        raise EventLogError(
            f"The first row looks like data: {cut(data[0])} is a time, and no name of a column. {_listed(header)} "
            "Write the names of the columns into a line before it, such as: case,activity,timestamp"
        )
    if len(header) == 1:
        quoted = " Quotes before and after the whole line make it one: take them away." if "," in header[0] else ""
        raise EventLogError(f"The header is one column, {cut(header[0])}, and an event log needs three.{quoted}")
    problem = f"No column is known to be the {role}. {_listed(header)}"
    raise EventLogError(f"{problem}{proposal.remark}", proposal.options if role in proposal.options else {})


def _all_named(header: Sequence[str], role: str, names: str | Sequence[str]) -> tuple[int, ...]:
    names = [names] if isinstance(names, str) else names
    if len(names) > 1 and role not in IN_TWO:
        raise EventLogError(f"One column is the {role}, not {', '.join(map(repr, names))}.")
    return tuple(_named(header, role, name) for name in names)


def _named(header: Sequence[str], role: str, name: str) -> int:
    positions = [position for position, column in enumerate(header) if column == name.strip()]
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
    positions = standard or [position for position, column in free if plain(column) in _USUAL[role]]
    if len({header[position] for position in positions}) > 1:
        candidates = ", ".join(repr(header[position]) for position in positions)
        raise EventLogError(f"Several columns may be the {role}: {candidates}.", {role: header[positions[0]]})
    if len(positions) > 1:
        name = header[positions[0]]
        raise EventLogError(
            f"The column {name!r}, for {role}, occurs {len(positions)} times. {_RENAME} {_listed(header)}"
        )
    return positions[0] if positions else None


def _listed(header: Sequence[str]) -> str:
    return f"The header has: {', '.join(map(repr, header))}."
