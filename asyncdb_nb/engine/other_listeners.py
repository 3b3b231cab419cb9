"""
Say whether anybody but this package listens to what sessions, engines and pools do.

Where nobody does, a statement can be read without a session, and without SQLAlchemy's execution, which only they would
notice. A listener that is not a plain function counts as somebody else's.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import cache
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from asyncdb_nb.engine._sqlalchemy.execution import is_class_heard

_OF_A_SESSION = (
    *("after_transaction_create", "after_begin", "do_orm_execute", "before_commit", "after_commit"),
    *("after_rollback", "after_soft_rollback", "after_transaction_end"),
)
_OF_AN_EXECUTION = ("before_execute", "after_execute", "before_cursor_execute", "after_cursor_execute")
_OF_A_DIALECT = ("do_execute", "do_execute_no_params", "do_setinputsizes", "handle_error")


def is_heard(engine: Engine) -> bool:
    """Say whether anybody hears a statement that a session of SQLAlchemy's own class executes on an engine.

    The log of an engine (`echo`) hears it too. What listens to the pool does so in any case; what is called at a
    checkout may use the connection, and so expects that it was pinged.
    """
    return (
        is_class_heard()
        or engine.logger.isEnabledFor(logging.INFO)
        or _is_heard(engine.dispatch, _OF_AN_EXECUTION, "asyncdb_nb.engine.history")
        or _is_heard(engine.dispatch, ("engine_connect", "begin"), "sqlalchemy.")
        or _is_heard(engine.dialect.dispatch, _OF_A_DIALECT, "asyncdb_nb.")
        or _is_heard(engine.pool.dispatch, ("checkout",), "asyncdb_nb.")
        or _is_heard(_any_session().dispatch, _OF_A_SESSION, "asyncdb_nb.database.")
    )


def _is_heard(dispatch: Any, names: Iterable[str], ours: str) -> bool:
    return any(
        not (getattr(listener, "__module__", None) or "").startswith(ours)
        for name in names
        for listener in getattr(dispatch, name)
    )


@cache
def _any_session() -> Session:
    """Make a session to ask for the listeners of all sessions."""
    return Session()
