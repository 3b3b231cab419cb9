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
from typing import TYPE_CHECKING, Any

from asyncdb_nb import __version__
from asyncdb_nb.cli.command_line import as_typed
from asyncdb_nb.cli.load import add_load, add_unload
from asyncdb_nb.cli.sample import add_sample
from asyncdb_nb.errors import AsyncDBError

if TYPE_CHECKING:
    from asyncdb_nb.lessons.tour import Outcome
    from asyncdb_nb.server.embedded import EmbeddedServer

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


def add_doctor(subparsers: Subparsers) -> None:
    """`asyncdb-nb doctor`: what is installed, the loop, the server, and what is still connected to it."""
    text = "look at versions, loop, server and connections; exit status 1 when something is wrong"
    parser = subparsers.add_parser("doctor", help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.add_argument("--url", help="the server (as for connect(): $DATABASE_URL, PG*, the embedded server)")
    parser.set_defaults(run=_doctor)


SUBCOMMANDS = (add_server, add_sample, add_load, add_unload, add_tour, add_lab, add_doctor)


def _server_start(arguments: argparse.Namespace) -> int:
    from asyncdb_nb.server.embedded import embedded_server

    server = embedded_server()
    server.keep()
    print(f"Running: {server.url}")
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
    print(f"Running: {status.url} (process {status.pid})")
    print("Kept until `asyncdb-nb server stop`." if status.kept else "It stops with its last user.")
    for user in status.users:
        print(f"Used by process {user.pid}: {user.command}")
    return 0


def _tour(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    from asyncdb_nb.lessons.notebooks import lessons
    from asyncdb_nb.lessons.tour import tour

    chosen = lessons(arguments.only)
    if arguments.list:
        for lesson in chosen:
            print(f"{lesson.number}  {lesson.title}: {lesson.does}")
        return 0
    output = arguments.output or Path(tempfile.mkdtemp(prefix="asyncdb-nb-tour-"))
    failures = []
    with tqdm(total=sum(lesson.cells for lesson in chosen), unit="cell", disable=None) as bar:
        for outcome in tour(chosen, output, after_cell=bar.update):
            tqdm.write(_summary(outcome))
            if outcome.failure:
                failures.append(outcome.failure)
    print(f"The executed notebooks are in {output}")
    for failure in failures:
        print(f"asyncdb-nb: {failure}", file=sys.stderr)
    if not failures:
        print(f"Next: {as_typed()} lab opens them in JupyterLab, as copies of your own.")
    return 1 if failures else 0


def _lab(arguments: argparse.Namespace) -> int:
    from asyncdb_nb.lessons.lab import run_lab

    tell = partial(print, flush=True)  # at once, also into a pipe
    run_lab(arguments.directory, arguments.port, not arguments.no_browser, tell)
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    from asyncdb_nb.diagnostics.doctor import examine

    diagnosis = asyncio.run(examine(url=arguments.url))
    print(diagnosis)
    return 0 if diagnosis.ok else 1


def _summary(outcome: Outcome) -> str:
    lesson = outcome.lesson
    shown = (lesson.cells, "cell"), (outcome.frames, "frame"), (outcome.figures, "figure"), (outcome.errors, "error")
    counts = ", ".join(f"{count} {thing}{'' if count == 1 else 's'}" for count, thing in shown if count)
    counts += " on purpose" if outcome.errors else ""
    mark = "FAILED" if outcome.failure else "ok"
    return f"{lesson.number}  {mark:6}  {outcome.seconds:5.1f} s  {lesson.title} ({counts}): {lesson.does}"


def _own_server() -> EmbeddedServer:
    from asyncdb_nb.server.directory import home_directory
    from asyncdb_nb.server.embedded import EmbeddedServer

    return EmbeddedServer(home_directory() / "server")
