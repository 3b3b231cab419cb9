"""What can be wrong with any answer: it is not there, was not awaited, is of another kind, or raises an error."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from asyncdb_nb.aio.awaitables import Pending


def not_there(name: str, answer: Any) -> str | None:
    """Say so when an answer is still the dots, nothing, or a call that was not awaited."""
    if answer is ...:
        return f"`{name}` is still `...`, and your answer belongs in the place of the dots."
    if answer is None:
        return f"`{name}` is None, so what was put there gave nothing back."
    if isinstance(answer, AsyncIterator):
        return f"`{name}` is read in parts: `async for part in ...:` takes one after the other."
    if isinstance(answer, Pending):
        repr(answer)  # it has been told now, and does not warn when the name gets the next answer
    if inspect.iscoroutine(answer) or (inspect.isawaitable(answer) and not isinstance(answer, type)):
        return f"`{name}` is a call that has not run: `await` is missing before it."
    return None


def kind(value: Any) -> str:
    """Name the type of a value, with an article."""
    if value is None:
        return "None"
    name = "class" if isinstance(value, type) else type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIO' else 'a'} {name}"


def shown(value: Any) -> str:
    """Write a value as a short repr; numpy's numbers as Python's."""
    text = repr(value.item() if isinstance(value, np.generic) else value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def is_number(value: Any) -> bool:
    """Say whether a value is a number; a truth value, NaN and a missing one are none."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real | Decimal):
        return False
    return bool(value == value)  # NaN is not


def not_one_value(name: str, answer: Any) -> str | None:
    """Say so when an answer is a collection."""
    if isinstance(answer, pd.DataFrame | pd.Series | pd.Index | np.ndarray | list | tuple | set | dict):
        return f"`{name}` is {kind(answer)}, and one value is asked for."
    return None


async def outcome(call: str, function: Callable[..., Any], *values: Any) -> tuple[Any, str | None]:
    """Call a learner's function, which should be `async`; return its result, or what is wrong."""
    try:
        result = function(*values)
        if not inspect.isawaitable(result):
            result = f"`{call}` gave {shown(result)} without an `await`: the function has to be `async`."
            return None, result
        return await result, None
    except Exception as error:  # whatever a learner's code raises is told to the learner
        return None, raised(call, error)


def raised(call: str, error: Exception) -> str:
    """Say that a learner's function raised an error."""
    first = next(iter(str(error).splitlines()), "").partition(" [SQL:")[0][:200]
    return f"`{call}` raised {type(error).__name__}{f': {first}' if first else ''}."
