"""
The command `asyncdb-nb`.

Each subcommand is a function that adds its parser and says, by `set_defaults(run=…)`, which function carries it out:
`run(arguments) -> exit status`. What a subcommand needs is imported when it runs, so that `--help` stays quick.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from shlex import quote
from shutil import which
from typing import TYPE_CHECKING, Any

from asyncdb_nb import __version__
from asyncdb_nb.errors import AsyncDBError

if TYPE_CHECKING:
    from asyncdb_nb.server import EmbeddedServer
    from asyncdb_nb.tour import Outcome

Subparsers = Any  # argparse's own type for it is private


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; an error of ours is one sentence on stderr, and status 1."""
    parser = argparse.ArgumentParser(prog="asyncdb-nb", description="PostgreSQL in notebooks, on any event loop.")
    parser.add_argument("--version", action="version", version=f"asyncdb-nb {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in SUBCOMMANDS:
        add(subparsers)
    parsed = parser.parse_args(arguments)
    try:
        return int(parsed.run(parsed))
    except AsyncDBError as error:
        print(f"asyncdb-nb: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def add_server(subparsers: Subparsers) -> None:
    """`asyncdb-nb server start|stop|status`: the embedded PostgreSQL that your notebooks share."""
    parser = subparsers.add_parser("server", help="the embedded PostgreSQL: start, stop, status")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    for name, run, text in (
        ("start", _server_start, "start it, and keep it running after its last user"),
        ("stop", _server_stop, "stop it, whoever uses it"),
        ("status", _server_status, "say where it is and who uses it; exit status 3 when it is stopped"),
    ):
        actions.add_parser(name, help=text, description=text).set_defaults(run=run)


def add_tour(subparsers: Subparsers) -> None:
    """`asyncdb-nb tour`: run every notebook on a real kernel and say what it showed."""
    text = "run every notebook on a real kernel, and say what it showed"
    parser = subparsers.add_parser("tour", help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.add_argument("--only", metavar="NAME", help="only notebooks with this in their name, such as 02")
    parser.add_argument("--list", action="store_true", help="list the notebooks and run nothing")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where the executed copies go (a temporary folder)")
    parser.set_defaults(run=_tour)


def add_lab(subparsers: Subparsers) -> None:
    """`asyncdb-nb lab`: JupyterLab on copies of the lessons."""
    text = "open JupyterLab on your own copies of the lessons, with a server and a kernel that are ready"
    parser = subparsers.add_parser("lab", help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.add_argument(
        "--directory",
        type=Path,
        default=Path("asyncdb-nb-lessons"),
        metavar="DIR",
        help="where the copies are; what is there is kept (./asyncdb-nb-lessons)",
    )
    parser.add_argument("--port", type=int, default=8888, help="where JupyterLab listens, or one of the next (8888)")
    parser.add_argument("--no-browser", action="store_true", help="open no browser, only print the address")
    parser.set_defaults(run=_lab)


def add_load(subparsers: Subparsers) -> None:
    """`asyncdb-nb load FILE`: an event log into the tables of the sample workflows."""
    text = "load an event log (CSV, may be gzipped) as a workflow with its runs and tasks; all of it or nothing"
    parser = subparsers.add_parser("load", help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.add_argument("file", metavar="FILE", help="the CSV file; its first row is the header")
    parser.add_argument("--url", help="the database (as for connect(): $DATABASE_URL, PG*, the embedded server)")
    columns = parser.add_argument_group("columns", "Guessed from the header where its names are the usual ones.")
    for role, what in (
        ("case", "the case that an event belongs to"),
        ("activity", "what was done"),
        ("timestamp", "when it was completed"),
        ("resource", "who did it"),
        ("start", "when it began, where a row has both ends"),
        ("lifecycle", "whether an event is a start or a completion; '' for none"),
        ("cost", "what it cost; never guessed"),
    ):
        columns.add_argument(f"--{role}", metavar="COLUMN", help=what)
    for option, metavar, what in (
        ("--attribute", "COLUMN", "a column to keep in the tasks' context; may be given again"),
        ("--failed", "ACTIVITY", "an activity which means that something failed; may be given again"),
    ):
        columns.add_argument(option, metavar=metavar, action="append", default=[], help=what)
    parser.add_argument("--name", help="the name of the workflow (the file's)")
    parser.add_argument("--replace", action="store_true", help="replace the event log of that name")
    parser.add_argument("--timestamp-format", metavar="FORMAT", help="as strptime takes it (ISO 8601)")
    parser.add_argument("--timezone", default="UTC", metavar="ZONE", help="of times that do not say theirs (UTC)")
    parser.add_argument("--encoding", default="utf-8", help="of the file (utf-8)")
    parser.add_argument("--delimiter", metavar="CHARACTER", help="between fields (found by itself)")
    parser.set_defaults(run=_load)


def add_unload(subparsers: Subparsers) -> None:
    """`asyncdb-nb unload NAME`: an event log out of the tables again."""
    text = "take an event log out again, with its runs and tasks"
    parser = subparsers.add_parser("unload", help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.add_argument("name", metavar="NAME", help="the name of its workflow, as `load` printed it")
    parser.add_argument("--url", help="the database (as for connect(): $DATABASE_URL, PG*, the embedded server)")
    parser.set_defaults(run=_unload)


def add_doctor(subparsers: Subparsers) -> None:
    """`asyncdb-nb doctor`: what is installed, the loop, the server, and what is still connected to it."""
    text = "look at versions, loop, server and connections; exit status 1 when something is wrong"
    parser = subparsers.add_parser("doctor", help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.add_argument("--url", help="the server (as for connect(): $DATABASE_URL, PG*, the embedded server)")
    parser.set_defaults(run=_doctor)


SUBCOMMANDS = (add_server, add_load, add_unload, add_tour, add_lab, add_doctor)


def _server_start(arguments: argparse.Namespace) -> int:
    from asyncdb_nb.server import embedded_server

    server = embedded_server()
    server.keep()
    print(f"Running: {_shown(server.url)}")
    print("It runs until `asyncdb-nb server stop`.")
    return 0


def _server_stop(arguments: argparse.Namespace) -> int:
    server = _own_server()
    status = server.status()
    server.stop()
    print("Stopped." if status.running else "It was not running.")
    for user in status.users:
        print(f"Process {user.pid} was using it: {user.command}")
    return 0


def _server_status(arguments: argparse.Namespace) -> int:
    status = _own_server().status()
    print(f"PostgreSQL {status.version}, data in {status.directory}")
    if status.url is None:
        print("Stopped. `asyncdb-nb server start` starts it, and so does `connect()` without a URL.")
        return 3  # as `systemctl status` and `pg_ctl status` say "not running"
    print(f"Running: {_shown(status.url)} (process {status.pid})")
    print("Kept until `asyncdb-nb server stop`." if status.kept else "It stops with its last user.")
    for user in status.users:
        print(f"Used by process {user.pid}: {user.command}")
    return 0


def _load(arguments: argparse.Namespace) -> int:
    options = dict(vars(arguments))
    file, url = options.pop("file"), options.pop("url")
    options["attributes"] = options.pop("attribute")
    del options["run"]

    async def load() -> None:
        from asyncdb_nb.database import connect
        from asyncdb_nb.workflows import load_event_log

        async with await connect(url) as db:
            log = await load_event_log(db, file, **options)
        print(log)
        where = "" if url is None else " --url ..."
        print(
            f"It stands beside the other workflows. To take it out again: {_as_typed()} unload {quote(log.name)}{where}"
        )

    asyncio.run(load())
    return 0


def _unload(arguments: argparse.Namespace) -> int:
    async def unload() -> int:
        from asyncdb_nb.database import connect
        from asyncdb_nb.workflows import unload_event_log

        async with await connect(arguments.url) as db:
            return await unload_event_log(db, arguments.name)

    runs = asyncio.run(unload())
    print(f"{arguments.name} is out again, with its {runs:,} run{'' if runs == 1 else 's'}.")
    return 0


def _tour(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    from asyncdb_nb.lessons import lessons
    from asyncdb_nb.tour import tour

    chosen = lessons(arguments.only)
    if arguments.list:
        for lesson in chosen:
            print(f"{lesson.number}  {lesson.title}: {lesson.does}")
        return 0
    output = arguments.output or Path(tempfile.mkdtemp(prefix="asyncdb-nb-tour-"))
    failures = []
    with tqdm(total=sum(lesson.cells for lesson in chosen), unit="cell", disable=None) as bar:
        for outcome in tour(chosen, output, after_cell=bar.update):
            tqdm.write(_told(outcome))
            if outcome.failure:
                failures.append(outcome.failure)
    print(f"The executed notebooks are in {output}")
    for failure in failures:
        print(f"asyncdb-nb: {failure}", file=sys.stderr)
    if not failures:
        print(f"Next: {_as_typed()} lab opens them in JupyterLab, as copies of your own.")
    return 1 if failures else 0


def _lab(arguments: argparse.Namespace) -> int:
    from asyncdb_nb.lab import run_lab

    tell = partial(print, flush=True)  # at once, also into a pipe
    run_lab(arguments.directory, arguments.port, not arguments.no_browser, tell)
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    from asyncdb_nb.doctor import examine

    diagnosis = asyncio.run(examine(url=arguments.url))
    print(diagnosis)
    return 0 if diagnosis.ok else 1


def _told(outcome: Outcome) -> str:
    lesson = outcome.lesson
    shown = (lesson.cells, "cell"), (outcome.frames, "frame"), (outcome.figures, "figure"), (outcome.errors, "error")
    counts = ", ".join(f"{count} {thing}{'' if count == 1 else 's'}" for count, thing in shown if count)
    counts += " on purpose" if outcome.errors else ""
    mark = "FAILED" if outcome.failure else "ok"
    return f"{lesson.number}  {mark:6}  {outcome.seconds:5.1f} s  {lesson.title} ({counts}): {lesson.does}"


def _as_typed() -> str:
    """How this command is called here: by its name, or by its path where the name alone would not find it."""
    called = Path(sys.argv[0])
    return str(called) if called.name == "asyncdb-nb" and which("asyncdb-nb") is None else "asyncdb-nb"


def _own_server() -> EmbeddedServer:
    from asyncdb_nb.server import EmbeddedServer
    from asyncdb_nb.server.directory import home_directory

    return EmbeddedServer(home_directory() / "server")


def _shown(url: str) -> str:
    """The URL without its password, which only Windows has."""
    scheme, _, rest = url.partition("://")
    credentials, _, place = rest.partition("@")
    user, colon, _ = credentials.partition(":")
    return f"{scheme}://{user}{colon}{'***' if colon else ''}@{place}"


if __name__ == "__main__":
    sys.exit(main())
