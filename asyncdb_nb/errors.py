"""
Every error and warning that this package raises on purpose.

Each class words its own message: what is wrong, with the value, and what to type instead. No message holds a password.

    AsyncDBError
    ├── WrongLoopError          a session or connection used on a loop other than its own
    ├── ConcurrentUseError      one session used by two tasks at once
    ├── DatabaseURLError        a URL or setting that cannot be read        (also a ValueError)
    ├── ConnectError            the server cannot be reached or says no     (also a ConnectionError)
    ├── DatabaseClosedError     a Database used after `aclose()`
    ├── ServerError             the embedded PostgreSQL cannot start or stop
    ├── FrameError              a statement or result that cannot become a frame   (also a ValueError)
    │   └── TooManyRowsError    more rows than `max_rows`
    └── EventLogError           an event log that cannot be loaded          (also a ValueError)
    LeakWarning                 something was left open                     (a ResourceWarning)
"""

from __future__ import annotations


class AsyncDBError(Exception):
    """The base of every error of this package."""


class WrongLoopError(AsyncDBError):
    """A session or connection was used on an event loop other than the one it was opened on."""

    def __init__(self, opened_on: str, used_on: str) -> None:
        super().__init__(
            f"This connection was opened on {opened_on} and is used on {used_on}. "
            "A session belongs to the loop that opened it: open one here, with `async with db.session() as session:`. "
            "The engine itself works on both loops."
        )


class ConcurrentUseError(AsyncDBError):
    """One session was used by two tasks at the same time."""

    def __init__(self) -> None:
        super().__init__(
            "This session is already running a statement for another task, and one session serves one task at a time. "
            "Open a session in each task: `async with db.session() as session:` inside the function that you gather."
        )


class DatabaseURLError(AsyncDBError, ValueError):
    """A database URL, or a setting that stands for one, cannot be read."""


class ConnectError(AsyncDBError, ConnectionError):
    """The server cannot be reached, or refuses the user, the password or the database name."""


class DatabaseClosedError(AsyncDBError):
    """A `Database` was used after it was closed."""

    def __init__(self) -> None:
        super().__init__("This Database is closed. Open it again: `db = await connect(...)`.")


class ServerError(AsyncDBError):
    """The embedded PostgreSQL cannot be started, found or stopped."""


class FrameError(AsyncDBError, ValueError):
    """A statement or a result cannot become a DataFrame."""


class TooManyRowsError(FrameError):
    """A result has more rows than `max_rows` allows."""

    def __init__(self, max_rows: int) -> None:
        super().__init__(
            f"The result has more than max_rows={max_rows:,} rows. Raise max_rows, add a LIMIT, "
            "or read it in parts: `async for part in db.frames(statement):`."
        )


class EventLogError(AsyncDBError, ValueError):
    """An event log cannot be loaded."""


class LeakWarning(ResourceWarning):
    """Something was left open when the loop or the process that owned it ended."""
