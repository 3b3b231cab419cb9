"""Find out where to connect: by what was typed, else `$DATABASE_URL`, a `.env` file, or libpq's variables."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from sqlalchemy import URL

from asyncdb_nb.engine.conninfo.env_file import find_env_file, is_readable, named_otherwise, read_env_file
from asyncdb_nb.engine.conninfo.libpq_defaults import VARIABLES, Parameters, environment_names_a_server, fill_in
from asyncdb_nb.engine.conninfo.parameters import GIVEN, Target, check
from asyncdb_nb.engine.conninfo.parse import parse
from asyncdb_nb.errors import DatabaseURLError

_IN_A_FILE = {**VARIABLES, "service": "PGSERVICE"}


def resolve(url: str | URL | None = None, *, service: str | None = None) -> Target | None:
    """Find out where to connect.

    Args:
        url: A URL (`postgres://`, `postgresql://`, with or without a driver), an SQLAlchemy `URL`, a libpq connection
            string (`"host=db dbname=shop"`), the name of a service, or None.
        service: The name of a section of the service file.

    Returns:
        The target. With neither argument: `$DATABASE_URL` from the environment, then from a `.env` file in this folder
        or above, then the server that `PGSERVICE` or `PGHOST` names, in the environment or in that file; None if there
        is nothing of this.

    Raises:
        DatabaseURLError: The text is no PostgreSQL URL, or asks for something that asyncpg cannot do.
    """
    if url is None and service is None:
        return _from_environment()
    typed = {} if url is None else parse(url)
    if service is not None:
        typed["service"] = service
    return complete(typed)


def complete(typed: Parameters, origin: str = GIVEN, *, self_contained: bool = False) -> Target:
    """Complete and check parameters that were typed.

    Args:
        typed: The parameters.
        origin: What names the server, for people.
        self_contained: Whether the environment shall give settings alone; see `fill_in`.
    """
    filled = fill_in(typed, self_contained=self_contained)
    check(filled.parameters)
    again = partial(complete, typed, origin, self_contained=self_contained)
    if filled.service and "host" not in typed:
        origin = filled.service if origin == GIVEN else f"{origin}: {filled.service}"
    return Target(filled.parameters, origin, filled.sources, filled.withheld, again, typed.get("service"))


def _from_environment() -> Target | None:
    if target := _from_variable():
        return target
    file = find_env_file()
    target = _from_url_in(file) if file else None
    target = target or _from_libpqs_variables()
    if file and not target:
        target = _from_libpqs_variables_in(file)
    if not target:
        _refuse_another_name(file)
    return target


def _from_variable() -> Target | None:
    url = os.environ.get("DATABASE_URL")
    return _named_by("$DATABASE_URL", url, _from_variable) if url else None


def _from_url_in(file: Path) -> Target | None:
    values = read_env_file(file)
    url = values.get("DATABASE_URL")
    return (
        _named_by(f"DATABASE_URL in {file}", url, partial(_again, _from_url_in, file), values=values) if url else None
    )


def _from_libpqs_variables() -> Target | None:
    variable = environment_names_a_server()
    return complete({}, f"${variable}") if variable else None


def _from_libpqs_variables_in(file: Path) -> Target | None:
    values = read_env_file(file)
    variable = environment_names_a_server(values)
    if variable is None:
        return None
    return _named_by(f"{variable} in {file}", "", partial(_again, _from_libpqs_variables_in, file), values=values)


def _again(read: Callable[[Path], Target | None], file: Path) -> Target | None:
    """Read a `.env` once more, if it still is one that nobody else could have written."""
    return read(file) if is_readable(file) else None


def _refuse_another_name(file: Path | None) -> None:
    """Say so where a URL is there under a name that nobody reads, instead of opening another server in silence."""
    for place, values in ((f"{file}", read_env_file(file) if file else {}), ("the environment", os.environ)):
        if name := named_otherwise(values):
            raise DatabaseURLError(
                f"There is a {name} in {place}, and only DATABASE_URL is read. Rename it, or type: connect(URL)."
            )


def _named_by(
    origin: str, url: str, again: Callable[[], Target | None], *, values: Mapping[str, str] | None = None
) -> Target:
    """Complete what a variable names: one of a `.env` by what else that file says, else by the environment."""
    try:
        given = parse(url) if url else {}
        if values is not None and "service" not in given:
            given = {name: values[known] for name, known in _IN_A_FILE.items() if known in values} | given
        target = complete(given, origin, self_contained=values is not None)
    except DatabaseURLError as error:
        raise DatabaseURLError(f"{origin} cannot be used. {error}") from None
    return replace(target, again=again)
