"""
Read every spelling of a PostgreSQL URL into one: parameters under libpq's names.

People have a URL from a web page, an SQLAlchemy URL of another driver, a libpq connection string, or a service name. No
message repeats a part of the text that could be a password.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from urllib.parse import parse_qsl, unquote

from sqlalchemy import URL

from asyncdb_nb.engine.conninfo.libpq_defaults import Parameters, service_names
from asyncdb_nb.engine.conninfo.parameters import EXAMPLE, ODD_CHARACTERS, known_parameters
from asyncdb_nb.errors import DatabaseURLError

_DRIVERS = {"asyncpg", "psycopg", "psycopg_async", "psycopg2", "psycopg2cffi", "pg8000"}
_ALIASES = {"database": "dbname", "username": "user", "ssl": "sslmode", "timeout": "connect_timeout"}


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
    if not found.keys() & (known_parameters() | {"application_name", "options"}):  # else it would be the local server
        raise DatabaseURLError(_neither_url_nor_service(text))
    return {name: value for name, value in found.items() if value}


def _neither_url_nor_service(text: str) -> str:
    # A word that could be a password, or a URL without its scheme, is not repeated.
    known = ", ".join(service_names())
    shown = repr(text) if re.fullmatch(r"[\w.-]{1,30}", text) else "This"
    services = f" The services in your service file are: {known}." if known else ""
    if re.match(r"(\w+\s*=\s*)?['\"]?\w+(\+\w+)?://", text):
        return f"Something stands before the URL, such as a quote or `DATABASE_URL=`. Type {EXAMPLE}."
    return f"{shown} is neither a URL nor the name of a service. Type {EXAMPLE}.{services}"
