"""
dask collections that are read from one snapshot of a PostgreSQL database, and written into a table.

    from asyncdb_nb.distributed import read_sql_table

    orders = read_sql_table(db, "shop.orders")
    orders.groupby("status")["price"].sum().compute()

Needs the extra `dask`: `pip install 'asyncdb_nb[dask]'`.
"""

from __future__ import annotations

from asyncdb_nb.errors import MissingExtraError

with MissingExtraError.instead("dask collections", "dask"):
    from asyncdb_nb.distributed.read_sql import read_sql_query, read_sql_table, release
    from asyncdb_nb.distributed.writing import to_postgresql

__all__ = ["read_sql_query", "read_sql_table", "release", "to_postgresql"]
