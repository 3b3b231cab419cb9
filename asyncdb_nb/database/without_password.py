"""
Send a `Database` to another process without its password.

What travels is where to connect, as whom and with which options. The other process completes that as it would complete
a URL that was typed there: the password comes from its own environment, service file or password file. One `Database`
is kept for each, so that what arrives many times connects once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from asyncdb_nb.database.session import SessionFactory
from asyncdb_nb.engine.conninfo.resolve import complete

_SECRET = frozenset({"password", "sslpassword"})
_MOST = 8  # databases that are kept

_lock = threading.Lock()
_arrived: list[tuple[Any, Any]] = []  # references, and the `Database` of each

Reference = tuple[Callable[..., Any], dict[str, str], str, SessionFactory | None, dict[str, Any]]


def reference_to(database: Any) -> Reference:
    """Say what another process needs to make the same `Database`, but for its password."""
    target, options = database._target, dict(database._options)
    if "connect_args" in options:
        options["connect_args"] = {
            name: given for name, given in options["connect_args"].items() if name not in _SECRET
        }
    parameters = {name: value for name, value in target.parameters.items() if name not in _SECRET}
    if target.service and "password" not in parameters and target.sources.get("password", "").startswith("service "):
        parameters["service"] = target.service  # which has the password there, too
    return type(database)._of, parameters, target.origin, database._sessionmaker, options


def database_of(reference: Reference) -> Any:
    """Make a `Database` of what was sent, or give the one that was made of the same before.

    Raises:
        DatabaseURLError: This process cannot complete it.
    """
    make, parameters, origin, sessionmaker, options = reference
    with _lock:
        _arrived[:] = [(known, database) for known, database in _arrived if not database._closed][-_MOST:]
        for known, database in _arrived:
            if known == reference:
                return database
        made = make(complete(dict(parameters), origin), sessionmaker, options)
        _arrived.append((reference, made))
    return made
