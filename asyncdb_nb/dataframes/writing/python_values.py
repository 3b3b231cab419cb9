"""Arrow's values → Python's, of which a map is a dict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.types as kinds


def python_values(array: pa.Array) -> Sequence[Any]:
    """Give the values of an array.

    Raises:
        LookupError: A map has a key twice.
    """
    values: Sequence[Any] = array.to_pylist()
    return [_with_dicts(value, array.type) for value in values] if "map<" in str(array.type) else values


def _with_dicts(value: Any, kind: pa.DataType) -> Any:
    """Make dicts of the pairs of a map, also inside of lists and structs: pyarrow does so from 19 on."""
    if value is None:
        return None
    if kinds.is_map(kind):
        found = {key: _with_dicts(each, kind.item_type) for key, each in value}
        if len(found) < len(value):
            raise LookupError("a key is there twice")
        return found
    if kinds.is_struct(kind):
        return {field.name: _with_dicts(value[field.name], field.type) for field in kind}
    if kinds.is_nested(kind) and hasattr(kind, "value_type"):
        return [_with_dicts(each, kind.value_type) for each in value]
    return value
