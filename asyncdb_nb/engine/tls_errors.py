"""
Say what is wrong with a certificate, the server's or the client's, and what would help.

OpenSSL's numbers of what a verification found are in its manual, X509_STORE_CTX_get_error(3).
"""

from __future__ import annotations

import os
import ssl
from enum import IntEnum
from pathlib import Path

from asyncdb_nb.engine.conninfo.parameters import Target

ANOTHER_CERTIFICATE = (
    "Type sslcert=FILE&sslkey=FILE with one that the server's authority has signed and that has not expired."
)


class _Found(IntEnum):
    """What OpenSSL found in a server's certificate."""

    NO_REVOCATION_LIST = 3
    NOT_YET_VALID = 9
    EXPIRED = 10
    SELF_SIGNED = 18
    REVOKED = 23
    OTHER_HOST = 62
    OTHER_ADDRESS = 64


def explain_tls(error: Exception, target: Target) -> str | None:
    """Say what of TLS kept a connection from being opened.

    Args:
        error: What asyncpg or the `ssl` module raised.
        target: Where the connection was to go.

    Returns:
        A few sentences; None if the error is not about TLS.
    """
    server, mode = target.server, target.parameters.get("sslmode", "prefer")
    missing = [file for file in target.files if not file.is_file() or not os.access(file, os.R_OK)]
    match error:
        case ssl.SSLCertVerificationError():
            return _of_certificate(error, target)
        case FileNotFoundError() | PermissionError() if missing:
            fault = "cannot be read" if missing[0].is_file() else "is not there"
            return f"The file {missing[0]}, named for TLS, {fault}. Correct the path in the URL or the environment."
        case ValueError() if "root certificate" in str(error):
            return (
                f"sslmode={mode} needs the certificate of an authority, and ~/.postgresql/root.crt is not there. "
                "Type sslrootcert=FILE, or sslrootcert=system for public ones."
            )
        case ConnectionError() if "rejected SSL upgrade" in str(error):
            return f"The server at {server} does not speak TLS. Type sslmode=prefer, or ask its administrator for TLS."
        case ssl.SSLError():
            return _of_handshake(error, target)
    return None


def shown_certificate(target: Target) -> Path | None:
    """Name the client certificate that the server was shown: the one that was named, else the one at home."""
    over_tcp = any(not host.startswith("/") for host, _ in target.addresses)
    if not over_tcp or target.parameters.get("sslmode") == "disable":
        return None
    if named := target.parameters.get("sslcert"):
        return Path(named)
    try:
        at_home = Path.home() / ".postgresql" / "postgresql.crt"
    except RuntimeError:
        return None
    return at_home if at_home.is_file() else None


def _of_certificate(error: ssl.SSLCertVerificationError, target: Target) -> str:
    what = f"The certificate of the server at {target.server}"
    says = f"({error.verify_message})"
    match error.verify_code:
        case _Found.OTHER_HOST | _Found.OTHER_ADDRESS:
            return (
                f"{what} is for another host name {says}. Type the name that it was made for as the host. "
                "If that name cannot be reached from here, sslmode=verify-ca checks who signed it, and not the name."
            )
        case _Found.EXPIRED:
            return (
                f"{what} has expired {says}. Its administrator has to renew it. Until then, sslmode=require without "
                "sslrootcert encrypts, and does not check who the server is. Type that only in a network you trust."
            )
        case _Found.NOT_YET_VALID:
            return f"{what} is not valid yet {says}. Check the date and time of this machine: type `date` in a shell."
        case _Found.SELF_SIGNED:
            return (
                f"{what} is signed by nobody but itself {says}. "
                "Type sslrootcert=FILE with this very certificate, which its administrator can give you."
            )
        case _Found.REVOKED:
            return f"{what} has been revoked {says}. Its administrator has to replace it; type no password until then."
        case _Found.NO_REVOCATION_LIST:
            return f"{what} is to be checked against a revocation list {says}. Type sslcrl=FILE with its authority's."
    tried = target.parameters.get("sslrootcert")
    with_which = f" with {tried}" if tried else ""
    return (
        f"{what} cannot be verified{with_which} {says}. "
        "Type sslrootcert=FILE with the authority that signed it, or sslrootcert=system for public ones."
    )


def _of_handshake(error: ssl.SSLError, target: Target) -> str:
    server, certificate = target.server, target.parameters.get("sslcert", "~/.postgresql/postgresql.crt")
    reason = f"{error.reason or error}"
    if "KEY_VALUES_MISMATCH" in reason:
        key = target.parameters.get("sslkey", "~/.postgresql/postgresql.key")
        return f"The key {key} does not belong to the client certificate {certificate}. Type sslkey=FILE with its own."
    if "ALERT_UNKNOWN_CA" in reason or "ALERT_BAD_CERTIFICATE" in reason or "ALERT_CERTIFICATE" in reason:
        return (
            f"The server at {server} does not accept the client certificate {certificate} ({reason}). "
            f"{ANOTHER_CERTIFICATE}"
        )
    if "NO_START_LINE" in reason or "PEM" in reason or "BAD_DECRYPT" in reason or "BAD_PASSWORD" in reason:
        named = ", ".join(map(str, target.files)) or "in ~/.postgresql"
        return (
            f"A certificate or key for TLS cannot be read ({reason}): {named}. "
            "Type the path of a PEM file, and sslpassword=… where the key has a passphrase."
        )
    return f"TLS with the server at {server} failed ({error}). Check that it is a PostgreSQL server, and sslmode."
