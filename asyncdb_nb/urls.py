"""
Read every spelling of a PostgreSQL URL into one.

People have a URL from a web page, an SQLAlchemy URL of another driver, a libpq connection string, a service name, or
nothing but environment variables. All of them become one `Target`: connection parameters under libpq's names, from
which follow the SQLAlchemy URL and the arguments for `asyncpg.connect()`. A password is in none of its reprs, and no
message repeats a part of the text that could be one.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode

from sqlalchemy import URL

from asyncdb_nb.errors import DatabaseURLError
from asyncdb_nb.libpq import Parameters, environment_names_a_server, fill_in, service_names

EXAMPLE = "postgresql://user:password@host:5432/database"

_DRIVERS = {"asyncpg", "psycopg", "psycopg_async", "psycopg2", "psycopg2cffi", "pg8000"}
_ALIASES = {"database": "dbname", "username": "user", "ssl": "sslmode", "timeout": "connect_timeout"}
_NUMBERS = {
    "command_timeout": float,
    "statement_cache_size": int,
    "max_cached_statement_lifetime": int,
    "max_cacheable_statement_size": int,
    "prepared_statement_cache_size": int,
}
"""Arguments of asyncpg and of SQLAlchemy's dialect that may stand in a URL, and their types."""

_PLACE = {"host", "port", "user", "password", "dbname"}
_ASYNCPG = {"target_session_attrs", "krbsrvname", "gsslib"}
_CERTIFICATES = {
    "sslcert", "sslkey", "sslpassword", "sslrootcert", "sslcrl", "sslnegotiation",
    "ssl_min_protocol_version", "ssl_max_protocol_version",
}  # fmt: skip
_WITHOUT_EFFECT = {
    "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout", "sslcompression",
    "sslsni", "gssdelegation", "load_balance_hosts", "client_encoding", "passfile",
}  # fmt: skip
"""Known to libpq, unknown to asyncpg, and safe to leave out: they tune the socket or the text encoding."""

_SAFE_VALUES = {
    "channel_binding": {"disable", "prefer"},
    "gssencmode": {"disable", "prefer"},
    "sslcertmode": {"disable", "allow"},
}
"""Known to libpq, unknown to asyncpg: these values change nothing, any other asks for safety that would be missing."""

_REFUSED = {"hostaddr", "require_auth", "requirepeer", "sslcrldir", "replication"}
_SSLMODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_CONNECT_TIMEOUT = 15.0


@dataclass(frozen=True)
class Target:
    """Where to connect, as whom, and how: one server (or a list of hosts that stand for one) and one database.

    Attributes:
        parameters: Under libpq's names, complete. Holds the password, so it is in no repr.
        origin: Where the parameters came from, for people: `"the URL given"`, `"$DATABASE_URL"`, …
    """

    parameters: Parameters = field(repr=False)
    origin: str = "the URL given"

    @property
    def user(self) -> str:
        """The PostgreSQL role."""
        return self.parameters["user"]

    @property
    def database(self) -> str:
        """The database name."""
        return self.parameters["dbname"]

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """The (host, port) pairs to try in turn; a host that starts with `/` is a socket directory. May be empty."""
        if not self.parameters.get("host"):
            return []
        hosts = self.parameters["host"].split(",")
        ports = self.parameters.get("port", "").split(",")
        return [(host, int(ports[index % len(ports)] or 5432)) for index, host in enumerate(hosts)]

    @property
    def files(self) -> list[Path]:
        """The certificate and key files that were named."""
        names = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
        return [Path(self.parameters[name]) for name in names if self.parameters.get(name, "system") != "system"]

    @property
    def server(self) -> str:
        """The server in words: `db.example.org:5432`, a socket directory, or the local default."""
        named = ", ".join(
            f"{host} (port {port})" if host[:1] == "/" else _joined(host, port) for host, port in self.addresses
        )
        return named or f"the local socket or localhost:{self.parameters.get('port') or 5432}"

    @property
    def url(self) -> URL:
        """The SQLAlchemy URL, password included (its repr and `str()` mask it)."""
        return self.url_without_password.set(password=self.parameters.get("password"))

    @property
    def url_without_password(self) -> URL:
        """The SQLAlchemy URL that the engine gets: what an engine does not know no traceback can show."""
        url = URL.create("postgresql+asyncpg", username=self.user, database=self.database)
        match self.addresses:
            case []:
                return url
            case [(host, port)] if not host.startswith("/"):
                return url.set(host=host, port=port)
            case several:
                hosts, ports = zip(*several, strict=True)
                return url.set(query={"host": ",".join(hosts), "port": ",".join(map(str, ports))})

    @property
    def connect_args(self) -> dict[str, Any]:
        """What `asyncpg.connect()` needs beside the URL, the password included; `server_settings` is always there."""
        given = self.parameters
        arguments: dict[str, Any] = {
            # Never None: asyncpg would go and read the password file once more, in its own way.
            "password": given.get("password", ""),
            "timeout": _seconds(given.get("connect_timeout")),
            "server_settings": {name: value for name, value in given.items() if name not in _known()},
        }
        if not self.addresses and given.get("port"):
            arguments["port"] = int(given["port"])
        arguments |= {name: given[name] for name in _ASYNCPG & given.keys()}
        arguments |= {name: _NUMBERS[name](given[name]) for name in _NUMBERS.keys() & given.keys()}
        return arguments | _tls_arguments(given)


def resolve(url: str | URL | None = None, *, service: str | None = None) -> Target | None:
    """Find out where to connect.

    Args:
        url: A URL (`postgres://`, `postgresql://`, with or without a driver), an SQLAlchemy `URL`, a libpq connection
            string (`"host=db dbname=shop"`), the name of a service, or None.
        service: The name of a section of the service file.

    Returns:
        The target. With neither argument: `$DATABASE_URL` from the environment, then from a `.env` file in this folder
        or above, then the server that `PGSERVICE` or `PGHOST` names; None if there is nothing of this.

    Raises:
        DatabaseURLError: The text is no PostgreSQL URL, or asks for something that asyncpg cannot do.
    """
    if url is None and service is None:
        return _from_environment()
    typed = {} if url is None else parse(url)
    if service is not None:
        typed["service"] = service
    origin = f"service {typed['service']!r}" if "service" in typed else "the URL given"
    return target(typed, origin)


def target(typed: Parameters, origin: str) -> Target:
    """Complete and check parameters that were typed."""
    filled = fill_in(typed)
    _check(filled)
    return Target(filled, origin)


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
    if os.environ.get("DATABASE_URL"):
        return target(parse(os.environ["DATABASE_URL"]), "$DATABASE_URL")
    from_file = _dotenv().get("DATABASE_URL")
    if from_file:
        return target(parse(from_file), "DATABASE_URL in .env")
    variable = environment_names_a_server()
    return target({}, f"${variable}") if variable else None


def _dotenv() -> dict[str, str | None]:
    from dotenv import dotenv_values, find_dotenv

    found = find_dotenv(usecwd=True)
    return dotenv_values(found) if found else {}


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
        raise DatabaseURLError(_odd_characters())
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
            f"The part after `?` is not of the form name=value&name=value. {_odd_characters()}"
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


def _check(given: Parameters) -> None:
    _check_ports(given)
    if given.get("sslmode", "prefer") not in _SSLMODES:
        raise DatabaseURLError(
            f"sslmode={given['sslmode']!r} is not one of {', '.join(_SSLMODES)}. Type sslmode=require."
        )
    _seconds(given.get("connect_timeout"))
    for name, convert in _NUMBERS.items():
        try:
            convert(given.get(name, "0"))
        except ValueError:
            raise DatabaseURLError(f"{name}={given[name]!r} is not a number. Type, for example, {name}=100.") from None
    for name, value in given.items():
        _check_name(name, value)


def _check_ports(given: Parameters) -> None:
    ports = given.get("port", "").split(",")
    if not all(not port or (port.isdecimal() and 0 < int(port) < 65536) for port in ports):
        raise DatabaseURLError(f"The port is not a number from 1 to 65535. {_odd_characters()}")
    hosts = given.get("host", "").split(",")
    if len(ports) not in (1, len(hosts)):
        raise DatabaseURLError(f"There are {len(hosts)} hosts and {len(ports)} ports. Give one port, or one a host.")


def _check_name(name: str, value: str) -> None:
    if name in _REFUSED or value not in _SAFE_VALUES.get(name, {value}):
        remedy = "Leave it out; to be sure of the server, type sslmode=verify-full&sslrootcert=system instead."
        raise DatabaseURLError(f"asyncpg cannot do {name}={value}. {remedy}")
    likely = [] if name in _known() or "." in name else get_close_matches(name, _known(), n=1, cutoff=0.85)
    if likely:
        raise DatabaseURLError(f"The parameter {name!r} is not known. Type {likely[0]}=… instead.")


def _tls_arguments(given: Parameters) -> dict[str, Any]:
    """Hand TLS to asyncpg, which takes a mode as an argument and the files only in a DSN."""
    if given.get("sslrootcert") == "system":
        import ssl

        return {"ssl": ssl.create_default_context()}
    arguments = {"ssl": given["sslmode"]} if "sslmode" in given else {}
    files = {name: given[name] for name in _CERTIFICATES & given.keys()}
    return {**arguments, "dsn": f"postgresql://?{urlencode(files)}"} if files else arguments


def _seconds(text: str | None) -> float | None:
    """Read `connect_timeout` as libpq does: seconds, and zero or less for no limit."""
    try:
        seconds = _CONNECT_TIMEOUT if text is None else float(text)
    except ValueError:
        raise DatabaseURLError(
            f"connect_timeout={text!r} is not a number of seconds. Type connect_timeout=15."
        ) from None
    return seconds if seconds > 0 else None


def _known() -> set[str]:
    """Every name that is not a server setting."""
    return (
        _PLACE | _ASYNCPG | _CERTIFICATES | _WITHOUT_EFFECT | _REFUSED | _NUMBERS.keys() | _SAFE_VALUES.keys()
        | {"sslmode", "connect_timeout", "service", "passfile", "fallback_application_name"}
    )  # fmt: skip


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _odd_characters() -> str:
    return (
        "If the password holds one of : / ? # @ % or a space, write it percent-encoded: "
        "urllib.parse.quote(password, safe='')."
    )


def _neither_url_nor_service(text: str) -> str:
    # A word that could be a password, or a URL without its scheme, is not repeated.
    known = ", ".join(service_names())
    shown = repr(text) if re.fullmatch(r"[\w.-]{1,30}", text) else "This"
    services = f" The services in your service file are: {known}." if known else ""
    return f"{shown} is neither a URL nor the name of a service. Type {EXAMPLE}.{services}"
