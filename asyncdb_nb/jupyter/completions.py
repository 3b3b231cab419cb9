"""
Complete the names of tables and columns in SQL cells.

The database is asked for them once, after the first statement; completing then waits for nobody.
"""

from __future__ import annotations

import re
import weakref
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from asyncdb_nb.engine.search_path import EQ, GT, MATCHES
from asyncdb_nb.jupyter._ipython import add_matcher

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from asyncdb_nb.database.database import Database

# ruff: noqa: S608  the statements are put together from constants

_VISIBLE = f"""
c.relkind {EQ} ANY ('{{r,p,v,m,f}}') and pg_catalog.pg_table_is_visible(c.oid) and not c.relname {MATCHES} '^pg_'
"""
_NAMES = f"""
select c.relname as name, 'table' as kind from pg_catalog.pg_class as c
where {_VISIBLE}
union
select a.attname, 'column' from pg_catalog.pg_attribute as a join pg_catalog.pg_class as c on c.oid {EQ} a.attrelid
where {_VISIBLE} and a.attnum {GT} 0 and not a.attisdropped
order by name limit 20000
"""
_IN_SQL = re.compile(r"\A\s*%%asql\b|%asql\b[^\n]*\Z")


class Completions:
    """What is known of the databases that were asked."""

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell
        self._names: dict[str, str] = {}
        self._asked: weakref.WeakSet[Database] = weakref.WeakSet()

    def install(self) -> None:
        """Offer completions."""
        self._remove = add_matcher(self._shell, self.complete)

    def uninstall(self) -> None:
        """Offer none."""
        self._remove()

    async def learn(self, database: Database) -> None:
        """Ask a database for its names, the first time it is used."""
        if database not in self._asked:
            self._asked.add(database)
            async with database.session(readonly=True) as session:
                self._names.update((row.name, row.kind) for row in await session.execute(text(_NAMES)))

    def complete(self, context: Any) -> dict[str, Any]:
        """Offer the names that begin like the word before the cursor: a matcher of IPython's second kind."""
        from IPython.core.completer import SimpleCompletion

        before = "\n".join(context.full_text.split("\n")[: context.cursor_line + 1])
        if not _IN_SQL.search(before):
            return {"completions": []}
        names = [name for name in self._names if name.startswith(context.token.rpartition(".")[2].lower())]
        return {"completions": [SimpleCompletion(name, type=self._names[name]) for name in names], "suppress": True}
