"""
Notice statements after which what was prepared may be wrong, or gone.

PostgreSQL refuses a prepared statement whose columns have changed, and with that ends the transaction. SQLAlchemy then
drops everything that it had prepared, and does so beforehand for DDL constructs; here it does for SQL text as well, and
for DEALLOCATE and DISCARD. What is prepared in a transaction that has changed the schema is not kept: it may roll back.
"""

from __future__ import annotations

import re
import weakref
from typing import TYPE_CHECKING

from asyncdb_nb.engine._sqlalchemy.execution import forget_prepared
from asyncdb_nb.engine.write_detection import BLANK

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.engine.default import DefaultExecutionContext

_CHANGES = re.compile(rf"{BLANK}(alter|call|create|deallocate|discard|do|drop|import)\b", re.IGNORECASE)
_CHANGED = "asyncdb_nb_schema_changed_in"


def note_schema_change(context: DefaultExecutionContext, statement: str) -> None:
    """Have SQLAlchemy prepare anew what was prepared before this statement, if it may change the schema."""
    if not context.isddl and _CHANGES.match(statement) is None:
        return
    forget_prepared(context.dialect)
    schema_may_have_changed(context.root_connection)


def schema_may_have_changed(connection: Connection) -> None:
    """Keep nothing prepared of what is prepared in the open transaction, of which it is not known what it did."""
    transaction = connection.get_transaction()
    connection.info[_CHANGED] = None if transaction is None else weakref.ref(transaction)


def schema_may_change(context: DefaultExecutionContext) -> bool:
    """Say whether the open transaction has changed the schema."""
    changed = context.root_connection.info.get(_CHANGED)
    return changed is not None and changed() is context.root_connection.get_transaction()
