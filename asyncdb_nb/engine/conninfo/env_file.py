"""
Find the database that a `.env` file names, in this folder or above.

Such a file often comes with somebody's repository, and whoever opens a folder has not read it. So one that others could
have written is skipped with a warning, and what it holds is self-contained: no variable of the environment is
put into it, whether by `${NAME}` or by what it leaves out.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any

from asyncdb_nb.engine.conninfo.file_trust import distrust
from asyncdb_nb.errors import DatabaseURLError

_URL = re.compile(r"postgres(ql)?(\+\w+)?://", re.IGNORECASE)
_ALIKE = re.compile(r"(\w+_)?(DATABASE|DB|POSTGRES|POSTGRESQL|PG)_?(URL|URI|DSN)", re.IGNORECASE)


def find_env_file() -> Path | None:
    """Return the nearest `.env` that nobody else could have written; a warning tells of those that are skipped."""
    try:
        here = Path.cwd()
    except FileNotFoundError:  # the folder was removed
        return None
    for file in (folder / ".env" for folder in (here, *here.parents)):
        if is_readable(file):
            return file
    return None


def is_readable(file: Path) -> bool:
    """Say whether a `.env` is there, and is to be read: a warning tells why one is not."""
    return os.path.isfile(file) and not _passed_over(file)


def read_env_file(file: Path) -> dict[str, str]:
    """Read a `.env`; `${NAME}` stands for what the file itself says.

    Raises:
        DatabaseURLError: The file is no text in UTF-8, or the URL in it takes a variable from elsewhere.
    """
    from dotenv import dotenv_values
    from dotenv.variables import parse_variables

    try:
        found = dotenv_values(file, interpolate=False)
    except UnicodeDecodeError as error:
        raise DatabaseURLError(f"{file} is not UTF-8 text ({error.reason}). Save it as UTF-8.") from None
    values: dict[str, str | None] = {}
    for name, value in found.items():
        atoms = list(parse_variables(value or ""))
        _check_variables(file, name, atoms, values)
        values[name] = "".join(atom.resolve(values) for atom in atoms)
    return {name: value for name, value in values.items() if value}


def named_otherwise(values: Mapping[str, str]) -> str | None:
    """Return the variable that holds a PostgreSQL URL under a name such as `DATABASE_URI`, which nobody reads."""
    names = (name for name, value in values.items() if _URL.match(value) and _ALIKE.fullmatch(name))
    return next((name for name in names if name != "DATABASE_URL"), None)


def _check_variables(file: Path, name: str, atoms: list[Any], values: Mapping[str, str | None]) -> None:
    missing = [atom.name for atom in atoms if getattr(atom, "default", "") is None and atom.name not in values]
    if missing and (name == "DATABASE_URL" or name.startswith("PG")):
        raise DatabaseURLError(
            f"{name} in {file} takes ${{{missing[0]}}}, which that file does not define before; variables of the "
            "environment are not put into it. Write the value there."
        )


def _passed_over(file: Path) -> bool:
    reason = distrust(file)
    if reason is None and not os.access(file, os.R_OK):
        reason = f"You may not read it. Type in a shell: chmod u+r {quote(str(file))}"
    if reason is not None:
        warnings.warn(f"{file} is not read. {reason}", UserWarning, stacklevel=2)
    return reason is not None
