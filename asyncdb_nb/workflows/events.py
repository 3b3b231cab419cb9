"""
Turn the records of an event log into checked events.

Everything that can be wrong with a row is found here, before the server sees it, so that the error can name the line.
Nothing is repaired: a row that is not clear is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from datetime import UTC, datetime, tzinfo
from decimal import Decimal, InvalidOperation
from typing import NoReturn

from asyncdb_nb.errors import MalformedRowError
from asyncdb_nb.workflows.columns import Columns

Event = tuple[int, str, str, str, str | None, str, str | None, str | None, str | None]
"""Line, case, activity, timestamp, start, phase, resource, cost, attributes as JSON."""

FIELDS = ("line", "case_id", "step", "at", "start_at", "phase", "worker", "cost", "context")

START, COMPLETE, FAIL, ABORT, CANCEL, OTHER = "start", "complete", "fail", "abort", "cancel", "other"

_LIFECYCLE = {  # the transitions of the XES standard (IEEE 1849), and what they mean for a task
    "schedule": OTHER,
    "assign": OTHER,
    "reassign": OTHER,
    "start": START,
    "suspend": OTHER,
    "resume": OTHER,
    "complete": COMPLETE,
    "autoskip": COMPLETE,
    "manualskip": COMPLETE,
    "withdraw": CANCEL,
    "ate_abort": ABORT,
    "pi_abort": ABORT,
    "unknown": OTHER,
}
_NO_LIFECYCLE = "To take every row for a completion, type lifecycle='' (on the command line, --lifecycle '')."
_MOST_COST = Decimal(10) ** 8  # what numeric(12, 4) takes
_LONGEST_NAME = 500  # characters; the indexes take no more than 2,700 bytes
_NO_SUCH = re.compile("(year|month|day|hour|minute|second)s? ")  # how Python begins to say that a part is out of range
_SHOWN = 60  # characters of a wrong value


class Parser:
    """
    What one log's rows mean.

    Args:
        file: Its name, for the errors.
        columns: Where each role is found.
        timestamp_format: As `datetime.strptime` takes it; None is ISO 8601, in which `/` may stand for `-`.
        timezone: Of timestamps that do not say theirs. Of an hour that comes twice there, the first is meant.
        failed: Activities that mean that something has failed.
    """

    def __init__(
        self,
        file: str,
        columns: Columns,
        timestamp_format: str | None = None,
        timezone: tzinfo = UTC,
        failed: Collection[str] = (),
    ) -> None:
        self._file, self._columns, self._timezone = file, columns, timezone
        self._format = timestamp_format
        self._read_time = self._by_format if timestamp_format else _by_iso
        self.unseen = set(failed)
        self._failed = frozenset(failed)

    def events(self, records: Iterator[tuple[int, list[str]]]) -> Iterator[Event]:
        """
        Yield the event of each record, in the order of the file.

        Raises:
            MalformedRowError: A record cannot be read.
        """
        columns, width = self._columns, self._columns.width
        for line, record in records:
            if len(record) != width:
                self._refuse(line, f"it has {len(record)} fields and the header has {width}.")
            case, activity = record[columns.case].strip(), record[columns.activity].strip()
            if not case or not activity:
                self._refuse(line, f"the {'activity' if case else 'case'} is missing.")
            if len(case) > _LONGEST_NAME or len(activity) > _LONGEST_NAME:
                self._refuse(line, f"the case or the activity is longer than {_LONGEST_NAME} characters.")
            at = self._time(line, "timestamp", record[columns.timestamp])
            yield (
                line,
                case,
                activity,
                at.isoformat(),
                self._start(line, record, at),
                self._phase(line, record, activity),
                record[columns.resource].strip() if columns.resource is not None else None,
                self._cost(line, record),
                self._attributes(record),
            )

    def _start(self, line: int, record: list[str], at: datetime) -> str | None:
        if self._columns.start is None or not record[self._columns.start].strip():
            return None
        start = self._time(line, "start", record[self._columns.start])
        if start > at:
            self._refuse(line, f"it starts at {start} and ends before, at {at}.")
        return start.isoformat()

    def _phase(self, line: int, record: list[str], activity: str) -> str:
        phase = COMPLETE
        if self._columns.lifecycle is not None:
            transition = record[self._columns.lifecycle].strip()
            phase = _LIFECYCLE.get(transition.lower(), "")
        if not phase:
            self._refuse(line, f"the lifecycle {_cut(transition)} is none of {', '.join(_LIFECYCLE)}. {_NO_LIFECYCLE}")
        if phase == COMPLETE and activity in self._failed:
            self.unseen.discard(activity)
            return FAIL
        return phase

    def _cost(self, line: int, record: list[str]) -> str | None:
        value = record[self._columns.cost].strip() if self._columns.cost is not None else ""
        if not value:
            return None
        try:
            cost = Decimal(value)
        except InvalidOperation:
            self._refuse(line, f"the cost {_cut(value)} is not a number such as 12.50.")
        if not cost.is_finite() or abs(cost) >= _MOST_COST:
            self._refuse(line, f"the cost {_cut(value)} is not below {_MOST_COST:,}.")
        return str(cost)

    def _attributes(self, record: list[str]) -> str | None:
        if not self._columns.attributes:
            return None
        return json.dumps({name: record[position] for name, position in self._columns.attributes})

    def _time(self, line: int, role: str, value: str) -> datetime:
        value = value.strip()
        try:
            moment = self._read_time(value)
        except ValueError as error:
            self._refuse(line, self._not_a_time(role, value, error))
        if moment.tzinfo:
            return moment
        there = moment.replace(tzinfo=self._timezone)
        if self._timezone is not UTC and there.astimezone(UTC).astimezone(self._timezone) != there:
            self._refuse(
                line, f"the {role} {_cut(value)} does not exist in {self._timezone}: its clocks go forward then."
            )
        return there

    def _by_format(self, value: str) -> datetime:
        return datetime.strptime(value, self._format or "")  # a missing zone is added by the caller

    def _not_a_time(self, role: str, value: str, error: ValueError) -> str:
        if not value:
            return f"the {role} is missing."
        if _NO_SUCH.match(str(error)):
            return f"the {role} {_cut(value)} does not exist: {error}."
        if self._format:
            return f"the {role} {_cut(value)} is not of the format {self._format!r}."
        return (
            f"the {role} {_cut(value)} is not a time in ISO 8601, such as 2024-02-28 14:30:00+01:00. If all are "
            "like it, name their format: timestamp_format='%d.%m.%Y %H:%M' (on the command line, --timestamp-format)."
        )

    def _refuse(self, line: int, reason: str) -> NoReturn:
        raise MalformedRowError(self._file, line, reason)


def _by_iso(value: str) -> datetime:
    return datetime.fromisoformat(value.replace("/", "-") if value[4:5] == "/" else value)


def _cut(value: str) -> str:
    return repr(value if len(value) <= _SHOWN else value[:_SHOWN] + "…")
