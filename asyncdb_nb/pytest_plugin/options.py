"""Read what a suite asked for: the command line, the ini file and the marker, checked."""

from __future__ import annotations

import os
from typing import Any

import pytest

ISOLATIONS = ("rollback", "clone", "truncate", "none")
LEAKS = ("error", "warn", "off")
OTHER_ENGINES = ("refuse", "allow")
SCOPES = ("function", "class", "module", "package", "session")
_SHARED_BY: dict[str, Any] = {
    "class": pytest.Class,
    "module": pytest.Module,
    "package": pytest.Package,
    "session": pytest.Session,
}
FIXTURES = frozenset({"asyncdb_url", "asyncdb", "asyncdb_session", "asyncdb_schema"})


def add(parser: pytest.Parser) -> None:
    """Declare the options and ini settings."""
    group = parser.getgroup("asyncdb_nb", "asyncdb_nb: a clean PostgreSQL database for every test")
    group.addoption(
        "--asyncdb-url", metavar="URL", help="Server to test on; else $DATABASE_URL, else the embedded one."
    )
    group.addoption(
        "--asyncdb-leaks",
        choices=LEAKS,
        help="What happens to a test that leaves a session, connection, query or task behind. "
        "Default: error in a suite that uses the fixtures, else off.",
    )
    group.addoption("--asyncdb-cure", action="store_true", help="Give every async engine in the process LoopBoundPool.")
    parser.addini("asyncdb_isolation", f"How tests are kept apart: {', '.join(ISOLATIONS)}.", default="rollback")
    parser.addini("asyncdb_scope", f"How long one clean state lasts: {', '.join(SCOPES)}.", default="function")
    parser.addini(
        "asyncdb_other_engines",
        f"What a test may commit through engines that are not isolated: {', '.join(OTHER_ENGINES)}.",
        default="refuse",
    )
    parser.addini("asyncdb_leaks", "The default of --asyncdb-leaks.", default="")
    parser.addini("asyncdb_cure", "As --asyncdb-cure, for good.", type="bool", default=False)
    parser.addini("asyncdb_nbval", "Whether nbval's kernels end gracefully.", type="bool", default=True)


def check(config: pytest.Config) -> None:
    """Declare the marker, and refuse settings that are misspelt."""
    config.addinivalue_line(
        "markers",
        f"asyncdb(isolation=..., other_engines=...): how the database of this test is kept clean: "
        f"{', '.join(ISOLATIONS)}; what it may commit elsewhere: {', '.join(OTHER_ENGINES)}",
    )
    _one_of(ISOLATIONS, "asyncdb_isolation", config.getini("asyncdb_isolation"))
    _one_of(SCOPES, "asyncdb_scope", config.getini("asyncdb_scope"))
    _one_of(OTHER_ENGINES, "asyncdb_other_engines", config.getini("asyncdb_other_engines"))
    _one_of(("", *LEAKS), "asyncdb_leaks", config.getini("asyncdb_leaks"))


def show_warnings(config: pytest.Config) -> None:
    """Show leaks that are to be warnings, which Python hides as it does every ResourceWarning.

    It goes before the suite's own filters, so that `error` there or on the command line stays stronger.
    """
    if leaks(config) == "warn":
        config.getini("filterwarnings").insert(0, "always::asyncdb_nb.errors.LeakWarning")


def isolation(node: Any) -> str:
    """Return the isolation for a test, class, module or session: its closest marker's, else the ini file's."""
    marked = _marked(node, "isolation", ISOLATIONS)
    return marked or str(node.config.getini("asyncdb_isolation"))


def refuses_other_engines(item: Any) -> bool:
    """Return whether a test asks for a clean database, and may commit to no other one."""
    if "asyncdb_url" not in getattr(item, "fixturenames", ()):  # which the other fixtures ask for
        return False
    marked = _marked(item, "other_engines", OTHER_ENGINES)
    return (marked or item.config.getini("asyncdb_other_engines")) == "refuse"


def _marked(node: Any, name: str, allowed: tuple[str, ...]) -> str | None:
    for marker in node.iter_markers("asyncdb"):
        if marker.args or not marker.kwargs or marker.kwargs.keys() - {"isolation", "other_engines"}:
            raise pytest.UsageError(
                "The marker takes isolation=... and other_engines=..., by their names. Type, for example, "
                '`@pytest.mark.asyncdb(isolation="clone")`; the isolations are: ' + ", ".join(ISOLATIONS) + "."
            )
        if name in marker.kwargs:
            return _one_of(allowed, f"@pytest.mark.asyncdb({name}=...)", marker.kwargs[name])
    return None


def reject_unused_marker(item: pytest.Item) -> None:
    """Say what to type where a test that shares its clean state with others wants another isolation than they."""
    refuses_other_engines(item)  # which reads the marker
    scope = item.config.getini("asyncdb_scope")
    sharing = item.getparent(_SHARED_BY[scope]) if scope in _SHARED_BY else None
    if sharing is not None and uses_fixtures([item]) and isolation(item) != isolation(sharing):
        raise pytest.UsageError(
            f"This test is marked for isolation {isolation(item)!r}, and with asyncdb_scope = {scope} it shares a "
            f"state of isolation {isolation(sharing)!r}. Give the whole {scope} the same, or type "
            "asyncdb_scope = function."
        )


def refuse_trio(node: Any) -> None:
    """Say what to type where anyio's plugin, as it does by itself, runs each test on trio as well."""
    backend = node.callspec.params.get("anyio_backend") if hasattr(node, "callspec") else None
    if "trio" in (backend, backend and backend[0]):  # a name, or a name and its options
        raise pytest.UsageError(
            "SQLAlchemy and asyncpg run on asyncio, and anyio's plugin runs this test on trio. Type in conftest.py a "
            'fixture `anyio_backend` that returns "asyncio".'
        )


def scope(fixture_name: str, config: pytest.Config) -> Any:
    """Return the scope of `asyncdb` and `asyncdb_session`."""
    return config.getini("asyncdb_scope")


def named_url(config: pytest.Config) -> str | None:
    """Return the URL that the command line or the environment names."""
    return config.getoption("--asyncdb-url") or os.environ.get("DATABASE_URL") or None


def url(config: pytest.Config) -> str:
    """Return the URL of the server to test on; the embedded one is started if no other is named."""
    named = named_url(config)
    if named is not None:
        return named
    from asyncdb_nb.server.embedded import embedded_server

    return embedded_server().url


def leaks(config: pytest.Config) -> str | None:
    """Return `error`, `warn` or `off`, or None when the suite does not say."""
    return config.getoption("--asyncdb-leaks") or config.getini("asyncdb_leaks") or None


def cure(config: Any) -> bool:
    """Return whether every engine is to get a `LoopBoundPool`."""
    return bool(config.known_args_namespace.asyncdb_cure or config.getini("asyncdb_cure"))


def uses_fixtures(items: list[pytest.Item]) -> bool:
    """Return whether any of the tests asks for a fixture of this plugin."""
    return any(not FIXTURES.isdisjoint(getattr(item, "fixturenames", ())) for item in items)


def _one_of(allowed: tuple[str, ...], name: str, value: Any) -> str:
    if value not in allowed:
        raise pytest.UsageError(f"{name}: {value!r} is not one of {', '.join(filter(None, allowed))}.")
    return str(value)
