"""A dask DataFrame into a table: staged by the workers, then moved in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

import dask
import dask.dataframe as dd
from dask.dataframe.utils import make_meta  # type: ignore[attr-defined]

from asyncdb_nb.aio.portal import run
from asyncdb_nb.database.database import Database
from asyncdb_nb.distributed.partition_writer import PartitionWriter
from asyncdb_nb.distributed.read_sql import column_types, held_snapshots
from asyncdb_nb.distributed.staging import Staging, Write
from asyncdb_nb.errors import WriteError

if TYPE_CHECKING:
    from asyncdb_nb.dataframes.writing.writing import Written

_CHOICES = ("append", "fail", "replace", "truncate", "upsert")


def to_postgresql(
    df: dd.DataFrame,
    name: str,
    db: Database,
    if_exists: Literal["append", "fail", "replace", "truncate", "upsert"] = "append",
    index: bool | None = None,
    *,
    key: str | Sequence[str] | None = None,
    types: Mapping[str, str] | None = None,
) -> Written:
    """Write a dask DataFrame into a table: all partitions, every value exactly, or nothing.

    The workers write their partitions into a staging table beside the table, by COPY as `db.write` does, each on a
    connection of its own. When all are there, one transaction renames the staging table, where the table is made or
    replaced; or inserts its rows; or, for an upsert, inserts those of a new key and changes those that differ from the
    row of their key, and no other. A worker that dies, and a partition that is computed twice, leave no row twice;
    after an error or an interrupt the staging table is dropped. That of a process that was killed is dropped by the
    next write into the same database.

    Args:
        df: The collection. It is computed by the scheduler that `df.compute()` would take.
        name: `"table"` or `"schema.table"`. You need the right to create tables in its schema.
        db: The `Database`. Workers in other processes connect by themselves, as for `read_sql_table`.
        if_exists: As for `db.write`: `"append"`, `"fail"`, `"replace"`, `"truncate"` or `"upsert"`.
        index: Write the index as columns; None does so if it has a name.
        key: The column or columns of the primary key of a table that is made, or that an upsert goes by.
        types: SQL types by column, for a table that is made. A column of Python objects is text otherwise, unless it
            was read by `read_sql_table` or `read_sql_query`, and then is what it was.

    Returns:
        A `Written`: `table`, `rows`, `inserted`, `updated`, `unchanged`, `seconds`, `created`. Rows are in no
        particular order.

    Raises:
        WriteError: Columns or arguments do not fit the table; nothing was computed. Or, for an upsert, two rows have
            one key, in whichever partitions: the message has its values.
        PartitionNotWrittenError: A partition could not be written; the message says which, and why.
        sqlalchemy.exc.SQLAlchemyError: The server refused the rows when they came together, such as for a key that is
            there; a note has what it says.

    Example:
        >>> orders = read_sql_table(db, "shop.orders")
        >>> to_postgresql(orders[orders["price"] > 0], "shop.paid", db, key="id")
    """
    started = perf_counter()
    what = _checked(df, name, if_exists, index, key, types)
    staging = Staging(db, what, [held.snapshot for held in held_snapshots(df)])
    try:
        table = run(staging.prepare())
        writer = PartitionWriter(db, name, table, [str(column) for column in what.meta.columns], index=what.has_index)
        written = run(staging.move(df.npartitions, sum(_computed(df, writer, table.rows))))
    except BaseException as error:
        error.add_note(" ".join(filter(None, [_detail(error), f"Nothing was written into {name}."])))
        _drop(staging, error)
        raise
    finally:
        run(staging.close())
    return replace(written, seconds=perf_counter() - started)


def _checked(
    df: Any, name: str, if_exists: str, index: bool | None, key: Any, types: Mapping[str, str] | None
) -> Write:
    if not isinstance(df, dd.DataFrame):
        raise WriteError(
            f"to_postgresql() writes a dask DataFrame, not a {type(df).__name__}. Of a Series make one by "
            "`.to_frame()`; what is here already is written by `db.write`."
        )
    if if_exists not in _CHOICES:
        raise WriteError(f"if_exists={if_exists!r}: it is one of {', '.join(map(repr, _CHOICES))}.")
    meta = make_meta(df).copy()  # type: ignore[no-untyped-call]
    meta.attrs["asyncdb"] = {"types": column_types(df)}
    if index is None:
        index = any(level is not None for level in meta.index.names)
    return Write(meta, name, if_exists, [key] if isinstance(key, str) else [*(key or ())], dict(types or {}), index)


def _computed(df: dd.DataFrame, writer: PartitionWriter, table: str) -> Sequence[int]:
    """Have the partitions written, and give how many rows each has."""
    name = table.rpartition(".")[2].strip('"').removeprefix("asyncdb_nb_staging_")
    call = dask.delayed(writer, pure=False)  # type: ignore[attr-defined]
    tasks = [
        call(part, number, dask_key_name=f"to_postgresql-{name}-partition-{number}")
        for number, part in enumerate(df.to_delayed())  # type: ignore[no-untyped-call]
    ]
    return dask.compute(*tasks)  # type: ignore[attr-defined, no-untyped-call, no-any-return]


def _detail(error: BaseException) -> str | None:
    """Give what the server says besides, such as the key that is there already."""
    return getattr(getattr(getattr(error, "orig", None), "__cause__", None), "detail", None)


def _drop(staging: Staging, error: BaseException) -> None:
    try:
        run(staging.drop())
    except Exception as failure:
        error.add_note(
            f"{staging.table.rows} could not be dropped; the next `to_postgresql` into this database does it. "
            f"{type(failure).__name__}: {failure}"
        )
