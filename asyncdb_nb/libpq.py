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
import re
import stat
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

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

_DEFAULT_SOCKETS = ("/run/postgresql", "/var/run/postgresql", "/tmp", "/private/tmp")  # noqa: S108


def fill_in(typed: Parameters) -> Parameters:
    """Complete the parameters that were typed from the service file, the environment and the password file.

    Args:
        typed: What a URL or a connection string said; it wins over everything else. A `service` in it, or `$PGSERVICE`,
            names the section of the service file to read.

    Returns:
        New parameters with at least `user` and `dbname`. `service` and `passfile` are used up. `password` is missing if
        none was found anywhere.

    Raises:
        DatabaseURLError: The service is not in any service file, or a service file has a line that cannot be read.
    """
    filled = dict(typed)
    service = filled.pop("service", None) or os.environ.get("PGSERVICE")
    if service:
        filled = {**read_service(service), **filled}
    for name, variable in VARIABLES.items():
        if os.environ.get(variable):
            filled.setdefault(name, os.environ[variable])
    if "user" not in filled:
        import getpass  # slow: it brings in termios and the password database

        filled["user"] = getpass.getuser()
    filled.setdefault("dbname", filled["user"])
    passfile = Path(filled.pop("passfile", "") or _home() / _windows_or_unix("pgpass.conf", ".pgpass"))
    if not filled.get("password"):
        filled.pop("password", None)
        found = _password_from(passfile, filled)
        if found is not None:
            filled["password"] = found
    return filled


def read_service(name: str) -> Parameters:
    """Read one section of the service file: the user's own file first, then the system's.

    Raises:
        DatabaseURLError: No file has the section; the message lists the sections that there are.
    """
    services: dict[str, Parameters] = {}
    for file in service_files():
        services = {**_services_in(file), **services}
    if name not in services:
        places = " or ".join(str(file) for file in service_files())
        known = ", ".join(sorted(services)) or "none"
        raise DatabaseURLError(
            f"The service {name!r} is not in {places} (services there: {known}). "
            f"Add a section [{name}] with host=, port=, dbname= and user= lines, or type one of these names."
        )
    return services[name]


def service_files() -> list[Path]:
    """Name the service files that libpq would look into, first one first; they need not exist."""
    own = os.environ.get("PGSERVICEFILE")
    files = [Path(own) if own else _home() / _windows_or_unix(".pg_service.conf", ".pg_service.conf")]
    system = os.environ.get("PGSYSCONFDIR")
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


def _password_from(passfile: Path, parameters: Parameters) -> str | None:
    if not passfile.is_file() or _open_to_others(passfile):
        return None
    hosts = parameters.get("host", "").split(",")
    ports = parameters.get("port", "").split(",")
    for index, host in enumerate(hosts):
        port = ports[min(index, len(ports) - 1)] or "5432"
        wanted = (_passfile_host(host), port, parameters["dbname"], parameters["user"])
        for entry in _passfile_entries(passfile):
            if all(field in ("*", value) for field, value in zip(entry, wanted, strict=False)):
                return entry[4]
    return None


def _passfile_host(host: str) -> str:
    return "localhost" if not host or host in _DEFAULT_SOCKETS else host


def _passfile_entries(passfile: Path) -> Iterator[list[str]]:
    for line in _lines(passfile, strip=False):
        fields = re.split(r"(?<!\\)((?:\\\\)*):", line, maxsplit=4)
        if line.startswith("#") or len(fields) != 9:
            continue
        # A run of escaped backslashes before a colon belongs to the field that it ends.
        whole = [fields[i] + fields[i + 1] for i in (0, 2, 4, 6)] + [fields[8]]
        yield [re.sub(r"\\(.)", r"\1", field) for field in whole]


def _open_to_others(passfile: Path) -> bool:
    if os.name == "nt" or not passfile.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return False
    warnings.warn(
        f"The password file {passfile} can be read by others and is ignored, as psql ignores it. "
        f"Type in a shell: chmod 600 {passfile}",
        UserWarning,
        stacklevel=2,
    )
    return True


def _lines(file: Path, *, strip: bool = True) -> list[str]:
    if not file.is_file():
        return []
    lines = file.read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines] if strip else lines


def _home() -> Path:
    appdata = os.environ.get("APPDATA")
    return Path(appdata) / "postgresql" if os.name == "nt" and appdata else Path.home()


def _windows_or_unix(windows: str, unix: str) -> str:
    return windows if os.name == "nt" else unix


def environment_names_a_server(environ: Mapping[str, str] = os.environ) -> str | None:
    """Say which variable names a server for libpq (`PGSERVICE`, `PGHOST` or `PGHOSTADDR`), or None."""
    return next((name for name in ("PGSERVICE", "PGHOST", "PGHOSTADDR") if environ.get(name)), None)
