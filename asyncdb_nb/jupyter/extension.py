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
from asyncdb_nb.jupyter.coroutine_display import Hints
from asyncdb_nb.jupyter.interrupt import Interrupts
from asyncdb_nb.jupyter.open_sessions import Hygiene
from asyncdb_nb.jupyter.sigterm import Ending
from asyncdb_nb.jupyter.tracebacks import Tracebacks

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


class Part(Protocol):
    """One thing that is put on a shell, and can be taken off."""

    def install(self) -> None:
        """Put it on."""

    def uninstall(self) -> None:
        """Take it off, and leave the shell as it was."""


_installed: dict[type, Part] = {}


def load(shell: InteractiveShell) -> None:
    """Put everything on a shell: `%load_ext asyncdb_nb`, in a cell, a startup file or IPython's configuration.

    It is put on entirely or not at all; a second time does nothing.
    """
    from asyncdb_nb.jupyter.magics import Magics  # here: it imports database, which switches this on

    parts: tuple[Any, ...] = (Interrupts, Hygiene, Ending, Hints, Tracebacks, Magics)
    try:
        for kind in parts:
            if kind not in _installed:
                part = kind(shell)
                part.install()
                _installed[kind] = part
    except BaseException:
        unload(shell)
        raise


def unload(shell: InteractiveShell) -> None:
    """Take everything off again: `%unload_ext asyncdb_nb`."""
    for kind in reversed(list(_installed)):
        _installed.pop(kind).uninstall()


def switch_on() -> None:
    """Put everything on the running shell, if there is one: `connect()` in a cell does this."""
    from IPython.core.getipython import get_ipython

    shell: Any = get_ipython()
    if shell is not None:
        load(shell)
        libraries.begin()  # for the first frame
