"""
Arrays of any type, of any number of dimensions.

The type of a column does not say how many dimensions its values have; Arrow's lists do. So an array is a list in
Python, nested as deep as it is, and in Arrow only one of a single dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from math import prod
from struct import pack
from typing import Any

from asyncdb_nb.dataframes.type_families.array_text import array_items
from asyncdb_nb.dataframes.type_families.items import INT4, items, prefixed
from asyncdb_nb.dataframes.type_families.kind import (
    ARROW,
    OBJECT,
    ColumnType,
    Dumps,
    Function,
    Kind,
    Loads,
    Reader,
    UnfitError,
    Writer,
    need,
)


def scalars(value: Iterable[Any]) -> Iterator[Any]:
    """Yield what stands in lists of lists."""
    for item in value:
        if isinstance(item, list):
            yield from scalars(item)
        else:
            yield item


def list_type(column: ColumnType) -> Any:
    """Make the Arrow type of a list of a type's elements."""
    import pyarrow as pa

    return pa.list_(column.inside.arrow())


def list_from_driver(element: Function | None, is_item: Callable[[Any], bool], values: Iterable[Any]) -> list[Any]:
    """Bring the elements of nested lists to what is read from bytes."""
    return [
        (value if value is None or element is None else element(value))
        if value is None or is_item(value)
        else list_from_driver(element, is_item, value)
        for value in values
    ]


def array_of_text(element: Function | None, values: str | Iterable[Any]) -> list[Any]:
    """Bring the elements of an array that PostgreSQL has written to what is made of their texts."""
    return list_from_driver(element, is_scalar, array_items(values) if isinstance(values, str) else values)


def is_scalar(value: Any) -> bool:
    """Say whether a value is an element, where elements are no lists."""
    return type(value) is not list


def list_converter(column: ColumnType) -> Function | None:
    """Look at the elements, however deep they lie; none of them is converted."""
    inner = column
    while inner.element is not None and inner.kind in ("array", "multirange"):
        inner = inner.element
    inside, kept = inner.converter(), inner.traits.classes
    if inside is None or not inner.binary:
        return None

    def take(value: Any) -> Any:
        for item in scalars(value):
            if item is not None and type(item) not in kept and inside(item) is not item:
                raise ValueError(item)
        return value

    return take


def list_to_arrow(column: ColumnType) -> Function:
    """Bring each element to what pyarrow takes; an array of several dimensions is none."""
    fit = column.inside.to_arrow()
    own_depth = column.inside.traits.depth

    def fit_all(values: list[Any]) -> list[Any]:
        if column.kind == "array" and any(_depth(value) > own_depth for value in values):
            raise UnfitError("an array of several dimensions")
        return values if fit is None else [None if value is None else fit(value) for value in values]

    return fit_all


def _reader(column: ColumnType, loads: Loads) -> Reader:
    return partial(_read, column.inside.reader(loads))


def _read(element: Reader, data: bytes) -> list[Any]:
    dimensions = INT4.unpack_from(data)[0]
    lengths = [INT4.unpack_from(data, 12 + 8 * d)[0] for d in range(dimensions)]
    values: list[Any] = [None if item is None else element(item) for item in items(data, 12 + 8 * dimensions)]
    if len(values) != (prod(lengths) if dimensions else 0):
        raise ValueError(f"an array of {lengths} elements has {len(values)}")
    for length in reversed(lengths[1:]):
        values = [values[start : start + length] for start in range(0, len(values), length)]
    return values


def _writer(column: ColumnType, dumps: Dumps) -> Writer:
    element, own_depth, first = column.inside.writer(dumps), _own_depth(column.inside), int(column.name not in VECTORS)

    def write(value: Any) -> bytes:
        value = value.tolist() if hasattr(value, "tolist") else value  # numpy's
        need(isinstance(value, list), value)
        lengths = _lengths(value, own_depth)
        elements = [prefixed(None if each is None else element(each)) for each in _elements(value, lengths)]
        if not elements and not first:
            raise ValueError(f"PostgreSQL receives no empty {column.name} inside of another value")
        if not elements:
            return pack("!iiI", 0, 0, column.inside.declared)
        bounds = [number for length in lengths for number in (length, first)]
        head = pack(f"!iiI{len(bounds)}i", len(lengths), _NULL in elements, column.inside.declared, *bounds)
        return head + b"".join(elements)

    return write


def _own_depth(element: ColumnType) -> int:
    """Say how many lists deep one element is."""
    return 1 if element.kind == "array" else element.traits.depth


def _lengths(value: list[Any], own_depth: int) -> list[int]:
    """Give the length of each dimension."""
    lengths, rows = [len(value)], value
    dimensions = _depth(value) - own_depth
    if own_depth == 1:  # what is a list itself holds no NULL: a list with one is a dimension
        dimensions = max(dimensions, _depth_of_null(value))
    for _ in range(dimensions - 1):
        rows = rows[0] if rows and isinstance(rows[0], list) else []
        lengths.append(len(rows))
    return lengths


def _depth_of_null(value: Any) -> int:
    """Say how deep the deepest list with a NULL lies; 0 for none."""
    if not isinstance(value, list):
        return 0
    inside = max(map(_depth_of_null, value), default=0)
    return inside + 1 if inside else int(None in value)


def _elements(value: list[Any], lengths: Sequence[int]) -> list[Any]:
    """Take the elements out of lists that are nested as deep as there are dimensions.

    Raises:
        ValueError: The lists are not of one length.
    """
    rows = value
    for length in lengths[1:]:
        need(all(isinstance(row, list) and len(row) == length for row in rows), value)
        rows = [each for row in rows for each in row]
    return rows


VECTORS = ("int2vector", "oidvector")  # which count from 0; PostgreSQL does not receive an empty one
_NULL = prefixed(None)


def _encode(column: ColumnType, array: Any) -> Any:
    element = column.inside
    is_of_pgpq = element.name in _OF_PGPQ and not element.domain and element.typmod < 0 and column.name not in VECTORS
    return array if is_of_pgpq else None


_OF_PGPQ = ("bool", "int2", "int4", "int8", "float4", "float8", "text", "bytea", "date", "time", "timestamp")


def _from_driver(column: ColumnType) -> Function:
    if not column.binary:
        return partial(array_of_text, column.inside.from_driver())
    inner = column
    while inner.inside.kind == "array":  # int2vector[]: arrays in arrays are lists in lists just the same
        inner = inner.inside
    return partial(list_from_driver, inner.inside.from_driver(), _is_item(inner.inside))


def _is_item(element: ColumnType) -> Callable[[Any], bool]:
    """Give what tells an element from a row of elements: multiranges are lists too, but of ranges alone."""
    if element.kind != "multirange":
        return is_scalar
    return lambda value: all(item is not None and type(item) is not list for item in value)


def _depth(value: Any) -> int:
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 0


KINDS = (
    Kind(
        name="array",
        documented="any array",
        arrow="list<element>",
        dtypes=(OBJECT, OBJECT, ARROW),
        note="Lists of Python values, nested for several dimensions; subscripts start at 0. In an Arrow type an array "
        "of several dimensions is NA (lossy).",
        arrow_type=list_type,
        reader=_reader,
        writer=_writer,
        encode=_encode,
        from_driver=_from_driver,
        converter=list_converter,
        to_arrow=list_to_arrow,
        keeps_values=True,
    ),
)
