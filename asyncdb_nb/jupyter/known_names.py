"""
What a database has by name, for completion: schemas, tables with their columns, functions.

They are kept, for completing must not wait for the server. Each time the server is asked, beside, for a fingerprint of
its catalogs, which any DDL changes, of whomever; only when it is another one are the names read again.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from asyncio import CancelledError
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asyncdb_nb.aio.portal import run
from asyncdb_nb.engine.history import own
from asyncdb_nb.engine.search_path import EQ, GT, NE

if TYPE_CHECKING:
    from asyncdb_nb.database.database import Database

# ruff: noqa: S608  the statements are put together from constants

SECONDS = 0.08  # that completing waits for the server at most
_PAUSE = 0.3  # seconds between two questions
_MOST = 100_000  # columns

_catalogs = " union all ".join(
    f"select pg_catalog.count(*) as n, pg_catalog.sum(xmin::pg_catalog.text::pg_catalog.int8) as x "
    f"from pg_catalog.{name}"
    for name in ("pg_class", "pg_attribute", "pg_namespace", "pg_proc")
)
_FINGERPRINT = f"select n, x::pg_catalog.text from ({_catalogs}) as c"
_PATH = "select pg_catalog.current_setting('search_path'), null"
_TABLES = f"""
select c.oid, n.nspname, c.relname, pg_catalog.pg_table_is_visible(c.oid)
from pg_catalog.pg_class as c join pg_catalog.pg_namespace as n on n.oid {EQ} c.relnamespace
where c.relkind {EQ} ANY ('{{r,p,v,m,f}}') and n.nspname {NE} 'pg_toast'
order by n.nspname, c.relname
"""
_COLUMNS = f"""
select a.attrelid, a.attname
from pg_catalog.pg_attribute as a join pg_catalog.pg_class as c on c.oid {EQ} a.attrelid
where a.attnum {GT} 0 and not a.attisdropped and c.relkind {EQ} ANY ('{{r,p,v,m,f}}')
order by a.attrelid, a.attnum limit {_MOST}
"""
_BEHIND = " union all ".join(
    f"select {column}::pg_catalog.oid as oid from pg_catalog.{table}"
    for table, columns in {
        "pg_operator": ["oprcode"],
        "pg_cast": ["castfunc"],
        "pg_type": ["typinput", "typoutput", "typsend", "typreceive"],
        "pg_aggregate": ["aggtransfn", "aggfinalfn"],
    }.items()
    for column in columns
)
_FUNCTIONS = f"""
select distinct n.nspname, p.proname, pg_catalog.pg_function_is_visible(p.oid)
from pg_catalog.pg_proc as p join pg_catalog.pg_namespace as n on n.oid {EQ} p.pronamespace
where n.nspname {NE} 'pg_catalog'
  or not exists (select 1 from ({_BEHIND}) as b where b.oid {EQ} p.oid)
  and p.prorettype {NE} 2281 and not p.proargtypes::pg_catalog.oid[] OPERATOR(pg_catalog.&&) ARRAY[2281::pg_catalog.oid]
order by 1, 2
"""
"""Of PostgreSQL's own, those that people call: not what is behind operators, casts, types and aggregates."""
_SCHEMAS = "select nspname from pg_catalog.pg_namespace order by nspname"
_RESERVED = f"select word from pg_catalog.pg_get_keywords() where catcode {EQ} ANY ('{{R,T}}'::pg_catalog.\"char\"[])"


@dataclass(frozen=True, slots=True)
class Table:
    """A table or view.

    Attributes:
        schema: Its schema's name.
        name: Its own, as the catalog has it.
        columns: Those of its columns, in their order.
        visible: Whether it is found without its schema.
    """

    schema: str
    name: str
    columns: tuple[str, ...]
    visible: bool


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one database.

    Attributes:
        schemas: Those of its schemas.
        tables: Its tables and views, PostgreSQL's own included.
        functions: Schema, name and whether it is found without the schema.
        reserved: Words that are no names unless they are quoted.
    """

    schemas: Sequence[str] = ()
    tables: Sequence[Table] = ()
    functions: Sequence[tuple[str, str, bool]] = ()
    reserved: frozenset[str] = frozenset()


async def read_names(session: Any) -> Names:
    """Ask the server for all names."""
    columns: dict[int, list[str]] = {}
    for oid, name in await session.execute(own(_COLUMNS)):
        columns.setdefault(oid, []).append(name)
    tables = [
        Table(schema, name, tuple(columns.get(oid, ())), visible)
        for oid, schema, name, visible in await session.execute(own(_TABLES))
    ]
    functions = [(schema, name, visible) for schema, name, visible in await session.execute(own(_FUNCTIONS))]
    schemas = [name for (name,) in await session.execute(own(_SCHEMAS))]
    return Names(schemas, tables, functions, frozenset(word for (word,) in await session.execute(own(_RESERVED))))


class KnownNames:
    """The names of each database that was asked for, as they were last seen."""

    def __init__(self) -> None:
        self._known: weakref.WeakKeyDictionary[Database, _Kept] = weakref.WeakKeyDictionary()

    def of(self, database: Database, seconds: float = SECONDS) -> Names:
        """Give the names, after so many seconds at most; those of the last time where the server is slower."""
        kept = self._known.setdefault(database, _Kept())
        kept.look(database).wait(seconds)
        return kept.names


class _Kept:
    """The names of one database, and the thread that looks after them."""

    def __init__(self) -> None:
        self.names = Names()
        self._fingerprint: object = None
        self._looked = 0.0
        self._done = threading.Event()
        self._done.set()
        self._lock = threading.Lock()

    def look(self, database: Database) -> threading.Event:
        """Begin to look whether the names have changed, unless that was done just now; the event is set at the end."""
        with self._lock:
            if self._done.is_set() and time.monotonic() - self._looked > _PAUSE:
                self._done.clear()
                threading.Thread(target=self._work, args=[database], name="asyncdb_nb names", daemon=True).start()
        return self._done

    def _work(self, database: Database) -> None:
        try:
            run(self._refresh(database))
        except (
            Exception,
            CancelledError,
        ):  # a server that is gone, or the end of the process: what was known is still offered
            logging.getLogger("asyncdb_nb.completions").debug("The names of %r were not read.", database, exc_info=True)
        finally:
            self._looked = time.monotonic()
            self._done.set()

    async def _refresh(self, database: Database) -> None:
        async with database.session(readonly=True, timeout=10) as session:
            rows = [*await session.execute(own(_FINGERPRINT)), *await session.execute(own(_PATH))]
            fingerprint = [tuple(row) for row in rows]
            if fingerprint != self._fingerprint:
                self.names = await read_names(session)
                self._fingerprint = fingerprint
