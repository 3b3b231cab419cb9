"""
Tell a suite that fails because its engine is used on several event loops of the option that makes it work.

It is said to every suite, also to one that has never heard of this plugin, and so it is looked for when everything is
over, in the reports of what failed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from asyncdb_nb.pytest_plugin import options

_ERRORS = re.compile(
    "attached to a different loop|bound to a different event loop|Event loop is closed|another operation is in progress"
)
_OF_A_DATABASE = re.compile("sqlalchemy|asyncpg|BaseProtocol|psycopg")


def advice(reporter: pytest.TerminalReporter) -> list[str]:
    """Return the line, where it may help."""
    count = 0 if options.cure(reporter.config) else sum(map(_is_one, _failed(reporter)))
    if not count:
        return []
    return [
        f"asyncdb_nb: {count} of the failures above {'is' if count == 1 else 'are'} of the kind that one engine on "
        "several event loops causes. `pytest --asyncdb-cure` (in the ini file: asyncdb_cure = true) has every async "
        "engine keep the connections of each loop apart."
    ]


def _failed(reporter: pytest.TerminalReporter) -> Iterator[Any]:
    for outcome in ("failed", "error"):
        yield from reporter.stats.get(outcome, ())


def _is_one(report: Any) -> bool:
    text = str(getattr(report, "longreprtext", ""))
    crash = getattr(report.longrepr, "reprcrash", None)  # all there is with --tb=no
    if crash is not None:
        text += f"{crash.path} {crash.message}"
    return bool(_ERRORS.search(text) and _OF_A_DATABASE.search(text))
