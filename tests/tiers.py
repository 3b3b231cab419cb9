"""Of the values of a parameter, a few for each run of the tests, and the rest for the second tier."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

_Param = type(pytest.param())


def few_of(values: Iterable[Any], number: int) -> list[Any]:
    """Mark all but the first values for the second tier."""
    every = list(values)
    return [*every[:number], *map(_later, every[number:])]


def _later(value: Any) -> Any:
    if isinstance(value, _Param):
        return pytest.param(*value.values, id=value.id, marks=pytest.mark.second_tier)
    return pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=pytest.mark.second_tier)
