"""
Have databases ready before a test asks for one, and drop them when nobody waits.

Making a database takes some 40 ms, dropping one 20, and a test body gives the time for both: a task on the portal's
loop makes the next ones while tests run, and drops the used ones when enough are ready.
"""

from __future__ import annotations

import asyncio
from collections import deque

from asyncdb_nb.aio.portal import run
from asyncdb_nb.pytest_plugin.isolation.databases import Databases

READY = 2  # databases made in advance
USED = 8  # dropped at the latest when so many are waiting: each takes some 8 MB of disk


class Clones:
    """Copies of one template. `take` and `give_back` are for synchronous fixtures."""

    def __init__(self, databases: Databases, template: str) -> None:
        self._databases = databases
        self._template = template
        self._ready: deque[str] = deque()
        self._used: deque[str] = deque()
        self._waiting: deque[asyncio.Future[str]] = deque()
        self._worker: asyncio.Task[None] | None = None

    def take(self) -> str:
        """Return the name of a database that equals the template and is used by nobody else."""
        return run(self._take())

    def give_back(self, name: str) -> None:
        """Have a database dropped, some time soon."""
        run(self._give_back(name))

    def close(self) -> None:
        """Wait until the work in the background is done. What is left, is dropped with the others."""
        run(self._close())

    async def _take(self) -> str:
        if not self._ready:
            return await self._wait()
        name = self._ready.popleft()
        self._wake()
        return name

    async def _wait(self) -> str:
        turn: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._wake()
        return await turn

    async def _give_back(self, name: str) -> None:
        self._used.append(name)
        self._wake()

    async def _close(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.cancel()
            await asyncio.wait([worker])

    def _wake(self) -> None:
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work(), name="asyncdb_nb clones")

    async def _work(self) -> None:
        while True:
            while self._waiting and self._waiting[0].done():  # the test gave up
                self._waiting.popleft()
            if self._waiting or (len(self._ready) < READY and len(self._used) < USED):
                await self._make()
            elif self._used:
                await self._databases.drop_soon(self._used.popleft())
            else:
                return

    async def _make(self) -> None:
        try:
            name = await self._databases.clone_soon(self._template)
        except Exception as error:
            if not self._waiting:
                raise
            self._waiting.popleft().set_exception(error)
            return
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(name)
                return
        self._ready.append(name)
