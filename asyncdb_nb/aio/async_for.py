"""What a call returns whose parts come one after the other: it goes into `async for`, and says so anywhere else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, NoReturn, Protocol, Self, TypeVar

from asyncdb_nb.errors import FrameError

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Closable(Protocol[T_co]):
    """An asynchronous generator, or what can be read to its end and closed like one."""

    def __anext__(self) -> Any:
        """Give the next part."""

    async def aclose(self) -> None:
        """Give no further ones."""


class AsyncFor(AsyncIterator[T]):
    """Parts that are read as they are asked for; nothing is, before.

    Args:
        parts: Gives them.
        call: What to show after `async for part in`: `db.frames(...)`.
    """

    def __init__(self, parts: Closable[T], call: str) -> None:
        self._parts = parts
        self._call = call
        self._ended_by = ""  # the kind of error, where one came before the last part

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        """Give the next part.

        Raises:
            FrameError: An earlier one was cancelled, or failed: what is left is gone, and this is no end of the rows.
        """
        if self._ended_by:
            raise FrameError(
                f"This stream was ended before its last row, by a {self._ended_by}: the rest cannot be read any more. "
                f"Begin anew: `async for part in {self._call}:`."
            )
        try:
            part: T = await self._parts.__anext__()
        except (StopAsyncIteration, RuntimeError):  # the end; or two tasks ask at once, which ends nothing
            raise
        except BaseException as error:
            self._ended_by = type(error).__name__
            raise
        return part

    async def aclose(self) -> None:
        """Read no further, and let go of what is held for it."""
        await self._parts.aclose()

    def __repr__(self) -> str:
        return f"These are read in parts. Type: async for part in {self._call}:"

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(f"There is no {name!r} of all parts. {self!r}")

    def __getitem__(self, key: Any) -> NoReturn:
        raise TypeError(f"There is no {key!r} of all parts. {self!r}")

    def __await__(self) -> NoReturn:
        raise TypeError(f"There is not one result to await. {self!r}")

    def __iter__(self) -> NoReturn:
        raise TypeError(f"This needs `async for`. {self!r}")
