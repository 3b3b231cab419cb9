"""What the server refused, with the row it was: PostgreSQL names a line of the stream, or the values of a key."""

from __future__ import annotations

import re
from typing import Any

from asyncdb_nb.dataframes.writing.parts import Part

_LINE = re.compile(r"^COPY .*?, line (\d+)", re.MULTILINE | re.DOTALL)
_KEY = re.compile(r"^Key \((?P<names>.+)\)=\((?P<values>.*)\) (?:is not present|already exists|conflicts)", re.DOTALL)


def add_row(error: BaseException, asyncpgs: Any, part: Part, first: int) -> None:
    """Add a note with the row of the data that the server refused, where that can be told.

    Args:
        error: What the user sees.
        asyncpgs: The driver's error, with what the server said.
        part: The rows that were being written.
        first: The number of the first of them.
    """
    number = _by_line(asyncpgs, part)
    if number is None:
        number = _by_key(asyncpgs, part)
    if number is not None:
        error.add_note(f"It was row {first + number:,} of the data: {_shown(part, number)}.")


def _by_line(asyncpgs: Any, part: Part) -> int | None:
    found = _LINE.search(getattr(asyncpgs, "context", None) or "")
    number = int(found[1]) - 1 if found else -1
    return number if 0 <= number < part.rows else None


def _by_key(asyncpgs: Any, part: Part) -> int | None:
    """Find the first row with the values that the server says; of a foreign key it knows no line."""
    found = _KEY.search(getattr(asyncpgs, "detail", None) or "")
    if found is None:
        return None
    names = [name.strip('"').replace('""', '"') for name in found["names"].split(", ")]
    values = found["values"].split(", ")
    if len(names) != len(values) or not set(names) <= set(part.names):
        return None
    columns = [part.columns[part.names.index(name)] for name in names]
    texts = [map(str, column.tolist() if hasattr(column, "iloc") else column.to_pylist()) for column in columns]
    return next((row for row, given in enumerate(zip(*texts, strict=True)) if list(given) == values), None)


def _shown(part: Part, number: int) -> str:
    row = {name: value.item() if hasattr(value, "item") else value for name, value in part.row(number).items()}
    text = ", ".join(f"{name}={value!r}" for name, value in row.items())
    return text if len(text) <= 300 else f"{text[:300]}…"
