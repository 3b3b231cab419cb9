"""
Leave no session broken behind a cell that failed, and none open unnoticed behind a cell that did not.

A session in a variable outlives its cell. After an error or a Stop its transaction can only be rolled back, so that
is done: the next cell works. After a cell that succeeded, a transaction that is still open may be meant so; it is
mentioned once, because on the server it keeps locks and holds back vacuum.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from asyncdb_nb.loops import exiting
from asyncdb_nb.sessions import do_first

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


class Hygiene:
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
        for name, session in self._open_sessions().items():
            if result is None or not result.success:
                self._repair(session)
            elif session not in self._mentioned:
                self._mentioned.add(session)
                print(  # noqa: T201  in the cell's output
                    f"`{name}` holds a transaction open on the server. When it is done with: `await {name}.close()`."
                )

    def _open_sessions(self) -> dict[str, AsyncSession]:
        """Return the sessions in variables that have begun a transaction, each once, by name."""
        found: dict[int, tuple[str, AsyncSession]] = {}
        for name, value in list(self._shell.user_ns.items()):
            if isinstance(value, AsyncSession) and not name.startswith("_") and value.in_transaction():
                found.setdefault(id(value), (name, value))
        return dict(found.values())

    def _repair(self, session: AsyncSession) -> None:
        if asyncio._get_running_loop() is not None:
            do_first(session, roll_back_if_broken)
        else:  # the terminal, between two cells
            self._shell.loop_runner(roll_back_if_broken(session))


async def roll_back_if_broken(session: AsyncSession) -> None:
    """Roll a session back if nothing else can be done with its transaction; leave healthy work alone."""
    try:
        connection = await session.connection()
        await connection.exec_driver_sql("SELECT 1")
    except SQLAlchemyError:
        await session.rollback()
