"""A cluster of two processes, whose workers have a password in their own environment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dask
import pytest
from server_checks import SECRET


@pytest.fixture(scope="module")
def client(guest_url: str) -> Iterator[Any]:
    from distributed import Client, LocalCluster

    options: dict[str, Any] = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    # a worker that is started anew on a busy machine is given up otherwise, by the cluster after 15 s
    names = ("comm.timeouts.connect", "comm.timeouts.tcp", "deploy.lost-worker-timeout")
    slow = {f"distributed.{name}": "300s" for name in names}
    password = {"PGPASSWORD": SECRET}  # of the workers alone, also of one that takes the place of another
    with dask.config.set(slow), LocalCluster(**options, env=password) as cluster, Client(cluster) as client:
        yield client
