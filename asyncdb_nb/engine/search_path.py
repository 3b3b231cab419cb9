"""
Keep what others have put into the search path out of the package's own statements.

Whoever may create objects in `public` may add an operator or a function there whose argument types fit better than the
built-in one's. PostgreSQL then calls it, as the user who runs the statement, be it a superuser. So the statements of
this package name every function, type and table with `pg_catalog.`, and every operator as below, also where syntax
hides one: `IN`, `LIKE`, `BETWEEN`, `NULLIF` and `CASE x WHEN y` look up `=` and its kin by the search path, while
`COALESCE`, `CASE WHEN`, `EXTRACT`, `ORDER BY` and casts do not. Statements that would not be legible so run inside
`builtin_names`. What asyncpg asks about types that it does not know, arrays among them, becomes so by `qualified`.

Source: PostgreSQL manual, section "Functions" of "Schemas" and CVE-2018-1058.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

EQ, NE, GT, GE, LT = (f"OPERATOR(pg_catalog.{name})" for name in ("=", "<>", ">", ">=", "<"))
MATCHES, IS_LIKE, IS_NOT_LIKE = (f"OPERATOR(pg_catalog.{name})" for name in ("~", "~~", "!~~"))
MINUS = "OPERATOR(pg_catalog.-)"

_PIN = """
SELECT pg_catalog.current_setting('search_path') AS path,
       pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true) AS pinned
"""
_RESTORE = "SELECT pg_catalog.set_config('search_path', :path, true)"

_OPERATOR = re.compile(r"(?<=\s)(=|!=|>|\+)(?=\s)")
_NAME = re.compile(
    r"(?<![.\w])(?=pg_(?:attribute|class|namespace|range|type)\b|array_agg\()|(?<=::)(?=oid|regtype|text)"
)


@cache
def qualified(statement: str) -> str:
    """Name the schema of what asyncpg's statement about types leaves to the search path."""
    return _NAME.sub("pg_catalog.", _OPERATOR.sub(lambda found: _operator(found[1]), statement))


def _operator(name: str) -> str:
    return f"OPERATOR(pg_catalog.{'<>' if name == '!=' else name})"


@asynccontextmanager
async def builtin_names(connection: AsyncConnection) -> AsyncIterator[None]:
    """Look up names without a schema in `pg_catalog` and among temporary tables alone, inside a transaction.

    At the end of the block the transaction has its search path again; after an error, its rollback brings that back.

    Args:
        connection: A connection in a transaction, which ends or rolls back to a savepoint if the block fails.
    """
    before = (await connection.execute(text(_PIN))).one()
    yield
    await connection.execute(text(_RESTORE), {"path": before.path})
