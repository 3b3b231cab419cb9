"""
Keep a test that asks for a clean database from committing to another one.

An application has an engine of its own, and a test that forgets to replace it writes into the database that this
engine names, with no word: the test passes, and its rows stay. So whatever is committed while such a test runs, through
an engine to PostgreSQL that is not part of the test's database, is refused before it is committed. What is only read,
or rolled back, is let through. A statement that commits itself (AUTOCOMMIT) runs read-only: what it writes, whether by
a function, a view or EXPLAIN ANALYZE, the server knows best.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, event

from asyncdb_nb.aio import call_site
from asyncdb_nb.engine.write_detection import BLANK
from asyncdb_nb.errors import NotIsolatedError
from asyncdb_nb.pytest_plugin import options
from asyncdb_nb.pytest_plugin.leaks.where_engines_are_made import call_site_of
from asyncdb_nb.pytest_plugin.leaks.who_opened_what import Checkouts
from asyncdb_nb.pytest_plugin.secret_url import without_password

_WRITES = re.compile(
    rf"(?>{BLANK}\(?)*+"
    r"(?:(?:alter|call|comment|copy|create|delete|do|drop|grant|import|insert|merge|reassign|refresh|reindex|revoke"
    r"|security|truncate|update)\b"
    r"|explain\b.*\banaly[sz]e\b.*\bcreate\b"  # which a read-only transaction carries out
    r"|with\b.*\b(?:delete\s+from|insert\s+into|merge\s+into|update\b.*\bset)\b)",
    re.IGNORECASE | re.DOTALL,
)
_COMMITS = re.compile(  # by itself, or after others; not in the text of a function
    rf"{BLANK}(?:commit|end|prepare\s+transaction)\b|[^$]*;{BLANK}commit\b", re.IGNORECASE | re.DOTALL
)
_KEEPS_NO_ROW = re.compile(  # and is no read for PostgreSQL: a sequence's next value, locks of rows
    r"\A\s*+select\s+(?:pg_catalog\.)?nextval\s*\([^()]*\)\s*;?\s*$|\bfor\s+(?:(?:no\s+key\s+)?update|(?:key\s+)?share)\b",
    re.IGNORECASE,
)
_READ_ONLY = "asyncdb_nb read-only"  # in the `info` of a connection
_READ_ONLY_ERROR = "25006"  # read_only_sql_transaction
_HAS_WRITTEN = "SELECT pg_catalog.txid_current_if_assigned() IS NOT NULL"


class OtherEngines:
    """Listens to every engine of the process.

    Args:
        checkouts: Knows which test runs, and which engines are the plugin's own.

    Attributes:
        isolated: The dialects of the engines that tests may commit through.
        databases: The names of databases that are cleaned in another way than by a transaction.
        test_has_ended: Whether fixtures are being torn down, those of the whole module or session as well.
    """

    def __init__(self, checkouts: Checkouts) -> None:
        self.isolated: weakref.WeakSet[Any] = weakref.WeakSet()
        self.databases: set[str] = set()
        self.test_has_ended = False
        self._checkouts = checkouts
        self._refused: list[NotIsolatedError] = []

    def start(self) -> Callable[[], None]:
        """Begin to listen; returns what ends it."""
        listeners = (
            ("commit", self._committing),
            ("before_cursor_execute", self._executing),
            ("after_cursor_execute", self._executed),
            ("handle_error", self._failed),
        )
        for name, listener in listeners:
            event.listen(Engine, name, listener, **({"retval": True} if name == "handle_error" else {}))

        def stop() -> None:
            for name, listener in listeners:
                event.remove(Engine, name, listener)

        return stop

    def take_refused(self) -> NotIsolatedError | None:
        """Return what was refused since this was last called: the code under test may have caught it."""
        refused, self._refused = self._refused, []
        return refused[0] if refused else None

    def _committing(self, connection: Any) -> None:
        if self._is_other(connection) and _has_written(connection):
            self._refuse(connection.engine)

    def _executing(self, connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, _: bool) -> None:
        """Refuse a statement that commits, or that would be committed at once."""
        at_once = getattr(connection.connection.dbapi_connection, "autocommit", False)
        commits = _COMMITS.match(statement)
        if not (at_once or commits) or not self._is_other(connection):
            return
        is_write = context is not None and (context.isinsert or context.isupdate or context.isdelete)
        if is_write or _WRITES.match(statement) or (commits and _has_written(connection)):
            self._refuse(connection.engine)
        if at_once and not _KEEPS_NO_ROW.search(statement):
            _make_read_only(connection)

    def _executed(self, connection: Any, *_: Any) -> None:
        _make_read_write(connection)

    def _failed(self, context: Any) -> Exception | None:
        """Say why a statement was read-only."""
        connection, error = context.connection, context.original_exception
        if connection is None or context.is_disconnect or not _is_read_only(connection):
            return None
        _make_read_write(connection)
        if getattr(error, "sqlstate", None) != _READ_ONLY_ERROR:
            return None
        return self._refusal(connection.engine)

    def _is_other(self, connection: Any) -> bool:
        dialect, owner = connection.dialect, self._checkouts.owner
        if owner is None or self.test_has_ended or dialect.name != "postgresql":
            return False
        if dialect in self.isolated or dialect in self._checkouts.ignored:
            return False
        if connection.engine.url.database in self.databases:
            return False
        return isinstance(owner.node, pytest.Item) and options.refuses_other_engines(owner.node)

    def _refuse(self, engine: Any) -> None:
        raise self._refusal(engine)

    def _refusal(self, engine: Any) -> NotIsolatedError:
        made = call_site.in_words(call_site_of(engine.dialect)[:1])
        error = NotIsolatedError(f"{without_password(engine.url)}, made {made}")
        self._refused.append(error)
        return error


def _has_written(connection: Any) -> bool:
    """Ask the server whether the transaction has something to commit."""
    return bool(_ask(connection, _HAS_WRITTEN))


def _make_read_only(connection: Any) -> None:
    """Have the server refuse what the next statement writes, unless it does already."""
    if _ask(connection, "SELECT pg_catalog.current_setting('default_transaction_read_only')") == "off":
        connection.info[_READ_ONLY] = True
        _ask(connection, "SET default_transaction_read_only = on")


def _make_read_write(connection: Any) -> None:
    """Undo it; where a transaction has failed that begins with BEGIN as text, after the ROLLBACK."""
    if _is_read_only(connection):
        _ask(connection, "SET default_transaction_read_only = off")
        if _ask(connection, "SELECT pg_catalog.current_setting('default_transaction_read_only')") == "off":
            connection.info.pop(_READ_ONLY)


def _is_read_only(connection: Any) -> bool:
    return not (connection.closed or connection.invalidated) and _READ_ONLY in connection.info


def _ask(connection: Any, statement: str) -> Any:
    """Return what the server says to a statement; None if nothing, or if it cannot be asked now."""
    cursor = connection.connection.cursor()
    try:
        cursor.execute(statement)
        return cursor.fetchone()[0] if cursor.description else None
    except connection.dialect.dbapi.Error:  # a statement has failed: PostgreSQL answers COMMIT by rolling back
        return None
    finally:
        cursor.close()
