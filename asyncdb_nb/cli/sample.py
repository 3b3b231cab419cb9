"""
The subcommand `sample`: the sample workflows into a database, and put back as they were.

What `reset` deletes that others have added, it names first, and asks; without a terminal it wants `--yes`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from asyncdb_nb.cli.command_line import command, without_password

if TYPE_CHECKING:
    from asyncdb_nb.database.database import Database
    from asyncdb_nb.workflows.sample.restore import Found

Subparsers = Any  # argparse's own type for it is private


def add_sample(subparsers: Subparsers) -> None:
    """`asyncdb-nb sample seed|reset`: the sample workflows in a database."""
    parser = subparsers.add_parser("sample", help="the sample workflows in a database: seed, reset")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    for name, run, text in (
        ("seed", _seed, "load the sample where it is missing; what is there stays"),
        ("reset", _reset, "put the sample back as it was, whatever was changed or added in its schema"),
    ):
        action = actions.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        action.add_argument("--url", help="the database (as for connect(): $DATABASE_URL, PG*, the embedded server)")
        if name == "reset":
            action.add_argument("--yes", action="store_true", help="do not ask")
        action.set_defaults(run=run)


def _seed(arguments: argparse.Namespace) -> int:
    return asyncio.run(_in_database(arguments, seed))


def _reset(arguments: argparse.Namespace) -> int:
    return asyncio.run(_in_database(arguments, reset))


async def _in_database(
    arguments: argparse.Namespace, do: Callable[[Database, argparse.Namespace], Awaitable[int]]
) -> int:
    from asyncdb_nb.database.database import Database
    from asyncdb_nb.engine.conninfo.resolve import resolve
    from asyncdb_nb.server.embedded import embedded_server

    url = arguments.url
    if url is None and resolve(None) is None:
        url = embedded_server().url  # not by connect(), which cannot ask a sample that is broken
    async with Database(url) as db:
        return await do(db, arguments)


async def seed(db: Database, arguments: argparse.Namespace) -> int:
    """Load the sample unless it is there."""
    from asyncdb_nb.workflows import ensure_sample
    from asyncdb_nb.workflows.sample.restore import look

    found = await look(db)
    if found.damaged:
        mend = command("sample", "reset", options={"url": without_password(arguments.url)})
        print(f"asyncdb-nb: The tables of the sample are not built as they were. Type: {mend}", file=sys.stderr)
        return 1
    if found.sample and found.sample.workflows:
        print(f"The sample is there already: {found.sample}. Nothing was changed.")
        return 0
    print(f"Loaded into {place(db)}: {await ensure_sample(db)}.")
    return 0


async def reset(db: Database, arguments: argparse.Namespace) -> int:
    """Put the sample back, after a question where something would be lost."""
    from asyncdb_nb.workflows.sample.restore import look, reset_sample

    found = await look(db)
    print(f"In {place(db)}: {what(found)}.")
    if found.there and not arguments.yes and not _agreed(arguments):
        return 1
    print(f"Now it is as it was first loaded: {await reset_sample(db)}.")
    return 0


def what(found: Found) -> str:
    """Say what is there, and what becomes of it."""
    if not found.there:
        return "there is no sample yet"
    parts = [
        "the tables of the sample are not built as they were" if found.damaged else f"the sample has {found.sample}"
    ]
    if found.added:
        parts.append(f"{_many(found.added, 'workflow')} that somebody added will be deleted with all their runs")
    if found.damaged:
        parts.append(
            "they will be dropped and made anew, and rights that were granted on them have to be granted again"
        )
    if found.others:
        whom = f"{_many(found.others, 'other connection')} to this database"
        goes_on = (
            "whoever has it open in a transaction is waited for some seconds" if found.damaged else "reading goes on"
        )
        parts.append(f"{whom}: {goes_on}")
    return "; ".join(parts)


def _agreed(arguments: argparse.Namespace) -> bool:
    if not sys.stdin.isatty():
        typed = command("sample", "reset", options={"url": without_password(arguments.url), "yes": True})
        print(f"asyncdb-nb: Nothing was changed. To go on without a question: {typed}", file=sys.stderr)
        return False
    if input("Put the sample back as it was? [y/N] ").strip().lower() in ("y", "yes"):
        return True
    print("Nothing was changed.")
    return False


def place(db: Database) -> str:
    """Where a database is, without its password."""
    url = db.url
    host = url.query.get("host", url.host)
    return f"database {url.database!r} at {host}{f':{url.port}' if url.port and url.host else ''}, as {url.username!r}"


def _many(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
