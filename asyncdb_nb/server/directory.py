"""
Choose the directory of the embedded server, and say in one sentence why it cannot be used.

Homes are shared, read-only, full, or missing altogether: in many containers the user has no HOME and no entry in the
system's user database.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from asyncdb_nb.engine.conninfo.file_trust import another_owner
from asyncdb_nb.errors import ServerError

CHOOSE = "Type in a shell: export ASYNCDB_NB_HOME=DIRECTORY, with one of your own that can be written to"
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def home_directory() -> Path:
    """Where this user's embedded server is: `$ASYNCDB_NB_HOME`, else the platform's place for a user's data.

    Raises:
        ServerError: The user has no home directory.
    """
    try:
        if named := os.environ.get("ASYNCDB_NB_HOME"):
            return Path(named).expanduser().absolute()
        if os.geteuid() == 0:
            return Path("/var/lib/asyncdb_nb")  # the server does not run as root, and could not enter root's home
        Path.home()  # else platformdirs makes a directory called ~ here
    except RuntimeError as error:
        raise ServerError(f"There is no home directory for the embedded PostgreSQL ({error}). {CHOOSE}.") from None
    from platformdirs import user_data_path

    return user_data_path("asyncdb_nb", appauthor=False)


@contextmanager
def usable(directory: Path) -> Iterator[None]:
    """Say what is wrong with a directory where the operating system refuses something in it.

    Raises:
        ServerError: Instead of an `OSError`.
    """
    try:
        yield
    except OSError as error:
        raise ServerError(
            f"The directory {str(directory)!r} of the embedded PostgreSQL cannot be used: {_reason(directory, error)}"
        ) from error


def remedy_for(output: str) -> str:
    """Say what to type after PostgreSQL's own programs have failed with this output."""
    if "Check free disk space" in output or any(os.strerror(number) in output for number in _NO_SPACE):
        return f"Free some space on that disk, or choose another one. {CHOOSE}."
    if "could not look up effective user ID" in output or "local user with ID" in output:
        return (
            f"PostgreSQL does not run for a user without a name (uid {os.geteuid()}). Type, as root: "
            f"echo 'me:x:{os.geteuid()}:{os.getegid()}::/tmp:/bin/sh' >> /etc/passwd, "
            "or connect to another server: connect('postgresql://user@host:5432/database')."
        )
    if any(os.strerror(number) in output for number in (errno.EACCES, errno.EPERM, errno.EROFS)):
        return f"{CHOOSE}."
    return ""


def essence_of(output: str) -> str:
    """Return the line of a program's output that says what could not be done; all of it if there is none."""
    found = re.search(r"(?:\w+: )?(could not [^\n]*)", output)
    return (found[1] if found else output.strip()).rstrip(".")


def _reason(directory: Path, error: OSError) -> str:
    place = next((path for path in (directory, *directory.parents) if os.path.lexists(path)), directory)
    if error.errno in _NO_SPACE:
        return f"{error.strerror}. Free some space on that disk, or choose another one. {CHOOSE}."
    if error.errno in (errno.EACCES, errno.EPERM) and (owner := another_owner(place)):
        return f"{str(place)!r} belongs to user {owner}, and each user needs a server of their own. {CHOOSE}."
    return f"{error.strerror}. {CHOOSE}."
