"""Universally unique identifiers."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import types as sql

from asyncdb_nb.dataframes.type_families.kind import (
    OBJECTS,
    BuiltIn,
    ColumnType,
    Kind,
    always,
    as_it_is,
    each,
    numbers,
    of,
    written,
)


def _arrow_type(column: ColumnType) -> Any:
    import pyarrow as pa

    return pa.binary(16)


def _read(data: bytes) -> UUID:
    return UUID(bytes=data)


def _write(value: Any) -> bytes:
    if isinstance(value, bytes) and len(value) == 16:  # Arrow's
        return value
    return (value if isinstance(value, UUID) else UUID(value)).bytes


KINDS = (
    Kind(
        name="uuid",
        documented="uuid",
        arrow="fixed_size_binary[16]",
        dtypes=OBJECTS,
        note="uuid.UUID.",
        types={
            "uuid": BuiltIn(2950, 2951, width=16, literal=lambda value: str(value) if isinstance(value, UUID) else None)
        },
        arrow_type=_arrow_type,
        reader=each(_read),
        vectorized=numbers("V16"),
        writer=written(_write),
        encode=as_it_is,
        from_driver=always(lambda value: UUID(value) if isinstance(value, str) else UUID(int=value.int)),
        classes=(UUID,),
        converter=of(UUID),
        to_arrow=always(lambda value: value.bytes),
        from_arrow=lambda loads: _read,
        sqlalchemy={sql.Uuid: "uuid"},
        python_bases={UUID: "uuid"},
    ),
)
