"""
Read every spelling of a PostgreSQL URL into one.

People have a URL from a web page, an SQLAlchemy URL of another driver, a libpq connection string, a service name, or
nothing but environment variables. All of them become one `Target`. No message repeats a part of the text that could be
a password.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from urllib.parse import parse_qsl, unquote

from sqlalchemy import URL

from asyncdb_nb.engine.conninfo.env_file import find_env_file, is_readable, named_otherwise, read_env_file
from asyncdb_nb.engine.conninfo.libpq_defaults import (
    VARIABLES,
    Parameters,
    environment_names_a_server,
    fill_in,
    service_names,
)
from asyncdb_nb.engine.conninfo.parameters import EXAMPLE, GIVEN, ODD_CHARACTERS, Target, check
from asyncdb_nb.errors import DatabaseURLError

_DRIVERS = {"asyncpg", "psycopg", "psycopg_async", "psycopg2", "psycopg2cffi", "pg8000"}
_IN_A_FILE = {**VARIABLES, "service": "PGSERVICE"}
_ALIASES = {"database": "dbname", "username": "user", "ssl": "sslmode", "timeout": "connect_timeout"}


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


def complete(typed: Parameters, origin: str = GIVEN, *, alone: bool = False) -> Target:
    """Complete and check parameters that were typed.

    Args:
        typed: The parameters.
        origin: What names the server, for people.
        alone: Whether the environment shall give settings alone; see `fill_in`.
    """
    filled = fill_in(typed, alone=alone)
    check(filled.parameters)
    again = partial(complete, typed, origin, alone=alone)
    if filled.service and "host" not in typed:
        origin = filled.service if origin == GIVEN else f"{origin}: {filled.service}"
    return Target(filled.parameters, origin, filled.sources, filled.withheld, again)


def parse(url: str | URL) -> Parameters:
    """Split a URL, a connection string or a service name into parameters under libpq's names, reading nothing else."""
    if isinstance(url, URL):
        _check_scheme(url.drivername)
        url = url.render_as_string(hide_password=False)
    if not isinstance(url, str):
        raise DatabaseURLError(f'A database URL is text, not {type(url).__name__}. Type "{EXAMPLE}".')
    text = url.strip()
    scheme, separator, rest = text.partition("://")
    if separator and re.fullmatch(r"[\w.+:-]+", scheme):
        _check_scheme(scheme.lower())
        return _parse_url(rest)
    if "=" in text:
        return _parse_conninfo(text)
    if text in service_names():
        return {"service": text}
    raise DatabaseURLError(_neither_url_nor_service(text))


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
        target = complete(given, origin, alone=values is not None)
    except DatabaseURLError as error:
        raise DatabaseURLError(f"{origin} cannot be used. {error}") from None
    return replace(target, again=again)


def _check_scheme(scheme: str) -> None:
    dialect, _, driver = scheme.partition("+")
    if dialect in ("postgres", "postgresql") and (not driver or driver in _DRIVERS):
        return
    if dialect in ("postgres", "postgresql"):
        raise DatabaseURLError(f"The driver {driver!r} is not known here: asyncpg is used. Type {EXAMPLE}.")
    if get_close_matches(dialect, ["postgres", "postgresql"], cutoff=0.7):
        raise DatabaseURLError(f"{scheme!r} is not a scheme; probably a typing error. Type {EXAMPLE}.")
    raise DatabaseURLError(f"{scheme}:// is not PostgreSQL, and this package talks to PostgreSQL. Type {EXAMPLE}.")


def _parse_url(rest: str) -> Parameters:
    place, _, query = rest.partition("?")
    authority, _, path = place.partition("/")
    if "@" in path:
        raise DatabaseURLError(ODD_CHARACTERS)
    credentials, _, hosts = authority.rpartition("@")
    user, _, password = credentials.partition(":")
    host, port = _split_hosts(hosts)
    found = {"user": unquote(user), "password": unquote(password), "host": host, "port": port, "dbname": unquote(path)}
    return {name: value for name, value in (found | _parse_query(query)).items() if value}


def _parse_query(query: str) -> Parameters:
    if not query:
        return {}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True)
    except ValueError:
        raise DatabaseURLError(
            f"The part after `?` is not of the form name=value&name=value. {ODD_CHARACTERS}"
        ) from None
    found: Parameters = {}
    for name, value in pairs:
        name = _ALIASES.get(name, name)
        found[name] = f"{found[name]},{value}" if name in ("host", "port") and name in found else value
    if "host" in found and "port" not in found:
        found["host"], found["port"] = _split_hosts(found["host"])
    return found


def _split_hosts(text: str) -> tuple[str, str]:
    """Split `one:5432,[::1]:5433` into hosts and ports, joined by commas as libpq writes them."""
    hosts, ports = [], []
    for item in text.split(",") if text else []:
        match = re.fullmatch(r"\[(?P<v6>[^\]]+)\](?::(?P<port6>.*))?|(?P<host>[^:]*)(?::(?P<port>.*))?", item)
        if item.startswith("/") or match is None:
            hosts.append(item)
            ports.append("")
        else:
            hosts.append(unquote(match["v6"] or match["host"]))
            ports.append(match["port6"] or match["port"] or "")
    return ",".join(hosts), ",".join(ports) if any(ports) else ""


def _parse_conninfo(text: str) -> Parameters:
    found: Parameters = {}
    position = 0
    item = re.compile(r"\s*(\w[\w.]*)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|((?:[^\s'\\]|\\.)*))\s*")
    while position < len(text):
        match = item.match(text, position)
        if match is None:
            raise DatabaseURLError(
                "This reads like a connection string, but is not of the form `name=value name='a value'` throughout. "
                f"Correct it, or type a URL: {EXAMPLE}."
            )
        value = match[2] if match[2] is not None else match[3]
        found[_ALIASES.get(match[1], match[1])] = re.sub(r"\\(.)", r"\1", value)
        position = match.end()
    return {name: value for name, value in found.items() if value}


def _neither_url_nor_service(text: str) -> str:
    # A word that could be a password, or a URL without its scheme, is not repeated.
    known = ", ".join(service_names())
    shown = repr(text) if re.fullmatch(r"[\w.-]{1,30}", text) else "This"
    services = f" The services in your service file are: {known}." if known else ""
    return f"{shown} is neither a URL nor the name of a service. Type {EXAMPLE}.{services}"
