"""
Keep all that a test does inside one transaction, which is rolled back when the test is over.

Every checkout of a loop shares one connection to the server, on which a transaction is open already. What the code
under test takes for a transaction is a savepoint there: it may commit, roll back and begin again, through sessions,
Core or the driver, and the next test sees nothing of it. One connection can do one thing at a time, so the tasks of a
test take turns: a task that checks out waits until no other task holds a checkout.
"""

from __future__ import annotations

import asyncio
from typing import Any

from sqlalchemy import URL, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import PoolProxiedConnection
from sqlalchemy.util import await_only

from asyncdb_nb import loops
from asyncdb_nb.database import Database
from asyncdb_nb.errors import OneConnectionError
from asyncdb_nb.loops import Ending
from asyncdb_nb.pool import LoopBoundPool
from asyncdb_nb.pytest_plugin.savepoint import Savepoint, Share

TURN_SECONDS = 5.0  # how long a task waits for its turn


class Stage:
    """The connection of each loop, and the transaction on it. Outlives the tests; `clear()` is called between them."""

    def __init__(self, url: URL) -> None:
        self._url = url
        self._scenes: dict[asyncio.AbstractEventLoop, Scene] = {}

    def database(self) -> Database:
        """Make a `Database` whose every checkout plays on this stage."""
        database = Database(
            self._url,
            poolclass=OneConnectionPool,
            stage=self,
            idle_timeout=None,
            pool_pre_ping=False,
            max_overflow=-1,
            connect_args={"async_creator_fn": self._connect},
        )
        event.listen(database.engine.sync_engine, "checkout", _refuse_dead)
        event.listen(database.engine.sync_engine, "checkin", _leave)
        return database

    def scene(self) -> Scene:
        """Return the running loop's scene."""
        loop = asyncio.get_running_loop()
        scene = self._scenes.get(loop)
        if scene is None:
            scene = self._scenes[loop] = Scene()
            loops.before_close(loop, scene.finish)
        return scene

    def clear(self) -> bool:
        """Roll every loop's transaction back, from synchronous code; say whether all of them were still open."""
        intact = True
        for loop, scene in list(self._scenes.items()):
            if loop.is_closed():
                intact &= scene.intact
                del self._scenes[loop]
            elif loop.is_running():
                asyncio.run_coroutine_threadsafe(scene.clear(), loop).result(TURN_SECONDS)
                intact &= scene.intact
            else:
                loops.drive(loop, scene.clear, TURN_SECONDS)
                intact &= scene.intact
            scene.intact = True
        return intact

    async def _connect(self, **arguments: Any) -> Share:
        return await self.scene().connect(arguments)


class Scene:
    """What one loop has: its connection, the transaction on it, and whose turn it is."""

    def __init__(self) -> None:
        self.intact = True  # no test ended the outer transaction behind our back
        self._raw: Any = None
        self._begun = False
        self._abandoned: list[Savepoint] = []  # whose shares were closed: undone before the next checkout
        self._holder: asyncio.Task[Any] | None = None
        self._checkouts = 0
        self._free = asyncio.Event()

    async def connect(self, arguments: dict[str, Any]) -> Share:
        """Return a share of the connection, which the first call opens."""
        if self._raw is None or self._raw.is_closed():
            from asyncdb_nb import goodbye  # here: it imports the driver

            self._raw = await goodbye.connect(**arguments)
            self._begun = False
            await self._begin()
        return Share(self._raw, self._abandoned.append)

    async def enter(self) -> None:
        """Wait for this task's turn; the task may then check out as often as it likes.

        Raises:
            OneConnectionError: Another task has had its turn for five seconds.
        """
        me = asyncio.current_task()
        try:
            async with asyncio.timeout(TURN_SECONDS):
                while self._holder not in (None, me) and not self._holder.done():
                    self._free.clear()
                    await self._free.wait()
        except TimeoutError:
            raise OneConnectionError from None
        self._holder = me
        self._checkouts += 1
        if self._raw is not None and not self._raw.is_closed():
            await self._begin()
            await self._undo_abandoned()

    def leave(self) -> None:
        """Give one checkout back."""
        self._checkouts -= 1
        if self._checkouts <= 0:
            self._checkouts = 0
            self._holder = None
            self._free.set()

    async def clear(self) -> None:
        """Roll the transaction back. The connection stays for the next test."""
        self._abandoned.clear()
        if not self._begun or self._raw is None:
            return
        self._begun = False
        if self._raw.is_closed():
            return
        self.intact &= self._raw.is_in_transaction()
        try:
            await self._outer.rollback() if self._raw.is_in_transaction() else await self._raw.reset()
        except Exception:
            self._raw.terminate()  # the server rolls back then, and the next test gets a new connection
            raise

    async def finish(self, ending: Ending) -> None:
        """Close the connection with its loop, which rolls back what is open."""
        if ending is Ending.GENERATORS or self._raw is None:
            return
        if self._begun and not self._raw.is_closed():
            self.intact &= self._raw.is_in_transaction()
        await self._raw.close()

    async def _begin(self) -> None:
        if not self._begun:
            self._outer = self._raw.transaction()
            await self._outer.start()
            self._begun = True

    async def _undo_abandoned(self) -> None:
        while self._abandoned:
            await self._abandoned.pop(0).rollback()


class OneConnectionPool(LoopBoundPool):
    """A pool whose checkouts take turns on the one connection of their loop."""

    def __init__(self, creator: Any, stage: Any = None, **options: Any) -> None:
        super().__init__(creator, **options)
        self._stage = stage

    def connect(self) -> PoolProxiedConnection:
        """Check out when it is this task's turn."""
        scene = self._stage.scene()
        await_only(scene.enter())
        try:
            fairy: Any = super().connect()
        except BaseException:
            scene.leave()
            raise
        fairy._connection_record.scene = scene
        return fairy  # type: ignore[no-any-return]

    def recreate(self) -> OneConnectionPool:
        """Return a new pool on the same stage."""
        pool: Any = super().recreate()
        pool._stage = self._stage
        return pool  # type: ignore[no-any-return]


def _refuse_dead(connection: Any, record: Any, fairy: Any) -> None:
    if connection.driver_connection.is_closed():
        raise DisconnectionError("The test's connection has ended.")


def _leave(connection: Any, record: Any) -> None:
    scene, record.scene = getattr(record, "scene", None), None
    if scene is not None:
        scene.leave()
