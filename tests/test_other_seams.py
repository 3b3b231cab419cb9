"""
The names that asyncio, IPython, pytest and anyio do not promise: each is there still, or this says what stood on it.

Those of SQLAlchemy and asyncpg are in `test_seams.py`.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import sys
import threading
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import nest_asyncio
import pytest

from asyncdb_nb.aio import _asyncio
from asyncdb_nb.jupyter import _ipython
from asyncdb_nb.pytest_plugin import _pytest

ATTRIBUTES = [  # of a module or a class: the library, where the name is, the name, and what is lost without it
    ("Python", "asyncio.Handle", "_run", "where a leak was opened ends at the loop: aio/_asyncio.py"),
    ("Python", "threading", "_register_atexit", "connections close at exit before executors do: aio/_asyncio.py"),
    ("Python", "sys.modules", "importlib._bootstrap", "Stop spares an import that runs: aio/_asyncio.py"),
    ("Python", "sys.modules", "importlib._bootstrap_external", "Stop spares an import that runs: aio/_asyncio.py"),
    ("IPython", "IPython.core.interactiveshell.InteractiveShell", "_showtraceback", "groups: jupyter/_ipython.py"),
    ("ipykernel", "ipykernel.zmqshell.ZMQInteractiveShell", "_showtraceback", "groups: jupyter/_ipython.py"),
    ("pytest", "pytest.FixtureRequest", "_get_active_fixturedef", "one template a schema: pytest_plugin/_pytest.py"),
    ("anyio", "anyio._backends._asyncio.TestRunner", "_run_tests_and_fixtures", "leaks: pytest_plugin/_pytest.py"),
]
MENTIONED = [  # in the source of a function or a module
    ("Python", "asyncio.Runner", "_loop", "leaks are found before a Runner cancels tasks: aio/_asyncio.py"),
    ("Python", "asyncio.BaseEventLoop", "_asyncgens_shutdown_called", "no warning from a dying loop: aio/_asyncio.py"),
    ("nest-asyncio", "nest_asyncio", "_nest_patched", "the doctor names the patch: aio/_asyncio.py"),
    ("IPython", "IPython.core.interactiveshell.InteractiveShell.showtraceback", "_render_traceback_", "short errors"),
    ("pytest", "pytest.Function", "_fixtureinfo", "the header names the server: pytest_plugin/_pytest.py"),
]


def found(path: str) -> Any:
    """`asyncio.Handle` → the class; a module is imported as far as the path goes."""
    parts = path.split(".")
    thing: Any = importlib.import_module(parts[0])
    for number, part in enumerate(parts[1:], 2):
        if not hasattr(thing, part):
            importlib.import_module(".".join(parts[:number]))
        thing = getattr(thing, part)
    return thing


def gone(library: str, path: str, name: str, stands_on_it: str) -> str:
    installed = sys.version.split()[0] if library == "Python" else version(library)
    return f"{library} {installed} has no `{name}` in {path} any more, and this stands on it: {stands_on_it}"


@pytest.mark.parametrize(("library", "path", "name", "stands_on_it"), ATTRIBUTES, ids=lambda value: str(value)[:40])
def test_a_name_that_nobody_promises_is_there(library: str, path: str, name: str, stands_on_it: str) -> None:
    """Otherwise a fallback serves, and this says which of a library's names has gone."""
    place = found(path)

    assert name in (place if isinstance(place, dict) else dir(place)), gone(library, path, name, stands_on_it)


@pytest.mark.parametrize(("library", "path", "name", "stands_on_it"), MENTIONED, ids=lambda value: str(value)[:40])
def test_a_name_that_only_objects_have_is_in_the_source(library: str, path: str, name: str, stands_on_it: str) -> None:
    """Likewise."""
    assert name in inspect.getsource(found(path)), gone(library, path, name, stands_on_it)


def test_the_running_loop_is_told_or_that_there_is_none() -> None:
    """No error where none runs, in whatever thread."""

    async def running() -> bool:
        return _asyncio.running_loop() is asyncio.get_running_loop()

    assert asyncio.run(running())
    assert _asyncio.running_loop() is None


def test_a_runner_tells_its_loop_and_makes_none_for_that() -> None:
    """`get_loop()` of asyncio would make one."""
    runner = asyncio.Runner()

    before = _asyncio.loop_of(runner)

    with runner:
        assert (before, _asyncio.loop_of(runner)) == (None, runner.get_loop())


def test_a_loop_that_has_closed_its_generators_is_known() -> None:
    """asyncio warns of every generator that begins on it afterwards."""
    loop = asyncio.new_event_loop()
    try:
        before = _asyncio.has_closed_generators(loop)
        loop.run_until_complete(loop.shutdown_asyncgens())

        assert (before, _asyncio.has_closed_generators(loop)) == (False, True)
    finally:
        loop.close()


def test_the_step_of_a_loop_is_on_the_stack_of_what_it_runs() -> None:
    """A task and a callback are both called by it."""

    async def stack() -> list[bool]:
        return [_asyncio.is_step_of_loop(each.frame) for each in inspect.stack()]

    assert sum(asyncio.run(stack())) == 1


def test_exit_hooks_are_registered_where_threading_has_none_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """atexit does the same a little later."""
    registered: list[Any] = []
    monkeypatch.delattr(threading, "_register_atexit")
    monkeypatch.setattr("atexit.register", registered.append)

    _asyncio.before_executors_end(test_exit_hooks_are_registered_where_threading_has_none_of_its_own)

    assert registered == [test_exit_hooks_are_registered_where_threading_has_none_of_its_own]


def test_a_patch_of_nest_asyncio_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by whether it is imported: `run(..., nested=True)` imports it."""
    assert nest_asyncio.apply is not None
    monkeypatch.delattr(asyncio, "_nest_patched", raising=False)  # an old jupyter_client has applied it here
    assert not _asyncio.is_patched()

    monkeypatch.setattr(asyncio, "_nest_patched", True, raising=False)

    assert _asyncio.is_patched()


class Shell:
    """What an IPython that has none of the names offers."""

    def __init__(self) -> None:
        self.shown: list[Any] = []
        self.run_code = len

    def showtraceback(self, error: Any) -> None:
        self.shown.append(error)


def test_a_shell_without_its_own_names_shows_groups_as_ipython_does() -> None:
    """No line of ours, and nothing is swallowed."""
    shell, group = Shell(), ExceptionGroup("two", [ValueError(1), ValueError(2)])

    _ipython.show_group(shell, group, None, ["ours"])

    assert shell.shown == [(ExceptionGroup, group, None)]
    assert _ipython.code_of_cells(shell) is None  # type: ignore[arg-type]


def test_an_error_is_shown_as_given_until_it_is_taken_back() -> None:
    """`%tb` shows all of it again."""
    error: Any = ValueError()

    take_back = _ipython.show_as(error, ["ours"])
    lines = error._render_traceback_()
    take_back()

    assert lines == ["ours"]
    assert not hasattr(error, "_render_traceback_")


def test_without_pytests_own_names_a_schema_belongs_to_one_test_and_no_fixture_is_known() -> None:
    """Slower, and never another test's schema."""
    bare: Any = SimpleNamespace(node=SimpleNamespace(nodeid="tests/test_a.py::test_b"))

    assert _pytest.place_of_fixture(bare, "asyncdb_schema") == "tests/test_a.py::test_b"
    assert _pytest.fixture_of(bare, "asyncdb_url") is None


@pytest.fixture
def here() -> None: ...


def test_pytest_tells_where_a_fixture_is_defined(request: pytest.FixtureRequest, here: None) -> None:
    """In this file, whose definition it is."""
    assert _pytest.place_of_fixture(request, "here") == "tests/test_other_seams.py"
    assert _pytest.fixture_of(request.node, "here").baseid == "tests/test_other_seams.py"
