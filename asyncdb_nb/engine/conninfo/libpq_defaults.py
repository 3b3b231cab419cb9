"""
Fill in what a connection string leaves out, as libpq does.

Every PostgreSQL program reads the same places in the same order: what was typed, then the service file
(`pg_service.conf`), then the `PG*` variables of the environment, then, for the password alone, the password file
(`~/.pgpass`).
asyncpg reads some of them, and none through SQLAlchemy; here all of them are read, once, before a connection is made.

Sources: PostgreSQL manual, sections "Environment Variables", "The Password File" and "The Connection Service File".
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from asyncdb_nb.engine.conninfo.file_trust import distrust
from asyncdb_nb.engine.conninfo.passfile import find_entry
from asyncdb_nb.errors import DatabaseURLError

Parameters = dict[str, str]
"""Connection parameters under libpq's names: `host`, `port`, `user`, `password`, `dbname`, `sslmode`, …"""

VARIABLES = {
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "port": "PGPORT",
    "dbname": "PGDATABASE",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "passfile": "PGPASSFILE",
    "application_name": "PGAPPNAME",
    "options": "PGOPTIONS",
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
    "sslmode": "PGSSLMODE",
    "sslnegotiation": "PGSSLNEGOTIATION",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcrl": "PGSSLCRL",
    "ssl_min_protocol_version": "PGSSLMINPROTOCOLVERSION",
    "ssl_max_protocol_version": "PGSSLMAXPROTOCOLVERSION",
    "channel_binding": "PGCHANNELBINDING",
    "require_auth": "PGREQUIREAUTH",
    "requirepeer": "PGREQUIREPEER",
    "gssencmode": "PGGSSENCMODE",
    "krbsrvname": "PGKRBSRVNAME",
    "gsslib": "PGGSSLIB",
    "timezone": "PGTZ",
    "datestyle": "PGDATESTYLE",
}
"""Parameter → the environment variable that gives it when nothing else does."""

_OF_ONE_SOURCE = ("host", "hostaddr", "port", "dbname", "user", "password")
"""What says where to go and as whom: a self-contained source takes none of these from the environment."""

OWN_NAME = "your name on this machine"
"""The source of a user that nobody named."""


class Filled(NamedTuple):
    """Connection parameters, and what is known of them.

    Attributes:
        parameters: Complete, under libpq's names.
        sources: Parameter → where it came from, in words; those that were typed are missing.
        withheld: Variables of the environment that were not used, because another source names the server; of the
            service that PGSERVICE names, it is the password.
        service: The service that was read, and its file, in words; empty if there was none.
    """

    parameters: Parameters
    sources: dict[str, str]
    withheld: tuple[str, ...]
    service: str


def fill_in(typed: Parameters, *, self_contained: bool = False) -> Filled:
    """Complete the parameters that were typed from the service file, the environment and the password file.

    Args:
        typed: What a URL or a connection string said; it wins over everything else. A `service` in it, or `$PGSERVICE`,
            names the section of the service file to read. The password of `$PGSERVICE` is for that service's host
            alone.
        self_contained: Whether they are from a self-contained source, such as a `.env`. The environment then gives
            settings alone, a service's password stays with the service's host, and an entry of the password file
            counts only where it names the host.

    Returns:
        New parameters with at least `user` and `dbname`. `service` and `passfile` are used up. `password` is missing if
        none was found anywhere.

    Raises:
        DatabaseURLError: The service is not in any service file, a service file has a line that cannot be read or could
            have been written by others, or there is nobody to connect as.
    """
    filled, sources = dict(typed), dict[str, str]()
    service = filled.pop("service", None) or (None if self_contained else os.environ.get("PGSERVICE"))
    if service and self_contained and (place := {"host", "hostaddr", "port"} & typed.keys()):
        raise DatabaseURLError(
            f"It names the service {service!r} and a {min(place)} of its own, which would get the service's password. "
            "Leave one of the two out."
        )
    variables = {name: variable for name, variable in VARIABLES.items() if os.environ.get(variable)}
    withheld = tuple(variables.pop(name) for name in _OF_ONE_SOURCE if self_contained and name in variables)
    in_words = ""
    if service:
        file, found = read_service(service)
        if "service" not in typed and typed.get("host", found.get("host")) != found.get("host"):
            withheld = (*withheld, "PGSERVICE") if found.pop("password", "") else withheld
        in_words = f"service {service!r} in {file}"
        sources |= dict.fromkeys(found.keys() - typed.keys(), in_words)
        filled = {**found, **filled}
    for name, variable in variables.items():
        if name not in filled:
            filled[name], sources[name] = os.environ[variable], f"${variable}"
    if not filled.get("user"):
        filled["user"], sources["user"] = _current_user(), OWN_NAME
    if "dbname" not in filled:
        filled["dbname"], sources["dbname"] = filled["user"], "the user's name"
    _take_password(filled, sources, named=self_contained)
    return Filled(filled, sources, withheld, in_words)


def _take_password(filled: Parameters, sources: dict[str, str], named: bool) -> None:
    home = _home()
    default = home / _windows_or_unix("pgpass.conf", ".pgpass") if home else None
    passfile = Path(given) if (given := filled.pop("passfile", "")) else default
    if filled.get("password"):
        return
    filled.pop("password", None)
    entry = find_entry(passfile, filled, named=named) if passfile else None
    if entry is not None:
        filled["password"], sources["password"] = entry.password, f"line {entry.line} of {passfile}"


def _current_user() -> str:
    import getpass  # slow: it brings in termios and the password database

    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # which of them, depends on Python's version
        raise DatabaseURLError(
            f"No user is named, and the current one (uid {os.getuid()}) has no name in the system's user database. "
            "Type one in the URL, postgresql://user@host:5432/database, or in a shell: export PGUSER=user"
        ) from None


def read_service(name: str) -> tuple[Path, Parameters]:
    """Read one section of the service file: the user's own file first, then the system's.

    Returns:
        The file, and what its section says.

    Raises:
        DatabaseURLError: No file has the section (the message lists the sections that there are), or others could have
            written a file.
    """
    services: dict[str, tuple[Path, Parameters]] = {}
    for file in service_files():
        for section, parameters in _services_in(file).items():
            services.setdefault(section, (file, parameters))
    if name not in services:
        places = " or ".join(str(file) for file in service_files()) or "a service file, for there is no home directory"
        known = ", ".join(sorted(services)) or "none"
        raise DatabaseURLError(
            f"The service {name!r} is not in {places} (services there: {known}). "
            f"Add a section [{name}] with host=, port=, dbname= and user= lines, or type one of these names."
        )
    return services[name]


def service_files() -> list[Path]:
    """Name the service files that libpq would look into, first one first; they need not exist."""
    own, home, system = os.environ.get("PGSERVICEFILE"), _home(), os.environ.get("PGSYSCONFDIR")
    files = [Path(own)] if own else [home / ".pg_service.conf"] if home else []
    return [*files, Path(system) / "pg_service.conf"] if system else files


def service_names() -> list[str]:
    """List the services that the service files define."""
    return sorted({name for file in service_files() for name in _services_in(file)})


def _services_in(file: Path) -> dict[str, Parameters]:
    # Not configparser: it gives `%` in a password a meaning of its own.
    services: dict[str, Parameters] = {}
    section: Parameters = {}
    for number, line in enumerate(_lines(file), start=1):
        if line.startswith("[") and line.endswith("]"):
            section = services.setdefault(line[1:-1].strip(), {})
        elif line and not line.startswith("#"):
            key, equals, value = line.partition("=")
            if not equals:
                raise DatabaseURLError(f"Line {number} of {file} is not of the form key=value. Correct it there.")
            section.setdefault(key.strip(), value.strip())
    return services


def _lines(file: Path) -> list[str]:
    if not os.path.isfile(file):
        return []
    if (reason := distrust(file)) is not None:
        raise DatabaseURLError(f"The service file {file} is not read. {reason}")
    try:
        return [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except PermissionError:
        raise DatabaseURLError(f"You may not read the service file {file}. Type in a shell: chmod u+r {file}") from None


def _home() -> Path | None:
    appdata = os.environ.get("APPDATA")
    try:
        return Path(appdata) / "postgresql" if os.name == "nt" and appdata else Path.home()
    except RuntimeError:  # neither HOME nor an entry in the system's user database, as in many containers
        return None


def _windows_or_unix(windows: str, unix: str) -> str:
    return windows if os.name == "nt" else unix


def environment_names_a_server(environ: Mapping[str, str] = os.environ) -> str | None:
    """Say which variable names a server for libpq (`PGSERVICE`, `PGHOST` or `PGHOSTADDR`), or None."""
    return next((name for name in ("PGSERVICE", "PGHOST", "PGHOSTADDR") if environ.get(name)), None)
