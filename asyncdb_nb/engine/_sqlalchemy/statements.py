"""What SQLAlchemy knows of a statement, and of the rows that it gave."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Join
from sqlalchemy.orm import Session
from sqlalchemy.orm.interfaces import LoaderOption
from sqlalchemy.orm.session import SessionTransactionState
from sqlalchemy.sql import visitors

from asyncdb_nb.engine.private_names import Names, missing

_TYPES = "the types that a statement declares for its columns, and so what a TypeDecorator does to a frame's values"
_ALIASES = "the columns of a result, an alias without a name among them"

NO_LABEL = "_no_label"
"""SQLAlchemy's key for a column of a result that has no name."""

DECLARING: Names = {
    "sqlalchemy.sql.compiler:SQLCompiler": {"_result_columns": _TYPES, "_ordered_columns": _TYPES},
    "sqlalchemy:Insert": {"_returning": "frames of `insert(...).returning(Entity)`"},
}

PRIVATE_NAMES: Names = {
    **DECLARING,
    "sqlalchemy.engine:CursorResult": {"_metadata": _ALIASES},
    "sqlalchemy.engine.cursor:CursorResultMetaData": {"_keys": _ALIASES},
    "sqlalchemy:Row": {"_parent": "the columns of a list of rows, an alias without a name among them"},
    "sqlalchemy.engine.result:FilterResult": {"_real_result": "the types of a result behind `.scalars()`"},
    "sqlalchemy:Result": {"_unique_filter_state": "reading entities that a joined eager load has repeated"},
    "sqlalchemy:Table": {"_annotations": "frames of `insert(...).returning(Entity)`, of composites and of bundles"},
    "sqlalchemy.orm:CompositeProperty": {"_composite_values_from_instance": "frames of composites"},
    "sqlalchemy:Select": {
        "_group_by_clauses": "frames of a class with subclasses, GROUP BY",
        "_for_update_arg": "frames of a class with subclasses, FOR UPDATE",
        "_from_obj": "frames of computed columns behind an outer join",
        "_setup_joins": "frames of computed columns behind an outer join",
        "_with_options": "leaving a select with loader options to the ORM, and criteria of a select that is cut",
    },
    "sqlalchemy.orm:SessionTransaction": {
        "_connections": "what became of each transaction of a cancelled commit",
        "_state": "saying in a notebook what became of a transaction of two phases",
    },
    "sqlalchemy.orm:Session": {"_Session__binds": "seeing that all of a session goes to one engine"},
}

GONE = missing(DECLARING)
"""The names that are missing for a statement to say what it gives. Then only SQLAlchemy can read what it gave."""


def declared_columns(compiled: Any) -> Sequence[Any]:
    """Return what a compiled statement says of its result columns: tuples of name, name, objects and type.

    Stands on `_result_columns`.
    """
    return getattr(compiled, "_result_columns", None) or ()


def is_declared_in_order(compiled: Any) -> bool:
    """Say whether those are all columns, in the order of the result. Stands on `_ordered_columns`."""
    return bool(getattr(compiled, "_ordered_columns", False))


def keys_of(result: Any) -> list[Any]:
    """Return the keys of a result's columns, None for an alias without a name.

    Stands on `_metadata._keys`; else these are the public `keys()`, which leave such an alias out.
    """
    keys = getattr(getattr(result, "_metadata", None), "_keys", None)
    return list(result.keys() if keys is None else keys)


def keys_of_row(row: Any) -> tuple[Any, ...]:
    """Return the keys of a `Row` or `RowMapping`, as above. Stands on `_parent._keys`."""
    keys = getattr(getattr(row, "_parent", None), "_keys", None)
    return tuple((row.keys() if hasattr(row, "keys") else row._fields) if keys is None else keys)


def execution_of(result: Any) -> Any:
    """Return the execution that a result came from; None for one that was made by hand. Stands on `_real_result`."""
    whole = getattr(result, "_real_result", None) or result
    return getattr(getattr(whole, "raw", whole), "context", None)


def repeats_entities(result: Any) -> bool:
    """Say whether a joined eager load has repeated entities. Stands on `_unique_filter_state`."""
    return getattr(result, "_unique_filter_state", None) is not None


def returned_by(statement: Any) -> Sequence[Any]:
    """Return the expressions of RETURNING, entities among them. Stands on `_returning`."""
    return getattr(statement, "_returning", ())


def annotation_of(expression: Any, name: str) -> Any:
    """Return what the ORM notes on an expression: its "parententity", "bundle" or "proxy_key"; else None.

    Stands on `_annotations`.
    """
    return getattr(expression, "_annotations", {}).get(name)


def has_outer_join(select: Any) -> bool:
    """Say whether a select has an outer join; so where it does not say. Stands on `_from_obj` and `_setup_joins`."""
    if not (hasattr(select, "_from_obj") and hasattr(select, "_setup_joins")):
        return True
    joins = [part for source in select._from_obj for part in visitors.iterate(source) if isinstance(part, Join)]
    flags = [flags for *_, flags in select._setup_joins]
    return any(join.isouter or join.full for join in joins) or any(each["isouter"] or each["full"] for each in flags)


def values_of_composite(composite: Any, value: Any) -> Sequence[Any]:
    """Return the values of a composite's columns. Stands on `_composite_values_from_instance`, else asks the value."""
    values = getattr(composite, "_composite_values_from_instance", None)
    return value.__composite_values__() if values is None else values(value)  # type: ignore[no-any-return]


def can_be_joined(select: Any) -> bool:
    """Say whether an outer join changes neither the groups nor the locks of a select; not where it does not say.

    Stands on `_group_by_clauses` and `_for_update_arg`.
    """
    return not getattr(select, "_group_by_clauses", (None,)) and getattr(select, "_for_update_arg", ()) is None


def has_loader_options(select: Any) -> bool:
    """Say whether a select says how entities are to be loaded; so where it does not say. Stands on `_with_options`."""
    options = getattr(select, "_with_options", None)
    return options is None or any(isinstance(option, LoaderOption) for option in options)


def criteria_of(select: Any) -> Sequence[Any]:
    """Return the options of a select but those that say how entities are loaded. Stands on `_with_options`."""
    return [option for option in getattr(select, "_with_options", ()) if not isinstance(option, LoaderOption)]


def only_bind(session: Session) -> Any:
    """Return the engine or connection that all of a session goes to; None where there may be several.

    Stands on `_Session__binds` before SQLAlchemy 2.1, which has a public `binds`. A `get_bind()` of the user's own may
    decide anything.
    """
    binds = getattr(session, "binds", getattr(session, "_Session__binds", True))
    return None if binds or type(session).get_bind is not Session.get_bind else session.bind


def connections_of(transaction: Any) -> list[Any]:
    """Return the connections of a session's transaction; none where it does not say. Stands on `_connections`."""
    entries = getattr(transaction, "_connections", {}).values()
    return list({id(entry[0]): entry[0] for entry in entries}.values())


def is_given(connection: Any, transaction: Any) -> bool:
    """Say whether a session was given a connection, and did not open it. Stands on `_connections`."""
    entries = getattr(transaction, "_connections", {})
    return not entries.get(connection, (None,) * 4)[3]


def loads_attribute(options: Any) -> bool:
    """Say whether a statement with these execution options loads an attribute of an entity that is there already.

    Stands on `_lazy_loaded_from` and `_refresh_state` of what the ORM passes as `_sa_orm_load_options`.
    """
    loading = (options or {}).get("_sa_orm_load_options")
    return any(getattr(loading, name, None) is not None for name in ("_lazy_loaded_from", "_refresh_state"))


def is_prepared(transaction: Any) -> bool:
    """Say whether PREPARE TRANSACTION was sent for a session's transaction. Stands on `_state`."""
    return getattr(transaction, "_state", None) is SessionTransactionState.PREPARED
