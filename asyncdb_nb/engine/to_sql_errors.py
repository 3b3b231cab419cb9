"""Say what to type instead, where pandas' `to_sql` has failed: it knows no SQL type for JSON, arrays and decimals."""

from __future__ import annotations

import sys
import traceback

from sqlalchemy.engine import ExceptionContext

NOTE = (
    "to_sql sends what pandas has no SQL type for as text. "
    'Write it by COPY, with the types of the table: `await db.write(frame, "table")`.'
)


def explain(context: ExceptionContext) -> None:
    """Add a note to an error of a statement of `to_sql`; SQLAlchemy's `handle_error` listener."""
    pandas_sql = getattr(sys.modules.get("pandas.io.sql"), "__file__", None)
    if pandas_sql is None or context.sqlalchemy_exception is None:
        return
    frames = traceback.walk_stack(None)
    if any(frame.f_code.co_filename == pandas_sql and frame.f_code.co_name == "to_sql" for frame, _ in frames):
        context.sqlalchemy_exception.add_note(NOTE)
