"""
Record what event loops and connections do, and show it: as a frame, as text, as a picture.

    with trace() as t:
        asyncio.run(program())

    t.plot()        # a lane for every loop and connection; what happened after its loop's end is red

Everything in the process is recorded, whichever engine it belongs to: the same program with SQLAlchemy's usual pool and
with `LoopBoundPool` gives the two pictures that explain this package.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Literal

from asyncdb_nb.dataframes import libraries
from asyncdb_nb.diagnostics import listeners
from asyncdb_nb.diagnostics.recorder import Event, Recorder

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def trace() -> Trace:
    """Record loops, connections, checkouts, statements, cancellations and disposals in this process.

    A loop counts from the moment at which a connection first meets it. Loops and connections are numbered in the order
    in which they are first seen, from 1. The values of parameters are not recorded, and neither are the questions that
    SQLAlchemy asks a server when it first meets it. In the block, listeners are on SQLAlchemy's classes and two methods
    of asyncio's loops (and of uvloop's, if it is imported) are wrapped; after the block nothing of that is left.

    Returns:
        A `Trace`, which is a context manager and holds what was recorded, also after the block.

    Example:
        >>> with trace() as t:
        ...     await db.frame("select 42")
        >>> t.frame()
    """
    return Trace()


class Trace:
    """What loops and connections did while its block ran; made by `trace()`.

    `str()` of it is the whole story as text, the same in each run of the same program.
    """

    def __init__(self) -> None:
        self._recorder = Recorder()
        self._end: float | None = None

    def __enter__(self) -> Trace:
        self._recorder = Recorder()
        self._end = None
        listeners.listen(self._recorder)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        listeners.ignore(self._recorder)
        self._end = self._recorder.now

    @property
    def events(self) -> list[Event]:
        """What happened so far, in the order of time."""
        return sorted(self._recorder.events, key=lambda event: event.seconds)

    def frame(self) -> pd.DataFrame:
        """Give the events as a DataFrame, one row each, in the order of time.

        Returns:
            A frame with these columns, whose dtypes do not depend on what happened:

            - `seconds` (float64): since the recording began
            - `event` (str): `loop opened`, `loop closed`, `connected`, `checked out`, `statement`, `cancelled`,
              `failed`, `checked in`, `invalidated`, `closed`, `disposed`
            - `loop` (Int64): the loop that was running, NA for none
            - `connection` (Int64): NA where none is concerned
            - `home` (Int64): the loop that the connection was opened on
            - `astray` (bool): the connection's own loop was closed by then, or another one was running
            - `took` (Float64): how many seconds a statement took, well or not; NA for all else
            - `detail` (str): a statement's SQL in one line, or an error
        """
        libraries.load()
        import pandas as pd

        events = self.events
        dtypes = {
            "seconds": "float64", "event": "str", "loop": "Int64", "connection": "Int64",
            "home": "Int64", "astray": "bool", "took": "Float64", "detail": "str",
        }  # fmt: skip
        return pd.DataFrame(
            {
                name: pd.Series([getattr(event, "kind" if name == "event" else name) for event in events], dtype=dtype)
                for name, dtype in dtypes.items()
            }
        )

    def text(self) -> str:
        """Tell the story in words: each loop, its connections, what they did; `✗` marks what went astray.

        There are no times in it and no ids, so a program that does one thing after the other gives the same text
        every time, which suits a notebook's stored output.
        """
        return "\n".join(_story(self.events)) or "No connection did anything."

    def plot(
        self,
        ax: Axes | None = None,
        *,
        title: str | None = None,
        scale: Literal["order", "time"] = "order",
        dark: bool | None = None,
    ) -> Axes:
        """Draw a lane for every loop and connection, its life as a bar, statements inside.

        Red and hatched is what happened to a connection after its loop had closed; a red cross is a use on a loop that
        is not its own, with a line to that loop. The colours are told apart by colour-blind readers too.

        Args:
            ax: Where to draw; None makes a figure of its own. Two traces side by side are drawn on the axes of
                `plt.subplots(1, 2, figsize=(14, 4), layout="constrained")`.
            title: Of the axes.
            scale: `"order"` gives each event the same width, so that the picture is the same in every run; `"time"`
                shows seconds.
            dark: Whether the background is dark; None looks at matplotlib's style.

        Returns:
            The axes, to be changed further or saved: `t.plot().figure.savefig("timeline.png")`.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        from asyncdb_nb.diagnostics.plot import draw

        end = self._recorder.now if self._end is None else self._end
        return draw(self.events, end, ax, title or "What event loops and connections did", scale, dark)

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        events = self.events
        counts = [
            _counted(len({event.loop for event in events} - {None}), "loop"),
            _counted(len({event.connection for event in events} - {None}), "connection"),
            _counted(sum(event.kind == "statement" for event in events), "statement"),
            f"{sum(event.astray for event in events)} astray",
        ]
        return f"<Trace: {', '.join(counts)}. Next: print(t), t.plot(), t.frame()>"


def _story(events: list[Event]) -> list[str]:
    """Tell events loop by loop: what happened before it closed, that it closed, and what happened afterwards."""
    lines = []
    for number in (event.loop for event in events if event.kind == "loop opened"):
        closings = [i for i, event in enumerate(events) if event.kind == "loop closed" and event.loop == number]
        end = closings[0] if closings else len(events)
        lines += [f"loop {number}", *_lines(events[:end], number)]
        lines += [f"  {_sentence(event)}" for event in events if event.loop == number and event.connection is None][1:]
        lines += _lines(events[end:], number)
    return lines


def _lines(events: list[Event], home: int | None) -> list[str]:
    """Tell what the connections of one loop did, one after the other."""
    mine = [event for event in events if event.home == home]
    lines = []
    for number in sorted({event.connection or 0 for event in mine}):
        lines.append(f"  connection {number}")
        told = [event for event in mine if event.connection == number]
        lines += [f"  {'✗' if event.astray else ' '} {_sentence(event)}" for event in told]
    return lines


def _sentence(event: Event) -> str:
    what = (
        event.detail if event.kind == "statement" else f"{event.kind}: {event.detail}" if event.detail else event.kind
    )
    elsewhere = event.astray and event.loop is not None
    return f"{what} (on loop {event.loop})" if elsewhere else what


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
