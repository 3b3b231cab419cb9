"""
Keep the databases of one test run: the template, each worker's own, and the leftovers of runs that were killed.

The database that the URL names is only the maintenance database: nothing in it is read or changed. Every database made
here is called `asyncdb_test_<run>_…`. A run that lives holds a lock named after it, so whoever finds databases of a
run whose lock is free may drop them. The workers of pytest-xdist share the run and the lock: the first one builds a
template, the last one drops it.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncConnection

from asyncdb_nb.aio.portal import run
from asyncdb_nb.database.database import Database
from asyncdb_nb.engine.search_path import EQ
from asyncdb_nb.errors import AsyncDBError, NoRightToCreateError

PREFIX = "asyncdb_test_"
OURS = {"server_settings": {"application_name": "asyncdb_nb: pytest"}}  # how the server tells us from the tests
_RUNS, _TEMPLATES = 0x61646231, 0x61646232  # the two families of advisory locks

Build = Callable[[URL], Awaitable[None]]


class Databases:
    """The databases of this process's part of a test run.

    Its own input and output is done on the portal (`asyncdb_nb.run`), whose loop goes on while tests run. The methods
    that are not coroutines are for synchronous fixtures.

    Args:
        url: The server, and a database on it that the user may connect to.
    """

    def __init__(self, url: str) -> None:
        self.run_id = os.environ.get("PYTEST_XDIST_TESTRUNUID", uuid.uuid4().hex)[:8]
        self._worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
        self._numbers = count(1)
        self._server = Database(url, isolation_level="AUTOCOMMIT", idle_timeout=None, connect_args=OURS)
        self._mine: AsyncConnection | None = None  # holds the run's lock as long as this process lives
        self._made: set[str] = set()

    @property
    def dialect(self) -> Any:
        """The dialect of the engine that makes them, whose connections no test is to be blamed for."""
        return self._server.engine.dialect

    def open(self) -> None:
        """Connect, and drop what dead runs have left.

        Raises:
            ConnectError: The server cannot be reached.
            NoRightToCreateError: The user may not create databases.
        """
        run(self._open())

    def url(self, name: str) -> URL:
        """Return the URL of a database on this server."""
        return self._server.url.set(database=name)

    def version(self) -> str:
        """Ask the server for its version."""
        return str(run(self._value("show server_version")))

    def template(self, key: str, build: Build) -> str:
        """Return the name of the template for `key`, which the first worker to come builds.

        Args:
            key: Tells schemas apart; the same in every worker.
            build: Called with the URL of an empty database, on the portal's loop.
        """
        return run(self._template(f"{PREFIX}{self.run_id}_template_{key}", build))

    def clone(self, template: str) -> str:
        """Make a database from a template, and return its name."""
        return run(self.clone_soon(template))

    def drop(self, name: str) -> None:
        """Drop a database, whoever is connected to it."""
        run(self.drop_soon(name))

    def close(self) -> None:
        """Drop what this process made; and the templates, when no other worker needs them."""
        run(self._close())

    async def clone_soon(self, template: str) -> str:
        """Make a database from a template, on the portal's loop."""
        name = f"{PREFIX}{self.run_id}_{self._worker}_{next(self._numbers)}"
        self._made.add(name)
        await self._do(f'create database "{name}" template "{template}"')
        return name

    async def drop_soon(self, name: str) -> None:
        """Drop a database, on the portal's loop."""
        await self._do(f'drop database if exists "{name}" with (force)')
        self._made.discard(name)

    async def _open(self) -> None:
        self._mine = await self._server.engine.connect()
        right = "select rolname as name, rolcreatedb or rolsuper as may_create from pg_catalog.pg_roles where rolname "
        right += f"{EQ} current_user"
        me = (await self._mine.exec_driver_sql(right)).one()
        if not me.may_create:
            await self._close()
            raise NoRightToCreateError(me.name)
        await self._mine.exec_driver_sql(f"select pg_catalog.pg_advisory_lock_shared({_RUNS}, {_number(self.run_id)})")
        for name in await self._names():
            await self._sweep(name)

    async def _sweep(self, name: str) -> None:
        """Drop a database of a run that is dead."""
        run_id = name.removeprefix(PREFIX).split("_")[0]
        if run_id == self.run_id:
            return
        async with self._server.engine.connect() as connection:
            lock = f"({_RUNS}, {_number(run_id)})"
            if (await connection.exec_driver_sql(f"select pg_catalog.pg_try_advisory_lock{lock}")).scalar():
                try:
                    await connection.exec_driver_sql(f'drop database if exists "{name}" with (force)')
                finally:
                    await connection.exec_driver_sql(f"select pg_catalog.pg_advisory_unlock{lock}")

    async def _template(self, name: str, build: Build) -> str:
        async with self._alone(name):
            if name in await self._names():
                return name
            unfinished = f"{name}_unfinished"
            await self.drop_soon(unfinished)
            await self._do(f'create database "{unfinished}"')
            try:
                await build(self.url(unfinished))
                await self._wait_until_unused(unfinished)
            except BaseException:
                await self.drop_soon(unfinished)
                raise
            await self._do(f'alter database "{unfinished}" rename to "{name}"')
        return name

    async def _wait_until_unused(self, name: str) -> None:
        """A database cannot be a template while somebody is connected; a graceful close takes its time to arrive."""
        statement = f"select pg_catalog.count(*) from pg_catalog.pg_stat_activity where datname {EQ} '{name}'"  # noqa: S608  our own name
        for _ in range(200):
            if await self._value(statement) == 0:
                return
            await asyncio.sleep(0.01)
        raise AsyncDBError(
            "What asyncdb_schema ran left a connection to the new database open, so it cannot become a template. "
            "Close it there: `await engine.dispose()`."
        )

    @asynccontextmanager
    async def _alone(self, name: str) -> AsyncIterator[None]:
        """Hold the lock of a template: one worker builds it, the others wait."""
        async with self._server.engine.connect() as connection:
            lock = f"({_TEMPLATES}, pg_catalog.hashtext('{name}'))"
            await connection.exec_driver_sql(f"select pg_catalog.pg_advisory_lock{lock}")
            try:
                yield
            finally:
                await connection.exec_driver_sql(f"select pg_catalog.pg_advisory_unlock{lock}")

    async def _close(self) -> None:
        for name in list(self._made):
            await self.drop_soon(name)
        if self._mine is not None:
            lock = f"({_RUNS}, {_number(self.run_id)})"
            await self._mine.exec_driver_sql(f"select pg_catalog.pg_advisory_unlock_shared{lock}")
            last = await self._mine.exec_driver_sql(f"select pg_catalog.pg_try_advisory_lock{lock}")
            if last.scalar():  # no other worker is left
                for name in await self._names(self.run_id):
                    await self.drop_soon(name)
            await self._mine.close()
        await self._server.aclose()

    async def _names(self, run_id: str = "") -> list[str]:
        async with self._server.engine.connect() as connection:
            may_drop = "select datname from pg_catalog.pg_database where pg_catalog.pg_has_role(datdba, 'USAGE')"
            names = (await connection.exec_driver_sql(may_drop)).scalars()
            return [name for name in names if name.startswith(PREFIX + run_id)]

    async def _value(self, statement: str) -> Any:
        async with self._server.engine.connect() as connection:
            return (await connection.exec_driver_sql(statement)).scalar()

    async def _do(self, statement: str) -> None:
        async with self._server.engine.connect() as connection:
            await connection.exec_driver_sql(statement)


def _number(run_id: str) -> int:
    """Turn eight hexadecimal digits into a signed 32-bit number, as advisory locks want it; 0 for another text."""
    try:
        value = int(run_id, 16)
    except ValueError:
        return 0
    return value - (1 << 32) if value >= 1 << 31 else value
