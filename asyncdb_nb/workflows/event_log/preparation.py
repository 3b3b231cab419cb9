"""
Read an event log as the caller asks for it, up to where the server is needed.

What is wrong is found one thing after the other, but told at once: `complete` follows an error's advice on the first
rows, and adds what would be wrong next, until they can be read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from asyncdb_nb.errors import EventLogError, MalformedRowError
from asyncdb_nb.workflows.event_log.columns import ROLES, Columns, find_columns
from asyncdb_nb.workflows.event_log.csv_reader import CSVFile, Record
from asyncdb_nb.workflows.event_log.decimals import Decimals
from asyncdb_nb.workflows.event_log.parse import Parser, Reading
from asyncdb_nb.workflows.event_log.proposal import propose
from asyncdb_nb.workflows.event_log.time_reading import Times
from asyncdb_nb.workflows.event_log.unreadable import UnreadableError

_TAB = "\\t"  # as it can be typed on a command line
_MOST = 10  # errors that are told at once


class Prepared(NamedTuple):
    """An open file, where each role is found in it, and what reads its rows."""

    file: CSVFile
    columns: Columns
    parser: Parser


@contextmanager
def prepared(path: Path, options: Mapping[str, Any]) -> Iterator[Prepared]:
    """
    Open a file, find its columns and read its first rows for what they show.

    Args:
        path: The file.
        options: All those of `load_event_log`.

    Raises:
        EventLogError: The file, a column or an option is wrong.
    """
    times = Times(*(options[name] for name in ("timestamp_format", "timezone", "ambiguous", "nonexistent")))
    decimals = Decimals(options["decimal"], options["thousands"])
    failed, missing = _several(options["failed"]), _several(options["missing"])
    reading = Reading(times, decimals, failed, options["meanings"] or {}, missing)
    named = {role: options[role] for role in ROLES}
    with _opened(path, options) as file:
        rows = [record.fields for record in file.sample if len(record.fields) == len(file.header)]
        proposal = propose(file.header, rows, named, times.form, missing)
        columns = find_columns(file.header, named, options["attributes"], proposal)
        yield Prepared(file, columns, Parser(path.name, file.header, columns, reading, file.sample, bad_rows_for(path)))


def complete(error: EventLogError, path: Path, options: Mapping[str, Any]) -> None:
    """
    Add to an error what would be wrong next, and what to type for all of it; nothing to type where that does not help.

    Args:
        error: What is wrong, perhaps with what to type.
        path: The file.
        options: All those of `load_event_log`, as they led to the error.
    """
    if error.options:
        helps, following = _followed(path, {**options, **error.options})
        if helps or not isinstance(error, MalformedRowError):
            for each, more in following:
                error.add(each.problem, more if helps else None)
    elif isinstance(error, MalformedRowError) and error.bad_rows:
        aside = {**options, "bad_rows": error.bad_rows}
        if not _followed(path, aside)[0]:
            error.blame_all()


def _followed(path: Path, told: dict[str, Any]) -> tuple[bool, list[tuple[EventLogError, dict[str, Any]]]]:
    """Follow the advice of errors on the first rows: whether they can be read then; each error, and what it adds."""
    following: list[tuple[EventLogError, dict[str, Any]]] = []
    for _ in range(_MOST):
        try:
            with prepared(path, told) as log:
                _check(log, path, told)
            return True, following
        except EventLogError as error:
            more = {name: value for name, value in error.options.items() if told.get(name) != value}
            following.append((error, more))
            told |= more
            if not more:
                break
    return False, following


def stem(path: Path) -> str:
    """The name of a file without what tells its kind."""
    return path.name.removesuffix(".gz").rpartition(".")[0] or path.name


def bad_rows_for(path: Path) -> str:
    """Name a file that is not there, for the bad rows of another."""
    names = (f"{stem(path)}.bad{'' if number == 1 else number}.csv" for number in count(1))
    return next(name for name in names if not Path(name).exists())


def _check(log: Prepared, path: Path, told: Mapping[str, Any]) -> None:
    """Raise what is wrong in the first rows: first what can be helped, then what makes rows bad."""
    faults: list[tuple[Record, UnreadableError]] = []
    good = list(log.parser.events(log.file.sample, lambda *fault: faults.append(fault)))
    for record, fault in faults:
        if any(told.get(name) != value for name, value in fault.options.items()):
            raise MalformedRowError(path.name, record.line, fault.reason, fault.options)
    if faults and (not good or not told["bad_rows"]):
        record, fault = faults[0]
        options = {"bad_rows": bad_rows_for(path)} if len(good) > len(faults) else {}
        many = f" {len(faults)} of the first {len(log.file.sample):,} rows cannot be read." if len(faults) > 1 else ""
        raise MalformedRowError(path.name, record.line, f"{fault.reason}{many}", options)


def _several(words: Any) -> Any:
    return [words] if isinstance(words, str) else words


def _opened(path: Path, options: Mapping[str, Any]) -> CSVFile:
    delimiter, skip = options["delimiter"], options["skip_lines"]
    delimiter = "\t" if delimiter == _TAB else delimiter
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
        raise EventLogError(f"A delimiter is one character, not {delimiter!r}.")
    if skip is not None and skip < 0:
        raise EventLogError(f"The number of lines before the header is 0 or more, not {skip}.")
    try:
        return CSVFile(path, options["encoding"], delimiter, skip)
    except OSError as error:
        raise EventLogError(f"{path} cannot be read: {error.strerror}.") from error
