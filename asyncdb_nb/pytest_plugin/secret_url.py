"""
Keep the password of a URL out of what pytest prints.

pytest shows arguments and locals by their repr: with `--showlocals`, `--tb=long` and `--full-trace` those of this
plugin and of pytest itself, too. So a URL goes through them as a text with another repr.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


class SecretURL(str):
    """A URL, in whatever spelling, whose repr has no password."""

    __slots__ = ()

    def __repr__(self) -> str:
        from asyncdb_nb.engine.conninfo.resolve import resolve
        from asyncdb_nb.errors import DatabaseURLError

        try:
            target = resolve(self)
        except DatabaseURLError:
            return "<URL that cannot be read>"
        return f"<URL {target.url_without_password if target is not None else ''}>"


def without_password(url: Any) -> str:
    """Write a URL of SQLAlchemy's for people."""
    shown: str = url.difference_update_query(["password"]).render_as_string(hide_password=True)
    return shown


class SecretHooks:
    """The hook, as a plugin of its own: an `asyncdb_url` that a suite overrides is hidden as well."""

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[None]:
        """Replace the value that pytest keeps for the fixtures and tests that ask for it."""
        result: Any = yield
        if fixturedef.argname == "asyncdb_url" and type(result) is str:
            result = SecretURL(result)
            fixturedef.cached_result = (result, *fixturedef.cached_result[1:])
        return result  # type: ignore[no-any-return]
