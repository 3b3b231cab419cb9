"""
Leave no session broken behind a cell that failed, and none open unnoticed behind a cell that did not.

A session in a variable outlives its cell. After an error or a Stop a broken transaction can only be rolled back, so
that is done: the next cell works. It is told as well, because what earlier cells did in that transaction is gone, too.
After a cell that succeeded, a transaction that is still open may be meant so; it is mentioned once, because on the
server it keeps locks and holds back vacuum.
"""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from asyncdb_nb.aio._asyncio import running_loop
from asyncdb_nb.aio.loop_cleanup import exiting
from asyncdb_nb.database.session import do_first
from asyncdb_nb.engine._sqlalchemy.statements import connections_of, is_prepared
from asyncdb_nb.errors import ConcurrentUseError

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

GONE = "The transaction of `{}` was rolled back: what it had not committed is gone."
UNKNOWN = (
    "Whether the transaction of `{}` was committed cannot be known: its COMMIT was on its way. "
    "Look for its rows before you repeat it."
)


class OpenSessions:
    """What is done after each cell of one shell."""

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell
        self._mentioned: weakref.WeakSet[AsyncSession] = weakref.WeakSet()

    def install(self) -> None:
        """Look after every cell from now on, the running one included."""
        self._shell.events.register("post_run_cell", self._after)

    def uninstall(self) -> None:
        """Let sessions be."""
        self._shell.events.unregister("post_run_cell", self._after)

    def _after(self, result: Any) -> None:
        if exiting() or threading.current_thread() is not threading.main_thread():
            return  # the variables belong to the main thread's loop
        for name, session in _open_sessions(self._shell.user_ns).items():
            if result is None or not result.success:
                self._mend(name, session, result)
            elif session not in self._mentioned:
                self._mentioned.add(session)
                print(  # noqa: T201  in the cell's output
                    f"`{name}` holds a transaction open on the server. When it is done with: `await {name}.close()`."
                )

    def _mend(self, name: str, session: AsyncSession, result: Any) -> None:
        known, told = _loss(name, session), getattr(getattr(result, "error_in_exec", None), "__notes__", ())
        if known is not None and known not in told:
            print(known)  # noqa: T201  here, while the cell is not over yet

        async def mend(session: AsyncSession) -> None:
            said = await roll_back_if_broken(name, session)
            if said is not None and known is None:
                print(said)  # noqa: T201

        if running_loop() is not None:
            do_first(session, mend)
        else:  # the terminal, between two cells
            self._shell.loop_runner(mend(session))


def losses(variables: dict[str, Any]) -> list[str]:
    """Say what became of the transactions of the sessions in variables, where one is known to be lost."""
    sentences = (_loss(name, session) for name, session in _open_sessions(variables).items())
    return [sentence for sentence in sentences if sentence is not None]


async def roll_back_if_broken(name: str, session: AsyncSession) -> str | None:
    """Roll a session back if nothing else can be done with its transaction; leave healthy work alone.

    Returns:
        A sentence that says what became of the transaction; None if it was healthy.
    """
    try:
        connection = await session.connection()
        await connection.exec_driver_sql("SELECT 1")
    except ConcurrentUseError:  # raised when a statement that was still being stopped has come to its end
        return await roll_back_if_broken(name, session)
    except SQLAlchemyError:
        said = _loss(name, session) or GONE.format(name)
        await session.rollback()
        return said
    return None


def _open_sessions(variables: dict[str, Any]) -> dict[str, AsyncSession]:
    """Return the sessions in variables that have begun a transaction, each once, by name."""
    found: dict[int, tuple[str, AsyncSession]] = {}
    for name, value in list(variables.items()):
        if isinstance(value, AsyncSession) and not name.startswith("_") and value.in_transaction():
            found.setdefault(id(value), (name, value))
    return dict(found.values())


def _loss(name: str, session: AsyncSession) -> str | None:
    """Say what became of a transaction that has lost its connection, as a Stop does to it; None if it has not."""
    transaction: Any = session.sync_session.get_transaction()
    if not any(connection.invalidated for connection in connections_of(transaction)):
        return None
    return (UNKNOWN if is_prepared(transaction) else GONE).format(name)
