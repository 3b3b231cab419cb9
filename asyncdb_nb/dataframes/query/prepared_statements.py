"""
The statements that a connection keeps prepared, with their columns.

They are in the cache that SQLAlchemy's adapter has for its own, so that no more are kept than it may hold.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from asyncdb_nb.dataframes.query.describe import Columns, Kept, prepare
from asyncdb_nb.engine._sqlalchemy import execution
from asyncdb_nb.engine.statement_cache import cache_of
from asyncdb_nb.engine.type_codecs import has_users_codec


def every(names: Sequence[str]) -> list[bool]:
    """Have asyncpg decode every column."""
    return [True] * len(names)


async def prepared(
    adapter: Any, dialect: Any, statement: str, decoded: str, kept: Kept, *, keep: bool, anew: bool = False
) -> tuple[Any, Columns]:
    """Find a statement in the adapter's cache, or prepare it: by a name if it is to be kept there, else without one."""
    from asyncdb_nb.engine import _asyncpg  # here: it imports the driver

    as_of = execution.schema_changed_at(dialect)
    kept_statements = cache_of(adapter) if keep else None
    key = f"{statement}\n-- columns that asyncpg decodes: {decoded}"  # the adapter has others of the same text
    found = None if kept_statements is None else kept_statements.get(key)
    if kept_statements is None or anew or (found is not None and _may_be_outdated(adapter, found[1])):
        await execution.forget_old_types(adapter, as_of)
        return await prepare(adapter.driver_connection, statement, "", kept)
    if found is None or found[2] <= as_of:
        await execution.forget_old_types(adapter, as_of)
        name = execution.statement_name(adapter) or f"__asyncdb_{uuid4().hex}__"
        found = (*await prepare(adapter.driver_connection, statement, name, kept), time.time())
        kept_statements[key] = found
        await _asyncpg.close_dropped(adapter.driver_connection)
    return found[0], found[1]


def _may_be_outdated(adapter: Any, columns: Columns) -> bool:
    """Say whether types can have changed without PostgreSQL refusing the statement: a row type's fields, and codecs."""
    connection = adapter.driver_connection
    return columns.can_change or any(has_users_codec(connection, oid, python_only=has) for oid, has in columns.parts)
