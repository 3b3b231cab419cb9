"""
Tell a codec that a user registered on a connection (`set_type_codec`) from the one that the driver has.

SQLAlchemy registers codecs for json and jsonb on every connection of its own, and this package for dates and time
stamps; those only hand on what was sent, and are not a user's.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

_NOT_A_USERS = ("sqlalchemy.", "asyncdb_nb.")
_TEXT = 0  # PostgreSQL's number for that format


def has_users_codec(connection: Any, oid: int, *, python_only: bool = False) -> bool:
    """Say whether a user registered a codec for a type.

    Args:
        connection: The asyncpg connection.
        oid: The type's number.
        python_only: Whether a codec of asyncpg's own (`set_builtin_type_codec`) does not count.
    """
    settings = connection.get_settings()
    codec = settings.get_data_codec(oid)
    if codec is None or codec is settings.get_data_codec(oid, ignore_custom_codec=True):
        return False
    functions = _functions(codec)
    if not functions:
        return not python_only
    return not any((getattr(each, "__module__", None) or "").startswith(_NOT_A_USERS) for each in functions)


def text_decoder(connection: Any, oid: int) -> Callable[[str], Any] | None:
    """Return what reads a type's text, in a codec that a user registered; None where it does not read text."""
    codec = connection.get_settings().get_data_codec(oid, _TEXT)
    functions = _functions(codec) if has_users_codec(connection, oid) else []
    return functions[1] if len(functions) == 2 and codec is connection.get_settings().get_data_codec(oid) else None


def _functions(codec: Any) -> list[Any]:
    """Find the encoder and the decoder of a codec, in this order; nothing for a codec of asyncpg's own."""
    return [found for found in gc.get_referents(codec) if callable(found) and found is not type(codec)]
