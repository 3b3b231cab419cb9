"""The names that users type: there, documented, and quick to import."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import asyncdb_nb
from asyncdb_nb import errors

HEAVY = {
    "pandas",
    "pyarrow",
    "numpy",
    "IPython",
    "ipykernel",
    "pytest",
    "asyncpg",
    "matplotlib",
    "tqdm",
    "nest_asyncio",
}


@pytest.mark.parametrize("name", asyncdb_nb.__all__)
def test_a_public_name_exists_and_says_what_it_is(name: str) -> None:
    value = getattr(asyncdb_nb, name)

    assert value.__doc__
    assert value.__doc__.strip()


def test_names_are_offered_for_completion_before_they_are_used() -> None:
    """In a process of its own, where nothing was imported yet."""
    code = "import asyncdb_nb; print(*dir(asyncdb_nb))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert set(asyncdb_nb.__all__) <= set(done.stdout.split())


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(asyncdb_nb.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.asname: str(node.module).removeprefix("asyncdb_nb.")
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }

    assert seen == asyncdb_nb._HOMES
    assert seen.keys() < set(asyncdb_nb.__all__)


def test_every_error_is_drawn_in_the_tree() -> None:
    classes = {
        name for name, value in vars(errors).items() if isinstance(value, type) and value.__module__ == errors.__name__
    }

    assert not [name for name in classes if name not in str(errors.__doc__)]


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = asyncdb_nb.nothing


@pytest.mark.parametrize(
    "statement",
    ["import asyncdb_nb", "from asyncdb_nb import Database, LoopBoundPool, connect, frame, run, session_scope"],
)
def test_importing_brings_in_nothing_heavy(statement: str) -> None:
    code = f"{statement}; import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert not HEAVY & set(done.stdout.split())
