"""
Remember at which line each engine was made.

An application makes its engine when its module is imported, which is before any test is known. So engines are followed
as soon as SQLAlchemy is imported, and it is not imported for that: a suite may do without. `create_engine` calls
`Dialect.engine_created` when it has made one. (`Engine.__init__` is not wrapped: SQLAlchemy reads its signature to know
which options there are.) Where sessions and connections were opened is in `who_opened_what.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import find_spec
from types import ModuleType
from typing import Any

_MODULE = "sqlalchemy.engine.interfaces"
_ORIGIN = "asyncdb_nb_origin"


def follow() -> Callable[[], None]:
    """Begin to remember; returns what ends it."""
    if _MODULE in sys.modules:
        return _follow(sys.modules[_MODULE])
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    return finder.stop


def call_site_of(dialect: Any) -> Any:
    """Return where the engine of a dialect was made: a `CallSite`, empty when that was not seen."""
    return getattr(dialect, _ORIGIN, ())


class _Finder:
    """Waits for SQLAlchemy to be imported."""

    def __init__(self) -> None:
        self._stop: Callable[[], None] | None = None

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> Any:
        """Find the module as it is found otherwise, and follow its engines once it is executed."""
        if name != _MODULE:
            return None
        sys.meta_path.remove(self)
        spec: Any = find_spec(name)
        execute = spec.loader.exec_module

        def execute_and_follow(module: ModuleType) -> None:
            execute(module)
            self._stop = _follow(module)

        spec.loader.exec_module = execute_and_follow
        return spec

    def stop(self) -> None:
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        if self._stop is not None:
            self._stop()


def _follow(module: ModuleType) -> Callable[[], None]:
    from asyncdb_nb.aio import call_site  # here: it looks where SQLAlchemy is installed

    base: Any = module.Dialect
    created = base.__dict__["engine_created"]

    def remember(dialect: Any, engine: Any) -> None:
        created.__func__(dialect, engine)
        if not hasattr(engine.dialect, _ORIGIN):
            setattr(engine.dialect, _ORIGIN, call_site.here())

    base.engine_created = classmethod(remember)

    def stop() -> None:
        base.engine_created = created

    return stop
