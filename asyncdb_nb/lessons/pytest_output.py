"""
Run pytest for a lesson, and show of what it says that which is the same every time.

Left out are the head, the seconds and the server's version. The plugins are those that the lesson is about, whatever
else is installed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys

_PLUGINS = ("-p", "asyncdb_nb.pytest_plugin", "-p", "pytest_asyncio.plugin", "-p", "no:cacheprovider")
_FORM = ("-v", "-rN", "--color=no")


def run_pytest(*options: str) -> None:
    """Run `pytest` in a process of its own, as in a terminal, and print what it says.

    Args:
        *options: What would be typed after `pytest`.
    """
    nbval = ("-p", "nbval.plugin") if "--nbval" in options else ()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *_FORM, *_PLUGINS, *nbval, *options],
        env=os.environ | {"COLUMNS": "80", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    print(tidied(done.stdout) or done.stderr)  # noqa: T201  it is a notebook's output


def tidied(output: str) -> str:
    """Leave out of pytest's output what is different each time, or on each machine."""
    told = re.split(r"collected \d+ items?\n", output)[-1].strip()
    return re.sub(r"=+ (.*) in [\d.]+s.*", r"\1", re.sub(r"(PostgreSQL) [\d.]+", r"\1", told))
