"""A server to do things to, away from the one that the other tests share, and a network to it that can fail."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from proxy import Proxy
from victim import Victim

from asyncdb_nb import Database


@pytest.fixture(scope="module")
def victim() -> Iterator[Victim]:
    with tempfile.TemporaryDirectory(prefix="faults-") as directory:
        Path(directory).chmod(0o711)  # the server's own user must get to its data
        victim = Victim(Path(directory) / "server")
        victim.query("create role guest login")
        yield victim
        victim.stop()


@pytest.fixture
async def db(victim: Victim) -> AsyncIterator[Database]:
    async with Database(victim.url, pool_size=3, max_overflow=0, pool_timeout=90) as db:
        yield db
        assert db.engine.pool.checkedout() == 0  # type: ignore[attr-defined]


@pytest.fixture
async def proxy(victim: Victim) -> AsyncIterator[Proxy]:
    async with Proxy(victim.socket) as proxy:
        yield proxy


@pytest.fixture
async def far(proxy: Proxy) -> AsyncIterator[Database]:
    """The same database, beyond a network that can fail."""
    url = f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres?connect_timeout=2"
    async with Database(url, pool_size=3, max_overflow=0, pool_timeout=90) as far:
        yield far
        assert far.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
