"""
A progress bar for results that take long: rows, megabytes and their rate, after half a second, where someone looks.

Someone looks in a notebook or at a terminal; in scripts and pipes there is no bar, nor with `TQDM_DISABLE=1` in the
environment, which is for notebooks that are tests. How many rows there will be is only known where the call limits
them.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any, NamedTuple

PATIENCE = 0.5  # seconds before a bar appears
PAUSE = 0.1  # seconds between two updates


class Progress:
    """The progress of one result.

    Args:
        total: How many rows there will be at most, where that is known.

    Example:
        >>> progress = Progress()
        >>> progress.seen(40_000, 4_194_304)
        >>> progress.close()
    """

    def __init__(self, total: int | None = None) -> None:
        self._total = total
        self._due = time.monotonic() + PATIENCE
        self._bar: Any = None

    def seen(self, rows: int, size: int = 0) -> None:
        """Show that `rows` rows came so far, of `size` bytes where that is known."""
        now = time.monotonic()
        if now < self._due or not is_watched():
            return
        self._due = now + PAUSE
        if self._bar is None:
            self._bar = _bar(self._total)
        if size:
            self._bar.set_postfix_str(f"{size / 1e6:,.0f} MB", refresh=False)
        self._bar.update(rows - self._bar.n)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class ProgressOfParts:
    """One progress for parts of a result that are read at the same time.

    Args:
        total: As for `Progress`.
    """

    def __init__(self, total: int | None = None) -> None:
        self._whole = Progress(total)
        self._parts: dict[int, tuple[int, int]] = {}

    def of(self, part: int) -> PartProgress:
        """Give one part its own; closing that leaves the bar."""
        return PartProgress(self, part)

    def seen(self, part: int, rows: int, size: int) -> None:
        """Show what came of all parts, of which this one has come so far."""
        self._parts[part] = rows, size
        self._whole.seen(*map(sum, zip(*self._parts.values(), strict=True)))

    def close(self) -> None:
        """Take the bar away."""
        self._whole.close()


class PartProgress(NamedTuple):
    """The progress of one part; made by `ProgressOfParts.of`."""

    whole: ProgressOfParts
    part: int

    def seen(self, rows: int, size: int = 0) -> None:
        """As that of `Progress`."""
        self.whole.seen(self.part, rows, size)

    def close(self) -> None:
        """Leave the bar to the others."""


def is_watched() -> bool:
    """Say whether someone sees what is written: in a kernel, or at a terminal."""
    if os.environ.get("TQDM_DISABLE"):  # tqdm's own switch, which its bar for notebooks does not heed
        return False
    return _in_kernel() or (sys.stderr is not None and sys.stderr.isatty())


def _in_kernel() -> bool:
    return bool("ipykernel" in sys.modules and getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)())


def _bar(total: int | None) -> Any:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tqdm's own: that ipywidgets is missing, and that it falls back to text
        from tqdm.auto import tqdm
    file = sys.stdout if _in_kernel() else sys.stderr  # what a kernel writes to stderr, Jupyter shows as an error
    interval = 0  # `PAUSE` is ours
    return tqdm(total=total, unit=" rows", unit_scale=True, leave=False, mininterval=interval, file=file)
