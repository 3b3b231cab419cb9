"""What pandas 2 spells or measures otherwise than pandas 3: the one place where the tests know it."""

from __future__ import annotations

import pandas as pd

PANDAS = tuple(map(int, pd.__version__.split(".")[:2]))

STR = "str" if PANDAS >= (2, 3) else "string"
"""How the dtype of text is written, which is the same in both: text with NaN for NULL."""


def in_microseconds(frame: pd.DataFrame) -> pd.DataFrame:
    """Give pandas' own frame the unit that pandas 3 gives it: pandas 2 makes nanoseconds of Python's datetimes."""
    times = {name: column.dt.as_unit("us") for name, column in frame.items() if "[ns" in str(column.dtype)}
    return frame.assign(**times)
