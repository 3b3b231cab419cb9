"""
Say what a set of connection parameters means to SQLAlchemy and to asyncpg.

libpq's names are the ones that people know, so a `Target` holds its parameters under them. SQLAlchemy gets a URL from
it, and `asyncpg.connect()` its arguments. What asyncpg does not know is left out where that is safe, and refused where
the user would believe in a protection that is not there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlencode

from sqlalchemy import URL

from asyncdb_nb.engine.conninfo.libpq_defaults import Parameters
from asyncdb_nb.engine.conninfo.passfile import DEFAULT_SOCKETS
from asyncdb_nb.errors import DatabaseURLError

EMBEDDED = "the embedded server, with the sample workflows"
"""The origin of a target that nobody named."""

GIVEN = "the URL given"
"""The origin of a target that was typed."""

EXAMPLE = "postgresql://user:password@host:5432/database"

ODD_CHARACTERS = (
    "If the password holds one of : / ? # @ % or a space, write it percent-encoded: "
    "urllib.parse.quote(password, safe='')."
)

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
_CHOICES = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "sslnegotiation": ("postgres", "direct"),
    "ssl_min_protocol_version": ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"),
    "ssl_max_protocol_version": ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"),
    "target_session_attrs": ("any", "primary", "standby", "read-write", "read-only", "prefer-standby"),
    "gsslib": ("gssapi", "sspi"),
}
"""The parameters that take one of a few words."""

_CONNECT_TIMEOUT = 15.0


@dataclass(frozen=True)
class Target:
    """Where to connect, as whom, and how: one server (or a list of hosts that stand for one) and one database.

    Attributes:
        parameters: Under libpq's names, complete. Holds the password, so it is in no repr.
        origin: What names the server, for people: `"the URL given"`, `"DATABASE_URL in /home/me/shop/.env"`, …
        sources: Parameter → where it came from, where that is not the origin: `{"password": "$PGPASSWORD"}`.
        withheld: Variables of the environment that were not used, because a `.env` names the server.
        again: Reads the files and variables once more, as after a change of password.
        service: The section of the service file that was named.
    """

    parameters: Parameters = field(repr=False)
    origin: str = GIVEN
    sources: Mapping[str, str] = field(default_factory=dict)
    withheld: tuple[str, ...] = ()
    again: Callable[[], Target | None] | None = field(default=None, repr=False, compare=False)
    service: str | None = None

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
            "server_settings": {name: value for name, value in given.items() if name not in known_parameters()},
        }
        if not self.addresses and (given.get("port") or self.withheld):  # else asyncpg would read PGHOST and PGPORT
            arguments["host"] = ["localhost"] if os.name == "nt" else [*DEFAULT_SOCKETS, "localhost"]
            arguments["port"] = int(given.get("port") or 5432)
        arguments |= {name: given[name] for name in _ASYNCPG & given.keys()}
        arguments |= {name: _NUMBERS[name](given[name]) for name in _NUMBERS.keys() & given.keys()}
        return arguments | _tls_arguments(given)


def check(given: Parameters) -> None:
    """Refuse parameters that cannot be read, that are misspelt, or that asyncpg cannot honour; a `DatabaseURLError`."""
    _check_ports(given)
    for name, choices in _CHOICES.items():
        if name in given and given[name] not in choices:
            _refuse_choice(name, given[name], choices)
    _seconds(given.get("connect_timeout"))
    for name, convert in _NUMBERS.items():
        try:
            convert(given.get(name, "0"))
        except ValueError:
            raise DatabaseURLError(f"{name}={given[name]!r} is not a number. Type, for example, {name}=100.") from None
    for name, value in given.items():
        _check_name(name, value)


def _refuse_choice(name: str, value: str, choices: tuple[str, ...]) -> NoReturn:
    likely = get_close_matches(value, choices, n=1)
    remedy = f"Type {name}={likely[0]}." if likely else "Type one of these, or leave it out."
    raise DatabaseURLError(f"{name}={value!r} is not one of {', '.join(choices)}. {remedy}")


def _check_ports(given: Parameters) -> None:
    ports = given.get("port", "").split(",")
    if not all(not port or (port.isdecimal() and 0 < int(port) < 65536) for port in ports):
        raise DatabaseURLError(f"The port is not a number from 1 to 65535. {ODD_CHARACTERS}")
    hosts = given.get("host", "").split(",")
    if len(ports) not in (1, len(hosts)):
        raise DatabaseURLError(f"There are {len(hosts)} hosts and {len(ports)} ports. Give one port, or one a host.")


def _check_name(name: str, value: str) -> None:
    if name in _REFUSED or value not in _SAFE_VALUES.get(name, {value}):
        remedy = "Leave it out; to be sure of the server, type sslmode=verify-full&sslrootcert=system instead."
        raise DatabaseURLError(f"asyncpg cannot do {name}={value}. {remedy}")
    likely = (
        []
        if name in known_parameters() or "." in name
        else get_close_matches(name, known_parameters(), n=1, cutoff=0.85)
    )
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


def known_parameters() -> set[str]:
    """Every name that is not a server setting."""
    return (
        _PLACE | _ASYNCPG | _CERTIFICATES | _WITHOUT_EFFECT | _REFUSED | _NUMBERS.keys() | _SAFE_VALUES.keys()
        | {"sslmode", "connect_timeout", "service", "passfile", "fallback_application_name"}
    )  # fmt: skip


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
