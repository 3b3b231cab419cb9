"""
Turn the records of an event log into checked events.

Everything that can be wrong with a row is found here, before the server sees it, so that the error can name the line.
Nothing is repaired: a row that is not clear is refused, or left out where the caller says so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from asyncdb_nb.errors import MalformedRowError
from asyncdb_nb.workflows.event_log.columns import Columns
from asyncdb_nb.workflows.event_log.csv_reader import Record, remedy_for
from asyncdb_nb.workflows.event_log.decimals import Decimals
from asyncdb_nb.workflows.event_log.time_format_proposals import ISO, choice, forms_of
from asyncdb_nb.workflows.event_log.time_reading import EPOCHS, Times
from asyncdb_nb.workflows.event_log.unreadable import UnreadableError, cut
from asyncdb_nb.workflows.event_log.vocabulary import (
    ABORT,
    COMPLETE,
    FAIL,
    IGNORE,
    START,
    Words,
    is_end_of_day,
    is_no_count,
    maybe_missing,
)

Event = tuple[int, str, str, str | None, str | None, str, str | None, str | None, str | None, str | None]
"""Line, case, activity, timestamp, start, phase, error, resource, cost, attributes as JSON."""

FIELDS = ("line", "case_id", "step", "at", "start_at", "phase", "error", "worker", "cost", "context")

_MOST_COST = Decimal(10) ** 8  # what numeric(12, 4) takes
_LONGEST_NAME = 500  # characters; the indexes take no more than 2,700 bytes


@dataclass(frozen=True)
class Reading:
    """
    What the caller says about the values of a log; see `load_event_log`.

    Attributes:
        times: How times are read.
        decimals: How costs are read.
        failed: Activities that mean that something has failed.
        meanings: Words of transitions and statuses, and what they mean.
        missing: Words for missing values; others that often are one are refused, unless it is empty or has "" in it.
    """

    times: Times = field(default_factory=Times)
    decimals: Decimals = field(default_factory=Decimals)
    failed: Collection[str] = ()
    meanings: Mapping[str, str] = field(default_factory=dict)
    missing: Collection[str] | None = None


class Parser:
    """
    What one log's rows mean.

    Args:
        file: Its name, for the errors.
        header: The names of its columns.
        columns: Where each role is found.
        reading: What the caller says about the values.
        sample: The first records: what a number or a word means may be seen there.
        bad_rows: A name for a file of bad rows, which the errors propose.
    """

    def __init__(
        self,
        file: str,
        header: Sequence[str],
        columns: Columns,
        reading: Reading,
        sample: Sequence[Record] = (),
        bad_rows: str | None = None,
    ) -> None:
        self._file, self._header, self._columns, self._reading, self._bad_rows = (
            file,
            header,
            columns,
            reading,
            bad_rows,
        )
        self._rows = [record.fields for record in sample if len(record.fields) == len(header)]
        self._no_time = frozenset(reading.missing or ()) | {""}
        has_counts = reading.times.form in EPOCHS  # of which 0 may be none, where a cost of 0 is one
        self._missing = frozenset(word for word in self._no_time if not (has_counts and is_no_count(word)))
        self._failed = frozenset(reading.failed)
        self._unseen = set(reading.failed)
        self._lifecycle = Words("lifecycle", reading.meanings, self._sampled(columns.lifecycle))
        self._status = Words("status", reading.meanings, self._sampled(columns.status))
        for value in self._sampled(columns.cost):
            reading.decimals.learn(value)

    @property
    def unseen_activities(self) -> list[str]:
        """Activities of `failed` that have not occurred."""
        return sorted(self._unseen)

    @property
    def unseen_words(self) -> list[str]:
        """Words of `meanings` that have not occurred."""
        return sorted(self._lifecycle.unseen & self._status.unseen)

    def events(
        self, records: Iterable[Record], set_aside: Callable[[Record, UnreadableError], None] | None = None
    ) -> Iterator[Event]:
        """
        Yield the event of each record, in the order of the file.

        Args:
            records: The records of the file.
            set_aside: What to do with a record that cannot be read, and the reason why; if None, that is an error.

        Raises:
            MalformedRowError: A record cannot be read.
        """
        for record in records:
            try:
                event = self._event(record)
            except UnreadableError as error:
                if set_aside is None:
                    raise MalformedRowError(
                        self._file, record.line, error.reason, error.options, self._bad_rows
                    ) from None  # the same, in other words
                set_aside(record, error)
            else:
                yield event

    def _event(self, record: Record) -> Event:
        fields, columns = record.fields, self._columns
        if record.fault:
            raise UnreadableError(record.fault, remedy_for(record.fault))
        if len(fields) != columns.width:
            raise UnreadableError(f"it has {len(fields)} fields and the header has {columns.width}.")
        case, activity = self._name(fields, columns.case, "case"), self._name(fields, columns.activity, "activity")
        said, word = self._said(fields)
        at, start, phase = self._span(fields, said)
        error = {FAIL: word, ABORT: "aborted"}.get(phase)
        if activity in self._failed and phase == COMPLETE:
            phase, error = FAIL, activity
        self._unseen.discard(activity)
        return (
            record.line,
            case,
            activity,
            at.isoformat() if at else None,
            start.isoformat() if start else None,
            phase,
            error,
            self._value(fields, columns.resource),
            self._cost(fields),
            self._attributes(fields),
        )

    def _name(self, fields: Sequence[str], position: int, role: str) -> str:
        value = self._value(fields, position)
        if value is None:
            raise UnreadableError(f"the {role} is missing.")
        if len(value) > _LONGEST_NAME:
            raise UnreadableError(f"the {role} is longer than {_LONGEST_NAME} characters.")
        return value

    def _value(self, fields: Sequence[str], position: int | None) -> str | None:
        """Give a field without the spaces around it; None where it is missing, or there is no such column."""
        if position is None or (value := fields[position].strip()) in self._missing:
            return None
        if self._perhaps(value):
            raise self._perhaps_missing(f"{self._header[position]!r} is {cut(value)}", value)
        return value

    def _perhaps(self, value: str) -> bool:
        """Say whether to ask if a value stands for a missing one: not once it was said that no others do."""
        return maybe_missing(value) and self._asks

    @property
    def _asks(self) -> bool:
        told = self._reading.missing
        return told is None or (bool(told) and "" not in told)

    def _perhaps_missing(self, what: str, *words: str) -> UnreadableError:
        otherwise = "give missing a '' as well" if self._reading.missing else "let missing be ''"
        return UnreadableError(
            f"{what}, which may stand for a missing value. If it does (if it does not, {otherwise}):",
            {"missing": self._missing_words(*words)},
        )

    def _said(self, fields: Sequence[str]) -> tuple[str | None, str | None]:
        """What lifecycle and status say of the task, and the word for it; None where they say nothing."""
        transition = self._word(fields, self._columns.lifecycle, self._lifecycle)
        if self._columns.lifecycle is not None and transition[0] is None:
            raise UnreadableError("the lifecycle is missing.")
        status = self._word(fields, self._columns.status, self._status)
        return status if status[0] is not None and transition[0] in (None, COMPLETE) else transition

    def _word(self, fields: Sequence[str], position: int | None, words: Words) -> tuple[str | None, str | None]:
        if position is None or (word := fields[position].strip()) in self._missing:
            return None, None
        try:
            return words.meaning(word), word
        except UnreadableError as error:
            if position == self._columns.status and self._perhaps(word):
                raise self._perhaps_missing(f"{self._header[position]!r} is {cut(word)}", word) from error
            raise UnreadableError(f"{self._header[position]!r} {cut(word)} {error.reason}", error.options) from error

    def _span(self, fields: Sequence[str], said: str | None) -> tuple[datetime | None, datetime | None, str]:
        """Completion, start and phase. An end that is still open makes the row one that tells of a start."""
        if said == IGNORE:
            return None, None, IGNORE
        columns = self._columns
        at, start = self._time(fields, columns.timestamp), self._time(fields, columns.start)
        if at is None and start is None:
            raise UnreadableError(f"{self._names(columns.timestamp)} is missing.")
        if at and start and start > at:
            raise UnreadableError(f"it starts at {start} and ends before, at {at}.")
        if at is None:
            if said not in (None, START):
                raise UnreadableError(f"it has ended, and {self._names(columns.timestamp)} is missing.")
            return start, None, START
        if said == START and columns.start and columns.lifecycle is None:
            raise UnreadableError(f"it is still running, and {self._names(columns.timestamp)} says that it has ended.")
        return at, start, said or COMPLETE

    def _time(self, fields: Sequence[str], positions: tuple[int, ...]) -> datetime | None:
        parts = [fields[position].strip() for position in positions]
        present = [part for part in parts if part not in self._no_time]
        if not present or (parts[0] not in present and all(map(is_end_of_day, present))):
            return None
        if len(present) < len(parts):
            raise UnreadableError(f"of {self._names(positions)}, one is missing.")
        value = " ".join(parts)
        perhaps = list(filter(self._perhaps, parts))
        if self._reading.times.form in EPOCHS and self._asks and is_no_count(value):
            perhaps = [value]
        if perhaps:
            raise self._perhaps_missing(f"{self._names(positions)} is {cut(value)}", *perhaps)
        try:
            return self._reading.times.read(value)
        except UnreadableError as error:
            advice, options = "", error.options
            if error.reason.startswith("is not"):
                advice, options = self._other_form()
            raise UnreadableError(f"{self._names(positions)} {cut(value)} {error.reason}{advice}", options) from error

    def _other_form(self) -> tuple[str, dict[str, Any]]:
        """Propose another form of times where something is none."""
        columns = [positions for positions in (self._columns.timestamp, self._columns.start) if positions]
        sampled = ([row[position].strip() for position in positions] for row in self._rows for positions in columns)
        forms = forms_of(" ".join(each) for each in sampled if self._no_time.isdisjoint(each))
        if not forms or {ISO, self._reading.times.form} & set(forms):
            return "", {}
        return choice(forms), {"timestamp_format": forms[0]}

    def _missing_words(self, *words: str) -> list[str]:
        """Name the words that may stand for missing values, in all columns that count, and these."""
        roles = vars(self._columns)
        single = [roles[role] for role in ("case", "activity", "resource", "lifecycle", "status", "cost")]
        positions = [*(at for at in single if at is not None), *self._columns.timestamp, *self._columns.start]
        sampled = (row[at].strip() for row in self._rows for at in positions)
        told = self._reading.missing or ()
        return list(dict.fromkeys([*told, *filter(maybe_missing, sampled), *words]))

    def _cost(self, fields: Sequence[str]) -> str | None:
        position = self._columns.cost
        if position is None or (value := fields[position].strip()) in self._missing:
            return None
        try:
            cost = self._reading.decimals.read(value)
        except UnreadableError as error:
            options = {"missing": self._missing_words(value)} if self._perhaps(value) else error.options
            raise UnreadableError(f"the cost {cut(value)} {error.reason}", options) from error
        if abs(cost) >= _MOST_COST or abs(round(cost, 4)) >= _MOST_COST:
            raise UnreadableError(f"the cost {cut(value)} is not below {_MOST_COST:,}.")
        return str(cost)

    def _attributes(self, fields: Sequence[str]) -> str | None:
        if not self._columns.attributes:
            return None
        told = self._missing - {""}
        return json.dumps(
            {name: None if fields[at].strip() in told else fields[at] for name, at in self._columns.attributes}
        )

    def _sampled(self, position: int | None) -> list[str]:
        return [] if position is None else [row[position].strip() for row in self._rows if row[position].strip()]

    def _names(self, positions: Iterable[int]) -> str:
        return " and ".join(repr(self._header[position]) for position in positions)
