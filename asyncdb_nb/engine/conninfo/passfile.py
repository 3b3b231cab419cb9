"""
Look a password up in the password file (`~/.pgpass`), as libpq does.

Source: PostgreSQL manual, section "The Password File".
"""

from __future__ import annotations

import os
import re
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from asyncdb_nb.engine.conninfo.file_trust import another_owner

DEFAULT_SOCKETS = ("/run/postgresql", "/var/run/postgresql", "/tmp", "/private/tmp")  # noqa: S108
"""Where a local server's socket is, if no host is named; the password file knows it as `localhost`."""


class Entry(NamedTuple):
    """A line of a password file; `*` in one of the first four fields matches all."""

    host: str
    port: str
    database: str
    user: str
    password: str
    line: int


def find_entry(passfile: Path, parameters: dict[str, str], *, named: bool = False) -> Entry | None:
    """Find the entry for the host; of several hosts, each has to have one, with the password that all of them receive.

    Args:
        passfile: The password file; it need not exist.
        parameters: Connection parameters under libpq's names, with `dbname` and `user`.
        named: Whether only entries count that name the host, instead of `*`.

    Returns:
        The entry, of several hosts that of the first, or None. A file that others could read, or that is someone
        else's, has none; a warning says so.
    """
    if not os.path.isfile(passfile) or _refused(passfile):
        return None
    hosts = parameters.get("host", "").split(",")
    ports = parameters.get("port", "").split(",")
    found = []
    for index, host in enumerate(hosts):
        port = ports[min(index, len(ports) - 1)] or "5432"
        wanted = (_shown_as(host), port, parameters["dbname"], parameters["user"])
        found.append(next((entry for entry in _entries(passfile) if _matches(entry, wanted, named)), None))
    return found[0] if len({entry and entry.password for entry in found}) == 1 else None


def _matches(entry: Entry, wanted: tuple[str, str, str, str], named: bool) -> bool:
    return all(field in ("*", value) for field, value in zip(entry, wanted, strict=False)) and not (
        named and entry.host == "*"
    )


def _shown_as(host: str) -> str:
    return "localhost" if not host or host in DEFAULT_SOCKETS else host


def _entries(passfile: Path) -> Iterator[Entry]:
    for number, line in enumerate(passfile.read_text(encoding="utf-8").splitlines(), start=1):
        fields = re.split(r"(?<!\\)((?:\\\\)*):", line, maxsplit=4)
        if line.startswith("#") or len(fields) != 9:
            continue
        # A run of escaped backslashes before a colon belongs to the field that it ends.
        whole = [fields[i] + fields[i + 1] for i in (0, 2, 4, 6)] + [fields[8]]
        host, port, database, user, password = (re.sub(r"\\(.)", r"\1", field) for field in whole)
        yield Entry(host, port, database, user, password, number)


def _refused(passfile: Path) -> bool:
    if os.name == "nt":
        return False
    if owner := another_owner(passfile):
        reason = f"belongs to user {owner} and is ignored. Type in a shell: export PGPASSFILE=FILE, one of your own"
    elif not os.access(passfile, os.R_OK):
        reason = f"cannot be read and is ignored. Type in a shell: chmod 600 {passfile}"
    elif passfile.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        reason = f"can be read by others and is ignored, as psql ignores it. Type in a shell: chmod 600 {passfile}"
    else:
        return False
    warnings.warn(f"The password file {passfile} {reason}", UserWarning, stacklevel=2)
    return True
