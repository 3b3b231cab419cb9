"""Tables and statements as dask DataFrames: every partition from one snapshot, with the dtypes of `db.frame`."""

from __future__ import annotations

from typing import Any

import dask
import dask.dataframe as dd
import pandas as pd

from asyncdb_nb.aio.portal import run
from asyncdb_nb.database import block_ranges, key_ranges
from asyncdb_nb.database.database import Database
from asyncdb_nb.database.options import check_options
from asyncdb_nb.database.snapshot import Snapshot
from asyncdb_nb.dataframes import frame
from asyncdb_nb.distributed.filters import Filters, condition, filtered
from asyncdb_nb.distributed.held_snapshot import HeldSnapshot
from asyncdb_nb.distributed.partition_reader import PartitionReader
from asyncdb_nb.errors import UnsplittableError

PARTITION = 128 * 2**20  # bytes of a table

_HELD = "asyncdb_nb_held_snapshot"
"""The attribute of dask's expression that has the snapshot: collections made of one refer to its expression."""


def read_sql_table(
    db: Database, table: str, npartitions: int | None = None, filters: Filters | None = None, **options: Any
) -> dd.DataFrame:
    """Read a table by ranges of its blocks. Nothing is read before `compute()`, but for the columns.

    A transaction of this process keeps the snapshot, from now until nobody refers to the collection, or to one that was
    made of it, or until `release`. A collection that was persisted does not refer to it: keep this one until that one
    is there. Workers in other processes connect by themselves, with a password that they find in their own environment,
    service file or `~/.pgpass`: none is in the graph.

    Args:
        db: The `Database`.
        table: `table` or `schema.table`; columns that are not used are not read.
        npartitions: About how many partitions; by default, of about 128 MB of the table each.
        filters: Which rows are read, as for `dask.dataframe.read_parquet`: `[("price", ">", 10), ("status", "==",
            "new")]` are all to hold, and of a list of such lists one. The server compares, so a row without a value in
            the column is left out.
        **options: `dtype_backend` and `numeric`, as for `db.frame`.

    Returns:
        A dask DataFrame with the dtypes of `db.frame` and unknown divisions. Partitions follow one another as the rows
        lie on disk; each has an index of its own.

    Raises:
        UnknownTableError: There is no such table.
        UnsplittableError: It cannot be read by blocks; the message has the reason.
        SnapshotGoneError: From `compute()`: the snapshot has ended.

    Example:
        >>> orders = read_sql_table(db, "shop.orders")
        >>> orders.groupby("status")["price"].sum().compute()
    """
    check_options(frame, options)
    where, params = condition(filters)
    held = HeldSnapshot(db, table)

    async def asked(snapshot: Snapshot) -> tuple[list[str], pd.DataFrame]:
        async with snapshot.session() as session:
            oid = (await block_ranges.find(session, table)).oid
            size = sum(part.size for part in await block_ranges.tree(session, oid))
            whole = f"select * from {snapshot.tables[0]} as part where {where or 'true'} limit 0"  # noqa: S608  quoted
            meta = await frame(session, whole, params or None, **options)
        return await snapshot.blocks(table, npartitions or max(-(-size // PARTITION), 1)), meta

    return _made(held, asked, lambda snapshot: PartitionReader(snapshot, None, options, where, params or None))


def read_sql_query(
    db: Database,
    statement: str,
    index_col: str,
    npartitions: int,
    how: key_ranges.How = "percentile",
    filters: Filters | None = None,
    **options: Any,
) -> dd.DataFrame:
    """Read a statement by ranges of one of its columns, which becomes the index, sorted, with known divisions.

    Divisions are unknown where the server's order of the column need not be that of Python, as of text by a collation
    other than "C", and of enums. Then each partition is sorted as Python does, and dask asks all of them.

    Snapshot, workers and passwords are as for `read_sql_table`. Tables that are emptied or rewritten meanwhile are not
    locked; where that may be, take a table.

    Args:
        db: The `Database`.
        statement: SQL text of a SELECT.
        index_col: A column of the result without NULLs; it should have an index on the server.
        npartitions: About how many partitions.
        how: "percentile": of equally many rows. "width": of equal distance.
        filters: As for `read_sql_table`.
        **options: `dtype_backend` and `numeric`, as for `db.frame`.

    Returns:
        A dask DataFrame with the dtypes of `db.frame`, whose index is `index_col`.

    Raises:
        UnsplittableError: The statement or the column cannot be cut; the message has the reason.
        SnapshotGoneError: From `compute()`: the snapshot has ended.
    """
    check_options(frame, options)
    where, params = condition(filters)
    if where:
        statement = filtered(statement, where)
    held = HeldSnapshot(db)
    divisions: list[Any] = []
    sorts = False

    async def asked(snapshot: Snapshot) -> tuple[list[str], pd.DataFrame]:
        nonlocal sorts
        async with snapshot.session() as session:
            conditions = await key_ranges.bounds(session, statement, index_col, npartitions, how, params or None)
            sorts = not await key_ranges.sorts_as_in_python(session, statement, index_col, params or None)
            asking = await key_ranges.ends_of(session, statement, index_col, conditions, params or None)
            ends = await frame(session, asking, params or None)
            meta = await frame(session, key_ranges.empty(statement), params or None, **options)
        found: list[Any] = [ends.iloc[0, position] for position in range(ends.shape[1])]
        lows, high = found[: len(conditions) - 1], found[len(conditions) - 1]
        *counts, nulls = found[len(conditions) :]
        taken = [place for place, count in enumerate(counts) if count]
        ends_taken = [*(lows[place] for place in taken), high] if taken else []
        _check_index(index_col, meta, nulls, ends_taken, sorts=sorts)
        if not sorts:
            divisions.extend(map(_plain, ends_taken))
        parts = [key_ranges.range_of(statement, conditions[place], index_col) for place in taken or [0]]
        return parts, meta

    def reader(snapshot: Snapshot) -> PartitionReader:
        return PartitionReader(snapshot, index_col, options, params=params or None, sorts=sorts)

    return _made(held, asked, reader, divisions)


def _check_index(index_col: str, meta: pd.DataFrame, nulls: int, ends: list[Any], *, sorts: bool) -> None:
    """Refuse a column that is no index of pandas.

    Raises:
        UnsplittableError: With the reason.
    """
    if nulls:
        raise UnsplittableError(
            f"{nulls:,} rows have no {index_col}, and so no place in an index. "
            f'Leave them out: `where "{index_col}" is not null`.'
        )
    if any(map(pd.isna, ends)):
        raise UnsplittableError(
            f"{index_col} has a NaN, an infinity or a date that pandas has not, and so no place in an index. "
            "Leave them out, or take `read_sql_table`."
        )
    if sorts and not _is_text(meta[index_col].dtype):
        raise UnsplittableError(
            f"The values of {index_col} have no order in pandas that is the server's, so they are no index to look up. "
            "Name another column, or take `read_sql_table`."
        )


def release(collection: dd.DataFrame) -> None:
    """End the snapshot that a collection is read from; what was computed or persisted stays. Twice is once."""
    for held in held_snapshots(collection):
        held.close()


def held_snapshots(collection: dd.DataFrame) -> list[HeldSnapshot]:
    """List the snapshots that a collection is read from."""
    return [vars(expression)[_HELD] for expression in collection.expr.walk() if _HELD in vars(expression)]


def column_types(collection: dd.DataFrame) -> dict[str, Any]:
    """Say which types the columns had that a collection is made of; not of a name that stands for two of them."""
    found: dict[str, Any] = {}
    for held in held_snapshots(collection):
        for name, type_ in held.types.items():
            found[name] = type_ if found.get(name, type_) == type_ else None
    return {name: type_ for name, type_ in found.items() if type_ is not None}


def _made(held: HeldSnapshot, asked: Any, reader: Any, divisions: Any = ()) -> dd.DataFrame:
    try:
        parts, meta = run(asked(held.snapshot))
    except BaseException:
        held.close()
        raise
    held.types = meta.attrs["asyncdb"].get("types", {})
    read = reader(held.snapshot)
    with dask.config.set({"dataframe.convert-string": False}):  # else what is an object in pandas becomes text
        made: dd.DataFrame = dd.from_map(  # type: ignore[no-untyped-call]
            read,
            parts,
            meta=read.shaped(meta),
            divisions=tuple(divisions) or None,
            label="postgresql",
            enforce_metadata=False,
        )
    vars(made.expr)[_HELD] = held  # dask refuses `setattr`
    return made


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _is_text(dtype: Any) -> bool:
    return isinstance(dtype, pd.StringDtype) or (isinstance(dtype, pd.ArrowDtype) and dtype.type is str)
