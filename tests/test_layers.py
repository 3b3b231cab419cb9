"""Imports point downward only: a module imports from modules that stand before it in this list."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import asyncdb_nb

LAYERS = """
lessons
pytest_plugin.isolation pytest_plugin.leaks
jupyter
diagnostics
workflows.event_log workflows.sample
server
database
dataframes.columns dataframes.copy_binary dataframes.query dataframes.results dataframes.sql dataframes.types
engine engine.conninfo
aio
errors engine.frozen_clock engine.exact_dates
aio.sigint aio.loop_cleanup aio.blocked_loops engine.keepalive engine.pre_ping engine.loop_affinity engine.first_connect engine.write_detection engine.rollback_detection engine.pooler aio.shielded engine.copy_transfers engine.asyncpg_connection
engine.statement_cache engine.idle_connections engine.loop_pool engine.pool
engine.conninfo.file_trust engine.conninfo.passfile engine.conninfo.libpq_defaults engine.conninfo.parameters engine.conninfo.env_file engine.conninfo.parse engine.application_name
engine.search_path database.commit database.session
aio.awaitables aio.async_for
dataframes.types.table dataframes.types.binary dataframes.types.array_text dataframes.types.driver_values dataframes.libraries dataframes.columns.memory
dataframes.types.exact dataframes.columns.to_arrow dataframes.columns.column
dataframes.copy_binary.layout dataframes.copy_binary.chain dataframes.copy_binary.cells dataframes.copy_binary.candidates
dataframes.copy_binary.row_finder dataframes.copy_binary.values dataframes.copy_binary.text
dataframes.copy_binary.numeric_head dataframes.copy_binary.numeric_text dataframes.copy_binary.numeric
dataframes.copy_binary.readers dataframes.copy_binary.decoder
dataframes.sql.datetimes dataframes.sql.binds dataframes.types.catalog dataframes.query.describe dataframes.types.processing dataframes.types.declared
dataframes.sql.tokenizer dataframes.sql.placeholders dataframes.types.python_types dataframes.results.entities dataframes.sql.statement
dataframes.results.result_types
dataframes.sql.misfits dataframes.query.error_notes dataframes.sql.literals dataframes.query.row_counts dataframes.query.shape dataframes.query.copy
dataframes.query.copy_stream dataframes.query.progress dataframes.results.rows dataframes.query.schema_changes
dataframes.query.capture
dataframes.query.reading dataframes dataframes.intervals
database.repository
engine.tls_errors engine.connect_errors engine.connector database.catalog database.summary composition database.retry database.database
aio.portal
server.reaper server.directory server.binaries server.cluster server.embedded
workflows.models workflows.sample.company workflows.sample.simulation workflows.bulk_load workflows.sample.seed
workflows.event_log.file_formats workflows.event_log.text_reader workflows.event_log.csv_reader workflows.event_log.unreadable workflows.event_log.decimals workflows.event_log.times
workflows.event_log.time_formats workflows.event_log.vocabulary workflows.event_log.proposal workflows.event_log.columns workflows.event_log.bad_rows workflows.event_log.parse
workflows.event_log.assemble workflows.event_log.schemas workflows.event_log.load workflows.event_log.unload
workflows.queries workflows.repository workflows
diagnostics.recorder diagnostics.listeners diagnostics.palette diagnostics.plot diagnostics.trace
diagnostics.finding diagnostics.check_environment diagnostics.check_pooler diagnostics.check_server diagnostics.doctor
jupyter.kernels
jupyter.sigterm jupyter.coroutine_display jupyter.open_sessions jupyter.stack jupyter.error_display jupyter.interrupt jupyter.cell_lines
jupyter.tracebacks
jupyter.magic_awaits jupyter.completions jupyter.magics jupyter.extension
pytest_plugin.secret_url pytest_plugin.forked_children pytest_plugin.options pytest_plugin.loop_errors pytest_plugin.leaks.call_site
pytest_plugin.leaks.report
pytest_plugin.leaks.borrowed_session pytest_plugin.leaks.engine_call_sites pytest_plugin.leaks.checkouts pytest_plugin.leaks.unisolated_engines pytest_plugin.leaks.detector
pytest_plugin.leaks.hooks pytest_plugin.isolation.databases
pytest_plugin.isolation.schema pytest_plugin.isolation.clones pytest_plugin.isolation.truncate pytest_plugin.isolation.turns
pytest_plugin.isolation.cross_loop pytest_plugin.isolation.savepoint pytest_plugin.isolation.rollback
pytest_plugin.isolation.isolation pytest_plugin.fixtures pytest_plugin.patch_engines pytest_plugin.header pytest_plugin.nbval
pytest_plugin
lessons.notebooks lessons.environment lessons.tour lessons.copies lessons.lab
cli.command_line cli.load cli
"""
ORDER = LAYERS.split()

# upward, inside a function: `connect()` puts the whole product together
EXCEPTIONS = {
    ("database", "server"),  # without a URL it starts the embedded server
    ("database", "workflows"),  # and fills it with the sample
    ("database", "kernel"),  # in a notebook it makes Stop work
}

LATER = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
ROOT = Path(asyncdb_nb.__file__).parent


def name_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(file): file for file in ROOT.rglob("*.py") if file != ROOT / "__init__.py"}


def imports_of(tree: ast.AST) -> set[str]:
    """The modules of the package that are imported anywhere in it, also inside functions and for type checkers."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if _inside(name) in MODULES else str(node.module) for name in names}
    return {_inside(name) for name in found} & MODULES.keys()


def _inside(name: str) -> str:
    """`asyncdb_nb.server.reaper` → `server.guard`, and a public name → where it lives."""
    inside = name.removeprefix("asyncdb_nb.") if name.startswith("asyncdb_nb.") else ""
    return asyncdb_nb._HOMES.get(inside, inside)


def test_every_module_has_its_place() -> None:
    assert sorted(ORDER) == sorted(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_from_below_only(module: str) -> None:
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    above = {name for name in imports_of(tree) if ORDER.index(name) >= ORDER.index(module)}

    assert above == {up for lower, up in EXCEPTIONS if lower == module}


@pytest.mark.parametrize("module", MODULES)
def test_imports_name_the_whole_path_and_upward_ones_wait_for_a_call(module: str) -> None:
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    at_once = imports_of(ast.Module([node for node in tree.body if not isinstance(node, LATER)], []))

    assert not [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level]
    assert not {name for name in at_once if (module, name) in EXCEPTIONS}
