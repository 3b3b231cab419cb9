"""
Say in one or two sentences why a connection could not be opened, and what to type.

Where a value came from decides what helps: a password of `~/.pgpass` is corrected there, and not in a URL.
"""

from __future__ import annotations

import socket
import ssl

from asyncdb_nb.engine.conninfo.libpq_defaults import OWN_NAME
from asyncdb_nb.engine.conninfo.parameters import EMBEDDED, GIVEN, Target
from asyncdb_nb.engine.tls_errors import ANOTHER_CERTIFICATE, explain_tls, shown_certificate

LISTENER = "a do_connect listener of the engine"
FUNCTION = "the function in connect_args['password']"
ARGUMENT = "connect_args['password']"
TIMEOUT_ARGUMENT = "connect_args['timeout']"

_PERCENT = "if it holds one of : / ? # @ %, percent-encoded: urllib.parse.quote(password, safe='')"


def explain(error: Exception, target: Target) -> str:
    """Say why a connection could not be opened, and what to type.

    Args:
        error: What asyncpg, the network or TLS raised.
        target: Where the connection was to go, as whom, and where that was read.

    Returns:
        Two or three sentences without the password.
    """
    sqlstate = getattr(error, "sqlstate", None)
    if isinstance(sqlstate, str):
        return _server_says(error, sqlstate, target)
    return explain_tls(error, target) or _network_says(error, target)


def refuses_password(error: BaseException) -> bool:
    """Whether the server, or a pooler before it, did not accept the password."""
    return getattr(error, "sqlstate", None) == "28P01" or "password authentication failed" in str(error)


def _server_says(error: Exception, sqlstate: str, target: Target) -> str:
    user, database, server = target.user, target.database, target.server
    if refuses_password(error):
        return _of_password(target)
    match sqlstate:
        case "28000" if "does not exist" in str(error):
            return (
                f"The server at {server} has no user {user!r}{_from(target, 'user')}. "
                "Type another one: postgresql://USER:password@…"
            )
        case "28000" if "not permitted to log in" in str(error):
            return (
                f"User {user!r} of the server at {server} may not log in. "
                f'Type another user, or, as an administrator: ALTER ROLE "{user}" LOGIN.'
            )
        case "28000" if "client certificate" in str(error):
            return (
                f"The server at {server} wants a certificate of user {user!r} ({error}). "
                "Type sslcert=FILE&sslkey=FILE in the URL, or put them into ~/.postgresql/postgresql.crt and .key."
            )
        case "28000" if "certificate authentication failed" in str(error):
            return (
                f"The server at {server} does not take the client certificate that was shown for user {user!r}. "
                "Type sslcert=FILE&sslkey=FILE with the one that is made out to this user, or the user that it names."
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
                f"The server at {server} has no database {database!r}{_from(target, 'dbname')}. Type another name "
                "after the last / of the URL. To see which there are: connect to the database postgres and read "
                "pg_database."
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
        case "08P01" if "startup parameter" in str(error):
            return (
                f"The pooler at {server} does not take a setting at the start of a connection ({error}). Leave it out "
                "of server_settings, or have its administrator add it to ignore_startup_parameters, which ignores it; "
                "to set it for a session: `db.session(timeout=…)`, or SET LOCAL."
            )
        case "08003" | "08006":  # asyncpg's own
            return _hung_up(target)
        case "57P03":
            return f"The server at {server} is starting or stopping ({error}). Run this again in a moment."
    return (
        f"The server at {server} refused the connection: {error}. Correct the URL or the settings, and run this again."
    )


def _within(error: TimeoutError, target: Target) -> str:
    """Say how long was waited, unless it was the operating system that gave up."""
    return "" if error.errno else f" within {target.parameters.get('connect_timeout', '15')} seconds"


def _longer(target: Target) -> str:
    if target.sources.get("connect_timeout") == TIMEOUT_ARGUMENT:
        return 'type connect_args={"timeout": 60}'
    return "type ?connect_timeout=60 at the end of the URL"


def _of_password(target: Target) -> str:
    user, server = target.user, target.server
    if not target.parameters.get("password"):
        return (
            f"The server at {server} asks for the password of user {user!r}, and none was given.{_unnamed(target)} "
            f"{_where_to_put(target)}"
        )
    wrong = f"The password for user {user!r} is wrong, or the server at {server} has no such user.{_unnamed(target)}"
    source = target.sources.get("password", target.origin)
    if source == GIVEN:
        return f"{wrong} Type the right one; {_PERCENT}."
    if source in (LISTENER, FUNCTION, ARGUMENT):
        return f"{wrong} It was given by {source}. Correct it there; it has to be the one that holds now."
    hint = f"; {_PERCENT}" if "DATABASE_URL" in source else ""
    return f"{wrong} It was read from {source}. Correct it there{hint}."


def _where_to_put(target: Target) -> str:
    host, port = (target.addresses or [("localhost", 5432)])[0]
    line = f"{host}:{port}:{target.database}:{target.user}:PASSWORD"
    if "PGPASSWORD" in target.withheld:
        return (
            f"$PGPASSWORD was not used, because {target.origin} names the server. "
            f"Type the password there, or this line into ~/.pgpass: {line}"
        )
    if "PGSERVICE" in target.withheld:
        return (
            "That of the service which $PGSERVICE names was not used: it is for that service's host. Type the password "
            f"in the URL, postgresql://{target.user}:password@…, or this line into ~/.pgpass: {line}"
        )
    each = ", a line for each of the hosts with the same password" if len(target.addresses) > 1 else ""
    if target.origin == GIVEN:
        return f"Type it in the URL, postgresql://{target.user}:password@…, or put it into ~/.pgpass{each}."
    return f"The server is named by {target.origin}. Type the password there, or this line into ~/.pgpass: {line}"


def _unnamed(target: Target) -> str:
    return " That user is your name on this machine: no other was given." * (target.sources.get("user") == OWN_NAME)


def _from(target: Target, name: str) -> str:
    source = target.sources.get(name)
    return f" (from {source})" if source else ""


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
        case _ if "target attribute requirement" in str(error):
            wanted = target.parameters.get("target_session_attrs")
            return (
                f"No server at {server} is what target_session_attrs={wanted} asks for. "
                "Type another value, such as any, or further hosts: host1:5432,host2:5432."
            )
        case TimeoutError():
            return (
                f"The server at {server} did not answer{_within(error, target)}. "
                f"Check host, port, firewall and VPN, or wait longer: {_longer(target)}."
            )
        case FileNotFoundError() if target.addresses and target.addresses[0][0].startswith("/"):
            return f"No PostgreSQL listens on the socket in {server}. Start it, or type another host."
        case ConnectionResetError() | BrokenPipeError():
            return _hung_up(target)
        case OSError() if not isinstance(error, ssl.SSLError):
            unused = f" {target.origin} names the server, so $PGHOST was not used." * ("PGHOST" in target.withheld)
            return f"No PostgreSQL listens at {server} ({error}).{unused} Start it, or type another host or port."
    return f"A connection to {server} cannot be opened: {error}. Correct the URL or the options."


def _hung_up(target: Target) -> str:
    if certificate := shown_certificate(target):
        return (
            f"The server at {target.server} hung up after it was shown the client certificate {certificate}, "
            f"so it does not accept the client certificate. {ANOTHER_CERTIFICATE}"
        )
    return f"What listens at {target.server} hung up; it may be no PostgreSQL server. Type another port."
