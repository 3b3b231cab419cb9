"""
Load an event log: a CSV file of who did what in which case, and when, as the runs and tasks of one workflow.

It is all or nothing, but for bad rows that the caller lets be left out. The file is read in small parts, checked line
by line and sent to the server by COPY; what the events mean is worked out there (`assemble.py`), so a large file needs
little memory here.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select, text

from asyncdb_nb.errors import EventLogError, MalformedRowError
from asyncdb_nb.workflows.bulk_load import Target, loading, raw
from asyncdb_nb.workflows.event_log.assemble import EVENTS, assemble, create_events
from asyncdb_nb.workflows.event_log.bad_rows import BadRows
from asyncdb_nb.workflows.event_log.csv_reader import CSVFile
from asyncdb_nb.workflows.event_log.parse import FIELDS, Event, Parser
from asyncdb_nb.workflows.event_log.preparation import complete, prepared, stem
from asyncdb_nb.workflows.event_log.schemas import add_workflow, checked_schema, schema_for
from asyncdb_nb.workflows.models import Run, Task, in_schema, quoted

if TYPE_CHECKING:
    from os import PathLike

    from sqlalchemy.ext.asyncio import AsyncConnection

_EVENTS_AT_ONCE = 5_000


@dataclass(frozen=True)
class EventLog:
    """
    What was loaded.

    Attributes:
        name: The name of its workflow.
        schema: Where its tables are: `WorkflowRepository(session, schema=...)`, or `schema.task` in SQL.
        cases: How many runs.
        tasks: How many tasks.
        events: How many rows of the file.
        first: When its first run was queued.
        last: When its last run was.
        columns: The column that each role was found in, by role.
        bad_rows: How many rows more were left out.
    """

    name: str
    schema: str
    cases: int
    tasks: int
    events: int
    first: datetime
    last: datetime
    columns: dict[str, str]
    bad_rows: int = 0

    def __str__(self) -> str:
        columns = ", ".join(f"{role}={name!r}" for role, name in self.columns.items())
        aside = f" ({_many(self.bad_rows, 'bad row')} left out)" if self.bad_rows else ""
        return (
            f"{self.name}: {_many(self.cases, 'case')}, {_many(self.tasks, 'task')}, "
            f"from {_many(self.events, 'event')}{aside}, in the schema {self.schema}; "
            f"cases began {self.first:%Y-%m-%d} to {self.last:%Y-%m-%d}; {columns}"
        )


async def load_event_log(
    target: Target,
    path: str | PathLike[str],
    *,
    case: str | None = None,
    activity: str | None = None,
    timestamp: str | Sequence[str] | None = None,
    resource: str | None = None,
    start: str | Sequence[str] | None = None,
    lifecycle: str | None = None,
    status: str | None = None,
    cost: str | None = None,
    attributes: Sequence[str] = (),
    failed: Collection[str] = (),
    meanings: Mapping[str, str] | None = None,
    missing: Collection[str] | None = None,
    name: str | None = None,
    schema: str | None = None,
    replace: bool = False,
    bad_rows: str | PathLike[str] | None = None,
    timestamp_format: str | None = None,
    timezone: str = "UTC",
    ambiguous: str = "raise",
    nonexistent: str = "raise",
    decimal: str | None = None,
    thousands: str | None = None,
    encoding: str = "utf-8",
    delimiter: str | None = None,
    skip_lines: int | None = None,
    progress: bool | None = None,
) -> EventLog:
    """
    Load a CSV file (`.csv`, or gzipped) as one workflow, into a schema of its own; all of it or nothing.

    Columns that are not named are guessed from the header where their name means one thing, such as
    `case:concept:name`, `Case ID`, `Activity`, `Complete Timestamp`; `status` and `cost` are never guessed. How events
    become tasks is told in `asyncdb_nb.workflows.event_log.assemble`. An error says what to type, in its `options`.

    Args:
        target: A `Database` or an engine, in a transaction of its own; or a session, inside the caller's transaction.
        path: The file. Its first row is the header.
        case: The column that says which case (run) an event belongs to.
        activity: The column that says what was done (the step).
        timestamp: The column that says when: the completion, unless `lifecycle` says otherwise. Two columns if the date
            and the time have one each. Where it is empty and `start` is not, the task is still running.
        resource: The column that says who did it.
        start: The column, or two, that says when the activity began, where a row has both ends.
        lifecycle: The column that tells starts from completions (`lifecycle:transition` of the XES standard). An empty
            string: no column; every row is a completion.
        status: The column that tells what became of a task: `success`, `failed`, `cancelled`, `running` and their like.
        cost: The column of costs, kept to four decimals.
        attributes: Columns to keep, as text, in the tasks' `context`.
        failed: Activities which mean that something failed: their tasks are failed, and so are the cases with one.
        meanings: What other words in `lifecycle` and `status` mean: `start`, `complete`, `fail`, `cancel` or `ignore`,
            by word, such as `{"abgelehnt": "fail"}`.
        missing: Words that stand for a missing value, such as `["?", "NULL"]`. Another word that often does is
            refused, unless it is empty, or has an empty string in it: then all other words are values. Where times are
            counts since 1970, "0" and "-1" stand for no time, and are values elsewhere.
        name: The name of the workflow; the file's, without its suffix, if None.
        schema: The schema for its tables; if None, one that is named like the workflow.
        replace: Whether an event log of that name gives way to this one.
        bad_rows: A new CSV file for the rows that cannot be read, with line and reason; the others are loaded. If None,
            such a row is an error.
        timestamp_format: The format of times, as `datetime.strptime` takes it, or `epoch_s`, `epoch_ms`, `epoch_us`,
            `epoch_ns` for a count since 1970; ISO 8601 if None.
        timezone: Of times that do not say theirs.
        ambiguous: Which of an hour that comes twice there is meant, `first` or `second`; `raise` refuses it.
        nonexistent: What becomes of an hour that its clocks left out: `forward` reads 02:30 as 03:30.
        decimal: The mark before the decimals of costs, `.` or `,`; if None, what the first number shows that can mean
            one thing only.
        thousands: The mark between groups of three digits.
        encoding: Of the file. A byte order mark of UTF-16 or UTF-32 counts more.
        delimiter: Between fields; comma, semicolon, tab or bar are found by themselves.
        skip_lines: How many lines stand before the header, such as a report's title. If None, only empty ones do.
        progress: Whether to show a progress bar (bytes of the file) on stderr; only on a terminal if None.

    Returns:
        What was loaded, where, and from which columns.

    Raises:
        EventLogError: The file, a column or an option is wrong, or there is a workflow of that name.
        MalformedRowError: A row cannot be read: which, and why.
        SchemaTakenError: The database has a schema of that name of its own.

    Example:
        >>> log = await load_event_log(db, "receipt.csv", activity="concept:name")
        >>> async with db.session(readonly=True) as session:
        ...     overview = await WorkflowRepository(session, schema=log.schema).overview()
    """
    options = {name: value for name, value in locals().items() if name not in ("target", "path")}  # all of the above
    try:
        return await _load(target, Path(path), options)
    except EventLogError as error:
        complete(error, Path(path), options)
        raise


async def _load(target: Target, path: Path, options: Mapping[str, Any]) -> EventLog:
    name = _text(options["name"] or stem(path))
    schema = schema_for(name) if options["schema"] is None else checked_schema(options["schema"])
    with (
        prepared(path, options) as (file, columns, parser),
        _bad_rows_file(options["bad_rows"], file.header) as aside,
    ):
        async with loading(target, schema) as connection:
            workflow_id = await add_workflow(connection, schema, name, _text(path.name), options["replace"])
            with _bar(file, options["progress"]) as bar:
                events = await _copy_events(connection, file, parser, bar, aside)
                await _check_seen(connection, parser)
                bar.set_postfix_str("now making runs and tasks of the events")
                await assemble(connection, quoted(schema), workflow_id, paired=columns.paired)
            cases, tasks, first, last = await _loaded(connection, schema, workflow_id)
    found = columns.named(file.header)
    return EventLog(name, schema, cases, tasks, events, first, last, found, aside.count if aside else 0)


def _text(name: str) -> str:
    """Write a file's name as text, with a `?` for each byte that is none."""
    return name.encode("utf-8", "replace").decode()


def _many(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _bad_rows_file(path: str | PathLike[str] | None, header: Sequence[str]) -> AbstractContextManager[BadRows | None]:
    return nullcontext() if path is None else BadRows(path, header)


def _bar(file: CSVFile, progress: bool | None) -> Any:
    from tqdm import tqdm

    class Bar(tqdm):  # type: ignore[misc]
        monitor_interval = 0  # no thread of its own

    hidden = None if progress is None else not progress
    return Bar(total=file.size, unit="B", unit_scale=True, desc=file.path.name, disable=hidden)


async def _copy_events(
    connection: AsyncConnection, file: CSVFile, parser: Parser, bar: Any, aside: BadRows | None
) -> int:
    """Send the events to the server, and return how many there were."""
    await create_events(connection)
    driver = await raw(connection)
    count = 0
    events = parser.events(file.records(), aside.add if aside else None)
    while part := list(islice(events, _EVENTS_AT_ONCE)):
        await driver.copy_to_table(EVENTS, source=_as_csv(part), columns=FIELDS, format="csv")
        count += len(part)
        bar.update(file.position - bar.n)
    if not count and aside and aside.first:
        raise MalformedRowError(file.path.name, *aside.first)
    if not count:
        raise EventLogError(f"{file.path.name} has a header and no rows.")
    return count


def _as_csv(part: list[Event]) -> io.BytesIO:
    text_part = io.StringIO()
    csv.writer(text_part).writerows(part)
    return io.BytesIO(text_part.getvalue().encode())


async def _check_seen(connection: AsyncConnection, parser: Parser) -> None:
    """Refuse a misspelt activity in `failed`, or word in `meanings`."""
    if parser.unseen_words:
        raise EventLogError(f"No row has the word {parser.unseen_words[0]!r}, which meanings= explains.")
    if parser.unseen_activities:
        steps = await connection.scalars(text(f"select distinct step from {EVENTS} order by step limit 20"))  # noqa: S608
        raise EventLogError(
            f"No event has the activity {parser.unseen_activities[0]!r}, which failed= names. "
            f"Activities are: {', '.join(map(repr, steps))}."
        )


async def _loaded(connection: AsyncConnection, schema: str, workflow_id: int) -> tuple[Any, ...]:
    """How many cases and tasks there are, and when the first and the last case began."""
    tasks = select(func.count()).select_from(Task).join(Run).where(Run.workflow_id == workflow_id).scalar_subquery()
    asked = select(func.count(), tasks, func.min(Run.queued_at), func.max(Run.queued_at))
    found = await connection.execute(asked.where(Run.workflow_id == workflow_id), execution_options=in_schema(schema))
    return tuple(found.one())
