"""The embedded server: a real PostgreSQL without an installation, on Linux and macOS."""

import sys

from asyncdb_nb.errors import ServerError

if sys.platform == "win32":
    raise ServerError(
        'The embedded PostgreSQL runs on Linux and macOS. Name a server: `await connect("postgresql://...")`, or set '
        "DATABASE_URL. On Windows, WSL is Linux, too."
    )

from asyncdb_nb.server.directory import home_directory
from asyncdb_nb.server.embedded import EmbeddedServer, ServerStatus, embedded_server

__all__ = ["EmbeddedServer", "ServerStatus", "embedded_server", "home_directory"]
