"""
Run a statement in another form: as EXPLAIN, or as a table that another SELECT reads from.

The session does with the statement what it always does: autoflush, hooks, loader criteria, compilation. The SQL that
comes of it is rewritten where SQLAlchemy hands it to the driver, so that what is explained is what would have been
executed. A text keeps its execution, whose values are fitted to what the server expects. The execution of a select of
Core or the ORM ends there, since its result would be taken for rows of its columns; the rewritten SQL is executed next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

from sqlalchemy import Connection, Executable, event
from sqlalchemy.ext.asyncio import AsyncSession

from asyncdb_nb.dataframes.query.capture import OPTION
from asyncdb_nb.dataframes.query.reading import Reading
from asyncdb_nb.dataframes.sql.statement import Params, executable, text_of
from asyncdb_nb.errors import FrameError

_MOST = 500  # rows; so few are read as rows, not by COPY, which would send the statement twice
_MARK = "asyncdb_nb_rewritten"

Rewrite = Callable[..., str]


@dataclass(frozen=True)
class Result:
    """What a rewritten statement gave.

    Attributes:
        names: Of the columns, as the server names them.
        oids: Of the columns' types; a domain's is that of the type it stands for.
        kinds: "enum", "array" or "" of each; "" for every column of a select of Core or the ORM.
        rows: At most 500.
    """

    names: Sequence[str]
    oids: Sequence[int]
    kinds: Sequence[str]
    rows: Sequence[Sequence[Any]]


async def read_rewritten(
    session: AsyncSession, statement: str | Executable, params: Params, rewrite: Rewrite, values: Sequence[str] = ()
) -> Result:
    """Execute a statement in another form.

    Args:
        session: Any AsyncSession on PostgreSQL through asyncpg.
        statement: SQL text, or a select of Core or the ORM.
        params: Values for the `:name` binds of a text.
        rewrite: Makes the SQL to be sent of the SQL that SQLAlchemy hands over, whose parameters are `$1`, `$2`, …
            It keeps each of them and the numbers of the lines, which errors tell, and has at most 500 rows.
        values: Texts for parameters that it adds; it is called with the name of each, such as `$3`, after the SQL.

    Raises:
        FrameError: It is no statement, or it did not reach asyncpg.
    """
    if isinstance(statement, str) or text_of(statement) is not None:
        return await _of_text(session, statement, params, rewrite, values)
    sql, parameters = await _compiled(session, executable(statement, params), params)
    sql, parameters = _with_values(rewrite, sql, parameters, values)
    result = await (await session.connection()).exec_driver_sql(sql, parameters)
    described: Any = [] if result.cursor is None else result.cursor.description
    names, oids = [column[0] for column in described], [column[1] for column in described]
    return Result(names, oids, [""] * len(names), result.all())


def _with_values(rewrite: Rewrite, sql: str, parameters: Any, values: Sequence[str]) -> tuple[str, Any]:
    """Rewrite SQL, and put values behind its parameters."""
    if not values:
        return rewrite(sql), parameters
    given = tuple(parameters or ())
    names = (f"${number}" for number, _ in enumerate(values, len(given) + 1))
    return rewrite(sql, *names), (*given, *values)


async def _of_text(
    session: AsyncSession, statement: Any, params: Params, rewrite: Rewrite, values: Sequence[str]
) -> Result:
    sent: list[str] = []

    def rewritten(sql: str, parameters: Any) -> tuple[str, Any]:
        sql, parameters = _with_values(rewrite, sql, parameters, values)
        sent.append(sql)
        return sql, parameters

    with _handed_over(await _connection(session), OPTION, rewritten):
        columns, _ = await Reading(session, statement, params, max_rows=_MOST).columns()
    if not sent:
        raise FrameError(_NOT_SENT)
    by_column = [column.objects() for column in columns]
    types = [column.type for column in columns]
    kinds = ["enum" if type_.is_enum else "array" if type_.kind == "array" else "" for type_ in types]
    names = [column.name for column in columns]
    return Result(names, [type_.oid for type_ in types], kinds, list(zip(*by_column, strict=True)))


class _HandedOver(Exception):  # noqa: N818  it is no error
    """Ends the execution of a statement where its SQL is known."""

    def __init__(self, sql: str, parameters: Any) -> None:
        super().__init__()
        self.sql = sql
        self.parameters = parameters


async def _compiled(session: AsyncSession, statement: Executable, params: Params) -> tuple[str, Any]:
    """Have the session execute a statement as far as its SQL and parameters."""

    def end(sql: str, parameters: Any) -> NoReturn:
        raise _HandedOver(sql, parameters)

    with _handed_over(await _connection(session), _MARK, end):
        try:
            await session.execute(statement, params, execution_options={_MARK: True})
        except _HandedOver as found:
            return found.sql, found.parameters
    raise FrameError(_NOT_SENT)


_NOT_SENT = (
    "This statement did not reach PostgreSQL through asyncpg: another driver has it, or a hook of the session answered "
    "it. Give its SQL as text."
)


@contextmanager
def _handed_over(connection: Connection, option: str, then: Callable[[str, Any], tuple[str, Any]]) -> Iterator[None]:
    """Call `then` with the SQL and the parameters of each statement that carries an option, in the block."""

    def hand_over(connection: Any, cursor: Any, sql: str, parameters: Any, context: Any, many: bool) -> tuple[str, Any]:
        carries = context is not None and option in context.execution_options  # what is flushed first does not
        return then(sql, parameters) if carries else (sql, parameters)

    event.listen(connection, "before_cursor_execute", hand_over, retval=True)
    try:
        yield
    finally:
        event.remove(connection, "before_cursor_execute", hand_over)


async def _connection(session: AsyncSession) -> Connection:
    connection = (await session.connection()).sync_connection
    assert connection is not None, "the session has just given it"  # noqa: S101
    return connection
