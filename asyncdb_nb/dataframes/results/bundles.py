"""
Composites and bundles: what a select names as one, and a frame shows as several columns.

SQLAlchemy gives a composite's object, or a row of a bundle's values. A frame has the columns that they are made of,
however deep they are nested. A user's own bundle class decides what its values are, so these stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import Bundle, CompositeProperty

from asyncdb_nb.engine._sqlalchemy.statements import annotation_of, values_of_composite


def bundle_of(expression: Any) -> Bundle[Any] | None:
    """Give the bundle, or the composite's, that an expression is; else None."""
    if isinstance(expression, Bundle):
        return expression
    return annotation_of(expression, "bundle")  # type: ignore[no-any-return]


def columns_of(expression: Any) -> list[Any] | None:
    """Give the columns of a composite or bundle; None for any other expression, and where a user's class has them."""
    bundle = bundle_of(expression)
    if bundle is None or _is_users_own(bundle):
        return None
    return [column for part in bundle.exprs for column in columns_of(part) or [part]]


def values_of(expression: Any, value: Any) -> Sequence[Any]:
    """Give the values of the columns of a composite or bundle, as `columns_of` has them."""
    bundle = bundle_of(expression)
    if bundle is None:
        return [value]
    if isinstance(bundle, CompositeProperty.CompositeBundle):
        if value is None:
            return [None] * len(bundle.exprs)
        return values_of_composite(bundle.property, value)
    return [item for part, inner in zip(bundle.exprs, value, strict=True) for item in values_of(part, inner)]


def _is_users_own(bundle: Bundle[Any]) -> bool:
    makes = type(bundle).create_row_processor
    inner = [found for part in bundle.exprs if (found := bundle_of(part)) is not None]
    return makes not in _OF_SQLALCHEMY or any(map(_is_users_own, inner))


_OF_SQLALCHEMY = (Bundle.create_row_processor, CompositeProperty.CompositeBundle.create_row_processor)
