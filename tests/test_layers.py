"""Imports point downward only: a module imports from its own room, and from rooms that stand before it here."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import asyncdb_nb

CORE = ["errors", "aio", "engine", "dataframes", "database"]
ROOMS = [
    *["errors", "aio", "engine", "dataframes", "explore", "database", "server", "workflows", "diagnostics"],
    *["jupyter", "composition", "distributed", "pytest_plugin", "lessons", "cli"],
]
FRAMES = [
    "copy_binary",
    "type_families",
    "types",
    "columns",
    "results",
    "sql",
    "query",
    "writing",
]  # the packages in `dataframes`, likewise
NOT_IN_CORE = {"IPython", "ipykernel", "matplotlib", "pytest"}
MOST = 16  # rooms at top level

ROOT = Path(asyncdb_nb.__file__).parent


def name_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(file): file for file in ROOT.rglob("*.py") if file != ROOT / "__init__.py"}


def imports_of(module: str) -> set[str]:
    """Everything that a module imports, also inside functions and for type checkers, by its whole name."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "an import names the whole path"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if inside(name) in MODULES else str(node.module) for name in names}
    return found


def inside(name: str) -> str:
    """`asyncdb_nb.server.reaper` → `server.reaper`, and a public name → where it lives; else nothing."""
    name = name.removeprefix("asyncdb_nb.") if name.startswith("asyncdb_nb.") else ""
    return asyncdb_nb._HOMES.get(name, name)


def ours(module: str) -> set[str]:
    """The modules of the package that a module imports."""
    return {inside(name) for name in imports_of(module)} & MODULES.keys() - {module}


def room_of(module: str) -> str:
    return module.partition(".")[0]


def test_the_rooms_are_these_and_few() -> None:
    assert sorted({room_of(module) for module in MODULES}) == sorted(ROOMS)
    assert len(ROOMS) <= MOST


def test_modules_import_from_rooms_below() -> None:
    assert not [
        (module, name)
        for module in MODULES
        for name in ours(module)
        if ROOMS.index(room_of(name)) > ROOMS.index(room_of(module))
    ]


def test_the_rooms_of_the_frames_import_from_below() -> None:
    frames = [module for module in MODULES if module.startswith("dataframes.") and module.split(".")[1] in FRAMES]
    places = {module: FRAMES.index(module.split(".")[1]) for module in frames}

    assert not [(module, name) for module in frames for name in ours(module) if places.get(name, -1) > places[module]]


def test_no_module_imports_itself_by_way_of_others() -> None:
    TopologicalSorter({module: ours(module) for module in MODULES}).prepare()


def test_the_core_needs_no_notebook_and_no_test() -> None:
    core = [module for module in MODULES if room_of(module) in CORE]

    assert not [module for module in core if {name.partition(".")[0] for name in imports_of(module)} & NOT_IN_CORE]
