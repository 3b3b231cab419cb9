"""Private names of other libraries: only the seams touch them, each is there, and frames do without what has gone."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.specifiers import SpecifierSet
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

import asyncdb_nb
from asyncdb_nb import Database, frame, frames, table
from asyncdb_nb.engine import private_names
from asyncdb_nb.engine._sqlalchemy import execution, statements
from asyncdb_nb.errors import FrameError

ROOT = Path(asyncdb_nb.__file__).parent
STRICT = ("-X", "dev", "-W", "error")

SEAMS = [
    "engine/_asyncpg.py",
    "engine/_sqlalchemy/execution.py",
    "engine/_sqlalchemy/pool.py",
    "engine/_sqlalchemy/statements.py",
]
OTHER_SEAMS = ["aio/_asyncio.py", "jupyter/_ipython.py", "pytest_plugin/_pytest.py"]  # see `test_other_seams.py`
DOCUMENTED = {
    "_replace",
    "_fields",
    "_asdict",
    "_make",
    "_getframe",
    "_current_frames",
    "_exit",
    "_render_traceback_",
    "_repr_mimebundle_",
    "_ipython_display_",
    "_ip_default",  # how traitlets names the default of `ip`
}


def module_of(file: str) -> ModuleType:
    return importlib.import_module("asyncdb_nb." + file.removesuffix(".py").replace("/", "."))


def names_of(file: str) -> private_names.Names:
    names: private_names.Names = module_of(file).PRIVATE_NAMES
    return names


# --- Each name is there ---

OF_SOME_VERSIONS = {  # of SQLAlchemy; in the others there is a public way, or no need of one
    "_Session__binds": "<2.1",
    "_description": ">=2.1",
    "_terminate_graceful_close": ">=2.1",
    "_terminate_force_close": ">=2.1",
}
NAMES = [(file, path, name) for file in SEAMS for path, listed in names_of(file).items() for name in listed]


def is_there(path: str, name: str) -> bool:
    """Whether an owner has a name: as an attribute, or in the code of its classes, where it is set on an instance."""
    owner = private_names.owner(path)
    if hasattr(owner, name):
        return True
    mangled = re.fullmatch(r"_[A-Za-z]\w*?(__\w+)", name)
    written = mangled[1] if mangled else name
    classes = [kind for kind in owner.__mro__ if kind is not object] if isinstance(owner, type) else [owner]
    return any(re.search(rf"\b(?:self|cls)\.{written}\b|\"{written}\"", source(kind)) for kind in classes)


def source(owner: Any) -> str:
    try:
        return inspect.getsource(owner)
    except (OSError, TypeError):  # compiled
        return ""


@pytest.mark.parametrize(("file", "path", "name"), NAMES, ids=[f"{path}.{name}" for _, path, name in NAMES])
def test_a_private_name_is_there(file: str, path: str, name: str) -> None:
    library = path.partition(".")[0].partition(":")[0]
    if version(library) not in SpecifierSet(OF_SOME_VERSIONS.get(name, ""), prereleases=True):
        pytest.skip(f"it is of {library} {OF_SOME_VERSIONS[name]}")

    assert is_there(path, name), (
        f"{library} {version(library)} has no {path}.{name} any more. On it stands: {names_of(file)[path][name]}. "
        f"Mend asyncdb_nb/{file}, or take a public way."
    )


def test_a_name_that_has_gone_is_found_missing() -> None:
    """Of a class, of an instance, of a module, and one that Python mangles."""
    assert is_there("sqlalchemy.pool.base:_ConnectionRecord", "_ConnectionRecord__pool")
    assert is_there("sqlalchemy.pool:QueuePool", "_overflow")
    for path in ("sqlalchemy.orm:Session", "sqlalchemy.pool:QueuePool", "sqlalchemy.pool.base"):
        assert not is_there(path, "_never_there")
    assert not is_there("sqlalchemy.orm:Session", "_Session__never_there")


# --- Nothing else touches any ---

FILES = {file.relative_to(ROOT).as_posix(): ast.parse(file.read_text("utf-8")) for file in sorted(ROOT.rglob("*.py"))}
OUTSIDE = [file for file in FILES if file not in (*SEAMS, *OTHER_SEAMS)]
FOREIGN = {name for _, _, name in NAMES}


def is_private(name: object) -> bool:
    return isinstance(name, str) and re.fullmatch(r"_(?!_)\w*[a-zA-Z]\w*", name) is not None


def defined(tree: ast.AST) -> Iterator[str]:
    """What a module defines: functions, classes, variables, attributes of objects, slots."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name
            case ast.Name(ctx=ast.Store()):
                yield node.id
            case ast.Attribute(ctx=ast.Store()):
                yield node.attr
            case ast.arg():
                yield node.arg
            case ast.Assign(targets=[ast.Name(id="__slots__")]):
                yield from (slot.value for slot in ast.walk(node.value) if isinstance(slot, ast.Constant))


OWN = {name for tree in FILES.values() for name in defined(tree)} - FOREIGN


def touched(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Private names of others that a module touches: attributes, names as text, keywords, imports."""
    pieces = {id(piece) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for piece in node.values}
    for node in ast.walk(tree):
        if id(node) in pieces:  # of an f-string
            continue
        match node:
            case (
                ast.Attribute(value=ast.Name(id="self" | "cls"))
                | ast.Attribute(value=ast.Call(func=ast.Name(id="super")))
            ):
                continue  # see `inherited`
            case ast.Attribute(attr=name) | ast.Constant(value=name) | ast.keyword(arg=name):
                found = [name]
            case ast.ImportFrom(module=module, names=names) if not (module or "").startswith("asyncdb_nb"):
                found = [*(module or "").split("."), *(alias.name for alias in names)]
            case ast.Import(names=names):
                found = [part for alias in names for part in alias.name.split(".")]
            case _:
                continue
        yield from ((node.lineno, str(name)) for name in found if is_private(name) and name not in OWN)


def inherited(file: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Private names that a class of ours has from a class of a library: overridden, or used through `self`."""
    for node in tree.body:
        if not isinstance(node, ast.ClassDef):
            continue
        bases = [kind for kind in getattr(module_of(file), node.name).__mro__ if is_of_others(kind)]
        used = {
            each.name: each.lineno for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        for each in ast.walk(node):
            match each:
                case (
                    ast.Attribute(value=ast.Name(id="self" | "cls"))
                    | ast.Attribute(value=ast.Call(func=ast.Name("super")))
                ):
                    used[each.attr] = each.lineno
        for name, line in used.items():
            if is_private(name) and any(is_there(f"{kind.__module__}:{kind.__name__}", name) for kind in bases):
                yield line, name


def is_of_others(kind: type) -> bool:
    return kind.__module__.partition(".")[0] not in ("asyncdb_nb", "builtins", "typing", "abc", "enum")


@pytest.mark.parametrize("file", OUTSIDE)
def test_only_a_seam_touches_private_names_of_a_library(file: str) -> None:
    found = {*touched(FILES[file]), *inherited(file, FILES[file])}

    assert not [(line, name) for line, name in sorted(found) if name not in DOCUMENTED]


TOUCHING = {
    "connection._transport": "_transport",
    "getattr(statement, '_state', None)": "_state",
    "from sqlalchemy.pool.base import _ConnectionRecord": "_ConnectionRecord",
    "import asyncpg._testbase": "_testbase",
    "Pool(creator, _dispatch=None)": "_dispatch",
    "record._ConnectionRecord__pool": "_ConnectionRecord__pool",
    "NAME = '_create_engine'": "_create_engine",
}


@pytest.mark.parametrize(("code", "name"), TOUCHING.items(), ids=TOUCHING)
def test_each_way_to_touch_one_is_seen(code: str, name: str) -> None:
    assert [(1, name)] == list(touched(ast.parse(code)))


def test_a_name_from_a_base_class_is_seen() -> None:
    tree = ast.parse(
        "class SubPool:\n    def _do_get(self):\n        return self._pool, self._records, super()._invalidate"
    )

    assert {name for _, name in inherited("engine/pool_of_one_loop.py", tree)} == {"_do_get", "_pool", "_invalidate"}


def test_every_name_that_a_seam_touches_is_listed() -> None:
    for file in SEAMS:
        own = {name for node in FILES[file].body for name in defined(node) if not isinstance(node, ast.ClassDef)}
        used = {
            node.attr for node in ast.walk(FILES[file]) if isinstance(node, ast.Attribute) and is_private(node.attr)
        }
        of_classes = {  # names of our own
            *("_outer", "_seconds_to_recycle", "_recycle_has_changed", "_generation_has_ended", "_take_back", "_close"),
        }
        assert used - own - of_classes - DOCUMENTED - set().union(*names_of(file).values()) == set(), file


# --- Where one has gone, frames are read in public ways ---

ROWS = "select g as id, 'row ' || g as name, g / 4.0 as ratio, g % 2 = 0 as even from generate_series(1, 1500) g"
GONE = {
    "SQLAlchemy's adapter": (execution, "_start_transaction"),
    "SQLAlchemy's compiler": (statements, "_result_columns"),
    "asyncpg": (module_of("engine/_asyncpg.py"), "_protocol"),
}


@pytest.fixture(params=GONE)
def renamed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library in which a name that frames stand on has gone."""
    seam, name = GONE[request.param]
    monkeypatch.setattr(seam, "GONE", [name])


@pytest.mark.usefixtures("renamed")
async def test_without_a_private_name_frames_have_the_same_values(database_url: str) -> None:
    async with Database(database_url) as db:
        got = await db.frame(ROWS)
        some = await db.frame(ROWS + " where g <= :most", {"most": 3})
        async with db.session() as session:
            arrow = await table(session, ROWS)
            parts = [part async for part in frames(session, ROWS, rows=700)]
            limited = await frame(session, text(ROWS), max_rows=2, truncate=True)

    assert got.attrs["asyncdb"]["path"] == "rows"
    assert got["id"].tolist() == list(range(1, 1501))
    assert got["name"].tolist() == [f"row {g}" for g in range(1, 1501)]
    assert [float(ratio) for ratio in got["ratio"]] == [g / 4 for g in range(1, 1501)]
    assert got["even"].tolist() == [g % 2 == 0 for g in range(1, 1501)]
    assert some["id"].tolist() == [1, 2, 3]
    assert arrow["id"].to_pylist() == list(range(1, 1501))
    assert [len(part) for part in parts] == [700, 700, 100]
    assert limited["id"].tolist() == [1, 2]


@pytest.mark.usefixtures("renamed")
async def test_without_a_private_name_text_is_sent_as_typed(database_url: str) -> None:
    async with Database(database_url) as db:
        assert (await db.frame("select '%(a)s :b' as a"))["a"].tolist() == ["%(a)s :b"]
        assert (await db.frame("select '%(a)s 10:30' || :b as a", {"b": "c"}))["a"].tolist() == ["%(a)s 10:30c"]
        with pytest.raises(FrameError, match="returned no rows"):
            await db.frame("set local work_mem = '1MB'")


RENAMED = """
import asyncio, importlib.machinery, re, sys
library, names, url = sys.argv[1:]
named = re.compile(rf"(?<!\\w)({names})(?!\\w)".encode())
get_code = importlib.machinery.SourceFileLoader.get_code

def get_renamed(self, fullname):
    source = self.get_data(self.path) if fullname.partition(".")[0] == library else b""
    if named.search(source) is None:
        return get_code(self, fullname)
    return self.source_to_code(named.sub(rb"\\1_renamed", source), self.path)

importlib.machinery.SourceFileLoader.get_code = get_renamed
import asyncdb_nb

async def main():
    async with asyncdb_nb.Database(url) as db:
        got = await db.frame("select g as id, g::text as name from generate_series(1, 700) g where g > :a", {"a": 0})
        assert got["id"].tolist() == list(range(1, 701))
        assert got["name"].tolist() == [str(g) for g in range(1, 701)]
        async with db.session() as session:
            some = [len(part) async for part in asyncdb_nb.frames(session, "select generate_series(1, 5) a", rows=3)]
            assert some == [3, 2], some
        print(got.attrs["asyncdb"]["path"])

asyncio.run(main())
"""
SURVIVED = {  # names that no compiled module has, by what becomes of a large frame
    ("sqlalchemy", "rows"): ["_start_transaction", "_execute_mutex", "_result_columns", "_handle_dbapi_exception"],
    ("sqlalchemy", "copy"): ["_json_deserializer", "_invalidate_schema_cache", "_connections", "_default_name_func"],
    ("asyncpg", "rows"): ["_introspect_types"],
    ("asyncpg", "copy"): ["_cleanup_stmts", "_stmts_to_close"],  # not `_config`: asyncpg's compiled code uses it, too
}


@pytest.mark.second_tier
@pytest.mark.parametrize(("library", "path"), SURVIVED)
def test_frames_survive_names_that_a_library_renames(library: str, path: str, database_url: str) -> None:
    """The names are changed in all of the library's source as it is imported."""
    names = "|".join(SURVIVED[library, path])

    done = subprocess.run(
        [sys.executable, *STRICT, "-c", RENAMED, library, names, database_url],
        capture_output=True,
        text=True,
        timeout=300,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == path


# --- The listener ---


async def test_an_engine_that_no_frame_is_read_from_is_not_listened_to(database_url: str) -> None:
    async with Database(database_url) as read, Database(database_url) as other:
        await read.frame("select 1 as a")
        async with other.session() as session:
            await session.execute(text("select 1"))

        assert list(read.engine.sync_engine.dialect.dispatch.do_execute)
        assert not list(other.engine.sync_engine.dialect.dispatch.do_execute)


async def test_frames_are_captured_wherever_a_session_goes(database_url: str) -> None:
    """By an engine, by binds of which the engine is none, by a `get_bind` of its own, on a connection."""
    async with Database(database_url) as db:
        engine = db.engine.sync_engine

        class Routing(AsyncSession.sync_session_class):  # type: ignore[misc]
            def get_bind(self, *args: Any, **kw: Any) -> Any:
                return engine

        async with AsyncSession(sync_session_class=Routing) as routed:
            assert (await frame(routed, LARGE)).attrs["asyncdb"]["path"] == "copy"
        async with db.engine.connect() as connection, AsyncSession(connection) as bound:
            assert (await frame(bound, LARGE)).attrs["asyncdb"]["path"] == "copy"


LARGE = "select generate_series(1, 700) as a"
