"""Give each test a `Database` on a clean state, in the way that its isolation says."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL

from asyncdb_nb.aio.portal import run
from asyncdb_nb.database.database import Database
from asyncdb_nb.errors import AsyncDBError, DatabaseClosedError
from asyncdb_nb.pytest_plugin.isolation import schema, truncate
from asyncdb_nb.pytest_plugin.isolation.clones_made_ahead import Clones
from asyncdb_nb.pytest_plugin.isolation.databases import OURS, Databases
from asyncdb_nb.pytest_plugin.isolation.rollback import OneTransaction
from asyncdb_nb.pytest_plugin.leaks.hooks import LeakHooks


class Isolations:
    """One `Isolation` for each server. Nearly always there is one: a folder may override `asyncdb_url`."""

    def __init__(self, hooks: LeakHooks, root: Path) -> None:
        self._hooks = hooks
        self._root = root
        self._for: dict[str, Isolation] = {}
        self._failed: dict[str, AsyncDBError] = {}

    def at(self, url: str) -> Isolation:
        """Return the one for a server. A server that could not be reached is not tried again for every test."""
        if url in self._failed:
            raise self._failed[url]
        if url not in self._for:
            try:
                self._for[url] = Isolation(url, self._hooks, self._root)
            except AsyncDBError as error:
                self._failed[url] = error
                raise
        return self._for[url]

    def close(self) -> None:
        """Drop every database of this process."""
        for isolation in self._for.values():
            isolation.close()


class Isolation:
    """What the tests on one server share: its databases, and one way of isolation for each schema."""

    def __init__(self, url: str, hooks: LeakHooks, root: Path) -> None:
        self.databases = Databases(url)
        self._detector = hooks.detector
        self._other_engines = hooks.other_engines
        self._root = root  # from which the paths of schemas count
        hooks.detector.checkouts.ignored.add(self.databases.dialect)
        self.databases.open()
        self._isolated: dict[tuple[str, str], Any] = {}
        self._failed: dict[str, Exception] = {}

    @contextmanager
    def database(self, isolation: str, source: Any, key: str) -> Iterator[Database]:
        """Lend a `Database` on a clean state.

        Args:
            isolation: `rollback`, `clone`, `truncate` or `none`.
            source: What `asyncdb_schema` returned.
            key: Tells schemas apart, and is the same in every worker: the place of the fixture that returned it.
        """
        if (isolation, key) not in self._isolated:
            self._isolated[isolation, key] = _WAYS[isolation](self.databases, self._template(source, key))
        with self._isolated[isolation, key].lend() as database:
            dialect = database.engine.dialect
            self._other_engines.isolated.add(dialect)
            if isolation != "rollback":
                self._other_engines.databases.add(str(database.url.database))
            try:
                yield database
            finally:
                self._detector.close_forgotten(lambda checkout: checkout.dialect is dialect)

    def close(self) -> None:
        """Drop every database of this process on this server."""
        for isolated in self._isolated.values():
            isolated.close()
        self.databases.close()

    def _template(self, source: Any, key: str) -> str:
        """Return the name of a schema's template. A schema that has failed is not tried again for every test."""
        if key in self._failed:
            what = f"{type(self._failed[key]).__name__}: {self._failed[key]}"
            raise AsyncDBError(f"asyncdb_schema has failed ({what}). The first test that asked for it shows where.")
        try:
            return self.databases.template(f"{zlib.crc32(key.encode()):08x}", lambda url: self._build(url, source))
        except Exception as error:
            self._failed[key] = error
            raise

    async def _build(self, url: URL, source: Any) -> None:
        self._other_engines.databases.add(str(url.database))
        await schema.build(url, source, self._root)


class Kept:
    """Isolation `none`: one database for all tests, in which everything stays."""

    def __init__(self, databases: Databases, template: str) -> None:
        self._databases = databases
        self._template = template
        self._name = databases.clone(template)
        self._database: Database | None = None

    @contextmanager
    def lend(self) -> Iterator[Database]:
        """Lend the one `Database`."""
        if self._database is None or is_closed(self._database):
            self._database = self._open()
        yield self._database

    def close(self) -> None:
        """Close the connections of every loop that still lives."""
        if self._database is not None:
            close(self._database)

    def _open(self) -> Database:
        return Database(self._databases.url(self._name), idle_timeout=None)


class Truncated(Kept):
    """Isolation `truncate`: one database for all tests; its tables are emptied after each."""

    def __init__(self, databases: Databases, template: str) -> None:
        super().__init__(databases, template)
        self._cleaner = Database(databases.url(self._name), idle_timeout=None, connect_args=OURS)
        run(truncate.refuse_seeds(self._cleaner))

    @contextmanager
    def lend(self) -> Iterator[Database]:
        """Lend the one `Database`, and empty its tables afterwards."""
        with super().lend() as database:
            try:
                yield database
            finally:
                run(truncate.truncate(self._cleaner))

    def close(self) -> None:
        """Close the connections."""
        run(self._cleaner.aclose())
        super().close()


class RolledBack(Kept):
    """Isolation `rollback`: one database for all tests, and a transaction around each that is never committed."""

    def __init__(self, databases: Databases, template: str) -> None:
        super().__init__(databases, template)
        self._transaction = OneTransaction(databases.url(self._name))

    @contextmanager
    def lend(self) -> Iterator[Database]:
        """Lend the one `Database`, and roll back afterwards."""
        with super().lend() as database:
            try:
                yield database
            finally:
                if not self._transaction.clear():
                    self._start_anew()

    def close(self) -> None:
        """Close the connections of every loop, and the one that they share."""
        super().close()
        self._transaction.close()

    def _open(self) -> Database:
        return self._transaction.database()

    def _start_anew(self) -> None:
        """Replace the database: a test has ended the outer transaction, so what it did before is there to stay."""
        self.close()
        self._databases.drop(self._name)
        self._name = self._databases.clone(self._template)
        self._transaction = OneTransaction(self._databases.url(self._name))
        self._database = None


class Cloned:
    """Isolation `clone`: a database of its own for each test."""

    def __init__(self, databases: Databases, template: str) -> None:
        self._databases = databases
        self._clones = Clones(databases, template)

    @contextmanager
    def lend(self) -> Iterator[Database]:
        """Lend a `Database` on a copy of the template, dropped afterwards."""
        name = self._clones.take()
        database = Database(self._databases.url(name), idle_timeout=None)
        try:
            yield database
        finally:
            close(database)
            self._clones.give_back(name)

    def close(self) -> None:
        """Stop making databases."""
        self._clones.close()


_WAYS = {"rollback": RolledBack, "clone": Cloned, "truncate": Truncated, "none": Kept}


def close(database: Database) -> None:
    """Close a `Database` from synchronous code, the connections of each loop on their own loop."""
    if not is_closed(database):
        database.engine.sync_engine.dispose()  # outside of any loop, so that it may run each of them
        run(database.aclose())


def is_closed(database: Database) -> bool:
    """Return whether `aclose()` was called."""
    try:
        return not database.engine
    except DatabaseClosedError:
        return True
