"""Kernels that nobody watches keep out of each other's way."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from jupyter_client.manager import KernelManager

from asyncdb_nb.jupyter.kernels import OwnSockets
from asyncdb_nb.lessons.environment import this_python

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sockets are not files there")


class Manager(OwnSockets, KernelManager):
    kernel_spec = property(lambda self: this_python())


def test_a_kernel_has_sockets_of_its_own_until_it_is_shut_down() -> None:
    """In a folder that nobody else may enter, and that goes with the kernel."""
    manager = Manager()
    manager.start_kernel()
    try:
        folder = Path(manager.ip).parent
        client = manager.client()
        client.start_channels()
        client.wait_for_ready(timeout=60)
        sockets = {file.name for file in folder.iterdir()}
        rights = stat.S_IMODE(folder.stat().st_mode)
        client.stop_channels()
    finally:
        manager.shutdown_kernel()

    assert sockets == {f"kernel-{number}" for number in range(1, 6)}
    assert rights == 0o700
    assert not folder.exists()


def test_no_two_kernels_have_the_same_folder() -> None:
    one, other = Manager(), Manager()

    places = {Path(one.ip).parent, Path(other.ip).parent}
    one.cleanup_connection_file()
    other.cleanup_connection_file()

    assert len(places) == 2
    assert not any(place.exists() for place in places)
