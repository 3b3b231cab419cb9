"""Show the line of a statement where the server met an error, with a caret below the place."""

from __future__ import annotations

from typing import Any

FIRST_LINE = "asyncdb_nb_first_line"
"""The attribute of an error of SQLAlchemy's that says on which line of its script the statement begins, from 1."""


def with_excerpt(error: Any) -> tuple[Any, ...]:
    """Give the `args` of an error of SQLAlchemy's with the line where the server met it, and a caret below the place.

    Args:
        error: It has the statement; asyncpg's error, which has the position, led to it.

    Returns:
        The `args` as they are where the server named no place, or they have it already.
    """
    before = _before(error)
    if before is None:
        return tuple(error.args)
    start = before.rfind("\n") + 1
    head = f"Line {line_of_error(error)}: "
    line = error.statement[start:].partition("\n")[0].rstrip("\r")
    indent = "".join("\t" if character == "\t" else " " for character in before[start:])
    shown = f"\n{head}{line}\n{' ' * len(head)}{indent}^"
    message, *more = error.args
    return (message if str(message).endswith(shown) else f"{message}{shown}", *more)


def line_of_error(error: Any) -> int | None:
    """Say at which line of a statement, or of its script, the server met an error; from 1, None where it named none."""
    before = _before(error)
    return None if before is None else before.count("\n") + getattr(error, FIRST_LINE, 1)


def _before(error: Any) -> str | None:
    """Give what stands in the statement before the place of the error."""
    position = getattr(getattr(getattr(error, "orig", None), "__cause__", None), "position", None)
    statement = getattr(error, "statement", None)
    if not statement or not position or not 0 < int(position) <= len(statement) + 1:
        return None
    return str(statement[: int(position) - 1])
