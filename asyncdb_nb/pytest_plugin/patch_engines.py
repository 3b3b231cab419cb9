"""
Give every async engine of the process a `LoopBoundPool`, for a suite that cannot be changed yet.

The function that `create_async_engine` calls is replaced, so it does not matter who has imported `create_async_engine`
before, nor from where. SQLite keeps its own pool: a `:memory:` database lives in its connection. So does an engine that
was given a ready-made `pool`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import make_url

from asyncdb_nb.aio import call_site
from asyncdb_nb.engine._sqlalchemy.pool import intercept_engines
from asyncdb_nb.engine.pool_of_all_loops import LoopBoundPool
from asyncdb_nb.pytest_plugin.secret_url import without_password


class Cure:
    """The cure, in effect until `stop()`. `engines` says which engines had it."""

    def __init__(self) -> None:
        self.engines: list[str] = []
        self._end = intercept_engines(self._create)

    def stop(self) -> None:
        """Let later engines be what they are. Engines that were made keep the pool."""
        self._end()

    def _create(self, original: Callable[..., Any], url: Any, **options: Any) -> Any:
        where = make_url(url)
        has_it = issubclass(options.get("poolclass") or object, LoopBoundPool)
        if has_it or options.get("pool") is not None or where.get_backend_name() == "sqlite":
            return original(url, **options)
        self.engines.append(f"{without_password(where)}, made {call_site.in_words(call_site.here()[:1])}")
        return original(url, **{**options, "poolclass": LoopBoundPool})
