"""
The subcommands `load` and `unload`: an event log into the database, and deleted from it.

Where a file cannot be loaded as it was asked, the answer is the whole command that may load it, to be copied.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import Any

from asyncdb_nb.cli.command_line import command, without_password
from asyncdb_nb.errors import EventLogError, MalformedRowError, SchemaTakenError

Subparsers = Any  # argparse's own type for it is private

_COLUMNS = (
    ("case", "the case that an event belongs to"),
    ("activity", "what was done"),
    ("timestamp", "when it was completed; given twice, the column of dates and that of times"),
    ("resource", "who did it"),
    ("start", "when it began, where a row has both ends; may be given twice"),
    ("lifecycle", "whether an event is a start or a completion; '' for none"),
    ("status", "what became of it: success, failed, cancelled, running; never guessed"),
    ("cost", "what it cost; never guessed"),
)
_VALUES = (
    ("timestamp-format", "FORMAT", "as strptime takes it, or epoch_s, epoch_ms, epoch_us, epoch_ns (ISO 8601)"),
    ("timezone", "ZONE", "of times that do not say theirs (UTC)"),
    ("ambiguous", "WHICH", "which of an hour that comes twice in that zone: first or second"),
    ("nonexistent", "HOW", "what becomes of an hour that its clocks left out: forward, an hour later"),
    ("decimal", "MARK", "before the decimals of costs: . or ,"),
    ("thousands", "MARK", "between groups of three digits"),
    ("encoding", "NAME", "of the file (utf-8)"),
    ("delimiter", "CHARACTER", "between fields (found by itself)"),
    ("skip-lines", "NUMBER", "how many lines stand before the header, such as a title (only empty ones)"),
)
_LISTS = {"attribute": "attributes", "meaning": "meanings"}  # what the library calls them


def add_load(subparsers: Subparsers) -> None:
    """`asyncdb-nb load FILE`: an event log into a schema of its own."""
    text = "load an event log (CSV, may be gzipped) as a workflow with its runs and tasks, into a schema of its own"
    parser = subparsers.add_parser("load", help=text, description=f"{text[0].upper()}{text[1:]}; all of it or nothing.")
    parser.add_argument("file", metavar="FILE", help="the CSV file; its first row is the header")
    parser.add_argument("--url", help="the database (as for connect(): $DATABASE_URL, PG*, the embedded server)")
    parser.add_argument("--name", help="the name of the workflow (the file's)")
    parser.add_argument("--schema", help="the schema for its tables (named like the workflow)")
    parser.add_argument("--replace", action="store_true", help="replace the event log of that name")
    parser.add_argument("--bad-rows", metavar="FILE", help="set rows aside that cannot be read: line, reason, fields")
    columns = parser.add_argument_group("columns", "Guessed from the header where its names are the usual ones.")
    for role, what in _COLUMNS:
        action = "append" if role in ("timestamp", "start") else "store"
        columns.add_argument(f"--{role}", metavar="COLUMN", action=action, help=what)
    columns.add_argument("--attribute", metavar="COLUMN", action="append", help="to keep in the tasks' context; again")
    values = parser.add_argument_group("values")
    for option, metavar, what in _VALUES:
        values.add_argument(f"--{option}", metavar=metavar, help=what, type=int if metavar == "NUMBER" else str)
    for option, metavar, what in (
        ("missing", "WORD", "a word for a missing value, such as NULL; '' for no others; may be given again"),
        ("meaning", "WORD=MEANING", "what a lifecycle or a status means: start, complete, fail, cancel, ignore; again"),
        ("failed", "ACTIVITY", "an activity which means that something failed; may be given again"),
    ):
        values.add_argument(f"--{option}", metavar=metavar, action="append", help=what)
    parser.set_defaults(run=_load)


def add_unload(subparsers: Subparsers) -> None:
    """`asyncdb-nb unload NAME`: delete an event log from the database."""
    text = "delete an event log from the database, with its runs and tasks"
    parser = subparsers.add_parser("unload", help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.add_argument("name", metavar="NAME", help="the name of its workflow, as `load` printed it")
    parser.add_argument("--schema", help="where it is, if several schemas have a log of this name")
    parser.add_argument("--url", help="the database (as for connect(): $DATABASE_URL, PG*, the embedded server)")
    parser.set_defaults(run=_unload)


def _load(arguments: argparse.Namespace) -> int:
    given = {name: value for name, value in vars(arguments).items() if value is not None and name != "run"}
    file, url = given.pop("file"), given.pop("url", None)
    options = {_LISTS.get(name, name): value for name, value in given.items()}
    if "meanings" in options:
        options["meanings"] = dict(map(_pair, options["meanings"]))

    async def load() -> str:
        from asyncdb_nb import connect
        from asyncdb_nb.workflows import load_event_log

        async with await connect(url) as db:
            log = await load_event_log(db, file, **options)
        there = {"schema": log.schema} if "schema" in options else {}
        unload = command("unload", log.name, options={**there, "url": without_password(url)})
        return f"{log}\nTo query it: WorkflowRepository(session, schema={log.schema!r}). To delete it again: {unload}"

    try:
        print(asyncio.run(load()))
    except (EventLogError, SchemaTakenError) as error:
        _tell(error, file, url, options)
        return 1
    return 0


def _tell(error: EventLogError | SchemaTakenError, file: str, url: str | None, options: dict[str, Any]) -> None:
    """Say what is wrong, and the whole command to type instead."""
    print(f"asyncdb-nb: {error.problem}", file=sys.stderr)
    if isinstance(error, MalformedRowError):
        print("Nothing of this file was loaded.", file=sys.stderr)
    if error.options:
        print(f"Type: {_command(file, url, options | error.options)}", file=sys.stderr)
    if isinstance(error, MalformedRowError) and error.bad_rows and "bad_rows" not in options:
        instead = _command(file, url, options | {"bad_rows": error.bad_rows})
        print(f"Or, to set rows like this one aside: {instead}", file=sys.stderr)


def _command(file: str, url: str | None, options: dict[str, Any]) -> str:
    names = {library: option for option, library in _LISTS.items()}
    typed = {names.get(name, name): value for name, value in options.items()}
    return command("load", file, options={"url": without_password(url), **typed})


def _pair(meaning: str) -> tuple[str, str]:
    word, equals, what = meaning.rpartition("=")
    if not equals:
        raise EventLogError(f"A meaning is written WORD=MEANING, such as 'abgelehnt=fail', not {meaning!r}.")
    return word, what


def _unload(arguments: argparse.Namespace) -> int:
    async def unload() -> int:
        from asyncdb_nb import connect
        from asyncdb_nb.workflows import unload_event_log

        async with await connect(arguments.url) as db:
            return await unload_event_log(db, arguments.name, schema=arguments.schema)

    try:
        runs = asyncio.run(unload())
    except EventLogError as error:
        print(f"asyncdb-nb: {error.problem}", file=sys.stderr)
        if error.options:
            options = {**error.options, "url": without_password(arguments.url)}
            print(f"Type: {command('unload', arguments.name, options=options)}", file=sys.stderr)
        return 1
    print(f"{arguments.name} is deleted, with its {runs:,} run{'' if runs == 1 else 's'}.")
    return 0
