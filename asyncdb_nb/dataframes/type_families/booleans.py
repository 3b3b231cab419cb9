"""True and false."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from sqlalchemy import types as sql

from asyncdb_nb.dataframes.type_families.kind import (
    ARROW,
    BuiltIn,
    ColumnType,
    Kind,
    always,
    as_it_is,
    each,
    need,
    written,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from asyncdb_nb.dataframes.copy_binary.values import Values


def _bits(values: Values, column: ColumnType, lossy: Counter[str]) -> pa.Array:
    found = values.fixed("u1")
    if found.max(initial=0) > 1:
        raise ValueError(f"a boolean is {found.max()}")
    return values.bits(found)


def _literal(value: Any) -> str | None:
    return str(value).lower() if type(value) is bool else None


def _take(value: Any) -> Any:
    return need(isinstance(value, bool) or type(value).__name__ in ("bool", "bool_"), value)  # numpy's


KINDS = (
    Kind(
        name="bool",
        documented="boolean",
        arrow="bool",
        dtypes=("boolean", "boolean", ARROW),
        types={"bool": BuiltIn(16, 1000, width=1, literal=_literal)},
        reader=each(lambda data: data == b"\1"),
        vectorized=_bits,
        writer=written(lambda value: b"\1" if _take(value) else b"\0"),
        encode=as_it_is,
        exact_in_asyncpg=True,
        classes=(bool,),
        converter=always(_take),
        sqlalchemy={sql.Boolean: "bool"},
        python={bool: "bool"},
    ),
)
