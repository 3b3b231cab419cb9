"""
Check what a notebook or script needs, and say of each thing what is wrong with it and what to do.

    asyncdb-nb doctor            # in a shell: exit status 0 when nothing is wrong, 1 when something is
    await examine(db)            # in a cell

Nothing is changed and nothing is started: a server that is stopped stays stopped.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import groupby

from asyncdb_nb.database.database import Database
from asyncdb_nb.diagnostics.check_environment import look_at_loop, look_at_versions
from asyncdb_nb.diagnostics.check_server import look_at_server
from asyncdb_nb.diagnostics.finding import Finding, Level
from asyncdb_nb.engine.conninfo.resolve import resolve
from asyncdb_nb.errors import AsyncDBError

__all__ = ["Diagnosis", "Finding", "Level", "examine"]


@dataclass(frozen=True, repr=False)
class Diagnosis:
    """What `examine` found; its `str()` and repr are the page to read.

    Attributes:
        findings: In the order: versions, loop, server, connections.
    """

    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong. A note is not wrong."""
        return not any(finding.level is Level.WRONG for finding in self.findings)

    def __str__(self) -> str:
        lines = []
        for topic, findings in groupby(self.findings, key=lambda finding: finding.topic):
            lines.append(topic)
            for finding in findings:
                lines.append(f"  {finding.level.value:6} {finding.fact}")
                if finding.advice:
                    lines.append(f"         → {finding.advice}")
        wrong = sum(finding.level is Level.WRONG for finding in self.findings)
        return "\n".join(
            [*lines, "", f"{wrong} thing{'' if wrong == 1 else 's'} wrong." if wrong else "Nothing is wrong."]
        )

    __repr__ = __str__


async def examine(database: Database | None = None, *, url: str | None = None) -> Diagnosis:
    """Examine versions, the running loop, the server, and the connections that programs of ours have to it.

    Args:
        database: The one to ask; it is used like any other client, on one connection.
        url: Which server to ask when no `database` is given, as for `connect()`. With neither, the one that
            `connect()` would take; an embedded server that is stopped is not started.

    Returns:
        A `Diagnosis`. What cannot be reached or read is a finding and raises nothing.

    Example:
        >>> await examine(db)
    """
    findings = [*await asyncio.to_thread(look_at_versions), *look_at_loop()]
    if database is not None:
        return Diagnosis((*findings, *await look_at_server(database)))
    try:
        found = await asyncio.to_thread(_named, url)
        if found is None:
            findings.append(_STOPPED)
        else:
            async with found as named:
                findings += await look_at_server(named)
    except AsyncDBError as error:
        findings.append(Finding("server", Level.WRONG, str(error)))
    return Diagnosis(tuple(findings))


_STOPPED = Finding(
    "server",
    Level.NOTE,
    "No server is named, and the embedded one is stopped.",
    "`await connect()` starts it, and so does `asyncdb-nb server start`.",
)


def _named(url: str | None) -> Database | None:
    """The database that `connect(url)` would use, or None if its server is the embedded one, and stopped."""
    if resolve(url) is not None:
        return Database(url)
    from asyncdb_nb.server.directory import home_directory
    from asyncdb_nb.server.embedded import EmbeddedServer

    running = EmbeddedServer(home_directory() / "server").status().url
    return None if running is None else Database(running)
