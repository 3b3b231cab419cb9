"""
Load an event log: a CSV file of who did what in which case, and when, as the runs and tasks of one workflow.

It is all or nothing. The file is read in small parts, checked line by line and sent to the server by COPY; what the
events mean is worked out there (`assembly.py`), so a large file needs little memory here.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sqlalchemy import delete, func, insert, select, text

from asyncdb_nb.errors import EventLogError
from asyncdb_nb.workflows.assembly import EVENTS, assemble, create_events
from asyncdb_nb.workflows.bulk import Target, loading, raw
from asyncdb_nb.workflows.columns import Columns, find_columns
from asyncdb_nb.workflows.csvfile import CSVFile
from asyncdb_nb.workflows.events import FIELDS, Event, Parser
from asyncdb_nb.workflows.models import Run, Task, Workflow

if TYPE_CHECKING:
    from os import PathLike

    from sqlalchemy.ext.asyncio import AsyncConnection

_EVENTS_AT_ONCE = 5_000
NOT_LOGS = ("sample", "user")
"""The sources of workflows that are no event logs."""


@dataclass(frozen=True)
class EventLog:
    """
    What was loaded.

    Attributes:
        name: The name of its workflow.
        cases: How many runs.
        tasks: How many tasks.
        events: How many rows of the file.
        first: When its first run was queued.
        last: When its last run was.
        columns: The column that each role was found in, by role.
    """

    name: str
    cases: int
    tasks: int
    events: int
    first: datetime
    last: datetime
    columns: dict[str, str]

    def __str__(self) -> str:
        columns = ", ".join(f"{role}={name!r}" for role, name in self.columns.items())
        return (
            f"{self.name}: {_many(self.cases, 'case')}, {_many(self.tasks, 'task')}, "
            f"from {_many(self.events, 'event')}; "
            f"cases began {self.first:%Y-%m-%d} to {self.last:%Y-%m-%d}; {columns}"
        )


async def load_event_log(
    target: Target,
    path: str | PathLike[str],
    *,
    case: str | None = None,
    activity: str | None = None,
    timestamp: str | None = None,
    resource: str | None = None,
    start: str | None = None,
    lifecycle: str | None = None,
    cost: str | None = None,
    attributes: Sequence[str] = (),
    failed: Collection[str] = (),
    name: str | None = None,
    replace: bool = False,
    timestamp_format: str | None = None,
    timezone: str = "UTC",
    encoding: str = "utf-8",
    delimiter: str | None = None,
    progress: bool | None = None,
) -> EventLog:
    """
    Load a CSV file (`.csv`, or gzipped) as one workflow. Nothing of it is kept if anything in it is wrong.

    Columns that are not named are guessed from the header where their name means one thing, such as
    `case:concept:name`, `Case ID`, `Activity`, `Complete Timestamp`; `cost` is never guessed. How events become tasks
    is told in `asyncdb_nb.workflows.assembly`.

    Args:
        target: A `Database` or an engine, in a transaction of its own; or a session, inside the caller's transaction.
        path: The file. Its first row is the header.
        case: The column that says which case (run) an event belongs to.
        activity: The column that says what was done (the step).
        timestamp: The column that says when: the completion, unless `lifecycle` says otherwise.
        resource: The column that says who did it.
        start: The column that says when the activity began, where a row has both ends.
        lifecycle: The column that tells starts from completions (`lifecycle:transition` of the XES standard). An empty
            string: no column; every row is a completion.
        cost: The column of costs: numbers with a decimal point.
        attributes: Columns to keep, as text, in the tasks' `context`.
        failed: Activities which mean that something failed: their tasks are failed, and so are the cases with one.
        name: The name of the workflow; the file's, without its suffix, if None.
        replace: Whether an event log of that name gives way to this one.
        timestamp_format: The format of times, as `datetime.strptime` takes it; ISO 8601 if None.
        timezone: Of times that do not say theirs. One that its clocks leave out is refused; of an hour that comes
            twice, the first is meant.
        encoding: Of the file; one in which ASCII is ASCII.
        delimiter: Between fields; comma, semicolon, tab or bar are found by themselves.
        progress: Whether to show a progress bar (bytes of the file) on stderr; only on a terminal if None.

    Returns:
        What was loaded, and from which columns.

    Raises:
        EventLogError: The file, a column or an option is wrong, or there is a workflow of that name.
        MalformedRowError: A row cannot be read: which, and why.
        SchemaTakenError: The database has a schema `workflows` of its own.

    Example:
        >>> log = await load_event_log(db, "receipt.csv", activity="concept:name")
    """
    path = Path(path)
    named = {
        "case": case,
        "activity": activity,
        "timestamp": timestamp,
        "resource": resource,
        "start": start,
        "lifecycle": lifecycle,
        "cost": cost,
    }
    with _opened(path, encoding, delimiter) as file:
        columns = find_columns(file.header, named, attributes)
        parser = Parser(path.name, columns, timestamp_format, _zone(timezone), failed)
        name = name or path.name.removesuffix(".gz").removesuffix(".csv")
        async with loading(target) as connection:
            workflow_id = await _add_workflow(connection, name, path.name, replace)
            with _bar(file, progress) as bar:
                events = await _copy_events(connection, file, parser, bar)
                await _check_failed(connection, parser)
                bar.set_postfix_str("now making runs and tasks of the events")
                await assemble(connection, workflow_id, paired=columns.lifecycle is not None)
            return await _loaded(connection, workflow_id, name, events, _in_words(file.header, columns))


def _many(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _opened(path: Path, encoding: str, delimiter: str | None) -> CSVFile:
    try:
        if "\n".encode(encoding) != b"\n":
            raise EventLogError(f"A file in {encoding} cannot be read line by line. Save it as UTF-8.")
        if delimiter is not None and len(delimiter) != 1:
            raise EventLogError(f"A delimiter is one character, not {delimiter!r}.")
        return CSVFile(path, encoding, delimiter)
    except LookupError as error:
        raise EventLogError(f"There is no encoding {encoding!r}; usual ones are 'utf-8' and 'cp1252'.") from error
    except OSError as error:
        raise EventLogError(f"{path} cannot be read: {error.strerror}.") from error


def _zone(name: str) -> tzinfo:
    try:
        return UTC if name == "UTC" else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise EventLogError(f"There is no time zone {name!r}; they are named like 'Europe/Berlin'.") from error


async def _add_workflow(connection: AsyncConnection, name: str, source: str, replace: bool) -> int:
    """Make room for the log, and return the id of its workflow."""
    there = await connection.scalar(select(Workflow.source).where(Workflow.name == name))
    if there in NOT_LOGS:
        raise EventLogError(f"{name!r} is the name of a workflow that is no event log. Choose another: name='...'.")
    if there is not None and not replace:
        raise EventLogError(
            f"The event log {name!r} is loaded already, from {there}. To load it again, type replace=True (on the "
            "command line, --replace); to load another, give it a name: name='...' (--name)."
        )
    await connection.execute(delete(Workflow).where(Workflow.name == name))
    values = {"name": name, "source": source, "tags": ["event-log"]}
    return int(await connection.scalar(insert(Workflow).values(values).returning(Workflow.id)) or 0)


def _bar(file: CSVFile, progress: bool | None) -> Any:
    from tqdm import tqdm

    class Bar(tqdm):  # type: ignore[misc]
        monitor_interval = 0  # no thread of its own

    hidden = None if progress is None else not progress
    return Bar(total=file.size, unit="B", unit_scale=True, desc=file.path.name, disable=hidden)


async def _copy_events(connection: AsyncConnection, file: CSVFile, parser: Parser, bar: Any) -> int:
    """Send the events to the server, and return how many there were."""
    await create_events(connection)
    driver = await raw(connection)
    count = 0
    events = parser.events(file.records())
    while part := list(islice(events, _EVENTS_AT_ONCE)):
        await driver.copy_to_table(EVENTS, source=_as_csv(part), columns=FIELDS, format="csv")
        count += len(part)
        bar.update(file.position - bar.n)
    if not count:
        raise EventLogError(f"{file.path.name} has a header and no rows.")
    return count


def _as_csv(part: list[Event]) -> io.BytesIO:
    text_part = io.StringIO()
    csv.writer(text_part).writerows(part)
    return io.BytesIO(text_part.getvalue().encode())


async def _check_failed(connection: AsyncConnection, parser: Parser) -> None:
    """Refuse a misspelt activity in `failed`."""
    if parser.unseen:
        steps = await connection.scalars(text(f"select distinct step from {EVENTS} order by step limit 20"))  # noqa: S608
        raise EventLogError(
            f"No event has the activity {min(parser.unseen)!r}, which failed= names. "
            f"Activities are: {', '.join(map(repr, steps))}."
        )


async def _loaded(
    connection: AsyncConnection, workflow_id: int, name: str, events: int, columns: dict[str, str]
) -> EventLog:
    ours = Run.workflow_id == workflow_id
    runs = await connection.execute(select(func.count(), func.min(Run.queued_at), func.max(Run.queued_at)).where(ours))
    cases, first, last = runs.one()
    tasks = await connection.scalar(select(func.count()).select_from(Task).join(Run).where(ours)) or 0
    return EventLog(name, cases, tasks, events, first, last, columns)


def _in_words(header: Sequence[str], columns: Columns) -> dict[str, str]:
    roles = ("case", "activity", "timestamp", "resource", "start", "lifecycle", "cost")
    found: Iterator[tuple[str, Any]] = ((role, getattr(columns, role)) for role in roles)
    return {role: header[position] for role, position in found if position is not None}
