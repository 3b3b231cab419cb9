"""The embedded server: a real PostgreSQL without an installation."""

from asyncdb_nb.server.embedded import EmbeddedServer, ServerStatus, embedded_server

__all__ = ["EmbeddedServer", "ServerStatus", "embedded_server"]
