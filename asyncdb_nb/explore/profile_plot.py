"""
Draw a profile: a small picture for each column. matplotlib is imported when something is drawn.

Numbers and times are a histogram from the smallest to the largest, anything else its most frequent values.
"""

from __future__ import annotations

import functools
import math
import textwrap
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from asyncdb_nb.errors import MissingExtraError
from asyncdb_nb.explore.palette import Palette, palette_on
from asyncdb_nb.explore.profile_figures import ColumnProfile, Figures
from asyncdb_nb.explore.profile_statements import BINS
from asyncdb_nb.explore.profile_text import duration, notes_of, number, percent, shown, title_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_ACROSS = 4  # pictures
_WIDE, _HIGH = 3.1, 1.75  # inches of one
_TIMES = ("date", "timestamp")
_SHORT = {
    "character varying": "varchar",
    "double precision": "float8",
    "timestamp with time zone": "timestamptz",
    " without time zone": "",
}


def draw(profile: Figures, title: str | None, dark: bool | None) -> Figure:
    """Draw a profile; the arguments are those of `Profile.plot`.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    with MissingExtraError.instead("the picture of a profile", "lab"):
        import matplotlib.pyplot as plt

    across = max(min(_ACROSS, len(profile.columns)), 2)
    down = max(math.ceil(len(profile.columns) / across), 1)
    size = (_WIDE * across, _HIGH * down + 0.8)
    figure, axes = plt.subplots(down, across, figsize=size, layout="constrained", squeeze=False)
    colours = palette_on(plt.rcParams["axes.facecolor"], dark)
    figure.set_facecolor(colours.paper)
    for ax, column in zip(axes.flat, profile.columns, strict=False):
        _draw_column(ax, column, colours)
    for ax in axes.flat[len(profile.columns) :]:
        ax.set_axis_off()
    note = notes_of(profile)[0].replace("~ from", "~ From")
    figure.suptitle(title or title_of(profile), x=0.01, ha="left", color=colours.ink, fontweight="bold", fontsize=12)
    figure.supxlabel(_wrapped(note, int(size[0] * 13)), x=0.01, ha="left", color=colours.ink, fontsize=8)
    vars(figure)["_ipython_display_"] = functools.partial(_show_once, figure)
    return figure


def _cut(text: str) -> str:
    return text if len(text) < 15 else f"{text[:13]}…"  # the width of a label


def _show_once(figure: Figure) -> None:
    """Show a figure that is a cell's result, and keep the inline backend from showing it again at the cell's end."""
    import matplotlib.pyplot as plt
    from IPython.display import display

    if "inline" in plt.get_backend():
        plt.close(figure)
    as_result = vars(figure).pop("_ipython_display_")
    display(figure)  # type: ignore[no-untyped-call]
    vars(figure)["_ipython_display_"] = as_result


def _draw_column(ax: Axes, column: ColumnProfile, colours: Palette) -> None:
    ax.set_facecolor(colours.paper)
    ax.set_title(_plain(shown(column.column)), loc="left", fontsize=9, fontweight="bold", color=colours.ink, pad=3)
    ax.set_title(_aside(column), loc="right", fontsize=7, color=colours.ink, pad=3)
    ax.tick_params(colors=colours.ink, labelsize=7, length=0, pad=2)
    for side in ax.spines.values():
        side.set_visible(False)
    if column.histogram and column.span is not None:
        _draw_histogram(ax, column, colours)
    elif column.top and (column.distinct or 0) < (column.present or 0):
        _draw_top(ax, column, colours)
    else:
        ax.set(xticks=[], yticks=[])
        ax.text(
            0.02,
            0.5,
            _wrapped(_in_words(column), 38),
            transform=ax.transAxes,
            fontsize=8,
            color=colours.ink,
            va="center",
        )


def _draw_histogram(ax: Axes, column: ColumnProfile, colours: Palette) -> None:
    assert column.span is not None, "a histogram has a span"  # noqa: S101
    whole = sum(count for _, count in column.histogram)
    places, shares = zip(*((bar - 0.5, 100 * count / whole) for bar, count in column.histogram), strict=True)
    ax.bar(places, shares, width=0.92, color=colours.loop, zorder=2)
    ax.set_xlim(0, BINS)
    low, high = column.span
    ax.set_xticks([0, BINS], [_edge(low, column), _edge(high, column)])
    first, last = ax.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")
    ax.yaxis.set_major_locator(_locator())
    ax.yaxis.set_major_formatter("{x:g}%")
    ax.grid(axis="y", color=colours.faint, zorder=0)


def _draw_top(ax: Axes, column: ColumnProfile, colours: Palette) -> None:
    top = list(column.top or ())
    rest = 1 - sum(share for _, share in top)
    labels = [_plain(_cut(shown(value))) for value, _ in top]
    shares = [100 * share for _, share in top]
    colour = [colours.loop] * len(top)
    if rest > 1e-9:
        labels.append("others")
        shares.append(100 * rest)
        colour.append(colours.open)
    ax.barh(range(len(labels)), shares, height=0.72, color=colour, zorder=2)
    ax.set_yticks(range(len(labels)), labels)
    ax.set_ylim(max(len(labels), 3) - 0.4, -0.6)
    ax.xaxis.set_major_locator(_locator())
    ax.xaxis.set_major_formatter("{x:g}%")
    ax.grid(axis="x", color=colours.faint, zorder=0)


def _locator() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(3)


def _aside(column: ColumnProfile) -> str:
    """The type, what is missing, and whether the picture is of a sample; as much of it as there is room for."""
    type_ = column.type
    for long, short in _SHORT.items():
        type_ = type_.replace(long, short)
    parts = [f"{percent(column.missing / (column.rows or 1))} missing"] if column.missing else []
    room = (_WIDE - 0.3 - 0.088 * len(shown(column.column))) / 0.056 - sum(map(len, parts))
    if room > len(type_) + 2:
        parts.insert(0, _plain(type_))
    return ("~ " if column.sampled is not None else "") + ", ".join(parts)


def _in_words(column: ColumnProfile) -> str:
    if column.present is None:
        return "may not be read"
    if not column.present:
        return "all missing" if column.rows else "no rows"
    if column.min is not None and column.min == column.max:
        return _plain(f"always {shown(column.min)}")
    if column.keys:
        return _plain("keys: " + ", ".join(f"{key} {percent(share)}" for key, share in column.keys[:3]))
    lengths = "" if column.length is None else f"\nlength {column.shortest:,} to {column.longest:,}"
    return _plain(f"{column.distinct:,} different values{lengths}")


def _edge(value: float, column: ColumnProfile) -> str:
    if column.type.startswith(_TIMES):
        try:
            moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=value)
        except OverflowError:
            return number(value / 31_557_600 + 1970)  # the year
        seconds = (column.span[1] - column.span[0]) if column.span else 0
        return f"{moment:%Y-%m-%d}" if seconds > 172_800 else f"{moment:%Y-%m-%d %H:%M}"
    if column.type.startswith("interval"):
        return duration(value)
    if column.type.startswith("time"):
        return f"{int(value // 3600):02}:{int(value % 3600 // 60):02}"
    return number(int(value) if value == int(value) else value)


def _plain(text: str) -> str:
    return text.replace("$", r"\$")


def _wrapped(text: str, width: int) -> str:
    return "\n".join(textwrap.fill(line, width) for line in text.splitlines())
