"""
Open a connection to the server, or say in one sentence why it cannot be opened.

SQLAlchemy calls a `Connector` for every new connection of an engine. The password lives here and not in the engine's
arguments, so no frame above this one can show it; the driver's frames, whose locals hold it, are cut from the traceback
of a failure (`%xmode Verbose` prints locals).
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from asyncdb_nb.errors import ConnectError
from asyncdb_nb.frozen_clock import import_extension
from asyncdb_nb.identity import application_name
from asyncdb_nb.pool import LoopBoundPool
from asyncdb_nb.target import EMBEDDED, Target

CHECK_INTERVAL = "client_connection_check_interval"
"""Makes the server look, during a query, whether its client still lives; a killed kernel's query then ends at once."""

_MAYBE_UNKNOWN = {"42704", "22023", "08P01", "0A000"}
"""SQLSTATEs of a server or pooler that refuses a setting: undefined, invalid here, protocol violation, unsupported."""

_OF_THE_DIALECT = ("prepared_statement_cache_size", "prepared_statement_name_func")
_OF_THE_URL = ("host", "port", "user", "username", "password", "dbname", "database")

Opener = Callable[..., Awaitable[Any]]


def make_engine(where: Target, options: dict[str, Any]) -> AsyncEngine:
    """Make an engine that does not know the password: its connector does.

    Args:
        where: Where to connect.
        options: For `create_async_engine`, and the pool's `idle_timeout`; `connect_args` win over what the target says.

    Raises:
        TypeError: An option is a part of the URL.
    """
    if parts := [name for name in _OF_THE_URL if name in options]:
        raise TypeError(f"The {parts[0]} is part of the URL. Type: connect('postgresql://user@host:5432/database').")
    options = {"poolclass": LoopBoundPool, "pool_pre_ping": True, **options}
    if options["idle_timeout"] is None or options["poolclass"] is not LoopBoundPool:
        del options["idle_timeout"]
    given = dict(options.pop("connect_args", {}))
    arguments = {**where.connect_args, **given}
    arguments["server_settings"] = {**where.connect_args["server_settings"], **given.get("server_settings", {})}
    opener = arguments.pop("async_creator_fn", None)
    connect_args = {name: arguments.pop(name) for name in _OF_THE_DIALECT if name in arguments}
    connect_args["async_creator_fn"] = Connector(where, arguments, opener)
    import_extension("asyncpg")
    return create_async_engine(where.url_without_password, connect_args=connect_args, **options)


class Connector:
    """What `create_async_engine(connect_args={"async_creator_fn": ...})` takes, for one target.

    Two settings are added to the user's own: an `application_name`, and `client_connection_check_interval=1s`. The
    second is sent with the start of the connection, which costs no round trip; PostgreSQL before 14, Windows servers
    and PgBouncer refuse it there, and are then connected to once more without it, the first time only.

    Args:
        target: Where to connect; its parameters hold the password.
        arguments: For `asyncpg.connect()`, over what the target says.
        opener: What opens a connection instead of `goodbye.connect`.
    """

    def __init__(self, target: Target, arguments: dict[str, Any], opener: Opener | None = None) -> None:
        self._target = target
        self._arguments = arguments
        self._opener = opener
        self._settings = arguments.get("server_settings") or {}
        self._checks_client = CHECK_INTERVAL not in f"{self._settings}"

    async def __call__(self, **given: Any) -> Any:
        """Open a connection.

        Args:
            **given: What SQLAlchemy read from its URL, and what `do_connect` listeners changed.

        Raises:
            ConnectError: With one sentence that says what is wrong and what to type.
        """
        try:
            return await self._open(given)
        except Exception as error:
            given.clear()
            raise ConnectError(explain(error, self._target)) from without_frames(error)
        except BaseException as error:  # a cancelled connect shows its frames as well
            given.clear()
            raise without_frames(error) from None

    async def _open(self, given: dict[str, Any]) -> Any:
        if self._checks_client:
            try:
                return await self._open_with({CHECK_INTERVAL: "1s"}, given)
            except Exception as error:
                if getattr(error, "sqlstate", None) not in _MAYBE_UNKNOWN or CHECK_INTERVAL not in str(error):
                    raise
                self._checks_client = False
        return await self._open_with({}, given)

    async def _open_with(self, settings: dict[str, str], given: dict[str, Any]) -> Any:
        from asyncdb_nb import goodbye  # here: it imports the driver

        name = self._target.parameters.get("fallback_application_name") or application_name()
        settings = {"application_name": name, **settings, **self._settings}
        if "application_name=" in settings.get("options", ""):
            del settings["application_name"]
        opener = self._opener or goodbye.connect
        return await opener(**{**self._arguments, "server_settings": settings, **given})


def explain(error: Exception, target: Target) -> str:
    """Say why a connection could not be opened, and what to type.

    Args:
        error: What asyncpg, the network or TLS raised.
        target: Where the connection was to go.

    Returns:
        Two sentences without the password.
    """
    sqlstate = getattr(error, "sqlstate", None)
    if isinstance(sqlstate, str):
        return _server_says(error, sqlstate, target)
    return _network_says(error, target)


def without_frames(error: BaseException) -> BaseException:
    """Forget where an error and what led to it were raised: the locals of those frames hold a password."""
    pending: list[BaseException | None] = [error]
    seen: set[int] = set()
    while pending:
        link = pending.pop()
        if link is not None and id(link) not in seen:
            seen.add(id(link))
            link.__traceback__ = None
            pending += [link.__cause__, link.__context__]
    return error


def _server_says(error: Exception, sqlstate: str, target: Target) -> str:
    user, database, server = target.user, target.database, target.server
    match sqlstate:
        case "28P01" if not target.parameters.get("password"):
            return (
                f"The server at {server} asks for the password of user {user!r}, and none was given. "
                f"Type it in the URL, postgresql://{user}:password@…, or put it into ~/.pgpass."
            )
        case "28P01":
            return (
                f"The password for user {user!r} is wrong, or the server at {server} has no such user. "
                "Type the right one; if it holds one of : / ? # @ %, percent-encoded: "
                "urllib.parse.quote(password, safe='')."
            )
        case "28000" if "does not exist" in str(error):
            return f"The server at {server} has no user {user!r}. Type another one: postgresql://USER:password@…"
        case "28000" if "not permitted to log in" in str(error):
            return (
                f"User {user!r} of the server at {server} may not log in. "
                f'Type another user, or, as an administrator: ALTER ROLE "{user}" LOGIN.'
            )
        case "28000" if _wants_encryption(error):
            return (
                f"The server at {server} does not let user {user!r} in to database {database!r} from here without "
                f"encryption ({error}). Type sslmode=require in the URL; if that is refused, too: another user, or "
                "have a line for this one added to its pg_hba.conf."
            )
        case "28000":
            return (
                f"The server at {server} does not let user {user!r} in to database {database!r} from here ({error}). "
                "Type another user, or have a line for this one added to its pg_hba.conf."
            )
        case "3D000":
            return (
                f"The server at {server} has no database {database!r}. Type another name after the last / of the URL. "
                "To see which there are: connect to the database postgres and read pg_database."
            )
        case "42501":
            return (
                f"User {user!r} may not connect to database {database!r} at {server}. "
                f'Type, as its owner: GRANT CONNECT ON DATABASE "{database}" TO "{user}".'
            )
        case "53300":
            return (
                f"The server at {server} has no free connection ({error}). "
                "Close some (`await db.aclose()`, or shut down unused kernels), or type a smaller pool_size."
            )
        case "08003" | "08006":  # asyncpg's own
            return _hung_up(server)
        case "57P03":
            return f"The server at {server} is starting or stopping ({error}). Run this again in a moment."
    return (
        f"The server at {server} refused the connection: {error}. Correct the URL or the settings, and run this again."
    )


def _wants_encryption(error: Exception) -> bool:
    """Whether encryption may help: not on a socket, and not where asyncpg tried it first and was refused as well."""
    text = str(error)
    return "no encryption" in text and "[local]" not in text and "SSL encryption" not in str(error.__cause__)


def _network_says(error: Exception, target: Target) -> str:
    server = target.server
    match error:
        case FileNotFoundError() | ConnectionRefusedError() if target.origin == EMBEDDED:
            return "The embedded server is stopped. Run the cell with `await connect()` again, which starts it."
        case socket.gaierror():
            return (
                f"The host of {server} is not known ({error.strerror}). Type another host name, or check the network."
            )
        case ssl.SSLCertVerificationError():
            return (
                f"The certificate of the server at {server} cannot be verified ({error.verify_message}). "
                "Type sslrootcert=FILE with the authority that signed it, or sslrootcert=system for public ones."
            )
        case ValueError() if "root certificate" in str(error):
            return (
                f"sslmode={target.parameters.get('sslmode')} needs the certificate of an authority, and "
                "~/.postgresql/root.crt is not there. Type sslrootcert=FILE, or sslrootcert=system for public ones."
            )
        case TimeoutError():
            seconds = target.parameters.get("connect_timeout", "15")
            return (
                f"The server at {server} did not answer within {seconds} seconds. "
                "Check host, port, firewall and VPN, or wait longer: type ?connect_timeout=60 at the end of the URL."
            )
        case FileNotFoundError() if missing := [file for file in target.files if not file.is_file()]:
            return (
                f"The file {missing[0]}, named for TLS, is not there. Correct the path in the URL or the environment."
            )
        case FileNotFoundError() if target.addresses and target.addresses[0][0].startswith("/"):
            return f"No PostgreSQL listens on the socket in {server}. Start it, or type another host."
        case ConnectionError() if "rejected SSL upgrade" in str(error):
            return f"The server at {server} does not speak TLS. Type sslmode=prefer, or ask its administrator for TLS."
        case ssl.SSLError():
            return (
                f"TLS with the server at {server} failed ({error}). Check that it is a PostgreSQL server, and sslmode."
            )
        case ConnectionResetError():
            return _hung_up(server)
        case OSError():
            return f"No PostgreSQL listens at {server} ({error}). Start it, or type another host or port."
    return f"A connection to {server} cannot be opened: {error}. Correct the URL or the options."


def _hung_up(server: str) -> str:
    return f"What listens at {server} hung up; it may be no PostgreSQL server. Type another port."
