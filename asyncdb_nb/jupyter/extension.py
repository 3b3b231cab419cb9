"""
What notebooks need around the engine: Stop, tidy cells, short errors, clean ends, magics.

    await connect()               # puts all of it on, in any IPython
    %load_ext asyncdb_nb          # the same, before there is a database

Everything goes through public hooks of IPython, asyncio and `signal`, and `%unload_ext asyncdb_nb` takes it off again
once `%load_ext` was typed: IPython unloads only what it loaded itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from asyncdb_nb.dataframes import libraries
from asyncdb_nb.jupyter.coroutine_display import CoroutineDisplay
from asyncdb_nb.jupyter.exact_columns import ExactColumns
from asyncdb_nb.jupyter.interrupt import Interrupts
from asyncdb_nb.jupyter.magics import Connect, Magics
from asyncdb_nb.jupyter.notices import Notices
from asyncdb_nb.jupyter.open_sessions import OpenSessions
from asyncdb_nb.jupyter.sigterm import SigtermHandler
from asyncdb_nb.jupyter.stop_between_cells import Replies
from asyncdb_nb.jupyter.tracebacks import Tracebacks

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


class Part(Protocol):
    """One thing that is put on a shell, and can be taken off."""

    def install(self) -> None:
        """Put it on."""

    def uninstall(self) -> None:
        """Take it off, and leave the shell as it was."""


_installed: list[Part] = []


def load(shell: InteractiveShell, connect: Connect) -> None:
    """Put everything on a shell: `%load_ext asyncdb_nb`, in a cell, a startup file or IPython's configuration.

    It is put on entirely or not at all; a second time does nothing.

    Args:
        shell: The running IPython.
        connect: Opens the database of a magic where no variable holds one.
    """
    if _installed:
        return
    parts: tuple[Part, ...] = (
        *(Replies(shell), Interrupts(shell), OpenSessions(shell), SigtermHandler(shell), CoroutineDisplay(shell)),
        *(Tracebacks(shell), Notices(shell), ExactColumns(shell), Magics(shell, connect)),
    )
    try:
        for part in parts:
            part.install()
            _installed.append(part)
    except BaseException:
        unload(shell)
        raise


def unload(shell: InteractiveShell) -> None:
    """Take everything off again: `%unload_ext asyncdb_nb`."""
    while _installed:
        _installed.pop().uninstall()


def load_into_running_shell(connect: Connect) -> None:
    """Put everything on the running shell, if there is one: `connect()` in a cell does this."""
    from IPython.core.getipython import get_ipython

    shell: Any = get_ipython()
    if shell is not None:
        load(shell, connect)
        libraries.begin()  # for the first frame
