"""
What PostgreSQL says about a column → its type.

Everything about dtypes is decided by the type, and only from what PostgreSQL says about a column (`oid` and `typmod`),
never from the data: the same statement has the same dtypes when its result is full, all NULL or empty. A value that its
dtype cannot hold (`infinity` in a timestamp, NaN in a `numeric(p, s)`) becomes NA and is counted by column in
`frame.attrs["asyncdb"]["lossy"]`; in a column of dtype object it stands as it is. No value is ever replaced by another.

What each kind of types becomes is stated in `type_families`; `markdown` renders that as the table of the documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from asyncdb_nb.dataframes.type_families.built_in import UnknownTypeError, built_in
from asyncdb_nb.dataframes.type_families.kind import KINDS, ColumnType

NumericAs = Literal["decimal", "float"]
DatesAs = Literal["date", "timestamp"]


@dataclass(frozen=True, slots=True)
class CatalogType:
    """One line of pg_type for a type that is not built in, or whose meaning the server's settings decide.

    `kind` is typtype: `b`ase, `c`omposite, `d`omain, `e`num, `r`ange, `m`ultirange, `p`seudo. `inside` is the oid of
    what the type is made of: an array's element, a domain's base, a range's subtype, a multirange's range.
    """

    oid: int
    name: str
    kind: str
    inside: int = 0
    typmod: int = -1
    schema: str = ""
    fields: tuple[tuple[str, int, int], ...] = ()  # name, oid, typmod


Catalog = Mapping[int, CatalogType]


def check_reading(numeric: Any, dates: Any) -> None:
    """Refuse a `numeric` or `dates` that there is not, before anything is read."""
    if numeric not in ("decimal", "float"):
        raise ValueError(f"numeric={numeric!r}: it is 'decimal' or 'float'.")
    if dates not in ("date", "timestamp"):
        raise ValueError(f"dates={dates!r}: it is 'date' or 'timestamp'.")


def check_backend(backend: Any) -> None:
    """Refuse a `dtype_backend` that pandas does not have, before anything is read."""
    if backend not in (None, "numpy_nullable", "pyarrow"):
        raise ValueError(f"dtype_backend={backend!r}: it is None, 'numpy_nullable' or 'pyarrow'.")


def column_type(oid: int, typmod: int = -1, catalog: Catalog | None = None, *, money_scale: int = 2) -> ColumnType:
    """Describe a column of type `oid`.

    Args:
        oid: The type's number, as the server describes the column.
        typmod: The type's modifier (precision and scale of a numeric), -1 for none.
        catalog: Types that are not built in, by oid.
        money_scale: Digits after the point of `money`: the server's lc_monetary decides.

    Raises:
        UnknownTypeError: The type, or one inside it, is neither built in nor in `catalog`.
    """
    known = built_in(oid)
    if known is None:
        found = _catalog_type(oid, typmod, catalog or {}, money_scale)
        return found if found.schema or not catalog else replace(found, schema=catalog[oid].schema)
    if known.traits.modified is not None:
        known = known.traits.modified(known, typmod, money_scale)
    if known.kind == "array" and known.element is not None:
        return replace(known, element=column_type(known.element.oid, typmod, catalog, money_scale=money_scale))
    return known if typmod < 0 else replace(known, typmod=typmod)


def markdown() -> str:
    """Render what each kind becomes as a table in Markdown."""
    lines = [
        "| PostgreSQL | Arrow | pandas | `dtype_backend='numpy_nullable'` | `'pyarrow'` | |",
        "|---|---|---|---|---|---|",
        *(kind.markdown() for kind in KINDS.values()),
    ]
    return "\n".join(lines) + "\n"


def _catalog_type(oid: int, typmod: int, catalog: Catalog, money_scale: int) -> ColumnType:
    if oid not in catalog:
        raise UnknownTypeError(oid)
    line = catalog[oid]

    def inner(inside: int, modifier: int = -1) -> ColumnType:
        return column_type(inside, modifier, catalog, money_scale=money_scale)

    if line.kind == "d":
        return replace(inner(line.inside, line.typmod), domain=oid)
    if line.kind == "c":
        fields = tuple((name, inner(field, modifier)) for name, field, modifier in line.fields)
        if all(field.binary for _, field in fields):
            return ColumnType(oid, line.name, "composite", fields=fields)
        return _as_text(line)
    if line.kind in ("r", "m"):
        return _container(oid, line.name, "range" if line.kind == "r" else "multirange", inner(line.inside))
    if line.kind == "b" and line.inside:
        element = inner(line.inside, typmod)
        is_row = line.inside in catalog and catalog[line.inside].kind == "c"
        return _as_text(line) if is_row and not element.binary else _container(oid, line.name, "array", element)
    if line.kind == "e":
        return ColumnType(oid, line.name, "text", is_enum=True)
    kind = next((kind.name for kind in KINDS.values() if line.name in kind.extensions), None)
    return _as_text(line) if kind is None or line.kind != "b" else ColumnType(oid, line.name, kind)


def _as_text(line: CatalogType) -> ColumnType:
    return ColumnType(line.oid, line.name, "text", binary=False)


def _container(oid: int, name: str, kind: str, element: ColumnType) -> ColumnType:
    return ColumnType(oid, name, kind, element=element, binary=element.binary)
