"""
SQL in cells: `%%asql`, `%asql` and `%asyncdb`.

    %%asql slow =                              -- into the variable `slow`; without a name it is shown
    select * from tasks where seconds > :limit

    df = %asql select count(*) from tasks

    %%asql --analyze                           -- its plan, with times: `--explain` does not run it
    select * from tasks where seconds > :limit

    %%asql --write                             -- a script that changes something, in one transaction
    update tasks set seconds = 0 where id = :id;
    delete from tasks where seconds < 0

    %asyncdb                                   -- the databases in variables, and their pools
    %asyncdb doctor                            -- what is wrong, and what to do

Values come from variables by `:name`, as bind parameters: no text is ever pasted into SQL, neither `{name}` nor `$name`
as IPython does for other magics. A statement runs in a short read-only transaction unless `--write` is there, on the
cell's loop, and Stop stops it. In the very cell that made the magics known, which IPython has read before it knew that
they want an `await`, it runs by `run()`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from contextlib import suppress
from keyword import iskeyword
from typing import TYPE_CHECKING, Any

from IPython.core.magic import no_var_expand

from asyncdb_nb.aio.portal import run
from asyncdb_nb.database import script
from asyncdb_nb.database.database import Database
from asyncdb_nb.dataframes.sql.tokenizer import bind_names, tokens_of
from asyncdb_nb.diagnostics.doctor import Diagnosis, examine
from asyncdb_nb.engine.pool_of_all_loops import LoopBoundPool
from asyncdb_nb.errors import DatabaseClosedError, MagicError
from asyncdb_nb.explore.explained_statement import is_explain
from asyncdb_nb.jupyter.completions import Completions
from asyncdb_nb.jupyter.magic_awaits import with_awaits
from asyncdb_nb.jupyter.magic_options import options_of

if TYPE_CHECKING:
    import pandas as pd
    from IPython.core.interactiveshell import InteractiveShell

    from asyncdb_nb.explore.plan import Plan

_NAME: Any = re.compile(r"\s*(?:(?P<name>[^\W\d]\w*)\s*=)?\s*")
Connect = Callable[[], Coroutine[Any, Any, Database]]

_ASYNCHRONOUS = ("asql", "asyncdb")


class Magics:
    """The magics, on one shell."""

    def __init__(self, shell: InteractiveShell, connect: Connect) -> None:
        self._shell: Any = shell
        self._connect = connect
        self._completions = Completions(shell)
        self._in_cell = False
        self._came_late = False

    def install(self) -> None:
        """Register them."""
        self._came_late = True
        self._shell.register_magic_function(self.asql, "line_cell", "asql")
        self._shell.register_magic_function(self.asyncdb, "line", "asyncdb")
        self._shell.input_transformers_post.append(self._write_awaits)
        self._shell.events.register("pre_run_cell", self._begin)
        self._shell.events.register("post_run_cell", self._end)
        self._completions.install()

    def uninstall(self) -> None:
        """Take them off."""
        for kind, name in (("line", "asql"), ("cell", "asql"), ("line", "asyncdb")):
            self._shell.magics_manager.magics[kind].pop(name, None)
        self._shell.input_transformers_post.remove(self._write_awaits)
        self._shell.events.unregister("pre_run_cell", self._begin)
        self._shell.events.unregister("post_run_cell", self._end)
        self._completions.uninstall()

    @no_var_expand
    def asql(
        self, line: str, cell: str | None = None
    ) -> Coroutine[Any, Any, pd.DataFrame | Plan | None] | pd.DataFrame | Plan | None:
        """Read a statement into a DataFrame: `%%asql`, `%%asql name =`, `df = %asql select ...`.

        `:name` takes the value of the variable `name`. The database is the variable `db`, or the one that
        `--db NAME` names, or what `connect()` finds. `--numeric float` and `--dates timestamp` read columns so that
        they can be plotted. `--write` runs a script that changes something: statement by statement, in one
        transaction, which is rolled back when one fails or Stop is pressed. `--explain` gives a statement's plan
        instead, and `--analyze` runs it for that; so does a statement that begins with EXPLAIN.
        """
        options, rest = options_of(line)
        if cell is None:
            work = self._run(rest, options, None)
            return run(work) if self._came_late else work
        head = _NAME.match(rest)
        if head["name"] and iskeyword(head["name"]):
            raise MagicError(f"{head['name']!r} is a word of Python, and no name", "`%%asql name =`")
        options, rest = options_of(rest[head.end() :], options)
        if rest:
            raise MagicError(
                f"`%%asql {line}` cannot be read", "`%%asql`, `%%asql name =` or `%%asql --db NAME name =`"
            )
        return self._run(cell, options, head["name"])

    def asyncdb(self, line: str) -> Coroutine[Any, Any, Diagnosis | None] | None:
        """Show each database in a variable, and its pool on every loop; `%asyncdb doctor` says what is wrong.

        The doctor looks at the variable `db`, or at the one that `%asyncdb doctor NAME` names.
        """
        if not self._came_late:
            return self._look(line)
        if line.split() not in ([], ["status"]):
            raise MagicError(
                f"`%asyncdb {line}` cannot run in the cell that made it known", f"`%asyncdb {line}` in the next cell"
            )
        self._show_status()
        return None

    async def _look(self, line: str) -> Diagnosis | None:
        match line.split():
            case [] | ["status"]:
                self._show_status()
                return None
            case ["doctor", *names] if len(names) < 2:
                return await examine(self._examined(*names))
        raise MagicError(f"`%asyncdb {line}` cannot be read", "`%asyncdb`, `%asyncdb doctor` or `%asyncdb doctor NAME`")

    def _show_status(self) -> None:
        found = self._databases_once()
        for name, database in found.items():
            print(f"{name} = {database!r}")  # noqa: T201
            with suppress(DatabaseClosedError):
                print(f"  idle      {_idle_in_words(database.engine.pool)}")  # noqa: T201
        if not found:
            print("No variable holds a Database. Make one: `db = await connect()`.")  # noqa: T201

    def _examined(self, name: str | None = None) -> Database | None:
        """Return the database to examine; None where there is none in a variable."""
        databases = self._databases()
        if name is not None or "db" in databases:
            return _named(name or "db", databases)
        once = self._databases_once()
        if len(once) > 1:
            first = next(iter(once))
            raise MagicError(f"Several variables hold a Database: {', '.join(once)}", f"`%asyncdb doctor {first}`")
        return next(iter(once.values()), None)

    async def _run(self, statement: str, options: dict[str, Any], name: str | None) -> pd.DataFrame | Plan | None:
        db = await self._database(options.pop("db", None))
        values = _values(statement, self._shell.user_ns)
        found: pd.DataFrame | Plan | None
        if "write" in options:
            del options["write"]
            found = await _write(db, statement, values, options)
        elif {"explain", "analyze"} & options.keys() or is_explain(statement):
            found = await db.explain(statement, values, analyze="analyze" in options)
        else:
            found = await db.frame(statement, values, **options)
        if name is None:
            return found
        self._shell.user_ns[name] = found
        return None

    async def _database(self, name: str | None) -> Database:
        databases = self._databases()
        if name is None and "db" not in databases:
            self._shell.user_ns["db"] = databases["db"] = await self._connect()
        return _named(name or "db", databases)

    def _databases(self) -> dict[str, Database]:
        variables = self._shell.user_ns.items()  # those with an underscore are IPython's, of results that were shown
        return {name: value for name, value in variables if isinstance(value, Database) and name[0] != "_"}

    def _databases_once(self) -> dict[str, Database]:
        """Return each database under the first of its names."""
        names: dict[int, str] = {}
        for name, database in self._databases().items():
            names.setdefault(id(database), name)
        return {name: self._shell.user_ns[name] for name in names.values()}

    def _write_awaits(self, lines: list[str]) -> list[str]:
        # code that a magic of the running cell has transformed (`%%time`, `%%capture`) cannot await
        can_await = self._shell.autoawait and not self._in_cell
        return with_awaits(lines, _ASYNCHRONOUS, can_await=can_await)

    def _begin(self, info: Any) -> None:
        self._in_cell, self._came_late = True, False

    def _end(self, result: Any) -> None:
        self._in_cell = self._came_late = False


async def _write(
    db: Database, text: str, values: dict[str, Any] | None, options: dict[str, Any]
) -> pd.DataFrame | None:
    """Run a script, and say what each of its statements did; return the rows of the last one."""
    statements = script.check(text, values)
    async with db.session() as session:
        steps = await script.run(session, statements, values, done=print, **options)
    print("Committed.")  # noqa: T201
    return steps[-1].frame


def _idle_in_words(pool: Any) -> str:
    if not isinstance(pool, LoopBoundPool):
        return str(pool.status())
    idle = pool.idle()
    return f"{idle} connection{'' if idle == 1 else 's'}, kept for the next query" if idle else "no connection"


def _named(name: str, databases: dict[str, Database]) -> Database:
    if name not in databases:
        raise MagicError(f"No variable {name!r} holds a Database", f"`{name} = await connect(...)` before")
    return databases[name]


def _values(statement: str, variables: dict[str, Any]) -> dict[str, Any] | None:
    """Take the values of a statement's binds from variables; None where it has none, and runs as it is typed."""
    names = bind_names(tokens_of(statement))
    missing = [name for name in names if name not in variables]
    if missing:
        raise MagicError(
            f"The statement has :{missing[0]}, and there is no such variable", f"`{missing[0]} = ...` before"
        )
    return {name: variables[name] for name in names} or None
