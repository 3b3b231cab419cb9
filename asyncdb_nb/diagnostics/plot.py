"""
Draw a timeline: a lane for every loop and connection, its life as a bar, statements inside, what went astray in red.

A connection's lane is under that of the loop that opened it. matplotlib is imported when something is drawn.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Any, Literal

from asyncdb_nb.diagnostics.recorder import Event
from asyncdb_nb.errors import MissingExtraError
from asyncdb_nb.explore.palette import Palette, palette_on

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LANE = 0.42  # inches
HEIGHT = {"loop": 0.62, "open": 0.26, "out": 0.46, "statement": 0.46}


def draw(
    events: list[Event], end: float, ax: Axes | None, title: str, scale: Literal["order", "time"], dark: bool | None
) -> Axes:
    """Draw events, which are in the order of time.

    Args:
        events: What happened.
        end: Seconds at which the recording ended, or now.
        ax: Where to draw; None makes a figure.
        title: Of the axes.
        scale: The x axis.
        dark: Whether the background is dark; None looks at the axes or matplotlib's style.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    with MissingExtraError.instead("the timeline's picture", "lab"):
        import matplotlib.pyplot as plt

    lanes = _lanes(events)
    if ax is None:
        size = (8.5, 1.8 + LANE * max(len(lanes), 2))
        ax = plt.subplots(figsize=size, layout="constrained")[1]
    picture = _Picture(ax, palette_on(ax.get_facecolor(), dark), lanes, events, end, scale)
    picture.draw()
    ax.set_title(title, color=picture.colours.ink, loc="left", fontweight="bold")
    return ax


def _lanes(events: list[Event]) -> dict[tuple[str, int], int]:
    """Give each loop a lane, and below it each connection that it opened: a row, counted from the top."""
    keys: list[tuple[str, int]] = []
    for opened in (event for event in events if event.kind == "loop opened"):
        keys.append(("loop", opened.loop or 0))
        keys += sorted({("connection", event.connection or 0) for event in events if event.home == opened.loop})
    return {key: row for row, key in enumerate(keys)}


class _Picture:
    """One drawing on one pair of axes."""

    def __init__(
        self,
        ax: Axes,
        colours: Palette,
        lanes: dict[tuple[str, int], int],
        events: list[Event],
        end: float,
        scale: str,
    ) -> None:
        self.ax, self.colours, self.lanes, self.events, self.scale = ax, colours, lanes, events, scale
        self._times = [event.seconds for event in events]
        self._begin = self._times[0] if scale == "time" and events else 0.0
        self._last = end if scale == "time" else float(len(events))
        self._notes: list[str] = []

    def draw(self) -> None:
        for (kind, number), row in self.lanes.items():
            if kind == "loop":
                self._draw_loop(number, row)
            else:
                self._draw_connection(number, row)
        for position, event in enumerate(self.events):
            self._mark(position, event)
        self._dress()

    def _draw_loop(self, number: int, row: int) -> None:
        opened, closed = self._span("loop", number, "loop opened", "loop closed")
        self.ax.axhspan(row - 0.5, row + 0.5, color=self.colours.faint, alpha=0.6, lw=0, zorder=0)
        self._bar(row, opened, self._last if closed is None else closed, "loop", self.colours.loop)

    def _draw_connection(self, number: int, row: int) -> None:
        mine = [(position, event) for position, event in enumerate(self.events) if event.connection == number]
        begin = self._x(*mine[0]) if mine[0][1].kind == "connected" else self._begin
        ends = [self._x(position, event) for position, event in mine if event.kind == "closed"]
        end = ends[0] if ends else self._last
        home = mine[0][1].home
        death = self._span("loop", home, "loop opened", "loop closed")[1]
        alive = end if death is None else min(death, end)
        self._bar(row, begin, alive, "open", self.colours.open)
        if end > alive:
            self._bar(row, alive, end, "open", "none", edgecolor=self.colours.astray, hatch="////", lw=1.2)
        self._draw_checkouts(mine, row, alive)
        for position, event in mine:
            if event.kind == "statement":
                colour = self.colours.deep if event.astray else self.colours.statement
                self._bar(row, self._x(position, event), self._finish(event), "statement", colour)

    def _draw_checkouts(self, mine: list[tuple[int, Event]], row: int, alive: float) -> None:
        """Draw when it was checked out: on its own loop while that lived, red on another one."""
        taken = None if mine[0][1].kind in ("connected", "checked out") else (self._begin, False)
        for position, event in mine:
            x = self._x(position, event)
            if event.kind == "checked out":
                taken = x, event.astray
            elif event.kind in ("checked in", "closed") and taken is not None:
                self._draw_checkout(taken, x, row, alive)
                taken = None
        if taken is not None:
            self._draw_checkout(taken, self._last, row, alive)

    def _draw_checkout(self, taken: tuple[float, bool], until: float, row: int, alive: float) -> None:
        begin, astray = taken
        if astray:
            self._bar(row, begin, until, "out", self.colours.astray)
        else:
            self._bar(row, begin, min(until, alive), "out", self.colours.out)

    def _bar(self, row: int, begin: float, end: float, height: str, colour: str, **style: Any) -> None:
        if end >= begin:
            width = max(end - begin, (self._last - self._begin) * 0.004)
            level = {"loop": 2, "open": 2, "out": 3, "statement": 4}[height]
            style = {"lw": 0, **style}
            tall = HEIGHT[height]
            self.ax.barh(row, width, left=begin, height=tall, color=colour, zorder=level, **style)

    def _mark(self, position: int, event: Event) -> None:
        x = self._x(position, event)
        if event.connection is None:
            if event.kind in ("disposed", "failed") and event.loop is not None:
                self._dot(x, self.lanes["loop", event.loop], "v" if event.kind == "disposed" else "X", self.colours.ink)
            return
        row = self.lanes["connection", event.connection]
        if event.astray and event.loop not in (None, event.home):
            rows = (row, self.lanes["loop", event.loop or 0])
            self.ax.plot((x, x), rows, color=self.colours.astray, lw=1, ls=":", zorder=1.5)
        if event.kind in ("failed", "invalidated") and event.detail and (event.astray or event.kind == "failed"):
            self._note(x, row, event)
        if event.kind == "failed" or (event.astray and event.kind in ("invalidated", "closed")):
            self._dot(x, row, "X", self.colours.ink)
        elif event.kind == "cancelled":
            self._dot(x, row, "D", self.colours.ink)
        elif event.kind == "closed":
            self.ax.plot((x, x), (row - 0.3, row + 0.3), color=self.colours.loop, lw=2.5, zorder=5)

    def _dot(self, x: float, row: int, marker: str, colour: str) -> None:
        edge, face = (self.colours.paper, colour) if marker == "X" else (colour, self.colours.paper)
        style: dict[str, Any] = {"markeredgecolor": edge, "markerfacecolor": face, "zorder": 6}
        self.ax.plot(x, row, marker, markersize=11 if marker == "X" else 9, markeredgewidth=1.6, **style)

    def _note(self, x: float, row: int, event: Event) -> None:
        if event.detail not in self._notes:
            self._notes.append(event.detail)
        number = str(self._notes.index(event.detail) + 1)
        style: dict[str, Any] = {
            "ha": "center",
            "fontsize": 9,
            "fontweight": "bold",
            "color": self.colours.ink,
            "zorder": 7,
        }
        self.ax.annotate(number, (x, row - 0.26), (0, 2), textcoords="offset points", **style)

    def _dress(self) -> None:
        ax, colours = self.ax, self.colours
        ax.figure.set_facecolor(colours.paper)
        ax.set_facecolor(colours.paper)
        ax.set_yticks(list(self.lanes.values()), [f"{kind} {number}" for kind, number in self.lanes], color=colours.ink)
        for (kind, _), label in zip(self.lanes, ax.get_yticklabels(), strict=True):
            label.set_fontweight("bold" if kind == "loop" else "normal")
        ax.set_ylim(max(len(self.lanes), 1) - 0.4, -0.7)
        margin = 0.02 * (self._last - self._begin) or 1
        ax.set_xlim(self._begin - margin, self._last + margin)
        if self.scale == "order":
            ax.set_xticks([])
        axis = "events, in their order →" if self.scale == "order" else "seconds since the recording began →"
        notes = [f"✗ {number}  {note}" for number, note in enumerate(self._notes, 1)]
        ax.set_xlabel("\n".join([axis, *notes]), color=colours.ink, loc="left", linespacing=1.4)
        ax.set_ylabel("loops and their connections", color=colours.ink)
        ax.tick_params(colors=colours.ink, length=0)
        for side in ax.spines.values():
            side.set_visible(False)
        self._explain(below=24 + 16 * len(notes) + (16 if self.scale == "time" else 0))

    def _explain(self, below: float) -> None:
        """Put the legend `below` points under the axes."""
        from matplotlib.transforms import offset_copy

        figure: Any = self.ax.get_figure(root=True)
        inches = self.ax.get_window_extent().width / figure.dpi
        self.ax.legend(
            handles=self._handles(), ncols=max(int(inches / 1.4), 2), fontsize="small",
            loc="upper left", bbox_to_anchor=(0, 0), borderaxespad=0, borderpad=0,
            bbox_transform=offset_copy(self.ax.transAxes, figure, y=-below, units="points"),
            frameon=False, labelcolor=self.colours.ink, columnspacing=1.4, handletextpad=0.6,
        )  # fmt: skip

    def _handles(self) -> list[Any]:
        from matplotlib.lines import Line2D
        from matplotlib.patches import Patch

        colours, kinds = self.colours, {event.kind for event in self.events}
        mark: dict[str, Any] = {
            "ls": "",
            "color": colours.ink,
            "markeredgewidth": 1.6,
            "markerfacecolor": colours.paper,
            "markersize": 8,
        }
        shown: list[Any] = [
            Patch(color=colours.loop, label="loop"),
            Patch(color=colours.open, label="connection open"),
            Patch(color=colours.out, label="checked out"),
            Patch(color=colours.statement, label="statement"),
        ]
        if any(event.astray for event in self.events):
            red: dict[str, Any] = {"facecolor": "none", "edgecolor": colours.astray, "hatch": "////"}
            shown += [Patch(label="after its loop's end", **red), Patch(color=colours.astray, label="on a wrong loop")]
        if "failed" in kinds or any(event.astray and event.kind in ("closed", "invalidated") for event in self.events):
            shown.append(
                Line2D(
                    [], [], marker="X", label="error, or no graceful close", **(mark | {"markerfacecolor": colours.ink})
                )
            )
        if "cancelled" in kinds:
            shown.append(Line2D([], [], marker="D", label="cancelled", **mark))
        if "disposed" in kinds:
            shown.append(Line2D([], [], marker="v", label="engine disposed", **mark))
        return shown

    def _span(self, kind: str, number: int | None, first: str, last: str) -> tuple[float, float | None]:
        found = {
            event.kind: self._x(position, event)
            for position, event in enumerate(self.events)
            if event.kind in (first, last) and event.loop == number
        }
        return found.get(first, self._begin), found.get(last)

    def _x(self, position: int, event: Event) -> float:
        return event.seconds if self.scale == "time" else float(position)

    def _finish(self, statement: Event) -> float:
        """Where a statement ended; in the order of events, behind the last that came before its end."""
        if statement.took is None:
            return self._last
        end = statement.seconds + statement.took
        return end if self.scale == "time" else bisect_right(self._times, end) - 1 + 0.75
