"""A database of its own for each test of snapshots: they hold back vacuum, and are counted on the server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from asyncdb_nb import Database


@pytest.fixture
async def db(fresh_database_url: str) -> AsyncIterator[Database]:
    async with Database(fresh_database_url) as db:
        yield db
