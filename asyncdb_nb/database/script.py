"""
Run a script, statement by statement, in the one transaction of a session.

Whoever opened the session commits it. So a script that ends a transaction itself is refused before anything of it runs,
and so is a COPY that waits for data from the client.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import SQLAlchemyError

from asyncdb_nb.dataframes.query.stale_statements import schema_may_have_changed
from asyncdb_nb.dataframes.sql.splitting import ScriptStatement, first_words, statements_of
from asyncdb_nb.dataframes.sql.statement import Params, executable
from asyncdb_nb.dataframes.sql.tokenizer import bind_names, tokens_of
from asyncdb_nb.errors import FrameError, ScriptError

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy import Executable
    from sqlalchemy.ext.asyncio import AsyncSession

_TRANSACTIONS = ("begin", "start", "commit", "end", "rollback", "abort")
_CHANGES = ("INSERT", "UPDATE", "DELETE", "MERGE", "COPY")


@dataclass(frozen=True, slots=True)
class Step:
    """What one statement of a script did.

    Attributes:
        line: The line of the script that it begins on, from 1.
        tag: The server's command tag, such as `INSERT 0 5` or `CREATE TABLE`.
        rows: How many rows it returned or changed.
        frame: The rows that it returned; None where it returns none.
    """

    line: int
    tag: str
    rows: int
    frame: pd.DataFrame | None = None

    def __str__(self) -> str:
        """Say it in a line: `line 3: INSERT, 5 rows`."""
        words = self.tag.rstrip("0123456789 ") or "done"
        counted = self.frame is not None or self.tag != words
        rows = f", {self.rows:,} row{'' if self.rows == 1 else 's'}" if counted else ""
        return f"line {self.line}: {words}{rows}"

    @property
    def changed(self) -> int:
        """How many rows it changed."""
        return self.rows if self.frame is None or self.tag.startswith(_CHANGES) else 0


def check(script: str, params: Params) -> list[ScriptStatement]:
    """Cut a script into its statements.

    Raises:
        FrameError: It is empty, a `:name` has no value, or a value has no `:name`.
        ScriptError: A statement begins or ends a transaction, or is a COPY from or to the client.
    """
    executable(script, params)
    statements = statements_of(script)
    if not statements:
        raise FrameError("The script is empty. Type SQL: `insert into ...`.")
    for statement in statements:
        _check(statement)
    return statements


async def run(
    session: AsyncSession,
    statements: Sequence[ScriptStatement | Executable],
    params: Params = None,
    *,
    done: Callable[[Step], None] = lambda step: None,
    **options: Any,
) -> list[Step]:
    """Run statements one after the other, in the session's open transaction.

    Args:
        session: Whoever opened it commits, or rolls back when this raises.
        statements: As `check` gives them.
        params: Values for the binds of all of them, by name.
        done: Called with each step when it is done.
        **options: `numeric` and `dates`, as for `frame`.

    Returns:
        What each did; rows that are returned are kept of the last one only.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: The server refused a statement; a note says which one.
    """
    connection = (await session.connection()).sync_connection
    if connection is not None:
        schema_may_have_changed(connection)  # so that nothing stays prepared of it
    steps: list[Step] = []
    for number, statement in enumerate(statements, 1):
        try:
            step = await _step(session, statement, params, options)
        except SQLAlchemyError as error:
            if isinstance(statement, ScriptStatement) and len(statements) > 1:
                error.add_note(
                    f"That was statement {number} of {len(statements)}, on line {statement.line}. Nothing of the "
                    "script is kept: all of it is one transaction, which is rolled back."
                )
            raise
        done(step)
        last = number == len(statements)
        steps.append(step if last else Step(step.line, step.tag, step.changed))
    return steps


async def _step(
    session: AsyncSession, statement: ScriptStatement | Executable, params: Params, options: dict[str, Any]
) -> Step:
    from asyncdb_nb.dataframes import execute

    if not isinstance(statement, ScriptStatement):
        frame, count, tag = await execute(session, statement, params, **options)
        return Step(1, tag, _rows(tag, count), frame)
    values = None if params is None else {name: params[name] for name in bind_names(tokens_of(statement))}
    frame, count, tag = await execute(session, statement, values, **options)
    if not tag:  # the rows came in a way that has none
        tag = f"{first_words(statement, 1)[0].upper()} {count}".replace("WITH", "SELECT")
    return Step(statement.line, tag, _rows(tag, count), frame)


def _rows(tag: str, count: int) -> int:
    """Read the number of rows out of a command tag, which SQLAlchemy does not do for MERGE and COPY."""
    number = tag.rpartition(" ")[2]
    return int(number) if number.isdigit() else count


def _check(statement: ScriptStatement) -> None:
    words = first_words(statement)
    to_savepoint = words[0:1] == ["rollback"] and "to" in words
    if words[:2] == ["prepare", "transaction"] or (words and words[0] in _TRANSACTIONS and not to_savepoint):
        raise ScriptError(
            statement.line,
            f"{words[0].upper()} has no place in a script, which is one transaction: committed at its end, rolled back "
            "when a statement fails.",
            f"Take {words[0].upper()} out, or run the parts one after the other.",
        )
    if words[:1] == ["copy"] and {"stdin", "stdout"} & {token.word for token in tokens_of(statement)}:
        raise ScriptError(
            statement.line,
            "COPY from STDIN and to STDOUT are for a client that sends or takes the data.",
            "To take data out: `await db.export(statement, path)`.",
        )
