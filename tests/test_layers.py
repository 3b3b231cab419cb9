"""Imports point downward only: a module imports from modules that stand before it in this list."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import asyncdb_nb

LAYERS = """
errors
loops keepalive ping guard first_connect goodbye subpool pool
libpq target urls identity
committing sessions
dataframes.types dataframes.wire dataframes.native dataframes.columns
dataframes.decode.layout dataframes.decode.chain dataframes.decode.cells dataframes.decode.walk
dataframes.decode.framing dataframes.decode.values dataframes.decode.text dataframes.decode.numeric
dataframes.decode.readers dataframes.decode
dataframes.catalog dataframes.prepared dataframes.processing dataframes.sql_types dataframes.statements
dataframes.literals dataframes.sql_text dataframes.sizes dataframes.shape dataframes.copy
dataframes.streaming dataframes.progress dataframes.rows dataframes.execute
dataframes.reading dataframes.pending dataframes
repository
connecting catalog registry stale database
bridge
server.guard server.programs server.cluster server
workflows.models workflows.catalogue workflows.simulation workflows.bulk workflows.generator
workflows.columns workflows.csvfile workflows.events workflows.assembly workflows.eventlog
workflows.questions workflows.repository workflows
recording listening palette lanes timeline
doctor.finding doctor.environment doctor.server doctor
kernel.ending kernel.hints kernel.hygiene kernel.interrupts kernel.awaiting kernel.completions kernel.magics kernel
pytest_plugin.options pytest_plugin.origin pytest_plugin.leak pytest_plugin.lent pytest_plugin.watch pytest_plugin.hooks
pytest_plugin.keeper pytest_plugin.schema pytest_plugin.clones pytest_plugin.truncate pytest_plugin.rollback
pytest_plugin.stagehand pytest_plugin.fixtures pytest_plugin.cure pytest_plugin.header pytest_plugin
tour
cli
"""
ORDER = LAYERS.split()

# imported inside a function, when a call needs it, because `connect()` puts the whole product together
EXCEPTIONS = {("database", "server"), ("database", "workflows"), ("database", "kernel")}

ROOT = Path(asyncdb_nb.__file__).parent


def name_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(file): file for file in ROOT.rglob("*.py") if file != ROOT / "__init__.py"}


def imports_of(file: Path) -> set[str]:
    """The modules of the package that a file imports anywhere, also inside functions and for type checkers."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file.name}: imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
            found.add(str(node.module))
    inside = {name.removeprefix("asyncdb_nb.") for name in found if name.startswith("asyncdb_nb.")}
    modules = inside & MODULES.keys()
    # `from asyncdb_nb.server import guard` imports the submodule; `server` itself is not what is wanted
    return {name for name in modules if not any(other.startswith(f"{name}.") for other in modules)}


def test_every_module_has_its_place() -> None:
    assert sorted(ORDER) == sorted(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_from_below_only(module: str) -> None:
    above = {
        name
        for name in imports_of(MODULES[module])
        if ORDER.index(name) >= ORDER.index(module) and name != module and (module, name) not in EXCEPTIONS
    }

    assert not above
