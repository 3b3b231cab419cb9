"""
What a call returns before it is awaited: a coroutine that says what to type when the `await` was forgotten.

A plain coroutine shows `<coroutine object ...>` in a cell and warns long after, somewhere else. This one is a
`collections.abc.Coroutine` as well (`asyncio.create_task` and `gather` take it), and starts nothing before it is
awaited. Whoever has seen what it says is not warned later; whoever has not, in a script or a test, is.
"""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Callable, Coroutine, Generator
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")

_METHODS = frozenset(  # of a frame, that people call at once
    {"agg", "assign", "astype", "copy", "count", "describe", "drop", "dropna", "fillna", "groupby", "head", "info"}
    | {"max", "mean", "median", "merge", "min", "nunique", "pivot", "plot", "query", "sample", "set_index"}
    | {"sort_values", "sum", "tail", "to_csv", "to_dict", "to_excel", "to_numpy", "to_parquet", "to_string"}
)


class Pending(Coroutine[Any, Any, T]):
    """A call that runs when it is awaited, once.

    Args:
        start: Makes the coroutine that does the work; called at the first step.
        call: What to show after `await`: `frame(session, ...)`.
        state: What to say of the state of things before that.
        name: What the result is called, where it is mostly given a name first and used in the next cell.
    """

    def __init__(
        self,
        start: Callable[[], Coroutine[Any, Any, T]],
        call: str,
        state: str = "Nothing was read yet.",
        name: str | None = None,
    ) -> None:
        self._start = start
        self._call = call
        self.__name__ = self.__qualname__ = call.partition("(")[0]  # which asyncio shows of a task
        self._state = state
        self._name = name
        self._running: Coroutine[Any, Any, T] | None = None
        self._closed = self._told = False

    def send(self, value: Any) -> Any:
        """Go on to the next step."""
        return self._coroutine().send(value)

    def throw(self, *error: Any) -> Any:
        """Raise an error where the work waits."""
        return self._coroutine().throw(*error)

    def close(self) -> None:
        """End the work, if it has begun."""
        self._closed = True
        if self._running is not None:
            self._running.close()

    def __await__(self) -> Generator[Any, Any, T]:
        return self._coroutine().__await__()

    def __repr__(self) -> str:
        if self._running is not None or self._closed:
            return f"<{self._call}, awaited>"
        self._told = True
        return f"{self._state} Type: await {self._call}"

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(f"There is no {name!r} yet. {self._instead(f'({{}}).{name}{_parentheses(name)}')}")

    def __getitem__(self, key: Any) -> NoReturn:
        raise TypeError(f"There is no {key!r} yet. {self._instead(f'({{}})[{_braced(key)}]')}")

    def __len__(self) -> NoReturn:
        raise TypeError(f"There are no rows to count yet. {self._instead('len({})')}")

    def __iter__(self) -> NoReturn:
        raise TypeError(f"There is nothing to go through yet. {self!r}")

    def __aiter__(self) -> NoReturn:
        raise TypeError(f"There are no parts to go through. {self!r}")

    async def __aenter__(self) -> NoReturn:
        raise TypeError(f"There is nothing to enter yet. {self!r}")

    async def __aexit__(self, *error: object) -> None:
        """Never comes to pass; `async with` looks for it before it enters."""

    def __bool__(self) -> bool:
        # asyncio asks a task for the truth of its coroutine before it shows the task (Python 3.12 and later)
        here = inspect.currentframe()
        asker = here and here.f_back
        if asker is not None and asker.f_globals.get("__name__", "").partition(".")[0] == "asyncio":
            return True
        raise TypeError(f"There is nothing to be true or false yet. {self!r}")

    def __del__(self) -> None:
        if self._running is None and not self._closed and not self._told:
            message = f"{self._call} was never awaited. {self!r}"
            warnings.warn(message, RuntimeWarning, stacklevel=2, source=self)

    def _instead(self, use: str) -> str:
        """Say what to type so that the result is used, not the call: `await` binds less than what follows the call."""
        if self._name is not None:
            self._told = True
            return f"{self._state} Type: {self._name} = await {self._call}"
        return f"{self!r} in parentheses: {use.format(f'await {self._call}')}"

    def _coroutine(self) -> Coroutine[Any, Any, T]:
        if self._closed and self._running is None:
            raise RuntimeError(f"This was closed before it was awaited. Call it again: await {self._call}")
        if self._running is None:
            self._running = self._start()
        return self._running


def _parentheses(name: str) -> str:
    """Say how a method of a frame is called; before pandas is there, of the usual ones."""
    frame = getattr(sys.modules.get("pandas"), "DataFrame", None)
    if frame is None:
        return "()" if name in _METHODS else ""
    return "()" if callable(getattr(frame, name, None)) and not isinstance(getattr(frame, name), property) else ""


def _braced(key: Any) -> str:
    return repr(key).replace("{", "{{").replace("}", "}}")
