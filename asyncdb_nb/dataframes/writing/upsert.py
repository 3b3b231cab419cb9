"""
Rows of a staging table → their table: those of a new key are inserted, those that differ from a row there change it.

Two rows of one key are refused, since only one of them could be kept, and nobody could say which.
"""

from __future__ import annotations

from asyncdb_nb.dataframes.writing.staging import COUNT_FROM_ZERO, COUNT_OF_UPDATED, Staging, duplicate
from asyncdb_nb.dataframes.writing.write_connection import Server


async def refuse_duplicates(server: Server, staging: Staging) -> None:
    """Look whether every key is there once.

    Raises:
        WriteError: Two rows have one; the message names its values.
    """
    if found := await server.rows(staging.duplicates()):
        raise duplicate(staging.key, found[0])


async def upsert(server: Server, staging: Staging) -> tuple[int, int]:
    """Move the rows; give how many were inserted, and how many changed a row that was there."""
    if server.has_old:
        [(written, updated)] = await server.rows(staging.upsert(has_old=True))
    else:
        await server.execute(COUNT_FROM_ZERO)
        [(written, _)] = await server.rows(staging.upsert(has_old=False))
        [[counted]] = await server.rows(COUNT_OF_UPDATED)
        updated = int(counted)
    return written - updated, updated
