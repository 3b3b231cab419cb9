"""
The colours of plots, on light and on dark paper.

They are taken from Okabe and Ito's set, which colour-blind readers tell apart, and none carries a meaning alone: what
is wrong is hatched or crossed as well as red.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Palette:
    """The colours on one background, as hexadecimal RGB."""

    paper: str
    ink: str
    faint: str
    loop: str
    open: str
    out: str
    statement: str
    astray: str
    deep: str  # a statement on a wrong loop


LIGHT = Palette(
    paper="#ffffff",
    ink="#1f2933",
    faint="#e3e8ee",
    loop="#0072B2",
    open="#b9def4",
    out="#56B4E9",
    statement="#0b2a45",
    astray="#D55E00",
    deep="#7a3000",
)
DARK = Palette(
    paper="#14181d",
    ink="#e6eaee",
    faint="#2b333c",
    loop="#1f7fc4",
    open="#27506a",
    out="#56B4E9",
    statement="#f5f7fa",
    astray="#e8631a",
    deep="#ffc9a8",
)


def palette_on(background: Any, dark: bool | None) -> Palette:
    """Choose the palette for a background.

    Args:
        background: A colour of matplotlib's.
        dark: Whether it counts as dark; None looks at its brightness.
    """
    from matplotlib.colors import to_rgb

    red, green, blue = to_rgb(background)
    is_dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
    return DARK if (is_dark if dark is None else dark) else LIGHT
