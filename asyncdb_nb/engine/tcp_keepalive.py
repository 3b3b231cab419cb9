"""
Notice within a minute or so that the other end of a TCP connection is gone.

A laptop that slept, a firewall that forgot, a host that lost its power: no packet says that the connection is over, and
a query that waits for its answer would wait for ever. The operating system can ask the other end now and then; asyncpg
leaves that off, and Linux by itself would first ask after two hours.
"""

from __future__ import annotations

import asyncio
import socket

IDLE = 30  # seconds of silence after which the other end is asked
INTERVAL = 10  # seconds between two questions
COUNT = 3  # questions without an answer, after which the connection is closed

_OPTIONS = {"TCP_KEEPIDLE": IDLE, "TCP_KEEPINTVL": INTERVAL, "TCP_KEEPCNT": COUNT, "TCP_USER_TIMEOUT": 60_000}


def keep_alive(transport: asyncio.Transport) -> None:
    """Have the operating system ask, with what it can be told of the above. A Unix socket needs none of it."""
    connection = transport.get_extra_info("socket")
    if connection is None or connection.family not in (socket.AF_INET, socket.AF_INET6):
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _OPTIONS.items():
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
