"""Rows inside a row: of a declared type, and anonymous ones, which say no more than each value's oid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from struct import pack
from typing import Any

from asyncdb_nb.dataframes.type_families.built_in import UnknownTypeError, built_in
from asyncdb_nb.dataframes.type_families.items import fields, prefixed
from asyncdb_nb.dataframes.type_families.kind import (
    ARROW,
    OBJECT,
    OBJECTS,
    BuiltIn,
    ColumnType,
    Dumps,
    Function,
    Kind,
    Loads,
    Reader,
    Writer,
    always,
    need,
)
from asyncdb_nb.errors import FrameError


def _reader(column: ColumnType, loads: Loads) -> Reader:
    return partial(_read, [(name, field.reader(loads)) for name, field in column.fields])


def _read(readers: Sequence[tuple[str, Reader]], data: bytes) -> dict[str, Any]:
    items = [item for _, item in fields(data)]
    return {name: None if item is None else read(item) for (name, read), item in zip(readers, items, strict=True)}


def _writer(column: ColumnType, dumps: Dumps) -> Writer:
    writers = [(name, pack("!I", field.declared), field.writer(dumps)) for name, field in column.fields]
    head = pack("!i", len(writers))

    def write(value: Any) -> bytes:
        need(isinstance(value, Mapping) and not value.keys() - {name for name, _, _ in writers}, value)
        given = [(oid, value.get(name), write) for name, oid, write in writers]
        return head + b"".join(oid + prefixed(None if each is None else write(each)) for oid, each, write in given)

    return write


def _from_driver(column: ColumnType) -> Function:
    return partial(_converted, [(name, field.from_driver()) for name, field in column.fields])


def _converted(converters: Sequence[tuple[str, Function | None]], value: Any) -> dict[str, Any]:
    items = value.values() if isinstance(value, Mapping) or hasattr(value, "values") else value
    return {
        name: item if item is None or convert is None else convert(item)
        for (name, convert), item in zip(converters, items, strict=True)
    }


def _to_arrow(column: ColumnType) -> Function:
    fits = {name: field.to_arrow() for name, field in column.fields}

    def fit(name: str, item: Any) -> Any:
        one = fits[name]
        return item if item is None or one is None else one(item)

    return lambda value: {name: fit(name, item) for name, item in value.items()}


def _arrow_type(column: ColumnType) -> Any:
    import pyarrow as pa

    return pa.struct([pa.field(name, field.arrow()) for name, field in column.fields])


def _record_reader(column: ColumnType, loads: Loads) -> Reader:
    return lambda data: tuple(
        None if item is None else _type_inside(column, oid).reader(loads)(item) for oid, item in fields(data)
    )


def _type_inside(record: ColumnType, oid: int) -> ColumnType:
    """Give the type of a value in an anonymous row, which says its oid and no more."""
    known = dict(record.fields)
    found = known.get(str(oid)) or built_in(oid)
    if found is None:
        raise UnknownTypeError(oid)
    if not found.binary:
        raise FrameError(
            f"An anonymous row holds a {found.name}, whose binary form is not read here. "
            "Cast it in the statement: `row(value::text)`."
        )
    if str(oid) not in known and any(part.kind == "money" for part in found.parts()):
        raise UnknownTypeError(oid)  # how many digits it has is the server's to say
    for inside, type_ in record.fields:
        found = found.knowing(int(inside), type_)
    return found


KINDS = (
    Kind(
        name="composite",
        documented="row types",
        arrow="struct<fields>",
        dtypes=(OBJECT, OBJECT, ARROW),
        note="dict, field by field. One with a field that has no binary form (tsvector, reg…) is text.",
        arrow_type=_arrow_type,
        reader=_reader,
        writer=_writer,
        from_driver=_from_driver,
        to_arrow=_to_arrow,
        keeps_values=True,
    ),
    Kind(
        name="record",
        documented="record",
        dtypes=OBJECTS,
        note="tuple; text in Arrow, as an anonymous row declares no fields.",
        types={"record": BuiltIn(2249, 2287)},
        reader=_record_reader,
        from_driver=always(tuple),
        to_arrow=always(repr),
        keeps_values=True,
    ),
)
